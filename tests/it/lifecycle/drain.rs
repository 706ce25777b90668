//! The phases of a stop.

use ecs_authz::server::Drain;
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{OpenCall, PATIENCE, connect, decide, within};
use crate::edge::until;
use crate::envoy::{GRANTS, service};
use crate::http2::Idle;
use crate::support::{PolicyDir, block_on, get, http, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        a_server_that_leaves_says_so_and_answers_everything,
        a_server_that_drains_tells_connections_to_go_and_answers_what_is_in_flight,
        a_call_that_never_ends_is_cut_at_the_limit,
        a_hurry_cuts_a_call_before_the_limit,
        a_request_of_http_that_is_not_finished_holds_no_stop,
    ]
}

const SERVICES: [&str; 3] = ["", "ecs.authz.v1.AuthorizationService", "envoy.service.auth.v3.Authorization"];

fn a_request_of_http_that_is_not_finished_holds_no_stop() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = service(&policies).await;
        let mut half = TcpStream::connect(server.http_addr).await.unwrap();
        half.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
        assert_eq!(get(&server, "/livez").await.0, "HTTP/1.1 200 OK");
        assert_eq!(server.stop(PATIENCE).await.unwrap(), Drain::Complete);
        // It was cut.
        assert!(matches!(half.read(&mut [0; 64]).await, Ok(0) | Err(_)));
    });
}

fn a_server_that_leaves_says_so_and_answers_everything() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let mut server = service(&policies).await;
        let old = connect(server.grpc_addr).await;
        decide(&old).await.unwrap();
        let mut health = HealthClient::new(old.clone());
        let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

        server.leave().await;
        let told = within("a change of health", watched.message()).await.unwrap().unwrap();
        assert_eq!(told.status(), ServingStatus::NotServing);
        for service in SERVICES {
            let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap();
            assert_eq!(answer.into_inner().status(), ServingStatus::NotServing, "{service}");
        }
        let (head, body) = get(&server, "/readyz").await;
        assert_eq!(
            (head.as_str(), body.as_str()),
            ("HTTP/1.1 503 Service Unavailable", "{\"status\":\"stopping\"}\n")
        );
        assert_eq!(get(&server, "/livez").await.0, "HTTP/1.1 200 OK");
        assert_eq!(get(&server, "/metrics").await.0, "HTTP/1.1 200 OK");
        decide(&old).await.expect("a decision on an old connection");
        decide(&connect(server.grpc_addr).await).await.expect("a decision on a new connection");
        assert_eq!(server.stop(PATIENCE).await.unwrap(), Drain::Complete);
    });
}

fn a_server_that_drains_tells_connections_to_go_and_answers_what_is_in_flight() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = service(&policies).await;
        let (grpc, http_addr) = (server.grpc_addr, server.http_addr);
        let mut call = OpenCall::open(grpc).await;
        let mut idle = Idle::open(grpc).await;
        let stopping = tokio::spawn(server.stop(PATIENCE));
        assert!(within("GOAWAY", idle.is_told_to_go()).await);
        drop(idle);
        until("nobody listens", async || TcpStream::connect(grpc).await.is_err()).await;
        // What is asked about the server is answered for as long as it does something.
        for (path, code) in [("/livez", "200"), ("/readyz", "503"), ("/metrics", "200")] {
            let (head, _) = http(http_addr, "GET", path).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{path}: {head}");
        }
        call.goes_on().await;
        drop(call);
        let drain = within("the end", stopping).await.unwrap().unwrap();
        assert_eq!(drain, Drain::Complete);
        assert!(TcpStream::connect(http_addr).await.is_err());
    });
}

fn a_call_that_never_ends_is_cut_at_the_limit() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = service(&policies).await;
        let mut call = OpenCall::open(server.grpc_addr).await;
        let drain = server.stop(std::time::Duration::from_millis(100)).await.unwrap();
        assert_eq!(drain, Drain::CutShort);
        call.is_cut().await;
    });
}

fn a_hurry_cuts_a_call_before_the_limit() {
    let policies = PolicyDir::acme(&[], GRANTS);
    block_on(async {
        let server = service(&policies).await;
        let grpc = server.grpc_addr;
        let mut call = OpenCall::open(grpc).await;
        let (hurry, hurried) = tokio::sync::oneshot::channel::<()>();
        let never = std::time::Duration::from_secs(86_400);
        let stopping = tokio::spawn(server.stop_until(never, async { hurried.await.unwrap() }));
        until("nobody listens", async || TcpStream::connect(grpc).await.is_err()).await;
        call.goes_on().await;
        hurry.send(()).unwrap();
        assert_eq!(within("the end", stopping).await.unwrap().unwrap(), Drain::CutShort);
        call.is_cut().await;
    });
}
