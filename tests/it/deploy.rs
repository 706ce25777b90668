//! What is in `deploy/`, read by those who will read it: helm and kubeconform, systemd, docker-compose, hadolint, Envoy,
//! promtool, and the program itself.
//!
//! `scripts/test` installs them. Without one, its tests are reported as ignored.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::program;

mod compose;
mod dashboard;
pub(crate) mod guide;
mod image;
mod kubernetes;
mod systemd;

pub(crate) fn trials() -> Vec<Trial> {
    [
        compose::trials(),
        dashboard::trials(),
        guide::trials(),
        image::trials(),
        kubernetes::trials(),
        systemd::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A file or folder below `deploy/`.
fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join("deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("deploy/{name}: {error}"))
}

/// The tool that `scripts/test` names by this variable.
fn tool(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from)
}

/// Marks tests that need a tool which is not there.
fn needing<const N: usize>(variables: [&str; N], trials: Vec<Trial>) -> impl Iterator<Item = Trial> {
    let is_missing = variables.into_iter().any(|variable| tool(variable).is_none());
    trials.into_iter().map(move |trial| trial.with_ignored_flag(is_missing))
}

/// A command that has to succeed: what it prints.
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

/// The documents of a YAML file. What is empty is none.
fn yaml(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The one document of a YAML file.
fn one_yaml(text: &str) -> Value {
    let [document] = <[Value; 1]>::try_from(yaml(text)).expect("one document");
    document
}

/// The words of a list of texts.
fn words(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|word| word.as_str().expect("text")).collect()
}

/// Whether the program takes these arguments. It reads all of them before it shows its help.
fn assert_arguments(args: &[&str]) {
    succeed(Command::new(program()).args(args).arg("--help"));
}

/// The most seconds that a server with this configuration takes to stop.
fn stop_seconds(config: &str) -> u64 {
    let shutdown = kubernetes::read(config).shutdown;
    shutdown.delay_seconds + shutdown.limit_seconds
}

/// The variables that a command of the program reads.
fn variables(command: &[&str]) -> BTreeSet<String> {
    let output = succeed(Command::new(program()).args(command).arg("--help"));
    let help = String::from_utf8(output.stdout).expect("text");
    let named = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
    named.map(str::to_owned).collect()
}
