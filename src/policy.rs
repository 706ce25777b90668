//! The policy language: from JSON documents to a verdict on an action.
//!
//! A [`Document`] is read strictly, then compiled against the catalog to a [`CompiledPolicy`], whose statements are
//! sets of actions. The policies granted to a principal merge into a [`PolicySet`], and [`evaluate()`] decides a call
//! with it. Combination is deny-overrides: an explicit Deny, then an Allow, else nothing allows. There is no other.
//!
//! Grammar: version `1.1` (policies) or `1.0` (roles); `Effect`; `Action` or `NotAction`, see [`Pattern`].
//! `Resource`, `Condition` and `Depends` are read and then refused: they are not evaluated yet.
//!
//! Pure: no I/O, no clock.

pub use compile::{CompiledPolicy, CompiledStatement, idle_patterns};
pub use document::{Actions, ConditionEntry, Dependency, Document, MAX_BYTES, Statement, Version};
pub use error::{DocumentError, DocumentFault};
pub use evaluate::{Evaluation, evaluate};
pub use pattern::{Pattern, PatternFault};
pub use policy_set::{Grant, PolicySet, Scope};

mod compile;
mod document;
mod error;
mod evaluate;
mod json;
mod pattern;
mod policy_set;
pub mod system;
