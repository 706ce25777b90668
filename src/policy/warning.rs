//! What a document may say and yet may be a slip of the pen: a warning refuses nothing.
//!
//! Only what the catalog knows for sure is warned about. Of services outside of the table, and of actions that no
//! operation needs, it knows no types of objects.

use std::collections::BTreeSet;

use super::compile::{CompiledPolicy, CompiledStatement, Compiler};
use super::condition::Condition;
use super::document::{Actions, Document, Statement};
use super::error::shorten;
use super::resource::ResourcePattern;
use crate::catalog::{Action, Catalog, Text};

/// A doubt and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentWarning {
    /// The place as a JSON path: `$.Statement[0].Action[2]`.
    pub path: String,
    /// What is doubtful there.
    pub doubt: Doubt,
}

/// What is allowed and yet doubtful.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Normal in published policies, which are about other services too.
    #[error("`{0}` covers no action of the table")]
    IdlePattern(String),
    /// A type of resource that the statement's actions do not touch.
    #[error("the type `{kind}` covers none of those that the statement's actions are known to touch: {}", .touched.join(", "))]
    IdleType {
        /// The type.
        kind: String,
        /// The types of the objects that the actions touch.
        touched: Vec<String>,
    },
    /// A key whose values neither the service nor a call tells.
    #[error("no service of the table is called `{service}`: only who asks can tell the key")]
    ForeignKey {
        /// The service.
        service: String,
    },
    /// The age of something that may not be there (IAM user guide, Policy Syntax).
    #[error("`{AGE}` stands without `{PRESENT}`: the provider's guide asks for both in one statement")]
    AgeAlone,
    /// A dependency that no grant can meet.
    #[error("the domain has no role `{0}`, and the system has none: what depends on it takes no effect")]
    UnknownRole(String),
}

const AGE: &str = "g:MFAAge";
const PRESENT: &str = "g:MFAPresent";

/// What is doubtful in a document, and the policy that the compiler made of it. `is_policy` tells whether a policy of a name
/// exists.
#[must_use]
pub fn warnings(
    document: &Document,
    policy: &CompiledPolicy,
    compiler: &mut Compiler<'_>,
    is_policy: impl Fn(&str) -> bool,
) -> Vec<DocumentWarning> {
    let mut warnings = Vec::new();
    for (index, (statement, compiled)) in document.statements.iter().zip(&policy.statements).enumerate() {
        let idle_patterns = idle_patterns(statement, compiler);
        let of_statement = idle_patterns
            .into_iter()
            .chain(idle_types(compiled, compiler.catalog))
            .chain(foreign_keys(compiled, compiler.catalog))
            .chain(ages_alone(compiled));
        warnings.extend(of_statement.map(|(member, doubt)| DocumentWarning {
            path: format!("$.Statement[{index}].{member}"),
            doubt,
        }));
    }
    for (index, role) in document.depends.iter().enumerate() {
        if !is_policy(&role.display_name) {
            let doubt = Doubt::UnknownRole(shorten(&role.display_name));
            warnings.push(DocumentWarning { path: format!("$.Depends[{index}].display_name"), doubt });
        }
    }
    warnings
}

/// The patterns that cover no action of the catalog.
fn idle_patterns(statement: &Statement, compiler: &mut Compiler<'_>) -> Vec<(String, Doubt)> {
    let (member, patterns) = match &statement.actions {
        Actions::Of(patterns) => ("Action", patterns),
        Actions::AllBut(patterns) => ("NotAction", patterns),
    };
    let idle = patterns.iter().enumerate().filter(|(_, pattern)| compiler.covered(pattern).is_empty());
    let idle = idle.map(|(index, pattern)| {
        (format!("{member}[{index}]"), Doubt::IdlePattern(shorten(&pattern.to_string())))
    });
    idle.collect()
}

/// The resources whose type covers nothing that the statement's actions touch, as far as operations tell.
fn idle_types(statement: &CompiledStatement, catalog: &Catalog) -> impl Iterator<Item = (String, Doubt)> {
    // A list of resources is mostly of one service.
    let mut of_service: Option<(&str, BTreeSet<Option<&Text>>)> = None;
    let resources = statement.resources.iter().flatten().enumerate();
    resources.filter_map(move |(index, resource)| {
        let ResourcePattern::Parts(parts) = resource else { return None };
        let (service, kind) = parts.service_and_kind();
        let (_, touched) = match of_service.take() {
            Some(known) if known.0 == service => of_service.insert(known),
            _ => of_service.insert((service, touched_types(statement, service, catalog).collect())),
        };
        // What names no object has a literal `*` for its type.
        let covers = |touched: &Option<&Text>| parts.covers_kind(touched.map_or("*", |kind| kind));
        if touched.iter().any(covers) {
            return None;
        }
        let unnamed = touched.contains(&None).then(|| "`*` where a call names no object".to_owned());
        let touched: Vec<String> = touched.iter().flatten().map(ToString::to_string).chain(unnamed).collect();
        let is_known = !touched.is_empty();
        is_known.then(|| (format!("Resource[{index}]"), Doubt::IdleType { kind: shorten(kind), touched }))
    })
}

/// The types of what the statement's actions of a service touch; nothing for those of calls that name no object.
fn touched_types<'c>(
    statement: &CompiledStatement,
    service: &str,
    catalog: &'c Catalog,
) -> impl Iterator<Item = Option<&'c Text>> {
    let actions = statement.actions.iter().filter_map(|id| catalog.action(id));
    let of_service = actions.filter(move |action| service_of(action) == service);
    of_service.flat_map(|action| action.touches.iter().map(Option::as_ref))
}

/// The keys of services that are not those of the table.
fn foreign_keys(statement: &CompiledStatement, catalog: &Catalog) -> impl Iterator<Item = (String, Doubt)> {
    statement.conditions.iter().filter_map(|condition| {
        let service = condition.key.name().split(':').next().unwrap_or_default();
        let is_known = ["g", "hw"].contains(&service) || is_service(service, catalog);
        (!is_known).then(|| (member(condition), Doubt::ForeignKey { service: shorten(service) }))
    })
}

fn is_service(name: &str, catalog: &Catalog) -> bool {
    let mut keys = catalog.operations().iter().flat_map(|operation| &operation.keys);
    catalog.actions().any(|(_, action)| service_of(action) == name)
        || keys.any(|key| key.name.split(':').next() == Some(name))
}

fn service_of(action: &Action) -> &str {
    action.name.split(':').next().unwrap_or_default()
}

/// The conditions on an age of the second factor where none asks whether there is one.
fn ages_alone(statement: &CompiledStatement) -> impl Iterator<Item = (String, Doubt)> {
    let is_alone = !statement.conditions.iter().any(|condition| condition.key.name() == PRESENT);
    let ages = statement.conditions.iter().filter(move |condition| is_alone && condition.key.name() == AGE);
    ages.map(|condition| (member(condition), Doubt::AgeAlone))
}

fn member(condition: &Condition) -> String {
    format!("Condition.{}['{}']", condition.operator, shorten(condition.key.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::system;

    #[test]
    fn the_system_policies_have_nothing_doubtful_but_other_services() {
        let catalog = Catalog::published().unwrap();
        for (name, text) in system::SYSTEM_POLICIES {
            let document = Document::parse(text).unwrap();
            let mut compiler = Compiler::new(&catalog);
            let policy = compiler.compile(name, &document);
            for DocumentWarning { path, doubt } in warnings(&document, &policy, &mut compiler, |_| false) {
                assert!(matches!(doubt, Doubt::IdlePattern(_)), "{name}: {path}: {doubt}");
            }
        }
    }
}
