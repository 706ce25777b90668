//! The README shows real output: each command of its `console` blocks is run and its output compared.

use std::env;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use ecs_authz::server::RunningServer;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::{block_on, program, serve, trial};

const README: &str = include_str!("../../README.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) fn trials() -> Vec<Trial> {
    let examples = examples();
    assert!(examples.len() >= 4, "the README shows fewer commands than it did");
    let named = examples.into_iter().enumerate().map(|(index, example)| {
        let tool = example.command.split_whitespace().next().unwrap_or_default().to_owned();
        // Without the tool, the command can't be run; `scripts/test` installs it.
        let is_missing = tool == "grpcurl" && env::var("ECS_AUTHZ_GRPCURL").is_err();
        trial(format!("readme::command_{index}_{tool}"), move || example.run()).with_ignored_flag(is_missing)
    });
    let links = trial("readme::links_lead_somewhere", links_lead_somewhere);
    named.chain([links]).collect()
}

struct Example {
    command: String,
    output: String,
}

/// The commands of the `console` blocks: from a `$` to the first line that does not go on, then the output.
fn examples() -> Vec<Example> {
    let blocks =
        README.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let blocks = blocks.map(|block| {
        let mut lines = block.lines();
        let mut command = lines.next().unwrap_or_default().trim_start_matches("$ ").to_owned();
        let is_open = |text: &str| text.ends_with('\\') || text.matches('\'').count() % 2 == 1;
        while is_open(&command) {
            command.push('\n');
            command.push_str(lines.next().expect("the rest of the command"));
        }
        Example { command, output: lines.map(|line| line.to_owned() + "\n").collect() }
    });
    blocks.collect()
}

fn addr() -> String {
    static SERVER: OnceLock<RunningServer> = OnceLock::new();
    let example = Path::new(ROOT).join("deploy/example");
    SERVER.get_or_init(|| block_on(serve(&example))).grpc_addr.to_string()
}

impl Example {
    fn run(&self) {
        let command = self.command.replace("127.0.0.1:50051", &addr());
        let program = program();
        let tools = env::var("ECS_AUTHZ_GRPCURL").unwrap_or_default();
        let folders =
            [program.parent(), Path::new(&tools).parent()].into_iter().flatten().map(Path::to_owned);
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(folders.chain(env::split_paths(&path))).expect("a search path");
        let output = Command::new("bash").args(["-c", &command]).current_dir(ROOT).env("PATH", path).output();
        let shown = String::from_utf8(output.expect("bash").stdout).expect("UTF-8");
        match (json(&shown), json(&self.output)) {
            (Some(shown), Some(expected)) => assert_eq!(shown, expected),
            _ => assert_eq!(shown, self.output),
        }
    }
}

/// Output as JSON without what differs each time, if it is JSON.
fn json(text: &str) -> Option<Value> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    value.as_object_mut()?.remove("decisionId")?;
    Some(value)
}

fn links_lead_somewhere() {
    let targets = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let mut count = 0;
    for target in targets.filter(|target| !target.starts_with("http")) {
        assert!(Path::new(ROOT).join(target).exists(), "{target}");
        count += 1;
    }
    assert!(count > 10);
}
