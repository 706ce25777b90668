//! The tools that people use against the running program: grpcurl, or `buf curl` where there is no Go to build it.
//!
//! `scripts/test` installs them and says where they are. Without either, these tests are reported as ignored.

use std::env;
use std::process::{Command, Output};
use std::sync::OnceLock;

use ecs_authz::server::RunningServer;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::support::{block_on, serve, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        services_are_listed,
        a_service_is_described_with_its_comments,
        the_call_of_the_readme_is_allowed,
        a_denied_call_is_an_answer,
        a_malformed_call_is_an_error_with_details,
        health_is_asked,
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(Tool::find().is_none())).collect()
}

/// The tool that is there.
enum Tool {
    Grpcurl(String),
    BufCurl(String),
}

impl Tool {
    fn find() -> Option<Self> {
        let grpcurl = env::var("ECS_AUTHZ_GRPCURL").ok().map(Self::Grpcurl);
        grpcurl.or_else(|| env::var("ECS_AUTHZ_BUF").ok().map(Self::BufCurl))
    }

    fn run(&self, args: &[&str]) -> Output {
        match self {
            Self::Grpcurl(path) => Command::new(path).arg("-plaintext").args(args).output(),
            Self::BufCurl(path) => Command::new(path)
                .args(["curl", "--http2-prior-knowledge", "--protocol", "grpc"])
                .args(args)
                .output(),
        }
        .expect("the tool")
    }
}

fn tool() -> Tool {
    Tool::find().expect("a tool: else the test is ignored")
}

fn addr() -> String {
    static SERVER: OnceLock<RunningServer> = OnceLock::new();
    let example = format!("{}/deploy/example", env!("CARGO_MANIFEST_DIR"));
    SERVER.get_or_init(|| block_on(serve(example.as_ref()))).grpc_addr.to_string()
}

fn call(method: &str, data: &Value) -> Output {
    let (data, addr) = (data.to_string(), addr());
    match tool() {
        tool @ Tool::Grpcurl(_) => tool.run(&["-d", &data, &addr, method]),
        tool @ Tool::BufCurl(_) => tool.run(&["-d", &data, &format!("http://{addr}/{method}")]),
    }
}

fn authorize(user: &str) -> Value {
    json!({
        "principal": {"domainId": "acme", "userId": user, "projectId": "eu-de-prod"},
        "method": "POST",
        "path": "/v2.1/eu-de-prod/servers/7/action",
        "body": {"topLevelKeys": ["os-stop"]},
    })
}

fn answer(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn services_are_listed() {
    let addr = addr();
    let output = match tool() {
        tool @ Tool::Grpcurl(_) => tool.run(&[&addr, "list"]),
        tool @ Tool::BufCurl(_) => tool.run(&["--list-services", &format!("http://{addr}")]),
    };
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    for service in ["ecs.authz.v1.AuthorizationService", "grpc.health.v1.Health"] {
        assert!(listed.lines().any(|line| line == service), "{listed}");
    }
}

fn a_service_is_described_with_its_comments() {
    let addr = addr();
    let output = match tool() {
        tool @ Tool::Grpcurl(_) => tool.run(&[&addr, "describe", "ecs.authz.v1.AuthorizationService"]),
        // buf does not describe; it lists the methods.
        tool @ Tool::BufCurl(_) => tool.run(&["--list-methods", &format!("http://{addr}")]),
    };
    let described = String::from_utf8_lossy(&output.stdout).into_owned();
    for method in ["Authorize", "BatchAuthorize", "StreamAuthorize", "ListActions", "ResolveOperation"] {
        assert!(described.contains(method), "{described}");
    }
    if matches!(tool(), Tool::Grpcurl(_)) {
        assert!(described.contains("// Decides one call."), "{described}");
    }
}

fn the_call_of_the_readme_is_allowed() {
    let answer = answer(&call("ecs.authz.v1.AuthorizationService/Authorize", &authorize("alice")));
    assert_eq!(answer["decision"], "DECISION_ALLOW");
    assert_eq!(answer["action"], "ecs:servers:stop");
    assert_eq!(answer["dependencies"][1]["action"], "ecs:servers:list");
}

fn a_denied_call_is_an_answer() {
    let answer = answer(&call("ecs.authz.v1.AuthorizationService/Authorize", &authorize("bob")));
    assert_eq!(answer["decision"], "DECISION_DENY");
    assert_eq!(answer["reason"], "DENY_REASON_NO_MATCHING_ALLOW");
}

fn a_malformed_call_is_an_error_with_details() {
    let output = call("ecs.authz.v1.AuthorizationService/Authorize", &json!({"path": "/v1"}));
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).to_lowercase();
    for word in ["method: expected a value", "google.rpc.badrequest", "principal.domain_id"] {
        assert!(error.contains(word), "{error}");
    }
    // Reflection serves the type of the details, so they are shown and not as raw bytes.
    assert!(!error.contains("not recognized"), "{error}");
    assert!(error.contains("invalidargument") || error.contains("invalid_argument"), "{error}");
}

fn health_is_asked() {
    let answer = answer(&call("grpc.health.v1.Health/Check", &json!({})));
    assert_eq!(answer["status"], "SERVING");
}
