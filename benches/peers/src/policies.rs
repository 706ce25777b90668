//! The policies of the comparison, as documents for us and as statements that others can be told.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ecs_authz::catalog::{Action, Catalog};
use ecs_authz::decision::Effect;
use ecs_authz::request::PrincipalParts;
use serde_json::json;

use crate::Outcome;
use crate::mix::grant;

/// A policy: what it allows, and what it denies.
pub(crate) struct Policy {
    pub(crate) name: String,
    allow: Vec<String>,
    deny: Vec<String>,
}

/// A statement as others are told it: names and patterns in lower case, each once. What a pattern covers by an older name of an
/// action stands there by its own name, because others know one name of an action.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) effect: Effect,
    pub(crate) patterns: Vec<String>,
}

/// The policies of each principal. The first four are about all that the mix asks; the others mostly repeat them, and deny
/// what nobody asks for, as most policies do most of the time.
pub(crate) fn policies(count: usize) -> Vec<Policy> {
    let first = [
        policy("reader", &["ecs:*:get*", "ecs:*:list*", "ims:*:get"], &["ecs:serverKeypairs:*"]),
        policy(
            "operator",
            &["ecs:servers:start", "ecs:servers:reboot", "ecs:cloudServers:re*", "ecs:*Servers:create*"],
            &["ecs:servers:resize", "ecs:*:delete*"],
        ),
        policy("network", &["vpc:*:*", "ecs:serverInterfaces:*", "ecs:cloudServers:*Nics"], &["vpc:ports:*"]),
        policy(
            "storage",
            &["evs:volumes:*", "ecs:serverVolume*:*", "ecs:cloudServers:put"],
            &["evs:*:delete"],
        ),
    ];
    let verbs = ["start", "stop", "reboot", "lock"];
    let numbered = verbs.iter().cycle().enumerate().map(|(number, verb)| {
        let verb = format!("ecs:servers:{verb}");
        policy(
            &format!("plain-{number}"),
            &["ecs:*:get*", "ecs:*:list*", &verb],
            &[&format!("obs:bucket{number}:*")],
        )
    });
    first.into_iter().chain(numbered).take(count).collect()
}

fn policy(name: &str, allow: &[&str], deny: &[&str]) -> Policy {
    let owned = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    Policy { name: name.to_owned(), allow: owned(allow), deny: owned(deny) }
}

impl Policy {
    /// The document that we read.
    pub(crate) fn document(&self) -> serde_json::Value {
        json!({"Version": "1.1", "Statement": [
            {"Effect": "Allow", "Action": self.allow},
            {"Effect": "Deny", "Action": self.deny},
        ]})
    }

    /// The statements that others are told.
    pub(crate) fn statements(&self, catalog: &Catalog) -> [Statement; 2] {
        [(Effect::Allow, &self.allow), (Effect::Deny, &self.deny)].map(|(effect, patterns)| {
            let folded: BTreeSet<String> = patterns.iter().map(|pattern| pattern.to_lowercase()).collect();
            let covers = |name: &str| folded.iter().any(|pattern| covers(pattern, name));
            let by_older_name =
                |action: &Action| !covers(&folded_name(action)) && action.folded_names().any(covers);
            let added = catalog.actions().filter(|(_, action)| by_older_name(action));
            let patterns: Vec<String> =
                folded.iter().cloned().chain(added.map(|(_, action)| folded_name(action))).collect();
            Statement { effect, patterns }
        })
    }
}

/// All statements of some policies.
pub(crate) fn statements(policies: &[Policy], catalog: &Catalog) -> Vec<Statement> {
    policies.iter().flat_map(|policy| policy.statements(catalog)).collect()
}

/// The name by which others know an action.
pub(crate) fn folded_name(action: &Action) -> String {
    action.name.to_lowercase()
}

impl Statement {
    /// Whether the statement is about an action.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| covers(pattern, name))
    }
}

/// Whether a pattern covers a name. Both have two colons, so a `*` that takes one leaves too few for the rest.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.as_bytes(), name.as_bytes());
    // Where to go on behind the last `*`.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([b'*', after @ ..], _) => {
                retry = Some((after, name));
                pattern = after;
            }
            ([expected, pattern_rest @ ..], [found, name_rest @ ..]) if expected == found => {
                (pattern, name) = (pattern_rest, name_rest);
            }
            ([], []) => return true,
            _ => match retry {
                Some((after, [_, from @ ..])) => {
                    retry = Some((after, from));
                    (pattern, name) = (after, from);
                }
                _ => return false,
            },
        }
    }
}

/// Writes the directory that we read: a group has all policies.
pub(crate) fn write(folder: &Path, policies: &[Policy], principal: &PrincipalParts) -> Outcome<()> {
    let folder = folder.join(&principal.domain_id);
    fs::create_dir_all(folder.join("policies"))?;
    let group = principal.group_ids.first().ok_or("the principal is in no group")?;
    let mut grants = String::new();
    for policy in policies {
        let file = folder.join("policies").join(&policy.name).with_extension("json");
        fs::write(file, policy.document().to_string())?;
        grants += &grant(group, &policy.name);
    }
    Ok(fs::write(folder.join("grants.toml"), grants)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for pattern in ["ecs:*:get*", "ecs:servers:*", "*:servers:get", "ecs:*:*et", "ecs:servers:get"] {
            assert!(covers(pattern, "ecs:servers:get"), "{pattern}");
        }
        for pattern in ["ecs:*:gets*", "ecs:server:*", "evs:*:*", "ecs:servers:ge", "*:server*:list"] {
            assert!(!covers(pattern, "ecs:servers:get"), "{pattern}");
        }
    }

    #[test]
    fn what_an_older_name_covers_is_told_by_its_own_name() {
        let catalog = Catalog::published().unwrap();
        let [allow, deny] =
            policy("p", &["ecs:cloudServers:put"], &["ecs:cloudServers:update*"]).statements(&catalog);
        let expected =
            ["ecs:cloudservers:put", "ecs:cloudservers:batchsetservertags", "ecs:cloudservers:updateserver"];
        assert_eq!(allow.patterns, expected);
        assert_eq!(deny.patterns, ["ecs:cloudservers:update*"]);
    }

    #[test]
    fn more_policies_begin_with_the_fewer() {
        let names = |count| policies(count).into_iter().map(|policy| policy.name).collect::<Vec<_>>();
        let all = names(1_000);
        assert_eq!(all.len(), 1_000);
        assert_eq!(names(4), all[..4]);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }
}
