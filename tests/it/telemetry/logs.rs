//! The log of the program: lines of JSON or text, and what their events tell.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use ecs_authz::config::LogFormat;
use ecs_authz::grpc::pb::authorization_service_client::AuthorizationServiceClient;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use libtest_mimic::Trial;
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{PARENT, SAMPLED, TRACE, action, policies, with};
use crate::ext_authz::{CONFIG, Check, parsed};
use crate::serving::Serving;
use crate::support::{PolicyDir, block_on, program, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        json_lines_tell_the_trace_of_their_call,
        text_lines_tell_it_too,
        the_variable_goes_before_the_file,
        what_is_no_level_is_named_at_the_start,
        a_caller_can_not_forge_a_line,
        the_docs_show_a_configuration,
    ]
}

/// The program with these sections, on free ports, and its log in a file.
struct Logging {
    child: Child,
    dir: PolicyDir,
    addr: String,
    _policies: PolicyDir,
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Logging {
    fn start(sections: &str, rust_log: Option<&str>) -> Self {
        Self::start_with(sections, rust_log.map(|level| ("RUST_LOG", level)))
    }

    fn start_with<'a>(sections: &str, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let (dir, policies) = (PolicyDir::new(), policies());
        dir.write("config.toml", &format!("{sections}\n{CONFIG}"));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut command = Command::new(program());
        command.args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--policies"]);
        command.arg(policies.path()).arg("--config").arg(dir.path().join("config.toml"));
        command.stdout(Stdio::piped()).stderr(log).env_remove("RUST_LOG");
        let mut child = command.envs(variables).spawn().expect("the program");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).expect("a line");
        let addr = ready.trim_start_matches("ready on ").split(',').next().unwrap().to_owned();
        Self { child, dir, addr, _policies: policies }
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.addr)).unwrap().connect().await.expect("a connection")
    }

    async fn authorize(&self, trace: &str) {
        let mut client = AuthorizationServiceClient::new(self.channel().await);
        client.authorize(with(action("os-start"), &[("traceparent", trace)])).await.expect("a decision");
    }

    /// Stops it. The lines of its log.
    fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
        assert!(self.child.wait().expect("an end").success());
        let log = std::fs::read_to_string(self.dir.path().join("log")).expect("text");
        log.lines().map(str::to_owned).collect()
    }
}

const JSON: &str = "[log]\nformat = 'json'\nlevel = 'info,ecs_authz=debug'";

fn json_lines_tell_the_trace_of_their_call() {
    let logging = Logging::start(JSON, None);
    block_on(async {
        let mut health = HealthClient::new(logging.channel().await);
        let request = with(HealthCheckRequest::default(), &[("traceparent", SAMPLED)]);
        health.check(request).await.unwrap();
        logging.authorize(SAMPLED).await;
        logging.authorize("malformed").await;
    });
    let lines = logging.stop();
    let mut decided = Vec::new();
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let keys: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(keys.is_superset(&["time", "level", "target", "message"].into()), "{line}");
        if line["message"] == "decided" {
            decided.push(line);
        } else {
            assert_eq!(line["trace_id"], Value::Null, "{line}");
        }
    }
    let [traced, other] = decided.as_slice() else { panic!("{lines:?}") };
    assert_eq!((&traced["trace_id"], &traced["span_id"]), (&TRACE.into(), &PARENT.into()));
    assert_eq!(traced["level"], "DEBUG");
    assert_eq!(traced["fields"]["action"], "ecs:servers:start");
    assert_eq!(other["trace_id"], Value::Null);
    // Nothing of health, at no level of ours.
    assert!(!lines.concat().to_lowercase().contains("grpc.health"), "{lines:?}");
}

fn text_lines_tell_it_too() {
    let logging = Logging::start("[log]\nlevel = 'debug'", None);
    block_on(logging.authorize(SAMPLED));
    let lines = logging.stop();
    let decided = lines.iter().find(|line| line.contains(" DEBUG decided ")).expect("a line");
    assert!(decided.ends_with(&format!(" trace_id={TRACE} span_id={PARENT}")), "{decided}");
    assert!(!lines.concat().contains('\u{1b}'), "no colors in a file");
}

fn the_variable_goes_before_the_file() {
    let logging = Logging::start(JSON, Some("error"));
    block_on(logging.authorize(SAMPLED));
    assert_eq!(logging.stop(), Vec::<String>::new());
    let lines = Logging::start("[log]\nlevel = 'warn'", Some("ecs_authz=loud")).stop();
    assert!(lines.iter().any(|line| line.contains("RUST_LOG is not understood")), "{lines:?}");
}

fn the_docs_show_a_configuration() {
    let (_, section) = include_str!("../../../docs/telemetry.md").split_once("## Logs and traces\n").unwrap();
    let block = section.split_once("```toml\n").unwrap().1.split("```").next().unwrap();
    assert_eq!(parsed(block).log.format, LogFormat::Json);
    assert!(parsed(block).traces.is_some());
}

fn what_is_no_level_is_named_at_the_start() {
    let dir = PolicyDir::new();
    dir.write("config.toml", "[log]\nlevel = 'ecs_authz=loud'");
    let config = dir.path().join("config.toml");
    let args = ["--policies", "/nowhere", "--config", config.to_str().unwrap()];
    let said = Serving::start(&args, &[]).fault();
    assert!(said.contains("config.toml: log.level: expected a level"), "{said}");
    assert!(said.contains("`ecs_authz=loud`"), "{said}");
}

fn a_caller_can_not_forge_a_line() {
    let hostile = "a\n2026-01-01T00:00:00.000000Z ERROR forged\r\u{1b}[31m\u{9b}31m\u{7}";
    for format in ["json", "text"] {
        let sections = format!("[log]\nformat = '{format}'\nlevel = 'trace,h2=off,hyper=off'");
        // What is no option is told by its name: here, text of somebody else is in an event for certain.
        let variable = format!("ECS_AUTHZ_{hostile}");
        let logging = Logging::start_with(&sections, [(variable.as_str(), "x")]);
        block_on(async {
            let mut client = AuthorizationClient::new(logging.channel().await);
            let check = || Check::new(hostile, &format!("/{hostile}"));
            let headers = [("x-request-id", hostile), ("traceparent", hostile), ("x-user-id", hostile)];
            client.check(check().raw(&headers).message()).await.unwrap();
            client.check(check().peer(hostile).message()).await.unwrap();
            client.check(Check::action(hostile).message()).await.unwrap();
            let mut client = AuthorizationServiceClient::new(logging.channel().await);
            let mut request = action(hostile);
            request.request_id = hostile.into();
            request.principal.as_mut().unwrap().user_id = hostile.into();
            client.authorize(request).await.unwrap();
        });
        let lines = logging.stop();
        for told in ["decided", "forged", "is no option"] {
            assert!(lines.iter().any(|line| line.contains(told)), "{told} in {lines:?}");
        }
        for line in &lines {
            assert!(!line.contains(char::is_control), "{line:?}");
            assert!(!line.starts_with("2026-01-01T00:00:00"), "{line}");
            assert!(format == "text" || serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
    }
}
