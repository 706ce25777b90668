//! Questions with the answers that every server has to give: those of the library in this process.

use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::request::PrincipalParts;

use crate::Outcome;
use crate::engine::{Engine as _, ours};
use crate::policies::{self, Policy};
use crate::questions::{Asked, Question};

/// Questions about one principal's policies, and what is to be answered.
pub(super) struct Asking<'q> {
    pub(super) catalog: &'q Catalog,
    questions: Vec<(&'q Question, Expected)>,
    principal: &'q PrincipalParts,
}

/// What is to be answered.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    /// Whether all that the operation needs is allowed.
    decision: bool,
    /// Whether each dependency is.
    dependencies: Vec<bool>,
}

impl Expected {
    pub(super) fn answers(&self, asked: Asked) -> Vec<bool> {
        let dependencies = match asked {
            Asked::Required => &[],
            Asked::All => &self.dependencies[..],
        };
        [self.decision].iter().chain(dependencies).copied().collect()
    }
}

impl<'q> Asking<'q> {
    pub(super) fn new(
        catalog: &'q Arc<Catalog>,
        policies: &[Policy],
        questions: impl IntoIterator<Item = &'q Question>,
    ) -> Outcome<Self> {
        let mut questions = questions.into_iter().peekable();
        let first = *questions.peek().ok_or("there are no questions")?;
        let folder = tempfile::tempdir()?;
        policies::write(folder.path(), policies, &first.parts.principal)?;
        let (mut engine, _) = ours::open(folder.path(), catalog, first)?;
        let mut expect = |question: &'q Question| {
            let mut answers = Vec::new();
            engine.answer(question, Asked::All, &mut answers)?;
            let (required, dependencies) = answers.split_at(question.actions(Asked::Required).count());
            let decision = required.iter().all(|is_allowed| *is_allowed);
            Ok((question, Expected { decision, dependencies: dependencies.to_vec() }))
        };
        let questions = questions.map(&mut expect).collect::<Outcome<_>>()?;
        Ok(Self { catalog, questions, principal: &first.parts.principal })
    }

    /// Whose policies all questions are about: that of the first, in whose group are all.
    pub(super) fn principal(&self) -> &'q PrincipalParts {
        self.principal
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'q Question, &Expected)> {
        self.questions.iter().map(|(question, expected)| (*question, expected))
    }
}
