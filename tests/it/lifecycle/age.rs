//! Connections that have their age.

use ecs_authz::config::{Config, ConnectionsConfig};
use ecs_authz::server::{RunningServer, ServerConfig};
use libtest_mimic::Trial;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{OpenCall, connect, decide, within};
use crate::envoy::GRANTS;
use crate::http2::Idle;
use crate::support::{PolicyDir, block_on, config, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        a_connection_of_age_is_told_to_go_and_the_server_stays,
        an_open_call_goes_on_during_the_grace,
        a_watch_does_not_keep_a_connection_of_age,
        without_an_age_connections_stay,
    ]
}

async fn serve(policies: &PolicyDir, max_age_seconds: u64, max_age_grace_seconds: u64) -> RunningServer {
    let connections = ConnectionsConfig { max_age_seconds, max_age_grace_seconds };
    let of_file = Config { connections, ..Config::default() };
    RunningServer::start(ServerConfig { config: of_file, ..config(policies.path()) }).await.unwrap()
}

fn a_connection_of_age_is_told_to_go_and_the_server_stays() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = serve(&policies, 1, 3_600).await;
        for _ in 0..2 {
            let mut idle = Idle::open(server.grpc_addr).await;
            assert!(within("GOAWAY", idle.is_told_to_go()).await);
        }
        decide(&connect(server.grpc_addr).await).await.unwrap();
    });
}

fn an_open_call_goes_on_during_the_grace() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = serve(&policies, 1, 3_600).await;
        let mut call = in_time(async || OpenCall::try_open(server.grpc_addr).await).await;
        // A connection that is a lifetime younger has its age already.
        for _ in 0..2 {
            assert!(within("GOAWAY", Idle::open(server.grpc_addr).await.is_told_to_go()).await);
        }
        call.goes_on().await;
    });
}

/// Tries again what a busy machine may be too slow for before a connection has its age.
async fn in_time<T>(attempt: impl AsyncFn() -> Result<T, Status>) -> T {
    for _ in 0..100 {
        if let Ok(done) = attempt().await {
            return done;
        }
    }
    panic!("not in a hundred tries");
}

fn a_watch_does_not_keep_a_connection_of_age() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = serve(&policies, 1, 1).await;
        let mut watched = in_time(async || {
            let mut health = HealthClient::new(connect(server.grpc_addr).await);
            let mut watched = health.watch(HealthCheckRequest::default()).await?.into_inner();
            watched.message().await?;
            Ok(watched)
        })
        .await;
        within("the end of the watch", watched.message()).await.expect_err("an error, not a change");
        let mut health = HealthClient::new(connect(server.grpc_addr).await);
        let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    });
}

fn without_an_age_connections_stay() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let (aging, staying) = (serve(&policies, 1, 1).await, serve(&policies, 0, 1).await);
        let mut call = OpenCall::open(staying.grpc_addr).await;
        for _ in 0..2 {
            assert!(within("GOAWAY", Idle::open(aging.grpc_addr).await.is_told_to_go()).await);
        }
        call.goes_on().await;
    });
}
