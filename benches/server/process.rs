//! Processes that are measured: started on a core of their own, and ended whatever happens.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use super::Outcome;
use super::plan::{Load, Outcomes, Plan};

/// Where processes run: the server has a core for itself, and so has the load generator.
#[derive(Debug, Clone, Copy)]
pub(super) enum Core {
    Server,
    Client,
}

impl Core {
    /// Of those that may be used; with a single one, both are that.
    fn number(self) -> Outcome<u32> {
        let cores = cores(&fs::read_to_string("/proc/self/status")?)?;
        let (client, server) = (cores.first(), cores.get(1));
        let core = match self {
            Self::Server => server.or(client),
            Self::Client => client,
        };
        Ok(*core.ok_or("no processor may be used")?)
    }
}

/// A command on a core. It is killed when this process ends, however that is.
pub(super) fn command(core: Core, program: impl AsRef<OsStr>) -> Outcome<Command> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list"]);
    command.arg(core.number()?.to_string()).arg(program);
    Ok(command)
}

/// A server that answers.
pub(super) struct Server {
    child: Child,
    /// Its standard error. A pipe that nobody reads could fill and hold it up.
    written: File,
    pub(super) addr: String,
    /// From the start of the process to the line that says that it is ready.
    pub(super) ready_after: Duration,
}

impl Server {
    pub(super) fn start(mut command: Command) -> Outcome<Self> {
        let written = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(written.try_clone()?);
        let began = Instant::now();
        let mut child = command.spawn()?;
        let out = child.stdout.take().ok_or("no standard output")?;
        let mut server = Self { child, written, addr: String::new(), ready_after: Duration::ZERO };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        server.ready_after = began.elapsed();
        let addr = line.strip_prefix("ready on ").and_then(|rest| rest.split(',').next());
        match addr {
            Some(addr) => server.addr = addr.to_owned(),
            None => return Err(format!("the server is not ready: {line}{}", server.end()?).into()),
        }
        Ok(server)
    }

    /// Nanoseconds on the processor, of all threads. Those of a thread that ended are gone: servers keep theirs.
    pub(super) fn cpu_nanoseconds(&self) -> Outcome<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            sum += on_processor(&fs::read_to_string(task?.path().join("schedstat"))?)?;
        }
        Ok(sum)
    }

    /// The memory that it has, and the most that it had, in KiB.
    pub(super) fn memory(&self) -> Outcome<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        Ok((kibibytes(&status, "VmRSS:")?, kibibytes(&status, "VmHWM:")?))
    }

    /// Ends it as an operator does, and returns what it wrote to standard error.
    pub(super) fn end(&mut self) -> Outcome<String> {
        if self.child.try_wait()?.is_none() {
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        }
        self.child.wait()?;
        let mut written = String::new();
        self.written.rewind()?;
        self.written.read_to_string(&mut written)?;
        Ok(written)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A load generator that is about to start.
pub(super) struct LoadGenerator {
    child: Child,
    tell: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl LoadGenerator {
    pub(super) fn start(plan: &Plan) -> Outcome<Self> {
        let mut command = command(Core::Client, env::current_exe()?)?;
        command.args(["--load", &serde_json::to_string(plan)?]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let tell = child.stdin.take().ok_or("no standard input")?;
        let hear = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Self { child, tell, hear })
    }

    /// Waits until the server is warm.
    pub(super) fn warm_up(&mut self) -> Outcome<()> {
        match self.line()?.as_str() {
            "warm" => Ok(()),
            other => Err(format!("the load generator said `{other}`").into()),
        }
    }

    /// Has it make the calls.
    pub(super) fn go(&mut self) -> Outcome<Outcomes> {
        writeln!(self.tell, "go")?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    /// Runs all loads, without a look at anything between.
    pub(super) fn run(plan: &Plan) -> Outcome<Vec<Outcomes>> {
        let mut generator = Self::start(plan)?;
        let run = |_: &Load| {
            generator.warm_up()?;
            generator.go()
        };
        plan.loads.iter().map(run).collect()
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.hear.read_line(&mut line)?;
        if line.is_empty() {
            return Err("the load generator gave up, see above".into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for LoadGenerator {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Keeps both cores from going to sleep between the calls of a load that makes one at a time: on a virtual machine, waking up takes
/// longer than the call. Whatever else runs goes before it.
pub(super) struct Spinners(Vec<Child>);

impl Spinners {
    pub(super) fn start() -> Outcome<Self> {
        let start = |core| {
            let mut command = command(core, "chrt")?;
            command.args(["--idle", "0"]).arg(env::current_exe()?).arg("--spin");
            Outcome::Ok(command.stdin(Stdio::null()).spawn()?)
        };
        let mut spinners = Self(Vec::new());
        for core in [Core::Server, Core::Client] {
            spinners.0.push(start(core)?);
        }
        Ok(spinners)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(end);
    }
}

/// What a spinner does, a minute at most.
pub(super) fn spin() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        std::hint::spin_loop();
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _gone = child.kill();
    let _gone = child.wait();
}

/// The first figure of `schedstat`.
fn on_processor(schedstat: &str) -> Outcome<u64> {
    let first = schedstat.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(first.parse()?)
}

/// A figure of `/proc/PID/status`.
fn kibibytes(status: &str, name: &str) -> Outcome<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such figure")?;
    let figure = line.trim().strip_suffix(" kB").ok_or("a figure without its unit")?;
    Ok(figure.parse()?)
}

/// The processors that may be used: `Cpus_allowed_list: 0-3,8`.
fn cores(status: &str) -> Outcome<Vec<u32>> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mut cores = Vec::new();
    for range in list.ok_or("no list of processors")?.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse::<u32>()?..=last.parse::<u32>()?);
    }
    Ok(cores)
}

/// Checks the readers of what the system tells.
pub(super) fn check() -> Outcome<()> {
    let status = "VmPeak:\t  9 kB\nVmHWM:\t   81234 kB\nVmRSS:\t   71234 kB\n";
    let read =
        (on_processor("1275933 18800773 2\n")?, kibibytes(status, "VmRSS:")?, kibibytes(status, "VmHWM:")?);
    if read != (1_275_933, 71_234, 81_234) {
        return Err(format!("what the system tells is read as {read:?}").into());
    }
    let cores = cores("Name:\tx\nCpus_allowed_list:\t2-4,8\n")?;
    if cores != [2, 3, 4, 8] {
        return Err(format!("the processors are read as {cores:?}").into());
    }
    match (on_processor(""), kibibytes(status, "VmSwap:")) {
        (Err(_), Err(_)) => Ok(()),
        _ => Err("what the system does not tell is read".into()),
    }
}
