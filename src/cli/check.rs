//! `ecs-authz check`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{CommandError, DENY, DependencyModeArg, SUCCESS, TableArgs, explanation};
use crate::catalog::{Body, BodySummary};
use crate::clock;
use crate::grpc::pb;
use crate::grpc::render::{self, Rendering, reason_name};
use crate::pdp::Defaults;
use crate::request::{Context, ENTERPRISE_PROJECT, PrincipalParts, Request, RequestParts};
use crate::server::{StartError, compose_pdp, load_catalog};
use crate::store::directory::DirectoryStore;

/// One principal needs no more.
const CACHE_BYTES: u64 = 1_024 * 1_024;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The HTTP method of the call
    method: String,
    /// The path of the call, query included
    path: String,
    /// The directory of policies
    #[arg(long, value_name = "DIR", env = "ECS_AUTHZ_POLICIES")]
    policies: PathBuf,
    /// The principal's account
    #[arg(long, value_name = "ID")]
    domain: String,
    /// The principal, if it is a user
    #[arg(long, value_name = "ID", required_unless_present = "agency", conflicts_with = "agency")]
    user: Option<String>,
    /// The principal, if it is an agency
    #[arg(long, value_name = "ID")]
    agency: Option<String>,
    /// The project that the principal's token is scoped to
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// A group of the user, besides those of the policy directory; may be repeated
    #[arg(long = "group", value_name = "ID")]
    groups: Vec<String>,
    /// A role in the principal's token; may be repeated
    #[arg(long = "role", value_name = "NAME")]
    roles: Vec<String>,
    /// The account's name
    #[arg(long, value_name = "NAME")]
    domain_name: Option<String>,
    /// The user's name
    #[arg(long, value_name = "NAME")]
    user_name: Option<String>,
    /// The project's name
    #[arg(long, value_name = "NAME")]
    project_name: Option<String>,
    /// Whether the principal signed in with a second factor
    #[arg(long, value_name = "BOOL")]
    mfa: Option<bool>,
    /// The address that the call comes from
    #[arg(long, value_name = "IP")]
    source_ip: Option<String>,
    /// A value of a condition key; may be repeated, also for one key
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// The region of the API
    #[arg(long, value_name = "NAME", env = "ECS_AUTHZ_REGION")]
    region: Option<String>,
    /// The enterprise project of the resource
    #[arg(long, value_name = "ID")]
    enterprise_project: Option<String>,
    /// The body of the call
    #[arg(long, value_name = "JSON", conflicts_with = "body_keys")]
    body: Option<String>,
    /// A top-level key of the body, instead of the body; may be repeated
    #[arg(long = "body-key", value_name = "KEY")]
    body_keys: Vec<String>,
    /// What dependency actions do to the decision
    #[arg(long, value_name = "MODE", default_value = "report", env = "ECS_AUTHZ_DEPENDENCY_MODE")]
    dependency_mode: DependencyModeArg,
    /// Tell of each statement what kept it from applying, and the smallest grant that would allow the call
    #[arg(long)]
    explain: bool,
    /// Print the answer as JSON, as grpcurl prints it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tables: TableArgs,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as ecs:VpcId=vpc-1")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn run(args: CheckArgs, out: &mut dyn Write) -> Result<u8, CommandError> {
    let catalog = Arc::new(load_catalog(&args.tables.tables)?);
    let store = DirectoryStore::open(&args.policies, catalog.clone()).map_err(StartError::from)?;
    let defaults = Defaults { dependency_mode: args.dependency_mode.into(), region: args.region.clone() };
    let pdp = compose_pdp(catalog, Arc::new(store), defaults, CACHE_BYTES);
    let (is_json, explain) = (args.json, args.explain);
    let request = Request::new(args.into()).map_err(|error| CommandError::Usage(error.to_string()))?;

    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let response =
        runtime.block_on(pdp.decide(&request)).map_err(|error| CommandError::Undecided(error.to_string()))?;
    let rendering = Rendering { explain, ..Default::default() };
    let rendered = render::response(&response, pdp.catalog(), rendering);
    if is_json {
        writeln!(out, "{:#}", to_json(&rendered))?;
    } else {
        print_text(&rendered, out)?;
    }
    Ok(if response.decision().is_allow() { SUCCESS } else { DENY })
}

impl From<CheckArgs> for RequestParts {
    fn from(args: CheckArgs) -> Self {
        let body = match args.body {
            Some(body) => Body::Content { bytes: body.into_bytes(), truncated: false },
            None if args.body_keys.is_empty() => Body::Absent,
            None => Body::Summary(BodySummary { top_level_keys: args.body_keys, ..Default::default() }),
        };
        let mut attributes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let enterprise_project = args.enterprise_project.map(|id| (ENTERPRISE_PROJECT.to_owned(), id));
        for (key, value) in args.attributes.into_iter().chain(enterprise_project) {
            attributes.entry(key).or_default().push(value);
        }
        Self {
            principal: PrincipalParts {
                domain_id: args.domain,
                user_id: args.user.unwrap_or_default(),
                agency_id: args.agency.unwrap_or_default(),
                project_id: args.project.unwrap_or_default(),
                domain_name: args.domain_name.unwrap_or_default(),
                user_name: args.user_name.unwrap_or_default(),
                project_name: args.project_name.unwrap_or_default(),
                mfa_present: args.mfa,
                group_ids: args.groups,
                role_names: args.roles,
            },
            method: args.method,
            path: args.path,
            body,
            context: Context {
                source_ip: args.source_ip.unwrap_or_default(),
                attributes,
                time: clock::now(),
                region: String::new(),
            },
            dependency_mode: args.dependency_mode.into(),
            min_revision: 0,
        }
    }
}

fn print_text(response: &pb::AuthorizeResponse, out: &mut dyn Write) -> Result<(), CommandError> {
    match response.decision() {
        pb::Decision::Allow => writeln!(out, "ALLOW")?,
        _ => writeln!(out, "DENY {}: {}", reason_name(response.reason()), response.message)?,
    }
    if let Some(operation) = &response.operation {
        writeln!(out, "operation   {}", operation.title)?;
        writeln!(out, "route       {} {}", operation.method, operation.route)?;
        writeln!(out, "action      {}", operation.actions.join(" and "))?;
    }
    // Of a call that names no object there is nothing to tell.
    if !response.resource.is_empty() && !response.resource.ends_with(":*:*") {
        writeln!(out, "resource    {}", response.resource)?;
    }
    for statement in &response.statements {
        let (policy, index) = (&statement.policy, statement.statement_index);
        let effect = statement.effect().as_str_name().trim_start_matches("EFFECT_").to_lowercase();
        writeln!(out, "statement   {effect} by statement {index} of policy `{policy}`")?;
    }
    for dependency in &response.dependencies {
        let decision = match dependency.decision() {
            pb::Decision::Allow => "allowed".to_owned(),
            _ => format!("not allowed ({})", reason_name(dependency.reason())),
        };
        writeln!(out, "dependency  {}  {decision}", dependency.action)?;
    }
    response.explanation.as_ref().map_or(Ok(()), |it| explanation::print_text(it, out))
}

/// The canonical JSON of the message, as grpcurl prints it: absent where the value is the default.
fn to_json(response: &pb::AuthorizeResponse) -> Value {
    let operation = response.operation.as_ref().map(|operation| {
        object([
            ("title", json!(operation.title)),
            ("method", json!(operation.method)),
            ("route", json!(operation.route)),
            ("bodyKey", json!(operation.body_key)),
            ("actions", json!(operation.actions)),
        ])
    });
    let dependencies = response.dependencies.iter().map(|dependency| {
        object([
            ("action", json!(dependency.action)),
            ("decision", json!(dependency.decision().as_str_name())),
            ("reason", reason_json(dependency.reason())),
        ])
    });
    let statements = response.statements.iter().map(explanation::statement_json);
    object([
        ("decision", json!(response.decision().as_str_name())),
        ("reason", reason_json(response.reason())),
        ("message", json!(response.message)),
        ("action", json!(response.action)),
        ("operation", operation.unwrap_or_default()),
        ("resource", json!(response.resource)),
        ("dependencies", dependencies.collect()),
        ("missingDependencies", json!(response.missing_dependencies)),
        ("statements", statements.collect()),
        // 64-bit integers are strings in the JSON of protobuf.
        ("revision", if response.revision == 0 { Value::Null } else { json!(response.revision.to_string()) }),
        ("explanation", response.explanation.as_ref().map(explanation::to_json).unwrap_or_default()),
    ])
}

fn reason_json(reason: pb::DenyReason) -> Value {
    if reason == pb::DenyReason::Unspecified { Value::Null } else { json!(reason.as_str_name()) }
}

/// An object without its default values.
pub(super) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let is_default = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_u64() == Some(0),
        _ => false,
    };
    let kept = members.into_iter().filter(|(_, value)| !is_default(value));
    kept.map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
}
