//! Logs: to standard error, for people.

use std::env;
use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` chooses what; the default is `info`.
pub fn init() {
    let asked = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let asked = if asked.is_empty() { "info" } else { &asked };
    let (filter, refused) = match EnvFilter::try_new(asked) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    if let Some(error) = refused {
        tracing::warn!(%error, "RUST_LOG is not understood, so the level is info");
    }
}
