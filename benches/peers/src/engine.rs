//! The engines, each with the policies of one principal.

use crate::Outcome;
use crate::questions::{Asked, Question};

pub(crate) mod casbin;
pub(crate) mod cedar;
pub(crate) mod naive;
pub(crate) mod ours;
pub(crate) mod regorus;

/// Says which actions of a call are allowed.
pub(crate) trait Engine {
    /// Adds an answer for each action that is asked for, in their order.
    fn answer(&mut self, question: &Question, asked: Asked, answers: &mut Vec<bool>) -> Outcome<()>;
}
