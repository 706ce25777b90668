//! What a server is told to be: the file that describes every option, the layers, and what `ecs-authz config` prints of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use ecs_authz::config::{Config, schema};
use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{program, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        the_shipped_file_holds_the_defaults,
        the_shipped_file_describes_every_option,
        the_shipped_schema_is_that_of_the_program,
        flags_win_over_variables_over_the_file,
        credentials_are_not_printed,
        a_server_takes_its_options_from_the_file,
        faults_are_told_with_their_place
    ]
}

const SHIPPED: &str = include_str!("../../deploy/config.toml");

fn the_shipped_file_holds_the_defaults() {
    assert_eq!(toml::from_str::<Config>(SHIPPED).unwrap(), Config::default());
}

/// The file with what stands behind one `#`: prose has a blank after it. Behind two is what excludes another option.
fn uncommented() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(option) if option.starts_with([' ', ':']) || option.is_empty() => String::new(),
        Some(option) => option.trim_start_matches('#').to_owned() + "\n",
        None => line.to_owned() + "\n",
    };
    SHIPPED.lines().map(uncomment).collect()
}

fn the_shipped_file_describes_every_option() {
    let text = uncommented();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let of_file = serde_json::to_value(&table).unwrap();
    let mut missing = BTreeSet::new();
    collect_missing(&schema(), &of_file, "", &mut missing);
    assert_eq!(missing, BTreeSet::new(), "options that deploy/config.toml does not tell");
    // And all of it is understood, with one of two that exclude each other.
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("config.toml");
    let possible: Vec<&str> = text.lines().filter(|line| !line.starts_with("url_file")).collect();
    fs::write(&path, possible.join("\n")).unwrap();
    Config::load(&path).unwrap();
}

fn collect_missing(schema: &Value, found: &Value, path: &str, missing: &mut BTreeSet<String>) {
    for (name, option) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match found.get(name) {
            Some(found) => collect_missing(option, found, &path, missing),
            None => drop(missing.insert(path)),
        }
    }
}

fn the_shipped_schema_is_that_of_the_program() {
    let out = Command::new(program()).args(["config", "--schema"]).output().unwrap();
    let printed = String::from_utf8(out.stdout).unwrap();
    let shipped = include_str!("../../deploy/config.schema.json");
    assert!(printed == shipped, "run `ecs-authz config --schema >deploy/config.schema.json`");
}

type Variables = &'static [(&'static str, &'static str)];

/// What `ecs-authz config` prints, or what it says is wrong.
fn config(text: &str, variables: Variables, flags: &[&str]) -> Result<String, String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let mut command = Command::new(program());
    command.arg("config").arg("--config").arg(&path).args(flags);
    // As the one who runs the tests may have set it.
    let out = command.env_remove("ECS_AUTHZ_DATABASE_URL").envs(variables.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(dir.path().to_str().unwrap(), "DIR");
    if out.status.success() { Ok(text(out.stdout)) } else { Err(text(out.stderr)) }
}

fn flags_win_over_variables_over_the_file() {
    let text = "policies = 'p'\nregion = 'file'\n[http]\naddr = '127.0.0.1:1'\n[cache]\nmib = 1\n";
    let shown = config(
        text,
        &[("ECS_AUTHZ_HTTP_ADDR", "127.0.0.1:2"), ("ECS_AUTHZ_CACHE_MIB", "2")],
        &["--cache-mib", "3"],
    )
    .unwrap();
    for line in [
        "policies = \"DIR/p\" # the configuration file",
        "region = \"file\" # the configuration file",
        "addr = \"127.0.0.1:2\" # ECS_AUTHZ_HTTP_ADDR",
        "mib = 3 # --cache-mib",
        "max_stale_seconds = 60",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no `{line}` in\n{shown}");
    }
    // What is printed can be a file in turn.
    assert!(config(&shown.replace("DIR/", ""), &[], &[]).unwrap().contains("mib = 3"), "{shown}");
}

fn credentials_are_not_printed() {
    const URL: &str = "postgresql://alice:s3cret@db.example/policies";
    let of_variable = config("", &[("ECS_AUTHZ_DATABASE_URL", URL)], &[]).unwrap();
    let of_file = config(&format!("database.url = '{URL}'"), &[], &[]).unwrap();
    for shown in [of_variable, of_file] {
        assert!(shown.contains("url = \"postgresql://db.example:5432/policies\""), "{shown}");
        assert!(!shown.contains("s3cret") && !shown.contains("alice"), "{shown}");
    }
}

fn a_server_takes_its_options_from_the_file() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("config.toml");
    fs::create_dir_all(dir.path().join("policies/acme")).unwrap();
    fs::write(dir.path().join("policies/acme/grants.toml"), "").unwrap();
    let text = "policies = 'policies'\n[grpc]\naddr = '127.0.0.1:0'\nsocket = 'socket'\n[http]\naddr = '127.0.0.1:0'\n";
    fs::write(&path, text).unwrap();
    let mut server = Command::new(program())
        .args(["serve", "--config", path.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let is_served = dir.path().join("socket").exists();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(line.starts_with("ready on 127.0.0.1:"), "{line}");
    assert!(is_served, "no socket beside the file");
}

fn faults_are_told_with_their_place() {
    let cases: [(&str, Variables, &[&str], &str); 8] = [
        ("\n[grpc]\nadress = 'x'\n", &[], &[], "DIR/config.toml:3: unknown field `adress`"),
        ("[grpc\n", &[], &[], "DIR/config.toml:1: "),
        ("", &[("ECS_AUTHZ_MAX_STALE_SECONDS", "soon")], &[], "invalid value 'soon'"),
        ("", &[("ECS_AUTHZ_TLS_MINIMUM_VERSION", "1.1")], &[], "ECS_AUTHZ_TLS_MINIMUM_VERSION: "),
        ("", &[], &[], "expected exactly one of --policies and --database-url"),
        (
            "policies = 'p'\n[database]\nurl_file = 'u'\n",
            &[],
            &[],
            "database.url_file: `DIR/u` can't be read: No such file",
        ),
        (
            "[database]\nconnections = 0\n",
            &[],
            &[],
            "DIR/config.toml: database.connections: expected 1 to 1000",
        ),
        ("policies = 'p'\n", &[], &["--database-url", "postgresql://h/n"], "expected exactly one of"),
    ];
    for (text, variables, flags, expected) in cases {
        let error = config(text, variables, flags).unwrap_err();
        assert!(error.contains(expected), "{text:?} {variables:?} {flags:?}: {error}");
    }
}
