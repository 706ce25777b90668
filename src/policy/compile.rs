//! Compiles a policy document against the catalog: patterns become sets of actions.

use std::sync::Arc;

use super::document::{Actions, Document, Statement};
use super::error::{DocumentError, DocumentFault};
use super::pattern::Pattern;
use crate::catalog::{ActionSet, Catalog};
use crate::decision::Effect;

/// A policy over one catalog.
#[derive(Debug, PartialEq, Eq)]
pub struct CompiledPolicy {
    /// The name by which grants refer to it.
    pub name: Arc<str>,
    /// The statements, in the order of the document.
    pub statements: Box<[CompiledStatement]>,
}

/// A statement over one catalog.
#[derive(Debug, PartialEq, Eq)]
pub struct CompiledStatement {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// The actions that it is about.
    pub actions: ActionSet,
}

impl CompiledPolicy {
    /// Compiles a document.
    ///
    /// # Errors
    ///
    /// If the document has an element that is not evaluated yet. Such a document is refused as a whole: a
    /// statement without its condition or resource would say more than its author wrote.
    pub fn compile(name: &str, document: &Document, catalog: &Catalog) -> Result<Self, Vec<DocumentError>> {
        let unsupported = unsupported(document);
        if !unsupported.is_empty() {
            return Err(unsupported);
        }
        let statements = document.statements.iter().map(|statement| CompiledStatement {
            effect: statement.effect,
            actions: actions(statement, catalog),
        });
        Ok(Self { name: name.into(), statements: statements.collect() })
    }
}

/// The actions that a statement is about.
fn actions(statement: &Statement, catalog: &Catalog) -> ActionSet {
    let mut set = ActionSet::empty(catalog.action_count());
    for (id, action) in catalog.actions() {
        let covers = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.covers(action));
        let is_about = match &statement.actions {
            Actions::Of(patterns) => covers(patterns),
            Actions::AllBut(patterns) => !covers(patterns),
        };
        if is_about {
            set.insert(id);
        }
    }
    set
}

fn unsupported(document: &Document) -> Vec<DocumentError> {
    let mut errors = Vec::new();
    let mut refuse = |path: String, element| {
        errors.push(DocumentError { path, fault: DocumentFault::Unsupported(element) });
    };
    for (index, statement) in document.statements.iter().enumerate() {
        if statement.resources.is_some() {
            refuse(format!("$.Statement[{index}].Resource"), "Resource");
        }
        if statement.conditions.is_some() {
            refuse(format!("$.Statement[{index}].Condition"), "Condition");
        }
    }
    if !document.depends.is_empty() {
        refuse("$.Depends".to_owned(), "Depends");
    }
    errors
}

/// The patterns of a document that cover no action of the catalog, with their places. Normal in published
/// policies, and sometimes a slip of the pen.
#[must_use]
pub fn idle_patterns(document: &Document, catalog: &Catalog) -> Vec<(String, String)> {
    let mut idle = Vec::new();
    for (index, statement) in document.statements.iter().enumerate() {
        let (member, patterns) = match &statement.actions {
            Actions::Of(patterns) => ("Action", patterns),
            Actions::AllBut(patterns) => ("NotAction", patterns),
        };
        for (position, pattern) in patterns.iter().enumerate() {
            if !catalog.actions().any(|(_, action)| pattern.covers(action)) {
                idle.push((format!("$.Statement[{index}].{member}[{position}]"), pattern.to_string()));
            }
        }
    }
    idle
}
