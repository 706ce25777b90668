//! More than can be decided: what is refused, with which answer, and that it is never a decision.
//!
//! Decisions are held by asking for a revision that never comes, which waits until the budget is over. Nothing follows the
//! clock: a test goes on when what it waits for is so.

use std::path::Path;
use std::time::Duration;

use ecs_authz::config::{Config, LimitsConfig};
use ecs_authz::grpc::pb;
use ecs_authz::server::{RunningServer, ServerConfig};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use libtest_mimic::Trial;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::edge::until;
use crate::ext_authz::{CONFIG, Check, parsed};
use crate::http2;
use crate::overload::raw::Raw;
use crate::support::{Client, PolicyDir, block_on, channel, client, config, http, trials};

mod crowd;
mod floods;
mod panics;
mod raw;
mod secrets;
mod untaken;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        beyond_the_limit_a_call_is_refused_at_once_with_a_time_to_wait,
        a_check_of_envoy_is_an_error_never_a_denial_or_an_allow,
        health_reflection_and_metrics_are_never_refused,
        a_place_is_free_again_when_a_caller_goes_away,
        without_time_there_is_no_decision,
        a_timeout_that_can_t_be_read_is_none,
        the_budget_of_the_server_ends_what_no_caller_limits,
        a_message_over_the_configured_limit_is_no_decision,
        messages_that_are_nearly_whole_are_bounded_together,
        one_connection_too_many_is_closed_at_once,
    ];
    trials
        .into_iter()
        .chain(floods::trials())
        .chain(crowd::trials())
        .chain(panics::trials())
        .chain(secrets::trials())
        .chain(untaken::trials())
        .collect()
}

const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS CommonOperations"
scope = { project = "prod" }
"#;

fn directory() -> PolicyDir {
    PolicyDir::acme(&[], GRANTS)
}

/// Alice starts a server, which she may.
fn start() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: Some(alice()),
        method: "POST".into(),
        path: "/v2.1/prod/servers/1/action".into(),
        body: Some(pb::BodySummary { top_level_keys: vec!["os-start".into()], ..Default::default() }),
        ..Default::default()
    }
}

fn alice() -> pb::Principal {
    pb::Principal {
        domain_id: "acme".into(),
        user_id: "alice".into(),
        project_id: "prod".into(),
        ..Default::default()
    }
}

/// The same, at a revision that never comes.
fn never() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest { min_revision: 99, ..start() }
}

/// A server with these limits that answers Envoy, too.
async fn serve(policies: &Path, limits: LimitsConfig) -> RunningServer {
    let config = ServerConfig { config: Config { limits, ..parsed(CONFIG) }, ..config(policies) };
    RunningServer::start(config).await.expect("a server")
}

/// The limits, with as much time for a decision as any test takes: a busy machine is no fault of ours.
fn unhurried() -> LimitsConfig {
    LimitsConfig { decision_budget_ms: 60_000, ..LimitsConfig::default() }
}

/// So many decisions at once.
fn places(max_concurrent_decisions: usize) -> LimitsConfig {
    LimitsConfig { max_concurrent_decisions, ..unhurried() }
}

/// Calls that hold all places of a server. They end with it.
struct Held {
    calls: JoinSet<Result<pb::AuthorizeResponse, Status>>,
    handles: Vec<AbortHandle>,
}

impl Held {
    /// Begins so many calls, and waits until one more is refused.
    async fn all(server: &RunningServer, places: usize) -> Self {
        let (mut calls, mut handles) = (JoinSet::new(), Vec::new());
        for _ in 0..places {
            let mut client = client(server).await;
            handles.push(calls.spawn(async move { Ok(hold(&mut client).await?.into_inner()) }));
        }
        let client = client(server).await;
        until("all places are taken", async || is_refused(&client).await).await;
        Self { calls, handles }
    }
}

/// Holds a place. It is asked for again where somebody has it for a moment.
async fn hold(client: &mut Client) -> Result<tonic::Response<pb::AuthorizeResponse>, Status> {
    loop {
        match client.authorize(never()).await {
            Err(status) if status.code() == Code::ResourceExhausted => tokio::task::yield_now().await,
            held => return held,
        }
    }
}

async fn is_refused(client: &Client) -> bool {
    match client.clone().authorize(start()).await {
        Ok(response) => {
            assert_eq!(response.into_inner().decision(), pb::Decision::Allow);
            false
        }
        Err(status) => {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            true
        }
    }
}

/// The value of a metric without labels, or with these.
async fn metric(server: &RunningServer, series: &str) -> f64 {
    let (_, body) = http(server.http_addr, "GET", "/metrics").await;
    let value = body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

const SHED: &str = r#"ecs_authz_errors_total{kind="shed"}"#;

fn beyond_the_limit_a_call_is_refused_at_once_with_a_time_to_wait() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), places(2)).await;
        let held = Held::all(&server, 2).await;
        let before = metric(&server, SHED).await;
        let mut client = client(&server).await;
        let one = client.authorize(start()).await.expect_err("no place");
        let requests = vec![start(), start()];
        let batch = client.batch_authorize(pb::BatchAuthorizeRequest { requests }).await;
        let batch = batch.expect_err("no place");
        let list = pb::ListPermissionsRequest { principal: Some(alice()), ..Default::default() };
        let list = client.list_permissions(list).await.expect_err("no place");
        for status in [one, batch, list] {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            let retry = status.get_details_retry_info().expect("when to try again");
            assert_eq!(retry.retry_delay, Some(Duration::from_millis(100)));
        }
        // A batch that is refused is one call.
        assert_eq!(metric(&server, SHED).await, before + 3.0);
        // What decides nothing waits for nothing.
        client.list_actions(pb::ListActionsRequest::default()).await.expect("an answer");
        let resolve = pb::ResolveOperationRequest { method: "GET".into(), ..Default::default() };
        let resolved = client.resolve_operation(resolve).await;
        assert_eq!(resolved.expect_err("no path").code(), Code::InvalidArgument);
        drop(held);
    });
}

fn a_check_of_envoy_is_an_error_never_a_denial_or_an_allow() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), places(1)).await;
        let held = Held::all(&server, 1).await;
        let mut envoy = AuthorizationClient::new(channel(&server).await);
        // Allowed, denied, and without an identity: none is looked at.
        let nobody = Check::new("GET", "/v2.1/prod/servers");
        for check in [Check::action(r#"{"os-start":null}"#), Check::action(r#"{"lock":null}"#), nobody] {
            let before = metric(&server, SHED).await;
            let response = envoy.check(check.message()).await.expect("never a gRPC error").into_inner();
            assert_eq!(response.status.expect("a status").code, i32::from(Code::Unavailable));
            let Some(HttpResponse::ErrorResponse(error)) = response.http_response else {
                panic!("expected an error")
            };
            assert_eq!(error.status.expect("a status").code, 503);
            let body = r#"{"serviceUnavailable":{"message":"Authorization is overloaded.","code":503}}"#;
            assert_eq!(error.body, body);
            assert_eq!(metric(&server, SHED).await, before + 1.0);
        }
        drop(held);
    });
}

fn health_reflection_and_metrics_are_never_refused() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), places(1)).await;
        let held = Held::all(&server, 1).await;
        let mut health = HealthClient::new(channel(&server).await);
        for _ in 0..10 {
            let answer = health.check(HealthCheckRequest::default()).await.expect("an answer").into_inner();
            assert_eq!(answer.status, 1);
            for path in ["/livez", "/readyz", "/metrics"] {
                let (head, _) = http(server.http_addr, "GET", path).await;
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
            }
        }
        let mut reflection = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
            channel(&server).await,
        );
        let list = tonic_reflection::pb::v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(
                tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(
                    String::new(),
                ),
            ),
        };
        let answers = reflection.server_reflection_info(tokio_stream::iter([list])).await;
        let answer = answers.expect("an answer").into_inner().message().await.expect("no error");
        assert!(answer.expect("services").message_response.is_some());
        drop(held);
    });
}

fn a_place_is_free_again_when_a_caller_goes_away() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), places(3)).await;
        let mut held = Held::all(&server, 3).await;
        let client = client(&server).await;
        // All but one go away: one place after the other is free.
        for handle in held.handles.drain(1..) {
            handle.abort();
            until("a place is free", async || !is_refused(&client).await).await;
        }
        let again = [(); 2].map(|()| {
            let mut client = client.clone();
            tokio::spawn(async move { hold(&mut client).await.map(|_| ()) })
        });
        // Exactly as many as went away, and the one that stayed.
        until("all places are taken again", async || is_refused(&client).await).await;
        again.iter().for_each(tokio::task::JoinHandle::abort);
        until("they are free again", async || !is_refused(&client).await).await;
        assert_eq!(held.calls.len(), 3);
    });
}

fn without_time_there_is_no_decision() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), unhurried()).await;
        // So that it is cached: its decision takes microseconds, and waits for nothing.
        client(&server).await.authorize(start()).await.unwrap();
        let mut raw = Raw::connect(server.grpc_addr).await;
        for timeout in ["0n", "0H", "1n"] {
            let code = raw.authorize(&start(), &[("grpc-timeout", timeout)]).await;
            assert_eq!(code, Code::DeadlineExceeded, "{timeout}");
        }
        let allowed = r#"ecs_authz_decisions_total{decision="allow",reason="",action="ecs:servers:start"}"#;
        assert_eq!(metric(&server, allowed).await, 1.0);
    });
}

fn a_timeout_that_can_t_be_read_is_none() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path(), unhurried()).await;
        let mut raw = Raw::connect(server.grpc_addr).await;
        for timeout in
            ["99999999H", "999999999H", "-1S", "soon", "1", "S", "1s", "18446744073709551616S", "9 S"]
        {
            assert_eq!(raw.authorize(&start(), &[("grpc-timeout", timeout)]).await, Code::Ok, "{timeout}");
        }
    });
}

fn the_budget_of_the_server_ends_what_no_caller_limits() {
    let dir = directory();
    block_on(async {
        let limits = LimitsConfig { decision_budget_ms: 50, ..LimitsConfig::default() };
        let server = serve(dir.path(), limits).await;
        let mut raw = Raw::connect(server.grpc_addr).await;
        for timeout in ["99999999H", "soon"] {
            let code = raw.authorize(&never(), &[("grpc-timeout", timeout)]).await;
            assert_eq!(code, Code::Unavailable, "{timeout}");
        }
        let status = client(&server).await.authorize(never()).await.expect_err("never");
        assert!(status.message().contains("have not reached revision 99"), "{status:?}");
    });
}

/// Every stream of a connection has all of a message but its last byte.
fn messages_that_are_nearly_whole_are_bounded_together() {
    const MESSAGE: usize = 1_024 * 1_024;
    let dir = directory();
    block_on(async {
        let limits = LimitsConfig { max_received_bytes: 64 * MESSAGE, ..unhurried() };
        let server = serve(dir.path(), limits).await;
        let mut crowd = Raw::connect(server.grpc_addr).await;
        let mut nearly = vec![0; MESSAGE];
        nearly[1..5].copy_from_slice(&u32::try_from(MESSAGE - 5 + 1).unwrap().to_be_bytes());
        let nearly = prost::bytes::Bytes::from(nearly);
        let mut answers = JoinSet::new();
        let mut kept = Vec::new();
        for _ in 0..80 {
            let (answer, mut stream) = crowd.begin(raw::AUTHORIZE, &[]).await.expect("a stream");
            stream.send_data(nearly.clone(), false).expect("all but a byte");
            kept.push(stream);
            answers.spawn(async move { raw::code(answer.await.expect("an answer")).await });
        }
        // Some find no place, the others wait for their last byte.
        let refused = answers.join_next().await.expect("an answer").expect("a code");
        assert_eq!(refused, Code::ResourceExhausted);
        // Whoever goes away leaves the place.
        drop((crowd, kept, answers));
        let client = client(&server).await;
        until("there is a place", async || client.clone().authorize(start()).await.is_ok()).await;
    });
}

fn a_message_over_the_configured_limit_is_no_decision() {
    let dir = directory();
    block_on(async {
        let limits = LimitsConfig { max_message_bytes: 8_192, ..unhurried() };
        let server = serve(dir.path(), limits).await;
        let mut client = client(&server).await;
        let sized = |bytes: usize| {
            let content = Some(format!("{{\"os-start\":null{}}}", " ".repeat(bytes)).into_bytes());
            let body = pb::BodySummary { content, ..Default::default() };
            pb::AuthorizeRequest { body: Some(body), ..start() }
        };
        let response = client.authorize(sized(4_096)).await.expect("a decision").into_inner();
        assert_eq!(response.decision(), pb::Decision::Allow);
        let status = client.authorize(sized(8_192)).await.expect_err("too large");
        assert_eq!(status.code(), Code::OutOfRange);
        assert!(status.message().contains("8192"), "{status:?}");
        let mut envoy = AuthorizationClient::new(channel(&server).await);
        let large = Check::action(&format!("{{\"os-start\":null{}}}", " ".repeat(8_192)));
        let status = envoy.check(large.message()).await.expect_err("too large, an error for Envoy");
        assert_eq!(status.code(), Code::OutOfRange);
        // The connection goes on.
        client.authorize(start()).await.expect("a decision");
    });
}

fn one_connection_too_many_is_closed_at_once() {
    let dir = directory();
    block_on(async {
        let limits = LimitsConfig { max_connections: 2, ..unhurried() };
        let server = serve(dir.path(), limits).await;
        let mut first = client(&server).await;
        first.authorize(start()).await.expect("a decision");
        let second = http2::begin(TcpStream::connect(server.grpc_addr).await.unwrap(), &[]).await;
        let mut third = TcpStream::connect(server.grpc_addr).await.unwrap();
        assert!(http2::read_frame(&mut third).await.is_none());
        assert_eq!(metric(&server, "ecs_authz_connections").await, 2.0);
        assert!(metric(&server, "ecs_authz_connections_refused_total").await >= 1.0);
        first.authorize(start()).await.expect("a decision");
        drop(second);
        until("a place is free", async || metric(&server, "ecs_authz_connections").await == 1.0).await;
        client(&server).await.authorize(start()).await.expect("a decision");
    });
}
