//! What becomes of the log is no fault of a call, nor of the end.

use libtest_mimic::Trial;

use super::{connect, decide};
use crate::envoy::GRANTS;
use crate::serving::Serving;
use crate::support::{PolicyDir, block_on, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![a_log_that_nobody_reads_holds_nobody_up, a_log_that_is_closed_ends_nothing]
}

/// Starts it so that it logs more than a pipe holds, if it is asked a lot.
fn start(policies: &PolicyDir) -> Serving {
    Serving::start(&["--policies", policies.path().to_str().unwrap()], &[("RUST_LOG", "trace")])
}

/// Asks until far more was logged than the 64 KiB of a pipe.
fn ask_a_lot(serving: &mut Serving) {
    let ready = serving.await_ready();
    let addr = ready.trim_start_matches("ready on ").split(',').next().unwrap().parse().unwrap();
    block_on(async {
        let channel = connect(addr).await;
        for _ in 0..300 {
            decide(&channel).await.expect("a decision");
        }
    });
}

fn a_log_that_nobody_reads_holds_nobody_up() {
    let policies = PolicyDir::acme(&[], GRANTS);
    let mut serving = start(&policies);
    ask_a_lot(&mut serving);
    assert_eq!(serving.interrupt().code(), Some(0));
}

fn a_log_that_is_closed_ends_nothing() {
    let policies = PolicyDir::acme(&[], GRANTS);
    let mut serving = start(&policies);
    serving.close_log();
    ask_a_lot(&mut serving);
    serving.signal("HUP");
    assert_eq!(serving.interrupt().code(), Some(0));
}
