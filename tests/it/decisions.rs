//! Decisions as data: each case of `decisions/*.toml` is decided three times, each a reported result.
//!
//! - `decisions::compiled::<file>::<case>`: in process, by the decision point that the server is built from.
//! - `decisions::reference::<file>::<case>`: by the slow evaluator of `reference.rs`.
//! - `decisions::server::<file>::<case>`: by a real server for all cases of a region, over gRPC. What the wire has no
//!   place for is not asked: a `time`, and an `encoded` body.
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
//! domain_name = "Acme"                  # also user_name, project_name
//! mfa_present = true
//! group_ids = []
//! role_names = []
//!
//! [[case]]
//! name = "a_start_is_allowed"           # says the promise; unique in the file
//! method = "POST"
//! path = "/v2.1/p1/servers/s1/action"
//! content = '{"os-start": {}}'          # the body: `content`, or `content_hex` for bytes that are no text,
//!                                       # or its summary: `body_keys`, `attributes`; `truncated` with any of them;
//!                                       # or `encoded = true`
//! principal = { project_id = "p1" }     # replaces these fields of the file's principal; "" takes one away
//! dependency_mode = "enforce"           # or "report", which is the default
//! enterprise_project = "ep1"            # where the call goes: an attribute `g:EnterpriseProjectId`
//! source_ip = "192.0.2.7"
//! context = { "g:TagKeys" = ["a"] }     # attributes: values of condition keys
//! time = "2026-03-01T12:00:00Z"         # or "unknown"; by default it is now
//! region = "eu-de"                      # of who answers; by default it is not known
//!
//! [case.expect]
//! decision = "allow"                    # or "invalid" and nothing more; or "deny", and then:
//! # reason = "EXPLICIT_DENY"            # the wire's name without DENY_REASON_
//! action = "ecs:servers:start"          # none if the call is no known operation
//! statement = "starter[0]"              # the statement that decided; none if no statement is about the action
//! dependencies = { "ecs:servers:list" = "NO_MATCHING_ALLOW" }   # all of them: "allow", or why not
//! ```
//!
//! What limits a statement can be given with a table of circumstances instead. Each row is two cases, for what can't be
//! told never allows and always denies: the policy `string_equals` allows everything within the limit, and
//! `string_equals_denies` allows everything and denies it within the limit. Dependencies are to come out alike.
//!
//! ```toml
//! [calls]                               # by name, for rows that don't list servers
//! attach = { method = "POST", path = "/v1/p1/cloudservers/s1/attachvolume", action = "ecs:cloudServers:attach",
//!   dependencies = ["evs:volumes:use"] }
//!
//! [[limit]]
//! name = "string_equals"
//! condition = '{"StringEquals": {"g:ResourceTag/color": ["blue"]}}'
//! resource = ["ecs:*:*:instance:s1"]    # of both, one can be left out
//! rows = [                              # with `call`, another `path` than the call's, and what cases have
//!   { name = "with_another_value", context = { "g:ResourceTag/color" = ["red"] }, is = "not_met" },
//! ]                                     # or "met", "unclear"
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use ecs_authz::pdp::Defaults;
use ecs_authz::pdp::Pdp;
use ecs_authz::server::{RunningServer, ServerConfig};
use libtest_mimic::Trial;
use serde::Deserialize;

use limit::{Call, Limit};

use crate::evaluators;
use crate::reference::{
    self, Body, Domain, ENTERPRISE_PROJECT, Grant, Group, Outcome, Principal, Question, Time,
};
use crate::support::{self, Client, PolicyDir, block_on, from_hex, toml_files, trial};

mod limit;

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
    #[serde(default)]
    case: Vec<Case>,
    #[serde(default)]
    calls: BTreeMap<String, Call>,
    #[serde(default)]
    limit: Vec<Limit>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalEntry {
    domain_id: Option<String>,
    domain_name: Option<String>,
    user_id: Option<String>,
    user_name: Option<String>,
    agency_id: Option<String>,
    project_id: Option<String>,
    project_name: Option<String>,
    mfa_present: Option<bool>,
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
    encoded: bool,
    #[serde(default)]
    principal: PrincipalEntry,
    #[serde(default)]
    dependency_mode: Mode,
    enterprise_project: Option<String>,
    #[serde(default)]
    source_ip: String,
    #[serde(default)]
    context: BTreeMap<String, Vec<String>>,
    time: Option<String>,
    #[serde(default)]
    region: String,
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
    /// By region; an empty one is not known.
    servers: BTreeMap<String, OnceLock<(RunningServer, Client)>>,
    policies: OnceLock<PolicyDir>,
}

/// Every case three times, and every file that can't be read as a failure of its own.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut world = World {
        domains: BTreeMap::new(),
        files: BTreeMap::new(),
        compiled: OnceLock::new(),
        servers: BTreeMap::new(),
        policies: OnceLock::new(),
    };
    let mut asks = Vec::new();
    for (stem, text) in toml_files("decisions") {
        match parse(&stem, &text) {
            Ok(Parsed { domain, files, cases }) => {
                world.domains.insert(stem.clone(), domain);
                world.files.extend(files);
                let regions = cases.iter().map(|ask| ask.question.region.clone());
                world.servers.extend(regions.map(|region| (region, OnceLock::new())));
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
            if evaluator == "server" && !evaluators::is_for_server(&ask.question) {
                continue;
            }
            let (world, ask) = (world.clone(), ask.clone());
            let name = format!("decisions::{evaluator}::{stem}::{}", ask.name);
            trials.push(trial(name, move || hold(&ask, &decide(&world, &ask))));
        }
    }
    trials
}

/// A file, read.
struct Parsed {
    domain: Domain,
    /// The domain's files of the policy directory.
    files: Vec<(String, String)>,
    cases: Vec<Ask>,
}

fn parse(stem: &str, text: &str) -> Result<Parsed, String> {
    let CaseFile { mut policies, group, grant, principal, mut case, calls, limit } =
        toml::from_str(text).map_err(|error| error.to_string())?;
    for limit in limit {
        for (name, document) in limit.policies()? {
            if policies.insert(name.clone(), document.to_string()).is_some() {
                return Err(format!("expected one policy `{name}`"));
            }
        }
        case.extend(limit.cases(&calls)?);
    }
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
        domain_name: text(&own.domain_name, &default.domain_name),
        user_id: text(&own.user_id, &default.user_id),
        user_name: text(&own.user_name, &default.user_name),
        agency_id: text(&own.agency_id, &default.agency_id),
        project_id: text(&own.project_id, &default.project_id),
        project_name: text(&own.project_name, &default.project_name),
        mfa_present: own.mfa_present.or(default.mfa_present),
        group_ids: list(&own.group_ids, &default.group_ids),
        role_names: list(&own.role_names, &default.role_names),
    };
    let body = body(&case)?;
    let time = match case.time.as_deref() {
        None => Time::Now,
        Some("unknown") => Time::Unknown,
        Some(date) => Time::At(reference::seconds(date).ok_or("expected a time like 2026-03-01T12:00:00Z")?),
    };
    let Case { name, method, path, dependency_mode, expect, source_ip, region, .. } = case;
    let enforce = dependency_mode == Mode::Enforce;
    let mut attributes = case.context;
    attributes.extend(case.enterprise_project.map(|id| (ENTERPRISE_PROJECT.to_owned(), vec![id])));
    let question = Question { principal, method, path, body, enforce, source_ip, attributes, time, region };
    Ok(Ask { name, question, expected: expect })
}

fn body(case: &Case) -> Result<Body, String> {
    let truncated = case.truncated.unwrap_or_default();
    let is_summary = case.body_keys.is_some() || case.attributes.is_some();
    match (&case.content, &case.content_hex, is_summary) {
        (None, None, false) if case.encoded && case.truncated.is_none() => Ok(Body::Encoded),
        _ if case.encoded => Err("expected nothing of a body that is encoded".to_owned()),
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
    let region = &ask.question.region;
    let (_, client) = world.servers[region].get_or_init(|| {
        block_on(async {
            let region = Some(region.clone()).filter(|region| !region.is_empty());
            let defaults = Defaults { region, ..Default::default() };
            let config = ServerConfig { defaults, ..support::config(world.policies()) };
            let server = RunningServer::start(config).await.expect("a server");
            let client = support::client(&server).await;
            (server, client)
        })
    });
    evaluators::by_server(client, &ask.name, &ask.question)
}
