//! From questions to Cedar requests, and Cedar's answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::{Authorizer, Context, Decision, Entities, PolicySet, Request};
use serde_json::{Map, Value, json};

use super::generated::Call;
use super::policies::{statement_of, translated};
use crate::random::operations;
use crate::reference::{Domain, Principal, Question};

/// The global keys that a request says. Conditions on others have no translation.
pub(super) const DERIVED: [&str; 6] =
    ["g:DomainId", "g:DomainName", "g:ProjectName", "g:RequestedRegion", "g:ServiceName", "g:UserName"];

/// Cedar's authorizer, with the policies of a domain.
pub(super) struct Cedar<'a> {
    domain: &'a Domain,
    policies: PolicySet,
    /// The published actions, folded to lower case, each below its older name if it has one.
    actions: BTreeMap<String, Option<String>>,
}

/// What Cedar says of an action.
#[derive(Debug)]
pub(super) struct CedarRuling {
    /// `allow`, or in the words of the wire why not.
    pub(super) word: &'static str,
    /// All statements that say it, as `policy[index]`.
    pub(super) statements: BTreeSet<String>,
}

impl fmt::Display for Cedar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policies.policies().try_for_each(|policy| writeln!(f, "// {}\n{policy}", policy.id()))
    }
}

impl<'a> Cedar<'a> {
    pub(super) fn new(domain: &'a Domain) -> Self {
        Self { domain, policies: translated(domain), actions: actions() }
    }

    pub(super) fn ruling(&self, question: &Question, call: &Call, action: &str) -> CedarRuling {
        let action = action.to_lowercase();
        let entities =
            Entities::from_json_value(self.entities(question, call, &action), None).expect("entities");
        let context = Context::from_json_value(self.context(question, &action), None).expect("a context");
        let principal = principal(&question.principal);
        let uid = |(kind, id): (&str, &str)| format!("{kind}::{id:?}").parse().expect("a name");
        let request = Request::new(uid(principal), uid(("Action", &action)), uid(OBJECT), context, None)
            .expect("a request");
        let response = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        let errors: Vec<_> = response.diagnostics().errors().collect();
        assert!(errors.is_empty(), "Cedar skips what it can't evaluate: {errors:?}\n{self}");
        let statements: BTreeSet<_> = response.diagnostics().reason().map(statement_of).collect();
        let word = match response.decision() {
            Decision::Allow => "allow",
            Decision::Deny if statements.is_empty() => "NO_MATCHING_ALLOW",
            Decision::Deny => "EXPLICIT_DENY",
        };
        CedarRuling { word, statements }
    }

    /// The principal in its groups and roles, the object in its project, and the action below its older name.
    fn entities(&self, question: &Question, call: &Call, action: &str) -> Value {
        let Question { principal: who, region, .. } = question;
        let listed = self.domain.groups.iter().filter(|group| group.members.contains(&who.user_id));
        let groups = listed.map(|group| &group.id).chain(&who.group_ids).map(|id| name(("Group", id)));
        let roles = who.role_names.iter().map(|id| name(("TokenRole", id)));
        let object = call.object.as_ref().map_or(
            json!({}),
            |(kind, path)| json!({"region": region, "account": who.domain_id, "kind": kind, "path": path}),
        );
        let project = ("Project", who.project_id.as_str());
        let older = self.actions[action].iter().map(|older| name(("Action", older)));
        json!([
            {"uid": name(principal(who)), "attrs": {}, "parents": groups.chain(roles).collect::<Vec<_>>()},
            {"uid": name(OBJECT), "attrs": object, "parents": [name(project)]},
            {"uid": name(project), "attrs": {}, "parents": [name(("Projects", "all"))]},
            {"uid": name(("Action", action)), "attrs": {}, "parents": older.collect::<Vec<_>>()},
        ])
    }

    /// The action's names in parts, and what is known of keys: as it is, and in lower case.
    fn context(&self, question: &Question, action: &str) -> Value {
        let mut context = json!({"name": parts(action)});
        if let Some(older) = &self.actions[action] {
            context["older"] = parts(older);
        }
        let Question { principal: who, region, attributes, .. } = question;
        let service = action.split(':').next().expect("a service").to_owned();
        let derived = [&who.domain_id, &who.domain_name, &who.project_name, region, &service, &who.user_name];
        let mut keys: BTreeMap<&str, &str> = DERIVED.into_iter().zip(derived.map(String::as_str)).collect();
        for (key, values) in attributes {
            let [value] = &values[..] else { panic!("one value, and not {values:?}") };
            keys.insert(key, value);
        }
        assert!(keys.values().all(|value| !value.is_empty()), "all is known: {keys:?}");
        let folded: Map<String, Value> =
            keys.iter().map(|(key, value)| ((*key).to_owned(), value.to_lowercase().into())).collect();
        context["folded"] = folded.into();
        context["keys"] = json!(keys);
        context
    }
}

/// What a call touches: one object, whose attributes say what it is.
const OBJECT: (&str, &str) = ("Object", "it");

fn name((kind, id): (&str, &str)) -> Value {
    json!({"type": kind, "id": id})
}

fn principal(who: &Principal) -> (&str, &str) {
    if who.agency_id.is_empty() { ("User", &who.user_id) } else { ("Agency", &who.agency_id) }
}

fn parts(action: &str) -> Value {
    let parts: Vec<&str> = action.split(':').collect();
    let [service, kind, verb] = parts[..] else { panic!("three parts, and not {action}") };
    json!({"service": service, "type": kind, "verb": verb})
}

fn actions() -> BTreeMap<String, Option<String>> {
    let published: Value =
        serde_json::from_str(include_str!("../published/aliases.json")).expect("published JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_lowercase();
    let aliases = published["aliases"].as_array().expect("aliases").iter();
    let mut older: BTreeMap<String, String> = BTreeMap::new();
    for alias in aliases {
        let earlier = older.insert(text(&alias["current"]), text(&alias["older"]));
        assert!(earlier.is_none(), "a second older name has no place in the context: {alias}");
    }
    // Otherwise an action would be in an older name of its older name.
    assert!(older.values().all(|name| !older.contains_key(name)), "{older:?}");
    let rows = operations();
    let listed = |member: &'static str| rows.iter().flat_map(move |row| row[member].as_array()).flatten();
    let names = listed("actions").chain(listed("dependencies")).map(text);
    names.map(|name| (name.clone(), older.get(&name).cloned())).collect()
}
