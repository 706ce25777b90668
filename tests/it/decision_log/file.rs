//! The file: rotated, moved away, replaced, and cut off.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use libtest_mimic::Trial;
use tokio::task::JoinSet;

use super::{Logged, PolicyDir, authorize, lines, on_server, parse, to_file};
use crate::support::{block_on, client, trials};

pub(super) fn trials() -> Vec<Trial> {
    trials![
        rotation_under_load_loses_and_tears_no_line,
        as_many_rotated_files_are_kept_as_configured,
        a_file_that_is_moved_away_is_made_again,
        a_file_is_opened_again_when_asked,
        others_may_not_read_the_file,
        a_line_that_was_cut_off_by_a_crash_stays_alone,
        a_file_that_can_not_be_opened_is_an_error_at_the_start,
    ]
}

/// Decides so many times from several connections at once. The ids of the decisions.
fn decide(log: &Logged, connections: usize, calls: usize) -> BTreeSet<String> {
    block_on(async {
        let mut callers = JoinSet::new();
        for _ in 0..connections {
            let mut client = client(&log.server).await;
            callers.spawn(async move {
                let mut ids = Vec::new();
                for _ in 0..calls {
                    let answer = client.authorize(on_server("os-start")).await.expect("an answer");
                    ids.push(answer.into_inner().decision_id);
                }
                ids
            });
        }
        callers.join_all().await.into_iter().flatten().collect()
    })
}

fn ids(path: &Path) -> Vec<String> {
    lines(path).iter().map(|line| parse(line)["decision_id"].as_str().expect("an id").to_owned()).collect()
}

fn rotation_under_load_loses_and_tears_no_line() {
    let log = Logged::start(&to_file("", "rotate_bytes = 20000\nkeep = 200"));
    let answered = decide(&log, 4, 300);
    let folder = log.path();
    let folder = folder.parent().unwrap();
    let files = || {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_string_lossy().contains("decisions.log")).collect::<Vec<_>>()
    };
    // The folder goes with the server's.
    block_on(log.server.stop(super::PATIENCE)).unwrap();
    assert!(files().len() > 2, "{:?}", files());
    let recorded: Vec<String> = files().iter().flat_map(|path| ids(path)).collect();
    assert_eq!(recorded.len(), answered.len(), "each once");
    assert_eq!(recorded.into_iter().collect::<BTreeSet<_>>(), answered);
}

fn as_many_rotated_files_are_kept_as_configured() {
    let dir = PolicyDir::new();
    for (name, text) in [("decisions.log", "0\n"), ("decisions.log.1", "1\n"), ("decisions.log.2", "2\n")] {
        dir.write(name, text);
    }
    let log = Logged::start_in(dir, &to_file("", "rotate_bytes = 1\nkeep = 2"));
    let path = log.path();
    let answered = decide(&log, 1, 1);
    block_on(log.server.stop(super::PATIENCE)).unwrap();
    assert_eq!(ids(&path).into_iter().collect::<BTreeSet<_>>(), answered);
    let rotated =
        |number| fs::read_to_string(path.with_extension(format!("log.{number}"))).unwrap_or_default();
    assert_eq!([rotated(1), rotated(2), rotated(3)], ["0\n", "1\n", ""]);
}

/// Waits until so many records are written.
fn await_written(log: &Logged, count: u64) {
    let is_written = || log.server.decision_log.counters().sinks[0].written >= count;
    while !is_written() {
        std::thread::yield_now();
    }
}

fn a_file_that_is_moved_away_is_made_again() {
    let log = Logged::start(&to_file("", ""));
    let before = decide(&log, 1, 3);
    await_written(&log, 3);
    let moved = log.path().with_extension("moved");
    fs::rename(log.path(), &moved).unwrap();
    let after = decide(&log, 1, 3);
    await_written(&log, 6);
    assert_eq!(ids(&moved).into_iter().collect::<BTreeSet<_>>(), before);
    assert_eq!(ids(&log.path()).into_iter().collect::<BTreeSet<_>>(), after);
}

fn a_file_is_opened_again_when_asked() {
    let log = Logged::start(&to_file("", ""));
    fs::remove_file(log.path()).unwrap();
    log.server.decision_log.reopen();
    while !log.path().exists() {
        std::thread::yield_now();
    }
    authorize(&log, on_server("os-start")).unwrap();
    assert_eq!(log.stop().len(), 1);
}

fn others_may_not_read_the_file() {
    let log = Logged::start(&to_file("", ""));
    let mode = fs::metadata(log.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o027, 0, "{mode:o}");
}

fn a_line_that_was_cut_off_by_a_crash_stays_alone() {
    let dir = PolicyDir::new();
    dir.write("decisions.log", "{\"v\":1,\"kind\":\"dec");
    let log = Logged::start_in(dir, &to_file("", ""));
    authorize(&log, on_server("os-start")).unwrap();
    let lines = log.stop();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], "{\"v\":1,\"kind\":\"dec");
    assert_eq!(parse(&lines[1])["decision"], "allow");
}

fn a_file_that_can_not_be_opened_is_an_error_at_the_start() {
    let dir = PolicyDir::new();
    dir.write("config.toml", "[decision_log.file]\npath = \"no/such/folder.log\"");
    let config = ecs_authz::config::Config::load(&dir.path().join("config.toml")).unwrap();
    let policies = super::policies();
    let config = ecs_authz::server::ServerConfig { config, ..super::config_of(&policies) };
    let error = block_on(ecs_authz::server::RunningServer::start(config)).unwrap_err().to_string();
    assert!(error.contains("the decision log `") && error.contains("no/such/folder.log"), "{error}");
}
