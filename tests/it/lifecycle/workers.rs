//! The threads that connections are served on: how connections are spread over them, and that they end with the server.

use std::fs;
use std::path::PathBuf;

use ecs_authz::config::{Config, ConnectionsConfig, GrpcConfig};
use ecs_authz::server::{Drain, RunningServer, ServerConfig};
use libtest_mimic::Trial;
use tempfile::TempDir;
use tokio::net::UnixStream;

use super::{OpenCall, PATIENCE, Program, connect, decide, within};
use crate::edge::until;
use crate::envoy::GRANTS;
use crate::http2::Idle;
use crate::support::{PolicyDir, block_on, config, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        connections_are_spread_over_the_workers,
        a_server_with_one_worker_serves_and_drains,
        a_drain_reaches_the_connections_of_every_worker,
        a_connection_that_is_told_to_go_counts_no_more,
        the_program_has_a_thread_for_each_worker,
    ]
}

async fn serve(policies: &PolicyDir, workers: usize) -> RunningServer {
    serve_with(policies, workers, Config::default(), None).await
}

async fn serve_with(
    policies: &PolicyDir,
    workers: usize,
    of_file: Config,
    grpc_socket: Option<PathBuf>,
) -> RunningServer {
    let grpc = GrpcConfig { workers: Some(workers), ..of_file.grpc.clone() };
    let config = ServerConfig { config: Config { grpc, ..of_file }, grpc_socket, ..config(policies.path()) };
    RunningServer::start(config).await.unwrap()
}

fn connections_are_spread_over_the_workers() {
    let (policies, folder) = (PolicyDir::acme(&[], GRANTS), TempDir::new().unwrap());
    let socket = folder.path().join("grpc.sock");
    block_on(async {
        let server = serve_with(&policies, 3, Config::default(), Some(socket.clone())).await;
        assert_eq!(server.connections_by_worker(), [0, 0, 0]);
        let mut channels = Vec::new();
        for _ in 0..4 {
            channels.push(connect(server.grpc_addr).await);
        }
        // Those of both listeners are dealt out together.
        let sockets =
            (UnixStream::connect(&socket).await.unwrap(), UnixStream::connect(&socket).await.unwrap());
        until("all are dealt", async || server.connections_by_worker() == [2, 2, 2]).await;
        for channel in &channels {
            decide(channel).await.expect("a decision on whatever worker");
        }
        drop(sockets);
        channels.truncate(1);
        until("the others are gone", async || server.connections_by_worker().iter().sum::<usize>() == 1)
            .await;
        decide(&channels[0]).await.expect("a decision");
        assert_eq!(server.stop(PATIENCE).await.unwrap(), Drain::Complete);
    });
}

fn a_server_with_one_worker_serves_and_drains() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = serve(&policies, 1).await;
        let (one, other) = (connect(server.grpc_addr).await, connect(server.grpc_addr).await);
        let (first, second) = tokio::join!(decide(&one), decide(&other));
        first.unwrap();
        second.unwrap();
        assert_eq!(server.connections_by_worker(), [2]);
        assert_eq!(server.stop(PATIENCE).await.unwrap(), Drain::Complete);
        decide(&one).await.expect_err("nobody serves");
    });
}

fn a_drain_reaches_the_connections_of_every_worker() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = serve(&policies, 2).await;
        let (mut calls, mut idle) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            calls.push(OpenCall::open(server.grpc_addr).await);
            idle.push(Idle::open(server.grpc_addr).await);
        }
        assert_eq!(server.connections_by_worker(), [2, 2]);
        let stopping = tokio::spawn(server.stop(PATIENCE));
        for connection in &mut idle {
            assert!(within("GOAWAY", connection.is_told_to_go()).await);
        }
        drop(idle);
        for call in &mut calls {
            call.goes_on().await;
        }
        assert!(!stopping.is_finished(), "it waits for the calls");
        drop(calls);
        let drain = within("the end", stopping).await.unwrap().unwrap();
        assert_eq!(drain, Drain::Complete);
    });
}

fn a_connection_that_is_told_to_go_counts_no_more() {
    let policies = PolicyDir::acme(&[], GRANTS);
    let connections = ConnectionsConfig { max_age_seconds: 1, max_age_grace_seconds: 3_600 };
    block_on(async {
        let server = serve_with(&policies, 1, Config { connections, ..Config::default() }, None).await;
        let mut idle = Idle::open(server.grpc_addr).await;
        assert!(within("GOAWAY", idle.is_told_to_go()).await);
        assert_eq!(server.connections_by_worker(), [0]);
    });
}

fn the_program_has_a_thread_for_each_worker() {
    let program = Program::start("[grpc]\nworkers = 3\n");
    let tasks = fs::read_dir(format!("/proc/{}/task", program.serving.id())).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
    let mut workers: Vec<String> = names.filter(|name| name.starts_with("grpc-")).collect();
    workers.sort();
    assert_eq!(workers, ["grpc-0\n", "grpc-1\n", "grpc-2\n"]);
    block_on(async { decide(&connect(program.grpc).await).await }).expect("a decision");
    assert!(program.serving.interrupt().success());
}
