//! The unit, read by systemd itself.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;
use tempfile::TempDir;

use super::{assert_arguments, path, succeed, text, variables};
use crate::support::{program, trials};

/// The most exposure that systemd may find, in tenths: 20 is what it calls safe.
const MAX_EXPOSURE: u32 = 15;

pub(super) fn trials() -> Vec<Trial> {
    let trials = trials![the_unit_starts_the_program_as_it_is_told, the_unit_gives_a_stop_its_time];
    let is_missing = Command::new("systemd-analyze").arg("--version").output().is_err();
    let by_systemd = trials![
        systemd_knows_every_word_of_the_unit,
        the_unit_is_hardened,
        the_user_and_the_folders_are_made_as_the_unit_needs_them,
    ];
    let by_systemd = by_systemd.into_iter().map(move |trial| trial.with_ignored_flag(is_missing));
    trials.into_iter().chain(by_systemd).collect()
}

/// The values of a setting of the unit.
fn all(name: &str) -> Vec<String> {
    let prefix = format!("{name}=");
    text("systemd/ecs-authz.service")
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
        .collect()
}

fn only(name: &str) -> String {
    let [value] = <[String; 1]>::try_from(all(name)).unwrap_or_else(|values| panic!("{name}: {values:?}"));
    value
}

/// The unit in a folder of its own, with the program of this build, which has to be there.
fn installed(folder: &TempDir) -> std::path::PathBuf {
    let unit = text("systemd/ecs-authz.service");
    assert_eq!(unit.matches("ExecStart=/usr/local/bin/ecs-authz ").count(), 1);
    let unit = unit.replace("=/usr/local/bin/ecs-authz ", &format!("={} ", program().display()));
    let file = folder.path().join("ecs-authz.service");
    fs::write(&file, unit).expect("the unit");
    file
}

fn systemd_knows_every_word_of_the_unit() {
    let folder = TempDir::new().expect("a folder");
    let mut verify = Command::new("systemd-analyze");
    let output =
        succeed(verify.args(["verify", "--man=no", "--recursive-errors=no"]).arg(installed(&folder)));
    // What it does not know it passes over, and says so.
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

fn the_unit_is_hardened() {
    let folder = TempDir::new().expect("a folder");
    let threshold = format!("--threshold={MAX_EXPOSURE}");
    let mut security = Command::new("systemd-analyze");
    succeed(security.args(["security", "--offline=true", "--no-pager", &threshold]).arg(installed(&folder)));
}

fn the_unit_starts_the_program_as_it_is_told() {
    let start = only("ExecStart");
    let args: Vec<&str> = start.split(' ').skip(1).collect();
    assert_arguments(&args);
    let socket = args.iter().skip_while(|arg| **arg != "--grpc-socket").nth(1).expect("a socket");
    assert!(socket.starts_with(&format!("/run/{}/", only("RuntimeDirectory"))), "{socket}");
    assert!(only("EnvironmentFile").starts_with('-'), "options may all have their defaults");
    let known = variables(&["serve"]);
    let unit = text("systemd/ecs-authz.service");
    let named = unit
        .split(|c: char| !c.is_ascii_uppercase() && c != '_')
        .filter(|word| word.starts_with("ECS_AUTHZ_"));
    let unknown: Vec<&str> = named.filter(|name| *name != "ECS_AUTHZ_" && !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

fn the_unit_gives_a_stop_its_time() {
    let seconds: u64 = only("TimeoutStopSec").parse().expect("seconds");
    assert!(seconds > super::stop_seconds(""), "{seconds}");
    assert!(only("LimitNOFILE").parse::<u32>().expect("a number") >= 65_536);
}

fn the_user_and_the_folders_are_made_as_the_unit_needs_them() {
    // Owners are those of the machine, so only root can give them away.
    if !is_root() {
        return;
    }
    let root = TempDir::new().expect("a folder");
    fs::create_dir(root.path().join("etc")).expect("etc");
    let root_option = format!("--root={}", root.path().display());
    let mut sysusers = Command::new("systemd-sysusers");
    succeed(sysusers.arg(&root_option).arg(path("systemd/ecs-authz.sysusers")));
    let users = fs::read_to_string(root.path().join("etc/passwd")).expect("users");
    assert!(users.lines().any(|line| line.starts_with(&format!("{}:", only("User")))), "{users}");
    let mut tmpfiles = Command::new("systemd-tmpfiles");
    let output = succeed(tmpfiles.args(["--create", &root_option]).arg(path("systemd/ecs-authz.tmpfiles")));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(root.path().join("etc/ecs-authz/tls").is_dir());
}

fn is_root() -> bool {
    succeed(Command::new("id").arg("-u")).stdout.trim_ascii() == b"0"
}
