//! What systemd is told.

use std::os::unix::net::UnixDatagram;

use libtest_mimic::Trial;
use sd_notify::NotifyState;

use super::{PATIENCE, Program};
use crate::support::{PolicyDir, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        systemd_is_told_each_state,
        systemd_s_watchdog_is_kept,
        a_manager_that_does_not_listen_keeps_nobody_from_stopping
    ]
}

/// The socket that systemd listens on.
struct Manager(UnixDatagram);

impl Manager {
    fn start(environment: &[(&str, &str)]) -> (Self, Program) {
        let files = PolicyDir::new();
        let path = files.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let environment = [environment, &[("NOTIFY_SOCKET", path.to_str().unwrap())]].concat();
        (Self(socket), Program::start_in(files, "[shutdown]\ndelay_seconds = 3600\n", &environment))
    }

    /// The assignments of the next message.
    fn told(&self) -> Vec<String> {
        let mut message = [0; 4_096];
        let length = self.0.recv(&mut message).expect("a message");
        let text = std::str::from_utf8(&message[..length]).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// Microseconds of the clock that systemd looks at.
fn monotonic_now() -> i128 {
    match NotifyState::monotonic_usec_now().unwrap() {
        NotifyState::MonotonicUsec(now) => now,
        other => panic!("{other:?}"),
    }
}

fn systemd_is_told_each_state() {
    let (manager, program) = Manager::start(&[]);
    assert_eq!(manager.told(), ["READY=1"]);
    let before = monotonic_now();
    program.serving.signal("HUP");
    let told = manager.told();
    let [reloading, now] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(reloading, "RELOADING=1");
    // By it, systemd knows that this answers its own signal, and not one before.
    let now: i128 = now.strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!((before..=monotonic_now()).contains(&now), "{before} {now}");
    assert_eq!(manager.told(), ["READY=1"]);
    program.serving.signal("TERM");
    assert_eq!(manager.told(), ["STOPPING=1"]);
    assert_eq!(program.serving.interrupt().code(), Some(0));
}

fn systemd_s_watchdog_is_kept() {
    let (manager, program) = Manager::start(&[("WATCHDOG_USEC", "20000")]);
    assert_eq!(manager.told(), ["READY=1"]);
    for _ in 0..3 {
        assert_eq!(manager.told(), ["WATCHDOG=1"]);
    }
    program.serving.interrupt();
}

fn a_manager_that_does_not_listen_keeps_nobody_from_stopping() {
    let (manager, program) = Manager::start(&[("WATCHDOG_USEC", "20000")]);
    assert_eq!(manager.told(), ["READY=1"]);
    // Nobody reads on, and who writes to a full socket waits.
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    let path = manager.0.local_addr().unwrap();
    while other.send_to_addr(b"WATCHDOG=1", &path).is_ok() {}
    assert_eq!(program.serving.interrupt().code(), Some(0));
}
