//! The program, serving: started with arguments and an environment, and ended with the test.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::program;

/// Longer than a line of the log takes to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `ecs-authz serve`.
pub(crate) struct Serving(Child);

/// What it logs.
pub(crate) struct Log(mpsc::Receiver<String>);

impl Log {
    /// Waits for a line with this in it.
    pub(crate) fn await_line(&mut self, expected: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.0.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(expected) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("{error}: expected a line with {expected} after {seen:#?}"),
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Serving {
    /// Starts it on free ports.
    pub(crate) fn start(args: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_program(&program(), args, environment)
    }

    /// Starts this build of it on free ports.
    pub(crate) fn start_program(program: &Path, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let child = Command::new(program)
            .args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"])
            .args(args)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        Self(child)
    }

    /// The line that says that it is ready.
    pub(crate) fn await_ready(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("ready on 127.0.0.1:"), "{line}");
        line
    }

    /// Ends the pipe that it logs to, as a log shipper that dies.
    pub(crate) fn close_log(&mut self) {
        drop(self.0.stderr.take());
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its output, to be read by the test.
    pub(crate) fn take_output(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("its output")
    }

    /// Reads what it logs until a line has this in it. What follows is read too, so that it never waits for us.
    pub(crate) fn await_log(&mut self, expected: &str) -> String {
        let mut lines = BufReader::new(self.0.stderr.take().expect("its errors")).lines();
        let line = lines.find_map(|line| line.ok().filter(|line| line.contains(expected)));
        thread::spawn(move || lines.for_each(drop));
        line.unwrap_or_else(|| panic!("expected a line with {expected}"))
    }

    /// What it logs from now on, line by line.
    pub(crate) fn follow_log(&mut self) -> Log {
        let (sender, lines) = mpsc::channel();
        let errors = BufReader::new(self.0.stderr.take().expect("its errors"));
        // To the end, so that it never waits for us.
        thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Log(lines)
    }

    /// Lets it open this many files more than it has, and no more.
    pub(crate) fn spare_files(&self, more: usize) {
        let pid = self.0.id().to_string();
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").count();
        let limit = format!("--nofile={}", open + more);
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().expect("prlimit").success());
    }

    /// What it said before it failed, without having served anything.
    pub(crate) fn fault(mut self) -> String {
        assert_eq!(self.0.wait().expect("an end").code(), Some(1));
        let (mut out, mut said) = (String::new(), String::new());
        self.0.stdout.take().expect("its output").read_to_string(&mut out).expect("text");
        self.0.stderr.take().expect("its errors").read_to_string(&mut said).expect("text");
        assert_eq!(out, "", "nothing was served");
        said
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args(["-s", signal, &self.0.id().to_string()]).status();
        assert!(kill.expect("kill").success());
    }

    /// Waits until it has ended.
    pub(crate) fn end(mut self) -> ExitStatus {
        self.0.wait().expect("an end")
    }

    /// Tells it to stop, without the time for clients to go elsewhere, and waits until it has.
    pub(crate) fn interrupt(self) -> ExitStatus {
        self.signal("INT");
        self.end()
    }
}
