//! The policy language: from JSON documents to a verdict on an action.
//!
//! A [`Document`] is read strictly, then compiled against the catalog to a [`CompiledPolicy`], whose statements are
//! sets of actions. Of the policies granted to a principal, the [`Applicable`] ones merge into a [`PolicySet`], and
//! [`evaluate()`] decides a call with it. Combination is deny-overrides: an explicit Deny, then an Allow, else nothing
//! allows. There is no other.
//!
//! Grammar: version `1.1` (policies) or `1.0` (roles, with `Depends`); `Effect`; `Action` or `NotAction`, see [`Pattern`];
//! `Resource`, see [`ResourcePattern`]; `Condition`, see [`Condition`]. What can't be told of a call never makes a
//! statement allow, and always makes it deny.
//!
//! Pure: no I/O, no clock.

pub use applicable::Applicable;
pub use compile::{CompiledPolicy, CompiledStatement, Compiler};
pub use condition::{Condition, ConditionFault, Key, KeyFault, Kind, Likeness};
pub use document::{Actions, Dependency, Document, MAX_BYTES, Statement, Version};
pub(crate) use error::shorten;
pub use error::{DocumentError, DocumentFault};
pub use evaluate::{Evaluation, Statements, evaluate};
pub use explain::{Considered, Explanation, FailedPart};
pub use pattern::{Pattern, PatternFault};
pub use permission::{Pending, PendingPart, Permission};
pub use policy_set::{Grant, PolicySet, Scope};
pub use resource::{PartPatterns, Resource, ResourceFault, ResourcePattern};
pub use scene::Scene;
pub use setting::Setting;
pub use warning::{DocumentWarning, Doubt, warnings};

mod applicable;
mod compile;
mod condition;
mod conditional;
mod document;
mod error;
mod evaluate;
mod explain;
mod glob;
mod hearing;
mod json;
mod outcome;
mod pattern;
mod permission;
mod policy_set;
mod prospect;
mod resource;
mod scene;
mod setting;
mod sight;
pub mod system;
mod warning;
