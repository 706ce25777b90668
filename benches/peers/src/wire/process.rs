//! Servers that are measured: on a core of their own, and ended whatever happens.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use tempfile::TempDir;

use crate::Outcome;

/// Longer than any of them takes to start, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a process runs. The load generator, which is this one, is on the client's core: `benches/peers/run` puts it there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Core {
    Client,
    Server,
}

/// A command on a core. It is killed when this process ends, however that is.
pub(crate) fn command(core: Core, program: impl AsRef<OsStr>) -> Command {
    let core = match core {
        Core::Server if cores() > 1 => "1",
        Core::Server | Core::Client => "0",
    };
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list", core]).arg(program);
    // What the caller's environment says of our server is not what is measured.
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| name.starts_with("ECS_AUTHZ_") || name == "RUST_LOG").for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// The machine's, and not this process's, which is on one of them.
fn cores() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A server that listens, and its files.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: String,
    log: PathBuf,
    _files: TempDir,
}

impl Server {
    /// Starts a command and waits until somebody listens on the port.
    pub(crate) fn start(mut command: Command, files: TempDir, port: u16) -> Outcome<Self> {
        let log = files.path().join("log");
        let out = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let mut server =
            Self { child: command.spawn()?, addr: format!("127.0.0.1:{port}"), log, _files: files };
        let began = Instant::now();
        while TcpStream::connect(&server.addr).is_err() {
            if server.child.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                return Err(format!("{command:?} does not listen: {}", server.logged()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// What it said so far.
    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Nanoseconds on the processor, of all threads. Those of a thread that ended are gone: these servers keep theirs.
    pub(crate) fn cpu_nanoseconds(&self) -> Outcome<u64> {
        let mut sum = 0;
        for task in fs::read_dir(Path::new("/proc").join(self.child.id().to_string()).join("task"))? {
            let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += schedstat.split_whitespace().next().ok_or("schedstat is empty")?.parse::<u64>()?;
        }
        Ok(sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
