//! Decisions as data: each case of `decisions/*.toml` is decided three times, each a reported result.
//!
//! - `decisions::compiled::<file>::<case>`: in process, by the decision point that the server is built from.
//! - `decisions::reference::<file>::<case>`: by the slow evaluator of `reference.rs`.
//! - `decisions::server::<file>::<case>`: by one real server for all cases, over gRPC.
//!
//! A file is one domain, whose id is the file's stem:
//!
//! ```toml
//! [policies]                            # by name, each a policy document
//! starter = '''{"Version": "1.1", "Statement": [{"Effect": "Allow", "Action": ["ecs:servers:start"]}]}'''
//!
//! [[grant]]                             # `[[group]]` and `[[grant]]` exactly as in grants.toml
//! subject = { user = "alice" }
//! policy = "starter"
//! scope = "all_projects"
//!
//! [principal]                           # who calls, unless a case says otherwise; `domain_id` can be given too
//! user_id = "alice"                     # or agency_id
//! project_id = "p1"
//! group_ids = []
//! role_names = []
//!
//! [[case]]
//! name = "a_start_is_allowed"           # says the promise; unique in the file
//! method = "POST"
//! path = "/v2.1/p1/servers/s1/action"
//! content = '{"os-start": {}}'          # the body: `content`, or `content_hex` for bytes that are no text,
//!                                       # or its summary: `body_keys`, `attributes`; `truncated` with any of them
//! principal = { project_id = "p1" }     # replaces these fields of the file's principal; "" takes one away
//! dependency_mode = "enforce"           # or "report", which is the default
//! enterprise_project = "ep1"            # where the call goes
//!
//! [case.expect]
//! decision = "allow"                    # or "deny", and then:
//! # reason = "EXPLICIT_DENY"            # the wire's name without DENY_REASON_
//! action = "ecs:servers:start"          # none if the call is no known operation
//! statement = "starter[0]"              # the statement that decided; none if no statement is about the action
//! dependencies = { "ecs:servers:list" = "NO_MATCHING_ALLOW" }   # all of them: "allow", or why not
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ecs_authz::pdp::Pdp;
use ecs_authz::server::RunningServer;
use libtest_mimic::Trial;
use serde::Deserialize;

use crate::evaluators;
use crate::reference::{self, Body, Domain, Grant, Group, Outcome, Principal, Question};
use crate::support::{self, Client, PolicyDir, block_on, trial};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    #[serde(default)]
    policies: BTreeMap<String, String>,
    #[serde(default)]
    group: Vec<Group>,
    #[serde(default)]
    grant: Vec<Grant>,
    principal: PrincipalEntry,
    case: Vec<Case>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalEntry {
    domain_id: Option<String>,
    user_id: Option<String>,
    agency_id: Option<String>,
    project_id: Option<String>,
    group_ids: Option<Vec<String>>,
    role_names: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    method: String,
    path: String,
    content: Option<String>,
    content_hex: Option<String>,
    body_keys: Option<Vec<String>>,
    attributes: Option<BTreeMap<String, Vec<String>>>,
    truncated: Option<bool>,
    #[serde(default)]
    principal: PrincipalEntry,
    #[serde(default)]
    dependency_mode: Mode,
    enterprise_project: Option<String>,
    expect: Outcome,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Report,
    Enforce,
}

/// One case, ready to be asked.
#[derive(Debug)]
struct Ask {
    name: String,
    question: Question,
    expected: Outcome,
}

type Evaluator = fn(&World, &Ask) -> Outcome;

/// All domains, and who decides over them. What is slow to make is made by the first case that needs it, and the
/// last case takes all of it away.
struct World {
    domains: BTreeMap<String, Domain>,
    /// The policy directory of all domains: text by path.
    files: BTreeMap<String, String>,
    compiled: OnceLock<Pdp>,
    server: OnceLock<(RunningServer, Client)>,
    policies: OnceLock<PolicyDir>,
}

/// Every case three times, and every file that can't be read as a failure of its own.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut world = World {
        domains: BTreeMap::new(),
        files: BTreeMap::new(),
        compiled: OnceLock::new(),
        server: OnceLock::new(),
        policies: OnceLock::new(),
    };
    let mut asks = Vec::new();
    for (stem, text) in case_files() {
        match parse(&stem, &text) {
            Ok(Parsed { domain, files, cases }) => {
                world.domains.insert(stem.clone(), domain);
                world.files.extend(files);
                asks.extend(cases.into_iter().map(|ask| (stem.clone(), Arc::new(ask))));
            }
            Err(fault) => {
                trials.push(trial(format!("decisions::file::{stem}"), move || panic!("{fault}")));
            }
        }
    }
    let world = Arc::new(world);
    let evaluators: [(&str, Evaluator); 3] =
        [("compiled", by_compiled), ("reference", by_reference), ("server", by_server)];
    for (evaluator, decide) in evaluators {
        for (stem, ask) in &asks {
            let (world, ask) = (world.clone(), ask.clone());
            let name = format!("decisions::{evaluator}::{stem}::{}", ask.name);
            trials.push(trial(name, move || hold(&ask, &decide(&world, &ask))));
        }
    }
    trials
}

/// Stem and text of each file.
fn case_files() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/decisions");
    let entries = fs::read_dir(folder).expect("the folder of cases");
    let paths = entries.map(|entry| entry.expect("a file").path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let stem = |path: &Path| path.file_stem().expect("a stem").to_string_lossy().into_owned();
    files.map(|path| (stem(&path), fs::read_to_string(&path).expect("text"))).collect()
}

/// A file, read.
struct Parsed {
    domain: Domain,
    /// The domain's files of the policy directory.
    files: Vec<(String, String)>,
    cases: Vec<Ask>,
}

fn parse(stem: &str, text: &str) -> Result<Parsed, String> {
    let CaseFile { policies, group, grant, principal, case } =
        toml::from_str(text).map_err(|error| error.to_string())?;
    let mut domain = Domain { policies: BTreeMap::new(), groups: group, grants: grant };
    let mut files = vec![(format!("{stem}/grants.toml"), reference::grants_file(&domain))];
    for (name, text) in policies {
        let document = serde_json::from_str(&text).map_err(|error| format!("policy `{name}`: {error}"))?;
        files.push((format!("{stem}/policies/{name}.json"), text));
        domain.policies.insert(name, document);
    }
    let mut cases = Vec::new();
    let mut names = BTreeSet::new();
    for case in case {
        let name = case.name.clone();
        let is_snake_case =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !is_snake_case || !names.insert(name.clone()) {
            return Err(format!("expected a name in snake case that stands once, found `{name}`"));
        }
        cases.push(ask(stem, &principal, case).map_err(|fault| format!("case `{name}`: {fault}"))?);
    }
    Ok(Parsed { domain, files, cases })
}

fn ask(domain_id: &str, default: &PrincipalEntry, case: Case) -> Result<Ask, String> {
    let text = |own: &Option<String>, default: &Option<String>| {
        own.as_ref().or(default.as_ref()).cloned().unwrap_or_default()
    };
    let list = |own: &Option<Vec<String>>, default: &Option<Vec<String>>| {
        own.as_ref().or(default.as_ref()).cloned().unwrap_or_default()
    };
    let own = &case.principal;
    let domain_id = Some(domain_id.to_owned());
    let principal = Principal {
        domain_id: text(&own.domain_id, &default.domain_id.clone().or(domain_id)),
        user_id: text(&own.user_id, &default.user_id),
        agency_id: text(&own.agency_id, &default.agency_id),
        project_id: text(&own.project_id, &default.project_id),
        group_ids: list(&own.group_ids, &default.group_ids),
        role_names: list(&own.role_names, &default.role_names),
    };
    let body = body(&case)?;
    let Case { name, method, path, dependency_mode, enterprise_project, expect, .. } = case;
    let enforce = dependency_mode == Mode::Enforce;
    let question = Question { principal, method, path, body, enforce, enterprise_project };
    Ok(Ask { name, question, expected: expect })
}

fn body(case: &Case) -> Result<Body, String> {
    let truncated = case.truncated.unwrap_or_default();
    let is_summary = case.body_keys.is_some() || case.attributes.is_some();
    match (&case.content, &case.content_hex, is_summary) {
        (None, None, false) if case.truncated.is_none() => Ok(Body::None),
        (None, None, _) => Ok(Body::Summary {
            keys: case.body_keys.clone().unwrap_or_default(),
            attributes: case.attributes.clone().unwrap_or_default(),
            truncated,
        }),
        (Some(text), None, false) => Ok(Body::Content { bytes: text.clone().into_bytes(), truncated }),
        (None, Some(digits), false) => Ok(Body::Content { bytes: from_hex(digits)?, truncated }),
        _ => Err("expected one of `content`, `content_hex` and a summary".to_owned()),
    }
}

/// Bytes from hexadecimal digits; white space between them is for people.
fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: String = text.split_whitespace().collect();
    let pair = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes = (0..digits.len()).step_by(2).map(pair);
    bytes.collect::<Option<_>>().ok_or_else(|| "expected pairs of hexadecimal digits".to_owned())
}

/// Fails with every difference between what was observed and what the case expects.
fn hold(ask: &Ask, observed: &Outcome) {
    let Outcome { decision, reason, action, dependencies, statement } = &ask.expected;
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: String, observed: String| {
        if expected != observed {
            differences.push(format!("  {what}: expected {expected}, found {observed}"));
        }
    };
    compare("decision", format!("{decision:?}"), format!("{:?}", observed.decision));
    compare("reason", format!("{reason:?}"), format!("{:?}", observed.reason));
    compare("action", format!("{action:?}"), format!("{:?}", observed.action));
    compare("statement", format!("{statement:?}"), format!("{:?}", observed.statement));
    let names: BTreeSet<&String> = dependencies.keys().chain(observed.dependencies.keys()).collect();
    for name in names {
        let shown = |found: Option<&String>| found.map_or("none".to_owned(), Clone::clone);
        let (expected, observed) = (dependencies.get(name), observed.dependencies.get(name));
        compare(&format!("dependency {name}"), shown(expected), shown(observed));
    }
    let Question { method, path, .. } = &ask.question;
    assert!(differences.is_empty(), "{method} {path} came out otherwise:\n{}", differences.join("\n"));
}

impl World {
    /// The policy directory with all domains, written when it is first needed.
    fn policies(&self) -> &Path {
        let write = || {
            let dir = PolicyDir::new();
            for (path, text) in &self.files {
                dir.write(path, text);
            }
            dir
        };
        self.policies.get_or_init(write).path()
    }
}

fn by_reference(world: &World, ask: &Ask) -> Outcome {
    reference::decide(&world.domains, &ask.question)
}

fn by_compiled(world: &World, ask: &Ask) -> Outcome {
    let pdp = world.compiled.get_or_init(|| evaluators::pdp(world.policies()));
    evaluators::by_pdp(pdp, &ask.question)
}

fn by_server(world: &World, ask: &Ask) -> Outcome {
    let (_, client) = world.server.get_or_init(|| {
        block_on(async {
            let server = support::serve(world.policies()).await;
            let client = support::client(&server).await;
            (server, client)
        })
    });
    evaluators::by_server(client, &ask.name, &ask.question)
}
