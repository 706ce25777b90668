//! The log of the program itself, on standard error: a line for each event, whatever the event tells.
//!
//! Lines are text for people or JSON for machines. A call that has a place in a trace
//! ([`crate::traces`]) tells it in its events, so that a log is found from a trace and the other way round. What
//! a caller or a file put into an event can't end its line or steer a terminal: control characters are written as escapes in
//! both formats.

use std::env;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;
use format::Format;
use writer::Lines;

mod format;
mod writer;

/// How long the last lines may be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Logs for as long as it is kept; then the last lines are written.
#[derive(Debug)]
#[must_use]
pub struct Logging(Lines);

impl Drop for Logging {
    fn drop(&mut self) {
        self.0.flush(FLUSH_TIME);
    }
}

/// Starts logging. What `RUST_LOG` asks for goes before the configuration.
///
/// # Errors
///
/// If there can be no thread for it.
pub fn init(config: &LogConfig) -> io::Result<Logging> {
    let asked = env::var(EnvFilter::DEFAULT_ENV).ok().filter(|asked| !asked.is_empty());
    let asked = asked.map(EnvFilter::try_new).transpose();
    let (filter, refused) = match asked {
        Ok(filter) => (filter, None),
        Err(error) => (None, Some(error)),
    };
    let lines = Lines::start(io::stderr())?;
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(&config.level)))
        .with_writer(lines.clone())
        // It would print what can't be written, and panic where it can't.
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal())
        .event_format(Format(config.format))
        .fmt_fields(Format(config.format))
        .init();
    if let Some(error) = refused {
        tracing::warn!(%error, level = config.level, "RUST_LOG is not understood");
    }
    Ok(Logging(lines))
}
