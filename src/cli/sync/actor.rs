//! Who moves policies.

use std::env;
use std::fmt;
use std::str::FromStr;

/// The most characters of a name.
const MAX_CHARACTERS: usize = 64;

/// A name for the history of the database, which is never edited: plain, and marked so that it can't be taken for a caller
/// of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Actor(String);

impl Actor {
    /// The user of this process, as far as the environment names one.
    pub(super) fn of_process() -> Self {
        let user = env::var("USER").ok().and_then(|user| user.parse().ok());
        user.unwrap_or_else(|| Self("unknown".to_owned()))
    }
}

impl FromStr for Actor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.@".contains(character);
        if (1..=MAX_CHARACTERS).contains(&text.len()) && text.chars().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected 1 to {MAX_CHARACTERS} ASCII letters, digits, `-`, `_`, `.` and `@`"))
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sync:{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_a_plain_name_marked_as_ours() {
        for name in ["a", "pipeline-7", "ops_team", "a.b@example.com", &"x".repeat(64)] {
            assert_eq!(name.parse::<Actor>().unwrap().to_string(), format!("sync:{name}"));
        }
        for name in ["", " ", "a b", "a\nb", "\u{1b}[31m", "token:deployer", "ä", &"x".repeat(65)] {
            assert!(name.parse::<Actor>().is_err(), "{name:?}");
        }
    }
}
