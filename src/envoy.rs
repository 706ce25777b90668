//! Envoy's side of the decision.
//!
//! A decision binds only if nobody gets round the question. So the configuration of the Envoy that asks is part of what
//! we answer for: [`EnvoyConfig`] writes a hardened one, with the routes that the action table needs, and [`lint()`]
//! finds in any other what may let a call through that was not authorized, or that was authorized as another.

pub use config::{EnvoyConfig, HostPort, Identity, routes};
pub use document::DocumentFault;
pub use lint::{Finding, Rule, Severity, lint};

mod config;
mod document;
mod lint;
mod template;
