//! The log of the program itself, on standard error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// How an event is written.
    pub format: LogFormat,
    /// What is logged: a level, or directives such as `warn,ecs_authz=debug`. The variable `RUST_LOG` goes before it, so that
    /// one who looks for a fault need not edit files.
    pub level: String,
}

/// How an event is written: on one line, whatever it tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}

impl LogConfig {
    /// What is well-formed and yet can't be meant.
    pub(super) fn fault(&self) -> Option<String> {
        let error = EnvFilter::try_new(&self.level).err()?;
        let expected = "expected a level, or directives such as `warn,ecs_authz=debug`";
        Some(format!("log.level: {expected}, found `{}`: {error}", self.level.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_understood() {
        let fault = |text: &str| toml::from_str::<LogConfig>(text).unwrap().fault();
        for text in ["", "level = 'debug'", "level = 'warn,ecs_authz=debug,h2=off'", "format = 'json'"] {
            assert_eq!(fault(text), None, "{text}");
        }
        assert!(fault("level = 'ecs_authz=loud'").unwrap().starts_with("log.level: expected"));
        for text in ["format = 'xml'", "file = 'x'"] {
            assert!(toml::from_str::<LogConfig>(text).is_err(), "{text}");
        }
    }
}
