//! SIGHUP: what is read again, and what stays where that has a fault.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ecs_authz::grpc::pb;
use libtest_mimic::Trial;

use super::{PATIENCE, Program, ask, connect, decide};
use crate::edge::until;
use crate::envoy::GRANTS;
use crate::support::{PolicyDir, block_on, http, trials};
use crate::tls::Files;

pub(super) fn trials() -> Vec<Trial> {
    trials![
        policies_are_read_again,
        faulty_policies_are_told_and_the_good_ones_stay,
        certificates_are_read_again,
        faulty_certificates_are_told_and_the_good_ones_stay,
        a_hangup_during_a_reload_is_followed_by_another,
        the_decision_log_s_file_is_opened_again,
        a_decision_log_s_file_that_can_not_be_opened_is_told,
    ]
}

/// A program that does not wait when it is stopped.
const PROMPT: &str = "[shutdown]\ndelay_seconds = 0\n";

fn policies_are_read_again() {
    let mut program = Program::start(PROMPT);
    for (grants, expected) in [("", pb::Decision::Deny), (GRANTS, pb::Decision::Allow)] {
        program.policies.write("acme/grants.toml", grants);
        program.serving.signal("HUP");
        // Whether the watch was faster is all the same.
        program.log.await_line("INFO policies read again");
        let decision = block_on(async { ask(&connect(program.grpc).await).await.unwrap() });
        assert_eq!(decision, expected);
    }
}

fn faulty_policies_are_told_and_the_good_ones_stay() {
    let mut program = Program::start(PROMPT);
    program.policies.write("acme/grants.toml", "[[grant]]");
    program.serving.signal("HUP");
    let line = program.log.await_line("ERROR policies not read again, the last good ones stay");
    assert!(line.contains("acme/grants.toml"), "{line}");
    block_on(async {
        let (head, body) = http(program.http, "GET", "/readyz").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("degraded"), "{head} {body}");
        decide(&connect(program.grpc).await).await.unwrap();
    });
}

/// The program over TLS, with the certificate of these files.
fn over_tls(files: &Files) -> Program {
    let (certificate, key) = (files.path("tls.crt"), files.path("tls.key"));
    let tls = format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    Program::start(&format!("{PROMPT}{tls}"))
}

fn certificates_are_read_again() {
    let files = Files::new();
    let mut program = over_tls(&files);
    let new = files.servers.issue_pem(&["localhost"]);
    files.put(&new);
    program.serving.signal("HUP");
    program.log.await_line("INFO certificates read again listeners=1");
    assert_eq!(block_on(files.shown(program.grpc, None)), crate::tls::der(&new));
}

fn faulty_certificates_are_told_and_the_good_ones_stay() {
    let files = Files::new();
    let mut program = over_tls(&files);
    let before = block_on(files.shown(program.grpc, None));
    files.folder.write("tls.key", "no key");
    program.serving.signal("HUP");
    let line = program.log.await_line("ERROR certificate not read again, the last good one stays");
    assert!(line.contains("tls.key"), "{line}");
    assert_eq!(block_on(files.shown(program.grpc, None)), before);
}

fn a_hangup_during_a_reload_is_followed_by_another() {
    let files = Files::new();
    let mut program = over_tls(&files);
    // Whoever reads a pipe waits for what is written.
    let (key, pipe) = (files.path("tls.key"), files.path("pipe"));
    let content = fs::read_to_string(&key).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, &key).unwrap();
    program.serving.signal("HUP");
    let mut writer = reader_of(&key);
    program.serving.signal("HUP");
    files.folder.write("tls.key", &content);
    writer.write_all(content.as_bytes()).unwrap();
    drop(writer);
    program.log.await_line("INFO policies read again");
    program.log.await_line("INFO policies read again");
}

/// Waits until somebody reads a pipe.
fn reader_of(pipe: &Path) -> File {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(pipe) {
            Ok(writer) => return writer,
            Err(error) => assert!(Instant::now() < deadline, "nobody reads: {error}"),
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The program with a decision log in a folder of its own.
fn logging() -> Program {
    let files = PolicyDir::new();
    files.write("log/decisions.log", "");
    let log = "[decision_log.file]\npath = \"log/decisions.log\"\n";
    Program::start_in(files, &format!("{PROMPT}{log}"), &[])
}

fn the_decision_log_s_file_is_opened_again() {
    let mut program = logging();
    let path = program.files.path().join("log/decisions.log");
    fs::rename(&path, path.with_extension("1")).unwrap();
    program.serving.signal("HUP");
    program.log.await_line("INFO the decision log is opened again");
    assert!(path.exists());
    block_on(async { decide(&connect(program.grpc).await).await.unwrap() });
    assert!(program.serving.interrupt().success());
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
}

fn a_decision_log_s_file_that_can_not_be_opened_is_told() {
    let mut program = logging();
    let (folder, away) = (program.files.path().join("log"), program.files.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    program.serving.signal("HUP");
    program.log.await_line("ERROR the decision log can't be opened again");
    block_on(async {
        let says = async |status: &str| http(program.http, "GET", "/readyz").await.1.contains(status);
        decide(&connect(program.grpc).await).await.unwrap();
        until("the record can't be written", async || says("degraded").await).await;
        fs::rename(&away, &folder).unwrap();
        until("the record is written", async || says("\"ready\"").await).await;
    });
    assert!(program.serving.interrupt().success());
    assert_eq!(fs::read_to_string(folder.join("decisions.log")).unwrap().lines().count(), 1);
}
