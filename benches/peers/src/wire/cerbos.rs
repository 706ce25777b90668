//! Cerbos: one resource policy with a rule for each statement, and the actions of a call in one `CheckResources`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use ecs_authz::decision::Effect;
use prost::Message;
use serde_json::{Value, json};

use super::asking::Asking;
use super::client::{Call, Kind, Reader, Workload, frame, grpc_head};
use super::process::{Core, Server, command, free_port};
use crate::Outcome;
use crate::policies::{Policy, Statement, folded_name, statements};
use crate::questions::{Asked, Question};

const CHECK: &str = "/cerbos.svc.v1.CerbosService/CheckResources";
const KIND: &str = "ecs";
/// All rules are for one role: Cerbos lets any of several roles allow, whatever another one denies.
const ROLE: &str = "member";

/// A fresh server over these policies.
pub(super) fn start(program: &Path, policies: &[Policy], asking: &Asking<'_>) -> Outcome<Server> {
    let files = tempfile::tempdir()?;
    let (grpc, http) = (free_port()?, free_port()?);
    let folder = files.path().join("policies");
    fs::create_dir_all(&folder)?;
    let statements = statements(policies, asking.catalog);
    fs::write(folder.join("ecs.json"), policy(&statements).to_string())?;
    let config = json!({
        "server": {"grpcListenAddr": format!("127.0.0.1:{grpc}"), "httpListenAddr": format!("127.0.0.1:{http}")},
        "storage": {"driver": "disk", "disk": {"directory": folder, "watchForChanges": false}},
        "telemetry": {"disabled": true},
    });
    let file = files.path().join("config.json");
    fs::write(&file, config.to_string())?;
    let mut command = command(Core::Server, program);
    command.args(["server", "--log-level=error"]).arg(format!("--config={}", file.display()));
    command.env("CERBOS_NO_TELEMETRY", "1");
    Server::start(command, files, grpc)
}

fn policy(statements: &[Statement]) -> Value {
    let rule = |Statement { effect, patterns }: &Statement| {
        let effect = match effect {
            Effect::Allow => "EFFECT_ALLOW",
            Effect::Deny => "EFFECT_DENY",
        };
        json!({"actions": patterns, "effect": effect, "roles": [ROLE]})
    };
    let rules: Vec<Value> = statements.iter().map(rule).collect();
    json!({
        "apiVersion": "api.cerbos.dev/v1",
        "resourcePolicy": {"resource": KIND, "version": "default", "rules": rules},
    })
}

/// The actions that are asked for, of each call.
pub(super) fn check_resources(asking: &Asking<'_>, asked: Asked) -> Outcome<Workload> {
    let (mut calls, mut names) = (Vec::new(), Vec::new());
    for (question, expected) in asking.iter() {
        let names_of = |asked| -> Vec<String> {
            let actions = question.actions(asked).filter_map(|id| asking.catalog.action(id));
            actions.map(folded_name).collect()
        };
        let actions = names_of(asked);
        calls.push(call(question, &actions, expected.answers(asked))?);
        names.push((names_of(Asked::Required).len(), actions));
    }
    let read: Reader = Box::new(move |number, reply| {
        let (required, actions) = names.get(number).ok_or("no such call")?;
        read(&CheckResourcesResponse::decode(reply.body.clone())?, *required, actions)
    });
    Ok(Workload { calls, kind: Kind::Grpc, read })
}

fn call(question: &Question, actions: &[String], expected: Vec<bool>) -> Outcome<Call> {
    let principal = &question.parts.principal;
    let resource = Resource { kind: KIND.to_owned(), id: "server".to_owned() };
    let request = CheckResourcesRequest {
        principal: Some(Principal { id: principal.user_id.clone(), roles: vec![ROLE.to_owned()] }),
        resources: vec![ResourceEntry { actions: actions.to_vec(), resource: Some(resource) }],
    };
    Ok(Call { head: grpc_head(CHECK)?, body: frame(&request)?, name: question.name(), expected })
}

/// First whether all that is required is allowed, then the dependencies.
fn read(response: &CheckResourcesResponse, required: usize, actions: &[String]) -> Outcome<Vec<bool>> {
    let [entry] = &response.results[..] else { return Err("expected one result".into()) };
    let effects = actions.iter().map(|action| match entry.actions.get(action) {
        Some(&EFFECT_ALLOW) => Ok(true),
        Some(&EFFECT_DENY) => Ok(false),
        other => Err(format!("{action}: {other:?} is no effect").into()),
    });
    let effects = effects.collect::<Outcome<Vec<bool>>>()?;
    let (required, dependencies) = effects.split_at_checked(required).ok_or("actions are missing")?;
    let decision = required.iter().all(|is_allowed| *is_allowed);
    Ok([decision].iter().chain(dependencies).copied().collect())
}

/// `cerbos.effect.v1.Effect`
const EFFECT_ALLOW: i32 = 1;
const EFFECT_DENY: i32 = 2;

/// `cerbos.request.v1.CheckResourcesRequest`, as far as it is used; the others likewise.
#[derive(Clone, PartialEq, Message)]
struct CheckResourcesRequest {
    #[prost(message, optional, tag = "3")]
    principal: Option<Principal>,
    #[prost(message, repeated, tag = "4")]
    resources: Vec<ResourceEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct Principal {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "3")]
    roles: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceEntry {
    #[prost(string, repeated, tag = "1")]
    actions: Vec<String>,
    #[prost(message, optional, tag = "2")]
    resource: Option<Resource>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "3")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResourcesResponse {
    #[prost(message, repeated, tag = "2")]
    results: Vec<ResultEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct ResultEntry {
    #[prost(map = "string, int32", tag = "2")]
    actions: HashMap<String, i32>,
}
