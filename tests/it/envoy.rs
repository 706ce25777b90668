//! The shipped Envoy configuration on a real Envoy: what reaches the API, and under which decision.
//!
//! `scripts/test` installs the Envoy. Without one, these tests are reported as ignored.

use std::sync::{Arc, OnceLock};

use ecs_authz::config::Config;
use ecs_authz::server::{RunningServer, ServerConfig};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::edge::{Edge, PATIENT, assert_valid, envoy, token, with_places};
use crate::support::{PolicyDir, block_on, config, trial, trials};

/// A test that breaks nothing in the world that it shares with others.
pub(crate) type OnEdge = fn(&Edge);

pub(crate) fn trials() -> Vec<Trial> {
    let alone = trials![
        the_shipped_configuration_is_valid,
        without_the_service_nothing_is_let_through,
        a_body_that_is_cut_short_is_refused
    ];
    let on_edge: [(&str, OnEdge); 4] = [
        (
            "envoy::every_status_row_reaches_the_api_once_or_never",
            every_status_row_reaches_the_api_once_or_never,
        ),
        ("envoy::forged_identity_has_no_effect", forged_identity_has_no_effect),
        ("envoy::tokens_are_verified", tokens_are_verified),
        ("envoy::bodies_are_whole_or_refused", bodies_are_whole_or_refused),
    ];
    let trials = alone.into_iter().chain(sharing_an_edge(on_edge));
    trials.map(|trial| trial.with_ignored_flag(envoy().is_none())).collect()
}

/// Tests on one Envoy. The last of them to hold the world takes it away, and its Envoy with it.
pub(crate) fn sharing_an_edge(tests: impl IntoIterator<Item = (&'static str, OnEdge)>) -> Vec<Trial> {
    let world = Arc::new(OnceLock::new());
    let trials = tests.into_iter().map(|(name, test)| {
        let world: Arc<OnceLock<World>> = world.clone();
        trial(name, move || test(&world.get_or_init(|| block_on(start())).edge))
    });
    trials.collect()
}

pub(crate) const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS FullAccess"
scope = { project = "prod" }
"#;
/// A port on which nobody listens: the second replica is down.
pub(crate) const NOBODY: u16 = 1;

struct World {
    edge: Edge,
    _service: RunningServer,
    _policies: PolicyDir,
}

/// The configuration of the service that is shipped beside Envoy's.
pub(crate) const SHIPPED_SERVICE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/envoy/ecs-authz.toml");

/// The shipped configuration of the service, over policies in which alice may do everything and bob nothing.
pub(crate) async fn service(policies: &PolicyDir) -> RunningServer {
    let config =
        ServerConfig { config: Config::load(SHIPPED_SERVICE.as_ref()).unwrap(), ..config(policies.path()) };
    RunningServer::start(config).await.unwrap()
}

async fn start() -> World {
    let policies = PolicyDir::acme(&[], GRANTS);
    let service = service(&policies).await;
    let edge = Edge::start([service.grpc_addr.port(), NOBODY]).await;
    World { edge, _service: service, _policies: policies }
}

pub(crate) fn alice() -> String {
    token("alice", |_| {})
}

fn the_shipped_configuration_is_valid() {
    let dir = PolicyDir::new();
    dir.write("jwks.json", r#"{"keys":[{"kty":"oct","alg":"HS256","kid":"t","k":"YQ"}]}"#);
    dir.write("envoy.yaml", &with_places(&PATIENT, &dir.path().join("jwks.json"), 8081, [50051, 50052]));
    assert_valid(&dir.path().join("envoy.yaml"));
}

fn every_status_row_reaches_the_api_once_or_never(edge: &Edge) {
    let rows: Vec<Value> = serde_json::from_str(include_str!("published/operations.json")).unwrap();
    let rows: Vec<&Value> = rows.iter().filter(|row| row["table"] == "ecs_status_management").collect();
    assert_eq!(rows.len(), 11);
    block_on(async {
        for row in rows {
            for route in row["routes"].as_array().unwrap() {
                let (method, template) = route.as_str().unwrap().split_once(' ').unwrap();
                let body = &row["body"][0]["example"];
                let body = if body.is_null() { json!({}).to_string() } else { body.to_string() };
                let version = template.split('/').nth(1).unwrap().replace('.', "-");
                for (user, status, count) in [("alice", 200, 1), ("bob", 403, 0)] {
                    let marker = format!("{user}-{}-{version}", row["row"]);
                    let target = template.replace("{project_id}", "prod").replace("{server_id}", &marker);
                    let authorization = token(user, |_| {});
                    let headers = [("authorization", authorization.as_str())];
                    let answer = edge.send(method, &target, &headers, body.as_bytes()).await;
                    assert_eq!(answer.status, status, "{user} {route}: {}", answer.body);
                    let reached = edge.reached(&marker);
                    assert_eq!(reached.len(), count, "{user} {route}");
                    for request in reached {
                        assert_eq!(request.body, body.as_bytes(), "the body arrives whole");
                        assert_eq!(request.header("x-auth-action"), [row["actions"][0].as_str().unwrap()]);
                        assert_eq!(request.header("x-auth-decision-id").len(), 1);
                    }
                    if count == 0 {
                        let denial: Value =
                            serde_json::from_str(&answer.body).expect("the API's error shape");
                        assert!(denial["forbidden"]["code"] == 403 || denial["error"]["code"] == "Pdp.0001");
                    }
                }
            }
        }
    });
}

fn forged_identity_has_no_effect(edge: &Edge) {
    block_on(async {
        let (bob, alice) = (token("bob", |_| {}), alice());
        let forged = [
            ("x-user-id", "alice"),
            ("x-domain-id", "acme"),
            ("x-project-id", "prod"),
            ("x-auth-action", "forged"),
            ("x-auth-decision-id", "forged"),
            ("x-envoy-auth-partial-body", "false"),
            ("x-forwarded-client-cert", "URI=spiffe://acme.example/gateway"),
            ("x-http-method-override", "DELETE"),
        ];
        let headers = [&[("authorization", bob.as_str())][..], &forged].concat();
        assert_eq!(edge.send("GET", "/v2.1/prod/servers/forged-by-bob", &headers, b"").await.status, 403);
        assert!(edge.reached("forged-by-bob").is_empty());

        let headers = [&[("authorization", alice.as_str())][..], &forged].concat();
        assert_eq!(edge.send("GET", "/v2.1/prod/servers/forged-by-alice", &headers, b"").await.status, 200);
        let request = edge.reached("forged-by-alice").remove(0);
        assert_eq!(request.header("x-auth-action"), ["ecs:servers:get"]);
        assert_ne!(request.header("x-auth-decision-id"), ["forged"]);
        assert!(request.header("x-http-method-override").is_empty());
        assert!(request.header("x-envoy-auth-partial-body").is_empty());
    });
}

fn tokens_are_verified(edge: &Edge) {
    block_on(async {
        let good = alice();
        let tampered = {
            let (start, signature) = good.rsplit_once('.').unwrap();
            format!("{start}x.{signature}")
        };
        let cases = [
            ("expired", vec![token("alice", |claims| claims["exp"] = json!(1_000_000_000))], 401),
            ("audience", vec![token("alice", |claims| claims["aud"] = json!("other"))], 403),
            ("issuer", vec![token("alice", |claims| claims["iss"] = json!("https://other.example"))], 401),
            ("tampered", vec![tampered], 401),
            ("none", vec![], 401),
            ("two", vec![good.clone(), good.clone()], 401),
            ("number", vec![token("alice", |claims| claims["domain"]["id"] = json!(7))], 403),
            ("good", vec![good], 200),
        ];
        for (name, tokens, status) in cases {
            let headers: Vec<(&str, &str)> =
                tokens.iter().map(|token| ("authorization", token.as_str())).collect();
            let marker = format!("token-{name}");
            let answer = edge.send("GET", &format!("/v2.1/prod/servers/{marker}"), &headers, b"").await;
            assert_eq!(answer.status, status, "{name}: {}", answer.body);
            assert_eq!(edge.reached(&marker).len(), usize::from(status == 200), "{name}");
        }
    });
}

fn bodies_are_whole_or_refused(edge: &Edge) {
    block_on(async {
        let authorization = alice();
        let own = ("authorization", authorization.as_str());
        let large = format!("{{\"os-start\": \"{}\"}}", "x".repeat(140_000));
        let fits = format!("{{\"os-start\": \"{}\"}}", "x".repeat(100_000));
        let gzip = ("content-encoding", "gzip");
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], u16);
        let cases: [Case<'_>; 7] = [
            ("fits", &[own], fits.as_bytes(), 200),
            ("large", &[own], large.as_bytes(), 413),
            ("gzip", &[own, gzip], b"\x1f\x8b\x08", 403),
            ("duplicate", &[own], b"{\"os-start\":1,\"os-start\":1}", 403),
            ("not-utf8", &[own], b"{\"os-start\":\"\xff\"}", 403),
            ("array", &[own], b"[]", 403),
            ("none", &[own], b"", 403),
        ];
        for (name, headers, body, status) in cases {
            let marker = format!("body-{name}");
            let target = format!("/v2.1/prod/servers/{marker}/action");
            let answer = edge.send("POST", &target, headers, body).await;
            assert_eq!(answer.status, status, "{name}: {}", answer.body);
            let reached = edge.reached(&marker);
            assert_eq!(reached.len(), usize::from(status == 200), "{name}");
            assert!(reached.iter().all(|request| request.body == body), "{name}");
        }
        let chunked = format!(
            "POST /v2.1/prod/servers/body-chunked/action HTTP/1.1\r\nhost: ecs.example\r\nconnection: close\r\n\
             authorization: {authorization}\r\ntransfer-encoding: chunked\r\n\r\n\
             5\r\n{{\"os-\r\nb\r\nstart\":null\r\n1\r\n}}\r\n0\r\n\r\n"
        );
        assert_eq!(edge.raw(chunked.as_bytes()).await.status, 200);
        assert_eq!(edge.reached("body-chunked")[0].body, b"{\"os-start\":null}");
    });
}

/// Where a configuration lets Envoy cut a body, what is left of it decides nothing. What never arrives is not asked.
fn a_body_that_is_cut_short_is_refused() {
    block_on(async {
        let policies = PolicyDir::acme(&[], GRANTS);
        let service = service(&policies).await;
        let edits = [PATIENT[0], PATIENT[1], ("allow_partial_message: false", "allow_partial_message: true")];
        let edge = Edge::start_edited([service.grpc_addr.port(), NOBODY], &edits).await;
        let authorization = alice();
        let headers = [("authorization", authorization.as_str())];
        let large = format!("{{\"os-start\": \"{}\"}}", "x".repeat(140_000));
        let target = "/v2.1/prod/servers/cut/action";
        let answer = edge.send("POST", target, &headers, large.as_bytes()).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("BODY_TRUNCATED"), "{}", answer.body);
        // Its operation is told by the path, so its body is the API's own matter.
        let answer = edge.send("POST", "/v1/prod/cloudservers/delete", &headers, large.as_bytes()).await;
        assert_eq!(answer.status, 200);

        let mut stream = TcpStream::connect(edge.addr()).await.unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: ecs.example\r\nauthorization: {authorization}\r\n\
             content-length: 40\r\n\r\n{{\"os-start\":null}}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let _closed = stream.read_to_end(&mut Vec::new()).await;
        assert!(edge.reached("cut").is_empty());
    });
}

fn without_the_service_nothing_is_let_through() {
    block_on(async {
        let policies = PolicyDir::acme(&[], GRANTS);
        let service = service(&policies).await;
        let edge = Edge::start([service.grpc_addr.port(), NOBODY]).await;
        let authorization = alice();
        let headers = [("authorization", authorization.as_str())];
        assert_eq!(edge.send("GET", "/v2.1/prod/servers", &headers, b"").await.status, 200);
        service.stop(std::time::Duration::from_secs(60)).await.unwrap();
        for _ in 0..20 {
            let answer = edge.send("GET", "/v2.1/prod/servers", &headers, b"").await;
            assert_eq!(answer.status, 503);
        }
        assert_eq!(edge.reached_count(), 1);
    });
}
