//! What ids and policy names may be, in every store alike: people can tell one from another when they see it, and a policy
//! can be moved into a file and back.

use crate::policy::shorten;

/// The most bytes of an id (IAM.1022).
pub const MAX_ID_BYTES: usize = 128;
/// The most characters of a policy's name.
const MAX_POLICY_NAME_CHARACTERS: usize = 64;

/// What was expected of an id and what was found, if this is none.
#[must_use]
pub fn id_fault(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > MAX_ID_BYTES {
        Some(format!("expected an id of 1 to {MAX_ID_BYTES} bytes, found {}", text.len()))
    } else if !is_visible(text) {
        let expected = "expected an id without control characters or blanks at its ends";
        Some(format!("{expected}, found `{}`", shorten(text)))
    } else {
        None
    }
}

/// What was expected of a policy's name, if this is none.
#[must_use]
pub fn policy_name_fault(text: &str) -> Option<&'static str> {
    if !(1..=MAX_POLICY_NAME_CHARACTERS).contains(&text.chars().count()) || !is_visible(text) {
        Some(
            "expected a policy name of 1 to 64 characters, none of them a control character, without blanks at its \
             ends",
        )
    } else if text.starts_with('.') || text.contains('/') {
        Some("expected a policy name without slashes or a dot in front: it could not be the name of a file")
    } else {
        None
    }
}

fn is_visible(text: &str) -> bool {
    !text.contains(char::is_control) && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_visible() {
        for id in ["a", "Älice", "a b", "a/b", ".", &"x".repeat(128)] {
            assert_eq!(id_fault(id), None, "{id}");
        }
        for id in ["", " a", "a\u{a0}", "a\tb", "a\u{85}", &"x".repeat(129)] {
            assert!(id_fault(id).is_some(), "{id:?}");
        }
    }

    #[test]
    fn a_policy_name_can_be_a_file_name() {
        for name in ["p", "ECS admin", "p.q", "no-deletion~", &"ä".repeat(64)] {
            assert_eq!(policy_name_fault(name), None, "{name}");
        }
        for name in ["", ".p", "a/b", "p ", "p\0", &"ä".repeat(65)] {
            assert!(policy_name_fault(name).is_some(), "{name:?}");
        }
    }
}
