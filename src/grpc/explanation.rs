//! An explanation on the wire, with the smallest grant that would allow the call.

use std::collections::BTreeSet;

use serde_json::json;

use super::pb;
use super::render::wire_statement;
use crate::catalog::{ActionId, Catalog};
use crate::decision::DenyReason;
use crate::policy::{Considered, Evaluation, FailedPart, Resource, ResourcePattern};

/// Renders what the statements said.
pub(super) fn render(evaluation: &Evaluation<'_>, catalog: &Catalog) -> Option<pb::Explanation> {
    let explanation = evaluation.explain()?;
    Some(pb::Explanation {
        considered: explanation.considered.into_iter().map(considered).collect(),
        smallest_grant: smallest_grant(evaluation, catalog).unwrap_or_default(),
    })
}

fn considered(considered: Considered) -> pb::ConsideredStatement {
    let Considered { statement, applies, failed } = considered;
    let failed = failed.into_iter().map(|part| {
        let FailedPart { element, wanted, found, is_unclear } = part;
        pb::FailedPart { element, wanted, found, unclear: is_unclear }
    });
    pb::ConsideredStatement { statement: Some(wire_statement(&statement)), applies, failed: failed.collect() }
}

/// The most resources of a statement (IAM.1040).
const MAX_RESOURCES: usize = 10;

/// A policy with nothing but what is missing, if it can be written. Where a statement denies, no grant helps.
fn smallest_grant(evaluation: &Evaluation<'_>, catalog: &Catalog) -> Option<String> {
    let reason = evaluation.decision.reason()?;
    let names = |actions: Vec<ActionId>| -> Vec<&str> {
        actions.into_iter().map(|action| catalog.action_name(action)).collect()
    };
    let is_unmatched =
        |action: &ActionId| evaluation.verdict(*action).denied() == Some(DenyReason::NoMatchingAllow);
    let operation = evaluation.call().operation;
    let statement = match reason {
        DenyReason::NoMatchingAllow => {
            let actions = names(operation.actions.iter().copied().filter(is_unmatched).collect());
            if operation.resource.is_some() {
                // Without one of them, the grant would be larger or not enough.
                let is_new = operation.resource.as_ref().is_some_and(|resource| resource.ids.is_none());
                let resources = evaluation.resources();
                let patterns = resources.iter().map(|resource| pattern(resource, is_new));
                let patterns = patterns.collect::<Option<BTreeSet<String>>>()?;
                let patterns = Some(patterns).filter(|patterns| patterns.len() <= MAX_RESOURCES)?;
                json!({"Effect": "Allow", "Action": actions, "Resource": patterns})
            } else {
                json!({"Effect": "Allow", "Action": actions})
            }
        }
        DenyReason::MissingDependency => {
            let missing: Vec<ActionId> = evaluation.missing_dependencies().collect();
            if !missing.iter().all(is_unmatched) {
                return None;
            }
            json!({"Effect": "Allow", "Action": names(missing)})
        }
        _ => return None,
    };
    Some(json!({"Version": "1.1", "Statement": [statement]}).to_string())
}

/// The pattern of one resource alone, if there is one: in any region where none is configured. An object that is made
/// has no id yet, so its pattern is that of its type.
fn pattern(resource: &Resource<'_>, is_new: bool) -> Option<String> {
    let Resource { service, region, account, kind, path } = resource;
    // A star in an id would be a pattern of more.
    let (kind, path) = ((*kind)?, path.as_deref().filter(|path| is_new || !path.contains('*'))?);
    let text = format!("{service}:{}:{account}:{kind}:{path}", region.unwrap_or("*"));
    ResourcePattern::parse(&text).is_ok().then_some(text)
}
