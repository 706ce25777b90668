//! Resources and conditions as tables: what a row says of them is asked in an Allow and in a Deny.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Case, Mode, PrincipalEntry};
use crate::reference::{Answer, Outcome};

/// What limits a statement, and what it comes to in different circumstances.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    /// Names the policies, and starts the names of the cases.
    name: String,
    resource: Option<Vec<String>>,
    /// As in a policy.
    condition: Option<String>,
    rows: Vec<Row>,
}

/// A call by which rows ask.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    method: String,
    path: String,
    action: String,
    #[serde(default)]
    dependencies: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    is: Told,
    /// One of the file's; the list of servers if a row has none.
    call: Option<String>,
    /// Instead of the call's.
    path: Option<String>,
    content: Option<String>,
    body_keys: Option<Vec<String>>,
    attributes: Option<BTreeMap<String, Vec<String>>>,
    truncated: Option<bool>,
    #[serde(default)]
    encoded: bool,
    #[serde(default)]
    principal: PrincipalEntry,
    #[serde(default)]
    source_ip: String,
    #[serde(default)]
    context: BTreeMap<String, Vec<String>>,
    time: Option<String>,
    #[serde(default)]
    region: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Met,
    NotMet,
    Unclear,
}

impl Limit {
    /// Two policies by name: one that allows everything within the limit, and one that allows everything and denies
    /// it within the limit.
    pub(super) fn policies(&self) -> Result<[(String, Value); 2], String> {
        let Self { name, resource, condition, .. } = self;
        let limited = |effect: &str| -> Result<Value, String> {
            let mut statement = json!({"Effect": effect, "Action": ["*"]});
            if let Some(resource) = resource {
                statement["Resource"] = json!(resource);
            }
            if let Some(condition) = condition {
                statement["Condition"] =
                    serde_json::from_str(condition).map_err(|error| format!("limit `{name}`: {error}"))?;
            }
            Ok(statement)
        };
        let all = json!({"Effect": "Allow", "Action": ["*"]});
        let document = |statements: Value| json!({"Version": "1.1", "Statement": statements});
        Ok([
            (name.clone(), document(json!([limited("Allow")?]))),
            (format!("{name}_denies"), document(json!([all, limited("Deny")?]))),
        ])
    }

    /// Two cases of each row.
    pub(super) fn cases(self, calls: &BTreeMap<String, Call>) -> Result<Vec<Case>, String> {
        let list = Call {
            method: "GET".to_owned(),
            path: "/v1/p1/cloudservers/detail".to_owned(),
            action: "ecs:cloudServers:list".to_owned(),
            dependencies: Vec::new(),
        };
        let mut cases = Vec::new();
        for row in self.rows {
            let call = match &row.call {
                None => &list,
                Some(name) => calls.get(name).ok_or_else(|| format!("expected a call `{name}`"))?,
            };
            cases.extend([row.in_an_allow(&self.name, call), row.in_a_deny(&self.name, call)]);
        }
        Ok(cases)
    }
}

impl Row {
    /// What can't be told does not allow.
    fn in_an_allow(&self, limit: &str, call: &Call) -> Case {
        let reason = (self.is != Told::Met).then_some("NO_MATCHING_ALLOW");
        let statement = (self.is == Told::Met).then(|| format!("{limit}[0]"));
        self.case(limit, limit.to_owned(), "in_an_allow", call, reason, statement)
    }

    /// What can't be told denies.
    fn in_a_deny(&self, limit: &str, call: &Call) -> Case {
        let reason = (self.is != Told::NotMet).then_some("EXPLICIT_DENY");
        let policy = format!("{limit}_denies");
        let statement = format!("{policy}[{}]", if reason.is_some() { 1 } else { 0 });
        self.case(limit, policy, "in_a_deny", call, reason, Some(statement))
    }

    fn case(
        &self,
        limit: &str,
        policy: String,
        place: &str,
        call: &Call,
        reason: Option<&str>,
        statement: Option<String>,
    ) -> Case {
        let told = match self.is {
            Told::Met => "met",
            Told::NotMet => "not_met",
            Told::Unclear => "unclear",
        };
        let word = reason.unwrap_or("allow");
        let dependencies = call.dependencies.iter();
        Case {
            name: format!("{limit}_{}_is_{told}_{place}", self.name),
            method: call.method.clone(),
            path: self.path.clone().unwrap_or_else(|| call.path.clone()),
            content: self.content.clone(),
            content_hex: None,
            body_keys: self.body_keys.clone(),
            attributes: self.attributes.clone(),
            truncated: self.truncated,
            encoded: self.encoded,
            principal: PrincipalEntry { role_names: Some(vec![policy]), ..self.principal.clone() },
            dependency_mode: Mode::Report,
            enterprise_project: None,
            source_ip: self.source_ip.clone(),
            context: self.context.clone(),
            time: self.time.clone(),
            region: self.region.clone(),
            expect: Outcome {
                decision: if reason.is_some() { Answer::Deny } else { Answer::Allow },
                reason: reason.map(ToOwned::to_owned),
                action: call.action.clone(),
                dependencies: dependencies.map(|name| (name.clone(), word.to_owned())).collect(),
                statement,
            },
        }
    }
}
