//! The program, and signals to it.

use libtest_mimic::Trial;

use super::{OpenCall, Program, connect, decide};
use crate::serving::Serving;
use crate::support::{block_on, http, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        each_further_signal_to_stop_ends_a_phase,
        an_interrupt_skips_the_first_phase,
        a_stop_ends_by_itself,
        a_hangup_does_not_end_a_server_that_is_not_ready,
    ]
}

/// Phases that no test sees the end of.
const ENDLESS: &str = "[shutdown]\ndelay_seconds = 3600\nlimit_seconds = 3600\n";

fn each_further_signal_to_stop_ends_a_phase() {
    let mut program = Program::start(ENDLESS);
    block_on(async {
        let mut call = OpenCall::open(program.grpc).await;
        let old = connect(program.grpc).await;
        program.serving.signal("TERM");
        program.log.await_line("stopping: health says so, calls are still taken delay_seconds=3600");
        let (_, body) = http(program.http, "GET", "/readyz").await;
        assert_eq!(body, "{\"status\":\"stopping\"}\n");
        decide(&old).await.unwrap();
        decide(&connect(program.grpc).await).await.unwrap();

        program.serving.signal("TERM");
        program.log.await_line("stopping: the listeners close, calls in flight are answered");
        call.goes_on().await;
        // A reload has nothing to do any more, and does not end the process.
        program.serving.signal("HUP");

        program.serving.signal("TERM");
        program.log.await_line("stopped with calls or connections still open");
        call.is_cut().await;
    });
    assert_eq!(program.serving.end().code(), Some(0));
}

fn an_interrupt_skips_the_first_phase() {
    let mut program = Program::start(ENDLESS);
    program.serving.signal("INT");
    program.log.await_line("stopping: the listeners close");
    assert_eq!(program.serving.end().code(), Some(0));
}

fn a_stop_ends_by_itself() {
    let mut program = Program::start("[shutdown]\ndelay_seconds = 1\nlimit_seconds = 1\n");
    block_on(async {
        let mut call = OpenCall::open(program.grpc).await;
        program.serving.signal("TERM");
        program.log.await_line("stopped with calls or connections still open");
        call.is_cut().await;
    });
    assert_eq!(program.serving.end().code(), Some(0));
}

fn a_hangup_does_not_end_a_server_that_is_not_ready() {
    let database = ("ECS_AUTHZ_DATABASE_URL", "postgresql://authz@127.0.0.1:1/policies");
    let mut serving = Serving::start(&["--database-wait-seconds", "3600"], &[database]);
    let mut log = serving.follow_log();
    log.await_line("trying again");
    serving.signal("HUP");
    // A signal that ends a process leaves it no code.
    assert_eq!(serving.interrupt().code(), Some(0));
}
