//! The decision log: what a record tells, and what it may not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ecs_authz::config::Config;
use ecs_authz::grpc::pb;
use ecs_authz::server::{RunningServer, ServerConfig};
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::ext_authz::{CONFIG, Check, parsed};
use crate::support::{Client, PolicyDir, block_on, channel, client, config, trials};

mod cost;
mod file;
mod full;
mod schema;
mod stop;

pub(crate) fn trials() -> Vec<Trial> {
    let records = trials![
        each_kind_of_call_has_its_record,
        a_call_without_a_decision_has_a_record_of_an_error,
        records_are_as_the_schema_says,
        fields_can_be_masked,
        allows_can_be_sampled_and_denials_never_are,
        decisions_can_be_filtered,
        a_path_is_recorded_only_if_asked_for_and_never_its_query,
        hostile_values_stay_on_one_line,
        nothing_that_a_token_may_stand_in_is_recorded,
        nothing_is_recorded_unless_it_is_configured,
        the_shipped_configuration_is_read,
        the_docs_show_a_record_and_the_least_configuration,
    ];
    [records, cost::trials(), file::trials(), full::trials(), stop::trials()].into_iter().flatten().collect()
}

/// Longer than any stop takes.
const PATIENCE: Duration = Duration::from_secs(60);
const GRANTS: &str = r#"
[[grant]]
subject = { user = "alice" }
policy = "ECS CommonOperations"
scope = { project = "prod" }

[[grant]]
subject = { user = "alice" }
policy = "no-deletion"
scope = "all_projects"

[[grant]]
subject = { agency = "ops" }
policy = "start"
scope = { project = "prod" }
"#;
const NO_DELETION: &str =
    r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["ecs:servers:delete","ecs:*:stop"]}]}"#;

const START: &str = r#"{"Version":"1.1","Statement":[{"Effect":"Allow","Action":["ecs:servers:start"]}]}"#;

/// Alice operates the servers of `prod`, and may not stop one. The agency starts them, and may not list them.
fn policies() -> PolicyDir {
    PolicyDir::acme(&[("no-deletion", NO_DELETION), ("start", START)], GRANTS)
}

/// A server with a decision log, which is `decisions.log` in its folder.
struct Logged {
    dir: PolicyDir,
    policies: PolicyDir,
    server: RunningServer,
}

/// The sections of a configuration: these lines first, then a file.
fn to_file(lines: &str, file_lines: &str) -> String {
    format!("[decision_log]\n{lines}\n[decision_log.file]\npath = \"decisions.log\"\n{file_lines}\n")
}

impl Logged {
    fn start(log: &str) -> Self {
        Self::start_in(PolicyDir::new(), log)
    }

    fn start_in(dir: PolicyDir, log: &str) -> Self {
        dir.write("config.toml", &format!("{log}\n{CONFIG}"));
        let policies = policies();
        let config = Config::load(&dir.path().join("config.toml")).expect("a configuration");
        let config = ServerConfig { config, ..config_of(&policies) };
        let server = block_on(RunningServer::start(config)).expect("a server");
        Self { dir, policies, server }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("decisions.log")
    }

    fn client(&self) -> Client {
        block_on(client(&self.server))
    }

    fn check(&self, check: Check) -> CheckResponse {
        block_on(async {
            let mut client = AuthorizationClient::new(channel(&self.server).await);
            client.check(check.message()).await.expect("never a gRPC error").into_inner()
        })
    }

    /// Stops it, which writes what is left. The file's lines.
    fn stop(self) -> Vec<String> {
        let path = self.path();
        block_on(self.server.stop(PATIENCE)).expect("a stop");
        drop(self.policies);
        lines(&path)
    }
}

fn config_of(policies: &PolicyDir) -> ServerConfig {
    config(policies.path())
}

/// The lines of a file, each whole.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a file of text");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    text.lines().map(str::to_owned).collect()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// A record with what differs each time replaced.
fn steady(line: &str) -> String {
    let mut record = parse(line);
    for (field, value) in [("time", "T"), ("decision_id", "D"), ("peer", "P")] {
        assert!(record[field].is_string(), "{field} of {line}");
        record[field] = value.into();
    }
    assert!(record["latency_us"].is_u64(), "{line}");
    record["latency_us"] = 0.into();
    record.to_string()
}

fn on_server(key: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        principal: Some(pb::Principal {
            domain_id: "acme".into(),
            user_id: "alice".into(),
            project_id: "prod".into(),
            group_ids: vec!["g-1".into(), "g-2".into()],
            ..Default::default()
        }),
        method: "POST".into(),
        path: "/v2.1/prod/servers/1/action".into(),
        body: Some(pb::BodySummary { top_level_keys: vec![key.into()], ..Default::default() }),
        context: Some(pb::RequestContext { source_ip: "192.0.2.7".into(), ..Default::default() }),
        request_id: "r-1".into(),
        ..Default::default()
    }
}

fn authorize(log: &Logged, request: pb::AuthorizeRequest) -> Result<pb::AuthorizeResponse, tonic::Status> {
    let mut client = log.client();
    block_on(client.authorize(request)).map(tonic::Response::into_inner)
}

const ALLOW: &str = r#"{"v":1,"kind":"decision","time":"T","decision_id":"D","request_id":"r-1","rpc":"Authorize","peer":"P","principal":{"domain_id":"acme","user_id":"alice","project_id":"prod","groups":2,"roles":0},"source_ip":"192.0.2.7","method":"POST","route":"/v2.1/{project_id}/servers/{server_id}/action","operation":"Starting an ECS (native OpenStack API)","action":"ecs:servers:start","resource":"ecs::acme:instance:1","decision":"allow","statements":[{"policy":"ECS CommonOperations","index":0,"effect":"Allow"}],"missing_dependencies":[],"revision":1,"stale":false,"latency_us":0}"#;
const DENY: &str = r#"{"v":1,"kind":"decision","time":"T","decision_id":"D","request_id":"r-2","rpc":"BatchAuthorize","peer":"P","principal":{"domain_id":"acme","user_id":"alice","project_id":"prod","groups":2,"roles":0},"source_ip":"192.0.2.7","method":"POST","route":"/v2.1/{project_id}/servers/{server_id}/action","operation":"Stopping an ECS (native OpenStack API)","action":"ecs:servers:stop","resource":"ecs::acme:instance:1","decision":"deny","reason":"EXPLICIT_DENY","statements":[{"policy":"no-deletion","index":0,"effect":"Deny"}],"missing_dependencies":[],"revision":1,"stale":false,"latency_us":0}"#;
const UNKNOWN: &str = r#"{"v":1,"kind":"decision","time":"T","decision_id":"D","request_id":"r-1","rpc":"BatchAuthorize","peer":"P","principal":{"domain_id":"acme","user_id":"alice","project_id":"prod","groups":2,"roles":0},"source_ip":"192.0.2.7","method":"PATCH","decision":"deny","reason":"UNKNOWN_OPERATION","latency_us":0}"#;
const FOREIGN: &str = r#"{"v":1,"kind":"decision","time":"T","decision_id":"D","request_id":"r-1","rpc":"BatchAuthorize","peer":"P","principal":{"domain_id":"acme","user_id":"alice","project_id":"prod","groups":2,"roles":0},"source_ip":"192.0.2.7","method":"POST","route":"/v2.1/{project_id}/servers/{server_id}/action","operation":"Locking an ECS (native OpenStack API)","action":"ecs:servers:lock","decision":"deny","reason":"PROJECT_MISMATCH","latency_us":0}"#;
const AGENCY: &str = r#"{"v":1,"kind":"decision","time":"T","decision_id":"D","request_id":"r-1","rpc":"BatchAuthorize","peer":"P","principal":{"domain_id":"acme","agency_id":"ops","project_id":"prod","groups":0,"roles":1},"source_ip":"192.0.2.7","method":"POST","route":"/v2.1/{project_id}/servers/{server_id}/action","operation":"Starting an ECS (native OpenStack API)","action":"ecs:servers:start","resource":"ecs::acme:instance:1","decision":"allow","statements":[{"policy":"start","index":0,"effect":"Allow"}],"missing_dependencies":["ecs:servers:list"],"revision":1,"stale":false,"latency_us":0}"#;
const CHECKED: &str = r#"{"v":1,"kind":"decision","time":"T","decision_id":"D","rpc":"Check","peer":"P","principal":{"domain_id":"acme","user_id":"alice","project_id":"prod","groups":0,"roles":0},"method":"POST","route":"/v2.1/{project_id}/servers/{server_id}/action","operation":"Starting an ECS (native OpenStack API)","action":"ecs:servers:start","resource":"ecs::acme:instance:1","decision":"allow","statements":[{"policy":"ECS CommonOperations","index":0,"effect":"Allow"}],"missing_dependencies":[],"revision":1,"stale":false,"latency_us":0}"#;
const UNAUTHENTICATED: &str = r#"{"v":1,"kind":"decision","time":"T","decision_id":"D","request_id":"e-7","rpc":"Check","peer":"P","method":"GET","decision":"deny","reason":"UNAUTHENTICATED","latency_us":0}"#;

/// One call of each kind.
fn call_each_kind(log: &Logged) {
    authorize(log, on_server("os-start")).unwrap();
    let agency = pb::Principal {
        domain_id: "acme".into(),
        agency_id: "ops".into(),
        project_id: "prod".into(),
        role_names: vec!["r-1".into()],
        ..Default::default()
    };
    let requests = vec![
        pb::AuthorizeRequest { request_id: "r-2".into(), ..on_server("os-stop") },
        pb::AuthorizeRequest { method: "PATCH".into(), ..on_server("os-stop") },
        pb::AuthorizeRequest { path: "/v2.1/test/servers/1/action".into(), ..on_server("lock") },
        pb::AuthorizeRequest { principal: Some(agency), ..on_server("os-start") },
    ];
    let mut client = log.client();
    block_on(client.batch_authorize(pb::BatchAuthorizeRequest { requests })).unwrap();
    log.check(Check::action(r#"{"os-start": null}"#));
    log.check(Check::new("GET", "/v2.1/prod/servers").raw(&[("x-request-id", "e-7")]));
}

fn each_kind_of_call_has_its_record() {
    let log = Logged::start(&to_file("", ""));
    call_each_kind(&log);
    let records: Vec<String> = log.stop().iter().map(|line| steady(line)).collect();
    let expected = [ALLOW, DENY, UNKNOWN, FOREIGN, AGENCY, CHECKED, UNAUTHENTICATED];
    for (record, expected) in records.iter().zip(expected) {
        assert_eq!(record, expected);
    }
    assert_eq!(records.len(), expected.len());
}

fn a_call_without_a_decision_has_a_record_of_an_error() {
    let log = Logged::start(&to_file("", ""));
    authorize(&log, pb::AuthorizeRequest { path: "v1".into(), ..on_server("lock") }).unwrap_err();
    let behind = pb::AuthorizeRequest { min_revision: 9, ..on_server("os-start") };
    let mut client = log.client();
    block_on(client.batch_authorize(pb::BatchAuthorizeRequest { requests: vec![behind] })).unwrap();
    let records: Vec<String> = log.stop().iter().map(|line| steady(line)).collect();
    let malformed = r#"{"v":1,"kind":"error","time":"T","decision_id":"D","request_id":"r-1","rpc":"Authorize","peer":"P","error":"INVALID_ARGUMENT","latency_us":0}"#;
    let behind = r#"{"v":1,"kind":"error","time":"T","decision_id":"D","request_id":"r-1","rpc":"BatchAuthorize","peer":"P","principal":{"domain_id":"acme","user_id":"alice","project_id":"prod","groups":2,"roles":0},"source_ip":"192.0.2.7","method":"POST","error":"UNAVAILABLE","latency_us":0}"#;
    assert_eq!(records, [malformed, behind]);
}

fn records_are_as_the_schema_says() {
    let log = Logged::start(&to_file("sample_allows = 2\npaths = \"without_query\"", ""));
    call_each_kind(&log);
    authorize(&log, pb::AuthorizeRequest { path: "v1".into(), ..on_server("lock") }).unwrap_err();
    let lines = log.stop();
    assert!(lines.len() > 5);
    for line in lines {
        schema::check(&parse(&line));
    }
    let wrong =
        [r#"{"v":1}"#.to_owned(), ALLOW.replace("\"v\":1", "\"v\":2"), ALLOW.replace("route", "rout")];
    for record in wrong {
        assert!(schema::fault(&parse(&record)).is_err(), "{record}");
    }
}

fn fields_can_be_masked() {
    let dir = PolicyDir::new();
    dir.write("mask.key", "0123456789abcdef");
    let mask = "mask_key = \"mask.key\"\npaths = \"without_query\"\n[decision_log.mask]\nuser_id = \"hash\"\n\
                domain_id = \"hash\"\nresource = \"hash\"\nsource_ip = \"drop\"\npath = \"drop\"\npeer = \"drop\"";
    let log = Logged::start_in(dir, &to_file(mask, ""));
    authorize(&log, on_server("os-start")).unwrap();
    authorize(&log, on_server("os-start")).unwrap();
    let lines = log.stop();
    for secret in ["alice", "acme", "192.0.2.7", "127.0.0.1", "servers/1", "0123456789abcdef"] {
        assert!(!lines.concat().contains(secret), "{secret} in {lines:?}");
    }
    let users: Vec<Value> = lines.iter().map(|line| parse(line)["principal"]["user_id"].clone()).collect();
    assert_eq!(users[0], users[1], "records of one user stay together");
    assert_eq!(users[0].as_str().unwrap().len(), 32);
}

fn allows_can_be_sampled_and_denials_never_are() {
    let log = Logged::start(&to_file("sample_allows = 3", ""));
    for _ in 0..7 {
        authorize(&log, on_server("os-start")).unwrap();
        authorize(&log, on_server("os-stop")).unwrap();
    }
    assert_eq!(log.server.decision_log.counters().sampled_out, 4);
    let records: Vec<Value> = log.stop().iter().map(|line| parse(line)).collect();
    let (allows, denials): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| record["decision"] == "allow");
    assert_eq!((allows.len(), denials.len()), (3, 7));
    assert!(allows.iter().all(|record| record["sample"] == 3));
    assert!(denials.iter().all(|record| record["sample"].is_null()));
}

fn decisions_can_be_filtered() {
    let cases = [
        ("decisions = \"denials\"", vec!["EXPLICIT_DENY", "UNKNOWN_OPERATION"]),
        ("actions = [\"ecs:*:start\"]", vec!["", "UNKNOWN_OPERATION"]),
        ("decisions = \"denials\"\nactions = [\"ecs:*:start\"]", vec!["UNKNOWN_OPERATION"]),
    ];
    for (lines, expected) in cases {
        let log = Logged::start(&to_file(lines, ""));
        authorize(&log, on_server("os-start")).unwrap();
        authorize(&log, on_server("os-stop")).unwrap();
        authorize(&log, pb::AuthorizeRequest { method: "PATCH".into(), ..on_server("x") }).unwrap();
        assert_eq!(log.server.decision_log.counters().filtered, 3 - expected.len() as u64);
        let reason = |line: &String| parse(line)["reason"].as_str().unwrap_or_default().to_owned();
        assert_eq!(log.stop().iter().map(reason).collect::<Vec<_>>(), expected, "{lines}");
    }
}

fn a_path_is_recorded_only_if_asked_for_and_never_its_query() {
    let request = || pb::AuthorizeRequest {
        path: "/v2.1/prod/servers/i-4711/action?x=query-4711".into(),
        ..on_server("unheard-of")
    };
    for (lines, expected) in
        [("", None), ("paths = \"without_query\"", Some("/v2.1/prod/servers/i-4711/action"))]
    {
        let log = Logged::start(&to_file(lines, ""));
        authorize(&log, request()).unwrap();
        let line = log.stop().concat();
        assert_eq!(parse(&line)["path"].as_str(), expected);
        assert!(!line.contains("query-4711"), "{line}");
        assert_eq!(line.contains("i-4711"), expected.is_some(), "{line}");
    }
}

fn hostile_values_stay_on_one_line() {
    let log = Logged::start(&to_file("paths = \"without_query\"", ""));
    let long = format!("/{}", "é\"\n\\".repeat(1_600));
    let hostile = "a\n{\"v\":1}\r\u{2028}\u{0}\"\\";
    let request = |path: &str| pb::AuthorizeRequest {
        method: hostile.into(),
        path: path.into(),
        request_id: hostile.into(),
        principal: Some(pb::Principal {
            domain_id: "acme".into(),
            user_id: hostile.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    authorize(&log, request(&long)).unwrap();
    authorize(&log, request("/")).unwrap();
    authorize(&log, pb::AuthorizeRequest { request_id: "x\n".repeat(1_000), ..request("/") }).unwrap_err();
    log.check(Check::new(&"M\n".repeat(5_000), &long).raw(&[("x-request-id", &"\"\n".repeat(5_000))]));
    log.check(Check::new("GET", "/\u{7f}").raw_bytes("x-request-id", b"\xff\xfe\n"));
    let lines = log.stop();
    assert_eq!(lines.len(), 5);
    for line in &lines {
        schema::check(&parse(line));
        assert!(line.len() < 8_192, "{} bytes", line.len());
    }
    assert_eq!(parse(&lines[0])["principal"]["user_id"], hostile);
}

fn nothing_that_a_token_may_stand_in_is_recorded() {
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.t0k3n";
    let log = Logged::start(&to_file("paths = \"without_query\"", ""));
    let body = pb::BodySummary { content: Some(TOKEN.into()), ..Default::default() };
    let mut request = on_server("x");
    request.path += &format!("?token={TOKEN}");
    request.body = Some(body);
    let attributes = std::collections::HashMap::from([(
        "g:UserName".to_owned(),
        pb::Values { values: vec![TOKEN.into()] },
    )]);
    request.context = Some(pb::RequestContext { attributes, ..Default::default() });
    let _answer = authorize(&log, request);
    let headers = [("authorization", TOKEN), ("x-auth-token", TOKEN), ("cookie", TOKEN)];
    log.check(Check::new("POST", &format!("/v2.1/prod/servers?token={TOKEN}#{TOKEN}")).raw(&headers));
    log.check(Check::action(&format!("{{\"{TOKEN}\": 1}}")).raw(&headers));
    let lines = log.stop();
    assert_eq!(lines.len(), 3);
    assert!(!lines.concat().contains("t0k3n"), "{lines:?}");
}

fn nothing_is_recorded_unless_it_is_configured() {
    let log = Logged::start("");
    authorize(&log, on_server("os-start")).unwrap();
    assert_eq!(log.server.decision_log.counters(), Default::default());
    assert!(!log.path().exists());
}

fn the_shipped_configuration_is_read() {
    let shipped = include_str!("../../deploy/decision-log/ecs-authz.toml");
    let log = parsed(shipped).decision_log.unwrap();
    assert!(log.file.is_some() && log.stdout.is_none() && log.otlp.is_none());
    // What is shown as a comment holds too.
    let shown: String = shipped
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") || setting.starts_with('[') => setting.to_owned() + "\n",
            _ => line.to_owned() + "\n",
        })
        .collect();
    let log = parsed(&shown).decision_log.unwrap();
    assert!(log.stdout.is_some() && log.otlp.is_some() && log.mask_key.is_some() && !log.actions.is_empty());
}

fn the_docs_show_a_record_and_the_least_configuration() {
    let (_, section) = include_str!("../../docs/telemetry.md").split_once("\n## Decision log\n").unwrap();
    let block = |opening: &str| section.split_once(opening).unwrap().1.split("```").next().unwrap();
    schema::check(&parse(block("```json\n")));
    assert!(parsed(block("```toml\n")).decision_log.is_some());
}
