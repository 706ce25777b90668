//! What the pages show is real output: each command of their `console` blocks is run and its output compared.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::{env, fs};

use ecs_authz::server::RunningServer;
use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;

use crate::admin;
use crate::conformance::postgres::{Database, is_there};
use crate::deploy::guide::anchors;
use crate::edge::envoy;
use crate::support::{block_on, program, serve, trial, trials};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The pages for those who use it and change it. `deploy::guide` looks at those for who runs it.
const PAGES: [&str; 8] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/envoy.md",
    "docs/performance.md",
    "docs/policies.md",
    "docs/postgres.md",
    "docs/running.md",
    "docs/telemetry.md",
];

pub(crate) fn trials() -> Vec<Trial> {
    let examples: Vec<(&str, Example)> = PAGES
        .into_iter()
        .flat_map(|page| examples(&text(page)).into_iter().map(move |example| (page, example)))
        .collect();
    assert!(examples.len() >= 12, "the pages show fewer commands than they did");
    // The last test to hold it ends what the script started.
    let behind_envoy = Arc::new(OnceLock::new());
    let named = examples.into_iter().enumerate().map(|(index, (page, example))| {
        let tool = example.command.split_whitespace().next().unwrap_or_default().to_owned();
        // Without the tool, the command can't be run; `scripts/test` installs it.
        let is_missing = match tool.as_str() {
            "grpcurl" => env::var("ECS_AUTHZ_GRPCURL").is_err(),
            "curl" => envoy().is_none(),
            _ => false,
        };
        let is_missing = is_missing || (example.needs_database() && !is_there());
        let behind_envoy: Arc<OnceLock<BehindEnvoy>> = behind_envoy.clone();
        let run = move || match &example.command {
            command if command.contains(ENVOY_ADDR) => {
                example.run(ENVOY_ADDR, &behind_envoy.get_or_init(BehindEnvoy::start).addr, &[]);
            }
            _ if example.needs_database() => example.run_on_database(),
            _ => example.run(GRPC_ADDR, &addr(), &[]),
        };
        let page = page.trim_end_matches(".md").replace('/', "_").to_lowercase();
        trial(format!("pages::{page}_command_{index}_{tool}"), run).with_ignored_flag(is_missing)
    });
    let links = trials![links_lead_somewhere, no_page_is_forgotten];
    named.chain(links).collect()
}

fn text(page: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// Where the pages' servers are.
const GRPC_ADDR: &str = "127.0.0.1:50051";
const ENVOY_ADDR: &str = "127.0.0.1:10000";
const ADMIN_ADDR: &str = "127.0.0.1:50052";

/// What `scripts/try-envoy` starts.
struct BehindEnvoy {
    script: Child,
    addr: String,
}

impl BehindEnvoy {
    fn start() -> Self {
        // Free a moment ago: the script takes ports, not listeners.
        let listeners: Vec<TcpListener> = (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port().to_string());
        let names = ["ENVOY_PORT", "ADMIN_PORT", "API_PORT", "GRPC_PORT", "HTTP_PORT"];
        let mut command = Command::new("scripts/try-envoy");
        command.envs(names.into_iter().zip(ports)).env("ECS_AUTHZ", program()).current_dir(ROOT);
        drop(listeners);
        let mut script = command.stdout(Stdio::piped()).spawn().expect("the script");
        let mut ready = String::new();
        BufReader::new(script.stdout.take().expect("its output")).read_line(&mut ready).expect("a line");
        let addr = ready.strip_prefix("ready on ").and_then(|rest| rest.split(';').next());
        let addr = addr.unwrap_or_else(|| panic!("expected the ready line, found {ready:?}")).to_owned();
        Self { script, addr }
    }
}

impl Drop for BehindEnvoy {
    fn drop(&mut self) {
        // It ends what it started.
        let _told = Command::new("kill").arg(self.script.id().to_string()).status();
        let _ended = self.script.wait();
    }
}

struct Example {
    command: String,
    output: String,
}

/// The commands of the `console` blocks: from a `$` to the first line that does not go on, then the output.
fn examples(page: &str) -> Vec<Example> {
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
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
    fn needs_database(&self) -> bool {
        self.command.contains(ADMIN_ADDR) || self.command.contains(" sync ")
    }

    /// Runs the command on a database: an empty one, or the example's with a server for administrators.
    fn run_on_database(&self) {
        let (database, folder) = (Database::create(), TempDir::new().expect("a folder"));
        let url = [("ECS_AUTHZ_DATABASE_URL", database.url())];
        if !self.command.contains(ADMIN_ADDR) {
            return self.run(ADMIN_ADDR, "", &url);
        }
        let import = ["sync", "import", "deploy/example", "--apply"];
        let imported = Command::new(program()).args(import).envs(url).current_dir(ROOT).output();
        assert!(imported.expect("the program").status.success());
        let server = block_on(RunningServer::start(admin::with_token(&database, &folder))).expect("a server");
        let addr = server.admin_addr.expect("an admin listener").to_string();
        self.run(ADMIN_ADDR, &addr, &[("TOKEN", admin::TOKEN)]);
    }

    /// Runs the command with the test's server at the place of the page's.
    fn run(&self, shown_addr: &str, addr: &str, variables: &[(&str, &str)]) {
        let command = self.command.replace(shown_addr, addr);
        let program = program();
        let tools = env::var("ECS_AUTHZ_GRPCURL").unwrap_or_default();
        let folders =
            [program.parent(), Path::new(&tools).parent()].into_iter().flatten().map(Path::to_owned);
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(folders.chain(env::split_paths(&path))).expect("a search path");
        let mut bash = Command::new("bash");
        bash.args(["-c", &command]).current_dir(ROOT).env("PATH", path).envs(variables.iter().copied());
        let output = bash.output();
        let shown = String::from_utf8(output.expect("bash").stdout).expect("UTF-8");
        match (json(&shown), json(&self.output)) {
            (Some(shown), Some(expected)) => assert_eq!(shown, expected),
            // The API's own answers may end without a line break.
            _ => assert_eq!(shown.trim_end(), self.output.trim_end()),
        }
    }
}

/// Output as JSON without what differs each time, if it is JSON.
fn json(text: &str) -> Option<Value> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    value.as_object_mut()?.remove("decisionId");
    Some(value)
}

fn links_lead_somewhere() {
    let mut count = 0;
    for page in PAGES {
        let content = text(page);
        let path = Path::new(ROOT).join(page);
        let targets = content.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.starts_with("http")) {
            let (file, anchor) =
                target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            let file = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            assert!(file.exists(), "{page}: {target}");
            let is_heading = |anchor| anchors(&fs::read_to_string(&file).expect("a page")).contains(anchor);
            assert!(anchor.is_none_or(is_heading), "{page}: {target}");
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

fn no_page_is_forgotten() {
    let folder = fs::read_dir(Path::new(ROOT).join("docs")).expect("the folder");
    for entry in folder {
        let name = format!("docs/{}", entry.expect("an entry").file_name().display());
        assert!(PAGES.contains(&name.as_str()), "{name}");
    }
}
