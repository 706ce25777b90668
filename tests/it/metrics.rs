//! Each metric by doing what it counts, on a real server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use ecs_authz::grpc::pb;
use ecs_authz::server::{RunningServer, ServerConfig};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use libtest_mimic::Trial;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::conformance::postgres::is_there;
use crate::edge::until;
use crate::ext_authz::{CONFIG, Check, parsed};
use crate::support::{PolicyDir, block_on, channel, client, config, http, serve, trial, trials};

pub(crate) mod form;
mod postgres;
mod stores;

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        calls_are_counted_by_method_and_code,
        a_call_that_its_caller_gives_up_is_canceled_not_answered,
        decisions_are_counted_by_reason_and_action,
        each_of_a_batch_is_a_decision_or_an_error,
        checks_of_envoy_are_decisions_too,
        the_cache_is_counted,
        no_caller_can_make_a_series,
    ];
    let name = "metrics::a_database_is_watched_over";
    let database = trial(name, postgres::a_database_is_watched_over).with_ignored_flag(!is_there());
    trials.into_iter().chain(form::trials()).chain(stores::trials()).chain([database]).collect()
}

const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS CommonOperations"
scope = { project = "prod" }
"#;

/// The values of a scrape, by the name of the series.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    async fn of(server: &RunningServer) -> Self {
        Self::at(server.http_addr).await
    }

    async fn at(addr: SocketAddr) -> Self {
        let (_, body) = http(addr, "GET", "/metrics").await;
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            (series.to_owned(), value.parse().expect("a number"))
        });
        Self(samples.collect())
    }

    /// The value of a series; zero if there is none.
    fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    fn get_all<const N: usize>(&self, series: [&str; N]) -> [f64; N] {
        series.map(|series| self.get(series))
    }

    /// The series of a metric that are not zero, by their labels.
    fn of_metric(&self, name: &str) -> BTreeMap<&str, f64> {
        let series = self.0.iter().filter_map(|(series, value)| Some((series.strip_prefix(name)?, *value)));
        series.filter(|(_, value)| *value > 0.0).collect()
    }
}

fn directory() -> PolicyDir {
    PolicyDir::acme(&[], GRANTS)
}

/// Alice's action on a server of `prod`.
fn action(key: &str) -> pb::AuthorizeRequest {
    let principal = pb::Principal {
        domain_id: "acme".into(),
        user_id: "alice".into(),
        project_id: "prod".into(),
        ..Default::default()
    };
    pb::AuthorizeRequest {
        principal: Some(principal),
        method: "POST".into(),
        path: "/v2.1/prod/servers/1/action".into(),
        body: Some(pb::BodySummary { top_level_keys: vec![key.into()], ..Default::default() }),
        ..Default::default()
    }
}

/// A method of the service, as labels.
fn method(name: &str) -> String {
    format!(r#"grpc_service="ecs.authz.v1.AuthorizationService",grpc_method="{name}""#)
}

fn calls_are_counted_by_method_and_code() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path()).await;
        let mut client = client(&server).await;
        for _ in 0..3 {
            client.authorize(action("os-start")).await.unwrap();
        }
        let malformed = client.authorize(pb::AuthorizeRequest::default()).await.unwrap_err();
        assert_eq!(malformed.code(), Code::InvalidArgument);
        client.list_actions(pb::ListActionsRequest::default()).await.unwrap();
        let seen = Scrape::of(&server).await;
        let (authorize, list) = (method("Authorize"), method("ListActions"));
        let counted = seen.get_all([
            &format!("grpc_server_started_total{{{authorize}}}"),
            &format!("grpc_server_handled_total{{{authorize},grpc_code=\"OK\"}}"),
            &format!("grpc_server_handled_total{{{authorize},grpc_code=\"InvalidArgument\"}}"),
            &format!("grpc_server_handled_total{{{list},grpc_code=\"OK\"}}"),
            &format!("grpc_server_handling_seconds_count{{{authorize}}}"),
            &format!("grpc_server_handling_seconds_bucket{{{authorize},le=\"+Inf\"}}"),
            &format!("grpc_server_in_flight{{{authorize}}}"),
        ]);
        assert_eq!(counted, [4.0, 3.0, 1.0, 1.0, 4.0, 4.0, 0.0]);
        assert!(seen.get(&format!("grpc_server_handling_seconds_sum{{{authorize}}}")) > 0.0);
        assert_eq!(seen.of_metric("grpc_server_handled_total").len(), 3, "nothing else was called");
    });
}

fn a_call_that_its_caller_gives_up_is_canceled_not_answered() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path()).await;
        let mut client = client(&server).await;
        let authorize = method("Authorize");
        let is = async |series: &str, value| Scrape::of(&server).await.get(series) == value;
        // A revision that does not come.
        let request = pb::AuthorizeRequest { min_revision: 9, ..action("os-start") };
        let waiting = tokio::spawn(async move { client.authorize(request).await });
        let in_flight = format!("grpc_server_in_flight{{{authorize}}}");
        until("the call is in flight", async || is(&in_flight, 1.0).await).await;
        waiting.abort();
        let canceled = format!("grpc_server_handled_total{{{authorize},grpc_code=\"Canceled\"}}");
        until("the call is canceled", async || is(&canceled, 1.0).await).await;
        let seen = Scrape::of(&server).await;
        assert_eq!(seen.of_metric("grpc_server_handled_total").len(), 1);
        assert_eq!(seen.get(&in_flight), 0.0);
        assert!(seen.of_metric("ecs_authz_decisions_total").is_empty());
    });
}

fn decisions_are_counted_by_reason_and_action() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path()).await;
        let mut client = client(&server).await;
        let elsewhere = pb::AuthorizeRequest { path: "/v2.1/test/servers/1/action".into(), ..action("lock") };
        let nowhere = pb::AuthorizeRequest { path: "/v9/nowhere".into(), ..action("lock") };
        for request in [action("os-start"), action("os-start"), action("lock"), elsewhere, nowhere] {
            client.authorize(request).await.unwrap();
        }
        // What is listed is not decided.
        client.list_actions(pb::ListActionsRequest::default()).await.unwrap();
        let seen = Scrape::of(&server).await;
        let expected = [
            (r#"{decision="allow",reason="",action="ecs:servers:start"}"#, 2.0),
            (r#"{decision="deny",reason="NO_MATCHING_ALLOW",action="ecs:servers:lock"}"#, 1.0),
            (r#"{decision="deny",reason="PROJECT_MISMATCH",action="ecs:servers:lock"}"#, 1.0),
            (r#"{decision="deny",reason="UNKNOWN_OPERATION",action=""}"#, 1.0),
        ];
        assert_eq!(seen.of_metric("ecs_authz_decisions_total"), expected.into());
        assert!(seen.of_metric("ecs_authz_errors_total").is_empty(), "a denial is no error");
        assert_eq!(seen.get("ecs_authz_stale_decisions_total"), 0.0);
    });
}

fn each_of_a_batch_is_a_decision_or_an_error() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path()).await;
        let mut client = client(&server).await;
        let behind = pb::AuthorizeRequest { min_revision: 9, ..action("os-start") };
        let requests = vec![action("os-start"), pb::AuthorizeRequest::default(), behind, action("lock")];
        client.batch_authorize(pb::BatchAuthorizeRequest { requests }).await.unwrap();
        let seen = Scrape::of(&server).await;
        let decided: f64 = seen.of_metric("ecs_authz_decisions_total").values().sum();
        let errors = [(r#"{kind="behind"}"#, 1.0), (r#"{kind="invalid"}"#, 1.0)];
        assert_eq!((decided, seen.of_metric("ecs_authz_errors_total")), (2.0, errors.into()));
    });
}

/// A server that answers Envoy too.
async fn serve_envoy(dir: &PolicyDir) -> (RunningServer, AuthorizationClient<Channel>) {
    let config = ServerConfig { config: parsed(CONFIG), ..config(dir.path()) };
    let server = RunningServer::start(config).await.expect("a server");
    let client = AuthorizationClient::new(channel(&server).await);
    (server, client)
}

fn checks_of_envoy_are_decisions_too() {
    let dir = directory();
    block_on(async {
        let (server, mut client) = serve_envoy(&dir).await;
        let unknown = Check::new("POST", "/v2.1/prod/servers/1/action");
        let trace = Check::new("TRACE", "/v1/x").peer("spiffe://acme.example/batch");
        for check in
            [Check::action(r#"{"os-start":null}"#), Check::action(r#"{"lock":null}"#), unknown, trace]
        {
            client.check(check.message()).await.unwrap();
        }
        let seen = Scrape::of(&server).await;
        let expected = [
            (r#"{decision="allow",reason="",action="ecs:servers:start"}"#, 1.0),
            (r#"{decision="deny",reason="METHOD_REFUSED",action=""}"#, 1.0),
            (r#"{decision="deny",reason="NO_MATCHING_ALLOW",action="ecs:servers:lock"}"#, 1.0),
            (r#"{decision="deny",reason="UNAUTHENTICATED",action=""}"#, 1.0),
        ];
        assert_eq!(seen.of_metric("ecs_authz_decisions_total"), expected.into());
        let check =
            r#"{grpc_service="envoy.service.auth.v3.Authorization",grpc_method="Check",grpc_code="OK"}"#;
        assert_eq!(seen.of_metric("grpc_server_handled_total"), [(check, 4.0)].into());
    });
}

fn the_cache_is_counted() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path()).await;
        let mut client = client(&server).await;
        for _ in 0..3 {
            client.authorize(action("os-start")).await.unwrap();
        }
        let seen = Scrape::of(&server).await;
        let counted = ["hits_total", "misses_total", "loads_total", "load_errors_total", "entries"]
            .map(|name| seen.get(&format!("ecs_authz_cache_{name}")));
        assert_eq!(counted, [2.0, 1.0, 1.0, 0.0, 1.0]);
        assert!(seen.get("ecs_authz_cache_bytes") > seen.get("ecs_authz_cache_set_bytes"));
        assert!(seen.get("ecs_authz_cache_sets") > 0.0);
    });
}

fn no_caller_can_make_a_series() {
    let dir = directory();
    block_on(async {
        let (server, mut envoy) = serve_envoy(&dir).await;
        let mut client = client(&server).await;
        let mut series = Vec::new();
        for hostile in ["a", "b\"} 1\nmade_up{x=\"", &"c".repeat(4_000)] {
            let mut request = action(hostile);
            let principal = request.principal.as_mut().unwrap();
            principal.user_id = hostile.chars().filter(char::is_ascii_lowercase).take(60).collect();
            principal.domain_id = principal.user_id.clone();
            let malformed = pb::AuthorizeRequest { path: hostile.into(), ..request.clone() };
            for request in [request, malformed] {
                let _answered_or_not = client.authorize(request).await;
            }
            let _answered_or_not = envoy.check(Check::new(hostile, &format!("/{hostile}")).message()).await;
            let name: String = hostile.chars().filter(char::is_ascii_lowercase).collect();
            for path in [format!("/{name}/{name}"), format!("/ecs.authz.v1.AuthorizationService/{name}")] {
                let mut raw = tonic::client::Grpc::new(channel(&server).await);
                raw.ready().await.unwrap();
                let codec = tonic_prost::ProstCodec::<pb::AuthorizeRequest, pb::AuthorizeResponse>::default();
                let called = raw.unary(Request::new(action("lock")), path.parse().unwrap(), codec).await;
                assert_eq!(called.unwrap_err().code(), Code::Unimplemented);
            }
            let seen = Scrape::of(&server).await;
            let name = |series: &String| !series.starts_with("grpc_server_handling_seconds_bucket");
            series.push(seen.0.into_keys().filter(name).collect::<BTreeSet<_>>());
        }
        for later in &series[1..] {
            let new: Vec<&String> = later.difference(&series[0]).collect();
            assert!(new.is_empty(), "{new:?}");
        }
        let unknown = |series: &&String| series.contains(r#"grpc_service="unknown",grpc_method="unknown""#);
        assert_eq!(series[0].iter().filter(unknown).count(), 5);
    });
}
