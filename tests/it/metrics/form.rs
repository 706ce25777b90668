//! What a scrape looks like.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use ecs_authz::server::{RunningServer, ServerConfig};
use libtest_mimic::Trial;

use super::{Scrape, action, directory};
use crate::ext_authz::parsed;
use crate::support::{block_on, client, config, http, serve, trials};

/// The alerts that are shipped.
const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yaml");

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        a_scrape_has_the_media_type_of_its_format,
        other_methods_than_reading_are_refused,
        the_process_is_told,
        each_metric_is_documented,
        alerts_are_about_metrics_that_there_are_and_say_what_to_do,
    ];
    let promtool =
        trials![promtool_finds_no_fault, promtool_reads_the_alerts, alerts_are_raised_by_what_they_are_about];
    let promtool = promtool.into_iter();
    let promtool =
        promtool.map(|trial| trial.with_ignored_flag(std::env::var("ECS_AUTHZ_PROMTOOL").is_err()));
    trials.into_iter().chain(promtool).collect()
}

/// A scrape of a server that has done something, and that keeps a log of it and traces.
pub(crate) async fn scrape() -> (String, String) {
    let dir = directory();
    let nobody = "collector = { endpoint = 'http://127.0.0.1:1' }";
    let of_file = parsed(&format!("[decision_log.otlp]\n{nobody}\n[traces]\n{nobody}"));
    let config = ServerConfig { config: of_file, ..config(dir.path()) };
    let server = RunningServer::start(config).await.expect("a server");
    client(&server).await.authorize(action("os-start")).await.unwrap();
    http(server.http_addr, "GET", "/metrics").await
}

fn a_scrape_has_the_media_type_of_its_format() {
    let (head, body) = block_on(scrape());
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(body.ends_with('\n'));
}

fn other_methods_than_reading_are_refused() {
    let dir = directory();
    block_on(async {
        let server = serve(dir.path()).await;
        let (head, body) = http(server.http_addr, "HEAD", "/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, "");
        for method in ["POST", "PUT", "DELETE"] {
            let (head, _) = http(server.http_addr, method, "/metrics").await;
            assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{head}");
            assert!(head.to_lowercase().contains("\r\nallow: get,head\r\n"), "{head}");
        }
    });
}

fn the_process_is_told() {
    let dir = directory();
    block_on(async {
        let seen = Scrape::of(&serve(dir.path()).await).await;
        let version = format!("ecs_authz_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        assert_eq!(seen.get(&version), 1.0);
        for name in ["resident_memory_bytes", "cpu_seconds_total", "open_fds", "max_fds"] {
            assert!(seen.get(&format!("process_{name}")) > 0.0, "{name}");
        }
        // 2026-01-01: it is seconds since 1970, of this clock.
        assert!(seen.get("process_start_time_seconds") > 1_767_225_600.0);
    });
}

/// The metrics of a scrape.
pub(crate) fn names(body: &str) -> BTreeSet<&str> {
    body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// Whether it is the name of a metric of ours.
pub(crate) fn is_metric(name: &&str) -> bool {
    ["ecs_authz_", "grpc_server_", "process_"].iter().any(|prefix| name.starts_with(prefix))
}

fn each_metric_is_documented() {
    let (_, body) = block_on(scrape());
    let rows = include_str!("../../../docs/telemetry.md").lines().filter_map(|line| line.strip_prefix("| `"));
    let named = rows.flat_map(|row| row.split(" | ").next().unwrap_or_default().split(['`', '{', ' ']));
    let documented: BTreeSet<&str> = named.filter(is_metric).collect();
    assert_eq!(documented, names(&body));
}

fn alerts_are_about_metrics_that_there_are_and_say_what_to_do() {
    let (_, body) = block_on(scrape());
    let words = ALERTS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_metric);
    let asked: BTreeSet<&str> = words.map(|name| name.trim_end_matches("_bucket")).collect();
    let missing: Vec<&str> = asked.difference(&names(&body)).copied().collect();
    assert!(asked.len() > 5 && missing.is_empty(), "{missing:?}");
    let count = |text: &str| ALERTS.matches(text).count();
    assert_eq!([count("summary:"), count("action:"), count("severity:")], [count("- alert:"); 3]);
}

/// Runs promtool on this input. It must have nothing to say on standard error.
fn promtool(args: &[&str], input: &str) {
    let promtool = std::env::var("ECS_AUTHZ_PROMTOOL").expect("promtool: else the test is ignored");
    let mut command = Command::new(promtool);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = command.spawn().expect("promtool");
    // Closed with the statement, which is the input's end.
    checking.stdin.take().expect("its input").write_all(input.as_bytes()).unwrap();
    let output = checking.wait_with_output().unwrap();
    let found = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && found.is_empty(), "{found}");
}

fn promtool_finds_no_fault() {
    let (_, body) = block_on(scrape());
    promtool(&["check", "metrics"], &body);
}

fn promtool_reads_the_alerts() {
    let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/alerts.yaml");
    promtool(&["check", "rules", alerts], "");
}

/// The rules on series as they would be, minute by minute.
fn alerts_are_raised_by_what_they_are_about() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/metrics");
    promtool(&["test", "rules", &format!("{folder}/alerts.test.yaml")], "");
}
