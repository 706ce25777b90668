//! The program itself: its answers, its exit codes, and what its messages say.

use std::process::{Command, Output, Stdio};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::serving::Serving;
use crate::support::{PolicyDir, block_on, program, reload, serve, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        check_exits_with_the_decision,
        check_never_exits_with_two_for_an_error,
        check_prints_what_people_read,
        check_prints_json_as_grpcurl_does,
        every_operation_is_allowed_under_full_access,
        validate_reports_all_faults_and_warnings,
        actions_list_the_table_for_people_and_programs,
        serve_says_when_it_is_ready_and_stops_when_told,
        serve_does_not_start_on_faulty_policies,
        a_closed_pipe_is_no_panic,
        healthcheck_exits_with_what_the_server_says,
    ]
}

fn example() -> String {
    format!("{}/deploy/example", env!("CARGO_MANIFEST_DIR"))
}

fn run(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().expect("the program")
}

fn check(user: &str, more: &[&str]) -> Output {
    let principal = ["--domain", "acme", "--user", user, "--project", "eu-de-prod"];
    let example = example();
    let args = [&["check", "--policies", &example][..], &principal, more].concat();
    run(&args)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

const SERVER_ACTION: [&str; 2] = ["POST", "/v2.1/eu-de-prod/servers/7/action"];

fn check_exits_with_the_decision() {
    let stop = [&SERVER_ACTION[..], &["--body", r#"{"os-stop": null}"#]].concat();
    assert_eq!(check("alice", &stop).status.code(), Some(0));
    assert_eq!(check("bob", &stop).status.code(), Some(2));
    let by_key = [&SERVER_ACTION[..], &["--body-key", "os-stop"]].concat();
    assert_eq!(check("alice", &by_key).status.code(), Some(0));
    assert_eq!(check("alice", &SERVER_ACTION).status.code(), Some(2), "the body is required");
    assert_eq!(check("alice", &["GET", "/nothing/here"]).status.code(), Some(2));
}

fn check_never_exits_with_two_for_an_error() {
    let example = example();
    let wrong: [&[&str]; 6] = [
        &[],
        &["check"],
        &["check", "--no-such-flag"],
        &["check", "--policies", "/nonexistent", "--domain", "a", "--user", "u", "GET", "/v1/p/cloudservers"],
        &["check", "--policies", &example, "--domain", "a", "--user", "u", "GET", "no-slash"],
        &["check", "--policies", &example, "--domain", "", "--user", "u", "GET", "/v1/p/cloudservers"],
    ];
    for args in wrong {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

fn check_prints_what_people_read() {
    let output = check("bob", &[&SERVER_ACTION[..], &["--body", r#"{"os-stop": null}"#]].concat());
    assert_eq!(
        text(&output.stdout),
        "\
DENY NO_MATCHING_ALLOW: no statement allows `ecs:servers:stop`
operation   Stopping an ECS (native OpenStack API)
route       POST /v2.1/{project_id}/servers/{server_id}/action
action      ecs:servers:stop
resource    ecs::acme:instance:7
dependency  ecs:servers:get  allowed
dependency  ecs:servers:list  allowed
"
    );
}

fn check_prints_json_as_grpcurl_does() {
    let output = check("alice", &["--json", "POST", "/v1/eu-de-prod/cloudservers/delete"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let expected = serde_json::json!({
        "decision": "DECISION_DENY",
        "reason": "DENY_REASON_EXPLICIT_DENY",
        "message": "statement 0 of policy `no-deletion` denies `ecs:cloudServers:deleteServers`",
        "action": "ecs:cloudServers:deleteServers",
        "operation": {
            "title": "Deleting ECSs",
            "method": "POST",
            "route": "/v1/{project_id}/cloudservers/delete",
            "actions": ["ecs:cloudServers:deleteServers"],
        },
        // Of a body that is not there, no instance is known.
        "resource": "ecs::acme:instance:",
        "statements": [{"policy": "no-deletion", "effect": "EFFECT_DENY"}],
        "revision": "1",
    });
    assert_eq!(json, expected);
}

fn operations() -> Vec<Value> {
    serde_json::from_slice(&run(&["actions", "--json"]).stdout).expect("JSON")
}

fn every_operation_is_allowed_under_full_access() {
    let grants =
        "[[grant]]\nsubject = { user = \"root\" }\npolicy = \"ECS FullAccess\"\nscope = \"all_projects\"\n";
    let dir = PolicyDir::acme(&[], grants);
    let directory = dir.path().to_str().unwrap();
    let operations = operations();
    assert_eq!(operations.len(), 150);
    for operation in operations {
        let (method, route) = (operation["method"].as_str().unwrap(), operation["route"].as_str().unwrap());
        let segments = route.split('/').map(|text| if text.starts_with('{') { "p" } else { text });
        let path = segments.collect::<Vec<_>>().join("/");
        let principal = ["--domain", "acme", "--user", "root", "--project", "p"];
        let mut args = vec!["check", "--json", "--policies", directory];
        args.extend(principal);
        args.extend([method, &path]);
        if let Some(key) = operation["bodyKey"].as_str() {
            args.extend(["--body-key", key]);
        }
        let output = run(&args);
        assert_eq!(output.status.code(), Some(0), "{method} {route}: {}", text(&output.stdout));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let count = |value: &Value| value.as_array().map_or(0, Vec::len);
        let by_body = operation["bodyDependencies"].as_array().unwrap().iter();
        let by_body: usize = by_body.map(|entry| count(&entry["dependencies"])).sum();
        let expected = count(&operation["dependencies"]) + by_body;
        assert_eq!(count(&answer["dependencies"]), expected, "{method} {route}");
    }
}

fn validate_reports_all_faults_and_warnings() {
    let good = run(&["validate", &example()]);
    assert_eq!(text(&good.stdout), "ok: 1 domain, 1 policy, 3 grants\n");
    assert_eq!(good.status.code(), Some(0));

    let typo = r#"{"Version":"1.1","Statement":[{"Effect":"Deny","Action":["ecs:servers:strat"]}]}"#;
    let dir = PolicyDir::acme(&[("a", "{}"), ("b", typo)], "[[grant]]");
    let bad = run(&["validate", dir.path().to_str().unwrap()]);
    assert_eq!(bad.status.code(), Some(1));
    assert_eq!(
        text(&bad.stdout),
        "\
warning: acme/policies/b.json: $.Statement[0].Action[0]: `ecs:servers:strat` covers no action of the table
error: acme/grants.toml:1: grant: expected a member `subject`
error: acme/grants.toml:1: grant: expected a member `policy`
error: acme/grants.toml:1: grant: expected a member `scope`
error: acme/policies/a.json: $: expected a member `Version`
error: acme/policies/a.json: $: expected a member `Statement`
5 faults: the directory would not be loaded
"
    );
}

fn actions_list_the_table_for_people_and_programs() {
    let output = run(&["actions"]);
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(lines.len(), 151);
    assert_eq!(lines[150], "150 operations in 91 rows; 102 actions, dependencies included");
    let start = lines.iter().find(|line| line.contains("/v2.1/") && line.contains("os-start")).unwrap();
    let words: Vec<&str> = start.split_whitespace().collect();
    assert_eq!(words[..3], ["ecs:servers:start", "POST", "/v2.1/{project_id}/servers/{server_id}/action"]);
    assert_eq!(operations()[0]["table"], "az_management");
}

fn serve_says_when_it_is_ready_and_stops_when_told() {
    let mut serving = Serving::start(&["--policies", &example()], &[]);
    let line = serving.await_ready();
    assert!(line.contains("try: grpcurl -plaintext -d "), "{line}");
    serving.await_log("INFO policies are cached in at most ");
    assert_eq!(serving.interrupt().code(), Some(0));
}

fn serve_does_not_start_on_faulty_policies() {
    let dir = PolicyDir::acme(&[("a", "{}")], "");
    let message = Serving::start(&["--policies", dir.path().to_str().unwrap()], &[]).fault();
    assert!(message.contains("acme/policies/a.json: $: expected a member `Version`"), "{message}");
}

fn a_closed_pipe_is_no_panic() {
    let mut child = Command::new(program())
        .arg("actions")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
}

fn healthcheck_exits_with_what_the_server_says() {
    let check = |addr: &str, of: &str| run(&["healthcheck", "--http-addr", addr, "--of", of]);
    let policies = PolicyDir::acme(&[], "");
    let server = block_on(serve(policies.path()));
    let addr = server.http_addr.to_string();
    let said = |of: &str, expected: &str| {
        let output = check(&addr, of);
        assert_eq!(output.status.code(), Some(0), "{of}");
        assert!(text(&output.stdout).starts_with(expected), "{}", text(&output.stdout));
    };
    said("ready", r#"{"status":"ready"}"#);
    said("live", "ok");
    // Degraded, it decides all the same.
    policies.write("acme/grants.toml", "[[grant]]");
    assert!(reload(&server).is_err());
    said("ready", r#"{"status":"degraded","#);
    // One that can't decide, something that is not HTTP, and nothing.
    let output =
        check(&answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n{\"status\":\"unavailable\"}\n"), "ready");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), "{\"status\":\"unavailable\"}\n"));
    let output = check(&answering(b"220 smtp\r\n"), "ready");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("expected HTTP"), "{}", text(&output.stderr));
    let output = check("127.0.0.1:1", "ready");
    assert_eq!(output.status.code(), Some(1));
    let expected = "no answer from http://127.0.0.1:1/readyz";
    assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
}

/// The address of a server that answers one request with this.
fn answering(answer: &'static [u8]) -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut connection = listener.accept().unwrap().0;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        connection.write_all(answer).unwrap();
    });
    addr
}
