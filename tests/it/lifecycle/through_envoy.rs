//! Replicas and connections that come and go while a real Envoy has requests for them: none fails.

use ecs_authz::config::{Config, ConnectionsConfig};
use ecs_authz::server::{RunningServer, ServerConfig};
use libtest_mimic::Trial;

use crate::edge::{Edge, envoy, until};
use crate::envoy::{GRANTS, SHIPPED_SERVICE};
use crate::faults::Load;
use crate::replica::Replica;
use crate::support::{PolicyDir, block_on, config, trials};

pub(super) fn trials() -> Vec<Trial> {
    let trials =
        trials![replicas_that_are_told_to_stop_fail_nothing, connections_that_end_of_old_age_fail_nothing,];
    trials.into_iter().map(|trial| trial.with_ignored_flag(envoy().is_none())).collect()
}

/// Envoy in front of these replicas. It sees soon how one is, and takes no busy one for dead.
async fn edge(replicas: [u16; 2]) -> Edge {
    let patient = [
        ("timeout: 0.25s", "timeout: 60s"),
        ("max_interval: 0.12s", "max_interval: 60s"),
        ("connect_timeout: 0.1s", "connect_timeout: 60s"),
        ("interval: 5s, timeout: 1s", "interval: 5s, timeout: 60s"),
        ("- timeout: 0.5s\n      interval: 2s", "- timeout: 60s\n      interval: 0.2s"),
        ("interval_jitter: 0.2s", "interval_jitter: 0.01s"),
        ("no_traffic_interval: 2s", "no_traffic_interval: 0.2s"),
        ("unhealthy_interval: 1s", "unhealthy_interval: 0.2s"),
    ];
    Edge::start_edited(replicas, &patient).await
}

/// One replica after the other is told to stop and started again, as in an update.
fn replicas_that_are_told_to_stop_fail_nothing() {
    let (policies, files) = (PolicyDir::acme(&[], GRANTS), PolicyDir::new());
    // The first phase goes on until Envoy has seen that the replica leaves: a second signal ends it.
    let shipped = std::fs::read_to_string(SHIPPED_SERVICE).unwrap();
    files.write("config.toml", &format!("{shipped}\n[shutdown]\ndelay_seconds = 3600\n"));
    let config = files.path().join("config.toml");
    let mut replicas = [Replica::start_with(&policies, &config), Replica::start_with(&policies, &config)];
    block_on(async {
        let edge = edge(replicas.each_ref().map(Replica::port)).await;
        let load = Load::start(edge.door);
        for replica in &mut replicas {
            load.answered(100).await;
            replica.signal("TERM");
            edge.until_healthy(replica.port(), false).await;
            load.answered(100).await;
            replica.signal("TERM");
            load.answered(100).await;
            replica.start_again(&policies);
            edge.until_healthy(replica.port(), true).await;
        }
        load.answered(100).await;
        let tally = load.end(&edge).await;
        assert_eq!(tally.failed, 0, "of {}", tally.answered);
        assert!(tally.answered >= 700, "{}", tally.answered);
    });
}

/// A replica whose connections grow old soon.
async fn aging(policies: &PolicyDir) -> RunningServer {
    let shipped = Config::load(SHIPPED_SERVICE.as_ref()).unwrap();
    let connections = ConnectionsConfig { max_age_seconds: 1, max_age_grace_seconds: 3_600 };
    let of_file = Config { connections, ..shipped };
    RunningServer::start(ServerConfig { config: of_file, ..config(policies.path()) }).await.unwrap()
}

fn connections_that_end_of_old_age_fail_nothing() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let replicas = [aging(&policies).await, aging(&policies).await];
        let edge = edge(replicas.each_ref().map(|replica| replica.grpc_addr.port())).await;
        let load = Load::start(edge.door);
        load.answered(400).await;
        let ended = "cluster.ecs_authz.upstream_cx_close_notify";
        until("connections have ended", async || edge.stat(ended).await >= 6).await;
        assert_eq!(load.end(&edge).await.failed, 0);
    });
}
