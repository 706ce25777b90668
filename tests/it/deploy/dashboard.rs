//! The dashboard: what it asks of Prometheus.

use std::collections::BTreeSet;
use std::process::Command;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{needing, succeed, text, tool};
use crate::metrics::form::{is_metric, names, scrape};
use crate::support::{block_on, trials};

pub(super) fn trials() -> Vec<Trial> {
    let trials = trials![panels_are_about_metrics_that_there_are, panels_lie_side_by_side];
    let asked = needing(["ECS_AUTHZ_PROMTOOL"], trials![promtool_reads_each_question]);
    trials.into_iter().chain(asked).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&text("grafana/ecs-authz.json")).expect("JSON")
}

/// The title and the question of each target.
fn questions() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels");
    let questions = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        assert!(panel["type"] == "row" || !targets.is_empty(), "{title} asks nothing");
        targets
            .into_iter()
            .map(move |target| (title.clone(), target["expr"].as_str().expect("a question").to_owned()))
    });
    questions.collect()
}

fn panels_are_about_metrics_that_there_are() {
    let (_, body) = block_on(scrape());
    let there_are = names(&body);
    let questions = questions();
    let mut asked = BTreeSet::new();
    for (title, question) in &questions {
        let words = question.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(is_metric).map(|name| name.trim_end_matches("_bucket")) {
            assert!(there_are.contains(name), "{title}: {name}");
            asked.insert(name);
        }
        // Each is about the replicas that were chosen.
        let selectors = question.matches('{').count();
        assert_eq!(question.matches(r#"job=~"$job", instance=~"$instance""#).count(), selectors, "{title}");
    }
    // Whoever adds a metric decides whether it is shown.
    let unseen: Vec<&&str> = there_are.iter().filter(|name| !asked.contains(**name)).collect();
    assert_eq!(unseen, [&"grpc_server_started_total"], "what is not shown");
}

fn panels_lie_side_by_side() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another one", panel["title"]);
        }
    }
}

fn promtool_reads_each_question() {
    let rules: Vec<Value> = questions()
        .into_iter()
        .enumerate()
        .map(|(index, (_, question))| {
            let question =
                question.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*");
            json!({"record": format!("question_{index}:of:dashboard"), "expr": question})
        })
        .collect();
    let count = rules.len();
    assert!(count > 30, "{count}");
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("rules.yaml");
    // JSON is YAML.
    std::fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    let promtool = tool("ECS_AUTHZ_PROMTOOL").expect("promtool: else the test is ignored");
    let output = succeed(Command::new(promtool).args(["check", "rules"]).arg(file));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("{count} rules found")), "{said}");
}
