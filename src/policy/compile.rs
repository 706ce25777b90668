//! Compiles a policy document against the catalog: patterns become sets of actions.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rapidhash::quality::RandomState;

use super::condition::{Condition, Teller};
use super::document::{Actions, Document, Statement};
use super::outcome::Outcome;
use super::pattern::Pattern;
use super::resource::{Resource, ResourcePattern};
use super::scene::Scene;
use super::sight::Sight;
use crate::catalog::{ActionId, ActionSet, Catalog};
use crate::decision::Effect;

/// A policy over one catalog.
#[derive(Debug, PartialEq, Eq)]
pub struct CompiledPolicy {
    /// The name by which grants refer to it.
    pub name: Arc<str>,
    /// The statements, in the order of the document.
    pub statements: Box<[CompiledStatement]>,
    /// The names of the roles without which it takes no effect.
    pub depends: Box<[Box<str>]>,
}

/// A statement over one catalog.
#[derive(Debug, PartialEq, Eq)]
pub struct CompiledStatement {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// The actions that it is about.
    pub actions: ActionSet,
    /// The resources that it is limited to, if it is.
    pub resources: Option<Box<[ResourcePattern]>>,
    /// What must hold for it to apply.
    pub conditions: Box<[Condition]>,
    /// Those of its actions whose service its conditions ask for, if they ask for it.
    served: Option<ActionSet>,
}

impl CompiledPolicy {
    /// One that says nothing.
    #[must_use]
    pub fn empty(name: &str) -> Self {
        Self { name: name.into(), statements: Box::default(), depends: Box::default() }
    }

    /// Compiles one document. For many, a [`Compiler`] is faster.
    #[must_use]
    pub fn compile(name: &str, document: &Document, catalog: &Catalog) -> Self {
        Compiler::new(catalog).compile(name, document)
    }
}

/// Compiles documents against a catalog. It remembers what patterns cover: policies have most of theirs in common.
#[derive(Debug)]
pub struct Compiler<'c> {
    pub(super) catalog: &'c Catalog,
    covered: HashMap<Pattern, Rc<ActionSet>, RandomState>,
}

impl<'c> Compiler<'c> {
    /// One that has compiled nothing yet.
    #[must_use]
    pub fn new(catalog: &'c Catalog) -> Self {
        Self { catalog, covered: HashMap::default() }
    }

    /// Compiles a document.
    #[must_use]
    pub fn compile(&mut self, name: &str, document: &Document) -> CompiledPolicy {
        let statements = document.statements.iter().map(|statement| {
            let actions = self.actions(statement);
            CompiledStatement {
                effect: statement.effect,
                served: served(&statement.conditions, &actions, self.catalog),
                actions,
                resources: statement.resources.clone().map(Vec::into_boxed_slice),
                conditions: statement.conditions.clone().into(),
            }
        });
        let statements = statements.collect();
        let depends = document.depends.iter().map(|role| role.display_name.as_str().into());
        CompiledPolicy { name: name.into(), statements, depends: depends.collect() }
    }

    /// The actions that a statement is about.
    fn actions(&mut self, statement: &Statement) -> ActionSet {
        match &statement.actions {
            Actions::Of(patterns) => self.covered_by_any(patterns),
            Actions::AllBut(patterns) => {
                let covered = self.covered_by_any(patterns);
                let mut others = ActionSet::empty(self.catalog.action_count());
                let ids = self.catalog.actions().map(|(id, _)| id);
                ids.filter(|id| !covered.contains(*id)).for_each(|id| others.insert(id));
                others
            }
        }
    }

    fn covered_by_any(&mut self, patterns: &[Pattern]) -> ActionSet {
        let mut set = ActionSet::empty(self.catalog.action_count());
        patterns.iter().for_each(|pattern| set.extend(&self.covered(pattern)));
        set
    }

    /// The actions that a pattern covers.
    pub(super) fn covered(&mut self, pattern: &Pattern) -> Rc<ActionSet> {
        if let Some(set) = self.covered.get(pattern) {
            return set.clone();
        }
        let mut set = ActionSet::empty(self.catalog.action_count());
        let actions = self.catalog.actions().filter(|(_, action)| pattern.covers(action));
        actions.for_each(|(id, _)| set.insert(id));
        let set = Rc::new(set);
        self.covered.insert(pattern.clone(), set.clone());
        set
    }
}

impl CompiledStatement {
    /// Whether it applies to all calls of its actions alike.
    #[must_use]
    pub fn is_unconditional(&self) -> bool {
        self.resources.is_none() && self.conditions.is_empty()
    }

    /// The actions for which its conditions can hold, as far as that depends on the action. For each of these they say the same
    /// of one call.
    pub(super) fn heard_for(&self) -> &ActionSet {
        self.served.as_ref().unwrap_or(&self.actions)
    }

    /// Whether it asks for what a call tells by its path or body.
    pub(super) fn asks_call(&self) -> bool {
        let asks = |condition: &Condition| condition.key.teller() == Teller::Call;
        self.resources.is_some() || self.conditions.iter().any(asks)
    }

    /// Whether its conditions hold for an action of the call.
    pub(super) fn condition_outcome(&self, scene: &Scene<'_>, action: ActionId) -> Outcome {
        let conditions = self.conditions.iter();
        Outcome::all(conditions.map(|condition| condition.outcome(scene.see(&condition.key, action))))
    }

    /// Whether its resources cover this one. Without any, it is about all.
    pub(super) fn resource_outcome(&self, resource: &Resource<'_>) -> Outcome {
        self.resources.as_deref().map_or(Outcome::Met, |patterns| {
            Outcome::any(patterns.iter().map(|pattern| pattern.outcome(resource)))
        })
    }
}

/// Those of a statement's actions whose service meets all conditions that ask for it, if any does. A service is one text,
/// which such a condition fits or does not.
fn served(conditions: &[Condition], actions: &ActionSet, catalog: &Catalog) -> Option<ActionSet> {
    let asking: Vec<_> =
        conditions.iter().filter(|condition| condition.key.teller() == Teller::Service).collect();
    if asking.is_empty() {
        return None;
    }
    let mut served = ActionSet::empty(catalog.action_count());
    for action in actions.iter() {
        let seen = Sight::of_service(catalog, action);
        if asking.iter().all(|condition| condition.outcome(seen) == Outcome::Met) {
            served.insert(action);
        }
    }
    Some(served)
}
