//! `ecs-authz serve`, and the calls that it gets.

use std::fs;
use std::path::Path;

use ecs_authz::catalog::Body;
use ecs_authz::grpc::pb;
use prost::Message as _;

use super::asking::{Asking, Expected};
use super::client::{Call, Kind, Reader, Workload, frame, grpc_head};
use super::process::{Core, Server, command, free_port};
use crate::Outcome;
use crate::policies::{self, Policy};
use crate::questions::{Asked, Question};

const AUTHORIZE: &str = "/ecs.authz.v1.AuthorizationService/Authorize";

/// As an operator would configure it behind Envoy, with time for a machine that is busy.
const CONFIG: &str = r#"
[limits]
decision_budget_ms = 10000
[log]
level = "warn"
[[ext_authz.principal]]
source = "jwt_metadata"
payload_key = "jwt_payload"
[ext_authz.principal.claims]
domain_id = "domain.id"
user_id = "sub"
project_id = "project.id"
group_ids = "groups"
"#;

/// A fresh server over these policies.
pub(super) fn start(program: &Path, policies: &[Policy], asking: &Asking<'_>) -> Outcome<Server> {
    let files = tempfile::tempdir()?;
    let (folder, config) = (files.path().join("policies"), files.path().join("config.toml"));
    policies::write(&folder, policies, asking.principal())?;
    fs::write(&config, CONFIG)?;
    let port = free_port()?;
    let mut command = command(Core::Server, program);
    command.arg("serve").arg("--config").arg(config).arg("--policies").arg(folder);
    command.args(["--grpc-addr", &format!("127.0.0.1:{port}"), "--http-addr", "127.0.0.1:0"]);
    Server::start(command, files, port)
}

/// `Authorize`, which always tells of the dependencies, too.
pub(super) fn authorize(asking: &Asking<'_>, asked: Asked) -> Outcome<Workload> {
    let call = |(question, expected): (&Question, &Expected)| {
        Ok(Call {
            head: grpc_head(AUTHORIZE)?,
            body: frame(&request(question))?,
            name: question.name(),
            expected: expected.answers(asked),
        })
    };
    let calls = asking.iter().map(call).collect::<Outcome<_>>()?;
    let read: Reader =
        Box::new(move |_, reply| read(&pb::AuthorizeResponse::decode(reply.body.clone())?, asked));
    Ok(Workload { calls, kind: Kind::Grpc, read })
}

fn request(question: &Question) -> pb::AuthorizeRequest {
    let parts = &question.parts;
    let body = match &parts.body {
        Body::Content { bytes, .. } => {
            Some(pb::BodySummary { content: Some(bytes.clone()), ..Default::default() })
        }
        _ => None,
    };
    let principal = &parts.principal;
    pb::AuthorizeRequest {
        principal: Some(pb::Principal {
            domain_id: principal.domain_id.clone(),
            user_id: principal.user_id.clone(),
            project_id: principal.project_id.clone(),
            group_ids: principal.group_ids.clone(),
            ..Default::default()
        }),
        method: parts.method.clone(),
        path: parts.path.clone(),
        body,
        ..Default::default()
    }
}

fn read(response: &pb::AuthorizeResponse, asked: Asked) -> Outcome<Vec<bool>> {
    let mut answers = vec![is_allow(response.decision)?];
    if asked == Asked::All {
        for dependency in &response.dependencies {
            answers.push(is_allow(dependency.decision)?);
        }
    }
    Ok(answers)
}

fn is_allow(decision: i32) -> Outcome<bool> {
    match pb::Decision::try_from(decision) {
        Ok(pb::Decision::Allow) => Ok(true),
        Ok(pb::Decision::Deny) => Ok(false),
        _ => Err(format!("{decision} is no decision").into()),
    }
}
