//! Live, ready and degraded are three signals.

use std::fs;
use std::os::unix::fs::symlink;

use ecs_authz::config::Config;
use ecs_authz::server::{RunningServer, ServerConfig};
use libtest_mimic::Trial;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{connect, decide};
use crate::edge::until;
use crate::envoy::GRANTS;
use crate::support::{PolicyDir, block_on, config, get, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        a_decision_log_that_can_not_be_written_degrades,
        a_decision_log_that_refuses_is_not_ready_until_it_is_written,
    ]
}

/// A server whose decision log is on a full disk.
async fn on_full_disk(files: &PolicyDir, policies: &PolicyDir, when_full: &str) -> RunningServer {
    let path = files.path().join("decisions.log");
    symlink("/dev/full", &path).unwrap();
    let log =
        format!("[decision_log.file]\npath = \"decisions.log\"\nqueue = {{ when_full = \"{when_full}\" }}");
    files.write("config.toml", &log);
    let of_file = Config::load(&files.path().join("config.toml")).unwrap();
    RunningServer::start(ServerConfig { config: of_file, ..config(policies.path()) }).await.unwrap()
}

fn a_decision_log_that_can_not_be_written_degrades() {
    let (files, policies) = (PolicyDir::new(), PolicyDir::acme(&[], GRANTS));
    block_on(async {
        let server = on_full_disk(&files, &policies, "drop").await;
        let channel = connect(server.grpc_addr).await;
        decide(&channel).await.unwrap();
        until("the fault is seen", async || get(&server, "/readyz").await.1.contains("degraded")).await;
        let (head, body) = get(&server, "/readyz").await;
        assert_eq!(head, "HTTP/1.1 200 OK");
        let fault = "the decision log's file can't be written: see the logs";
        assert_eq!(body, format!("{{\"status\":\"degraded\",\"faults\":[\"{fault}\"]}}\n"));
        decide(&channel).await.expect("a decision all the same");
    });
}

fn a_decision_log_that_refuses_is_not_ready_until_it_is_written() {
    let (files, policies) = (PolicyDir::new(), PolicyDir::acme(&[], GRANTS));
    block_on(async {
        let server = on_full_disk(&files, &policies, "refuse").await;
        let channel = connect(server.grpc_addr).await;
        let health = HealthClient::new(channel.clone());
        let says = async |status| {
            let answer = health.clone().check(HealthCheckRequest::default()).await.unwrap();
            answer.into_inner().status() == status
        };
        assert!(says(ServingStatus::Serving).await);
        // The first record is in the queue before it is known that it can't be written.
        until("decisions are errors", async || decide(&channel).await.is_err()).await;
        let (head, body) = get(&server, "/readyz").await;
        assert_eq!(head, "HTTP/1.1 503 Service Unavailable");
        assert!(
            body.starts_with("{\"status\":\"unavailable\",\"faults\":[\"the decision log's file "),
            "{body}"
        );
        assert_eq!(get(&server, "/livez").await.0, "HTTP/1.1 200 OK");
        until("it says NOT_SERVING", async || says(ServingStatus::NotServing).await).await;

        let path = files.path().join("decisions.log");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        until("it says SERVING", async || says(ServingStatus::Serving).await).await;
        assert_eq!(get(&server, "/readyz").await.0, "HTTP/1.1 200 OK");
        decide(&channel).await.unwrap();
    });
}
