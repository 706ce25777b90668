//! What the log costs. Figures, not a promise, so it runs only when asked for, and prints the release build's:
//!
//! `cargo build --release && cargo test --test it -- --ignored decision_log::cost`

use std::fs;
use std::path::Path;
use std::time::Duration;

use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use libtest_mimic::Trial;
use tokio::task::JoinSet;
use tonic::transport::Endpoint;

use super::{PolicyDir, on_server, policies, to_file};
use crate::serving::Serving;
use crate::support::{block_on, trial};

/// Rounds of each kind, one after the other.
const ROUNDS: usize = 9;
const CALLS: usize = 20_000;
const STREAMS: usize = 100;

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("decision_log::cost", print_the_cost).with_ignored_flag(true)]
}

struct Subject {
    serving: Serving,
    addr: String,
    _dirs: [PolicyDir; 2],
}

impl Subject {
    fn start(log: &str) -> Self {
        let (dir, policies) = (PolicyDir::new(), policies());
        dir.write("config.toml", log);
        let config = dir.path().join("config.toml");
        let args = ["--policies", policies.path().to_str().unwrap(), "--config", config.to_str().unwrap()];
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/ecs-authz");
        let mut serving = Serving::start_program(&program, &args, &[]);
        let ready = serving.await_ready();
        let addr = ready.trim_start_matches("ready on ").split(',').next().unwrap().to_owned();
        Self { serving, addr, _dirs: [dir, policies] }
    }

    /// The CPU time of the process so far, all its threads, in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.serving.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// The CPU time of a round, for each call.
    fn round(&self) -> Duration {
        let before = self.ticks();
        block_on(async {
            let mut callers = JoinSet::new();
            for _ in 0..4 {
                let endpoint = Endpoint::from_shared(format!("http://{}", self.addr)).unwrap();
                let client = AuthorizationServiceClient::new(endpoint.connect().await.unwrap());
                for _ in 0..STREAMS / 4 {
                    let mut client = client.clone();
                    callers.spawn(async move {
                        for _ in 0..CALLS / STREAMS {
                            client.authorize(on_server("os-start")).await.unwrap();
                        }
                    });
                }
            }
            callers.join_all().await;
        });
        Duration::from_millis((self.ticks() - before) * 10) / CALLS as u32
    }
}

fn median(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort();
    rounds[rounds.len() / 2].as_secs_f64() * 1e6
}

#[expect(clippy::print_stderr, reason = "figures for who asked for them")]
fn print_the_cost() {
    let subjects = [
        ("without", Subject::start("")),
        ("to a file", Subject::start(&to_file("", ""))),
        ("denials alone", Subject::start(&to_file("decisions = \"denials\"", ""))),
    ];
    let mut rounds = vec![Vec::new(); subjects.len()];
    for (_, subject) in &subjects {
        let _warms_up = subject.round();
    }
    for _ in 0..ROUNDS {
        for ((_, subject), rounds) in subjects.iter().zip(&mut rounds) {
            rounds.push(subject.round());
        }
    }
    let medians: Vec<f64> = rounds.into_iter().map(median).collect();
    for ((name, _), micros) in subjects.iter().zip(&medians) {
        let ratio = micros / medians[0];
        let line =
            format!("decision log {name}: {micros:.1} us of server CPU a call, {ratio:.3} of that without");
        eprintln!("{line}");
    }
}
