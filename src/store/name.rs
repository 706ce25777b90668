//! What ids and policy names may be, in every store alike: people can tell one from another when they see it, and a policy
//! can be moved into a file and back.

use crate::policy::shorten;
pub use crate::request::MAX_ID_BYTES;

/// The most characters of a policy's name.
const MAX_POLICY_NAME_CHARACTERS: usize = 64;
/// The most bytes of a policy's name: with `.json` it is a file's name, which has 255 at most.
const MAX_POLICY_NAME_BYTES: usize = 240;

/// What was expected of an id and what was found, if this is none.
#[must_use]
pub fn id_fault(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > MAX_ID_BYTES {
        Some(format!("expected an id of 1 to {MAX_ID_BYTES} bytes, found {}", text.len()))
    } else if !is_visible(text) {
        let expected = "expected an id without control characters or blanks at its ends";
        Some(format!("{expected}, found `{}`", shorten(text)))
    } else {
        let invisible = text.chars().find(|character| is_invisible(*character))?;
        let expected = "expected an id without invisible characters";
        Some(format!("{expected}, found U+{:04X} in it", u32::from(invisible)))
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
    } else if text.len() > MAX_POLICY_NAME_BYTES {
        Some(
            "expected a policy name of at most 64 characters and at most 240 bytes in UTF-8: it is the name of a file",
        )
    } else if text.contains(is_invisible) {
        Some("expected a policy name without invisible characters, such as U+200B or U+202E")
    } else if text.starts_with('.') || text.contains('/') {
        Some("expected a policy name without slashes or a dot in front: it could not be the name of a file")
    } else {
        None
    }
}

fn is_visible(text: &str) -> bool {
    !text.contains(char::is_control) && text.trim() == text
}

/// Whether a character has no width, ends a line, or turns the direction of those beside it: what is shown with it looks
/// like something else.
#[must_use]
pub(super) fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
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
        for name in ["p", "ECS admin", "p.q", "no-deletion~", &"ä".repeat(64), &"😀".repeat(60)] {
            assert_eq!(policy_name_fault(name), None, "{name}");
        }
        for name in ["", ".p", "a/b", "p ", "p\0", &"ä".repeat(65), &"😀".repeat(61)] {
            assert!(policy_name_fault(name).is_some(), "{name:?}");
        }
    }

    /// The controls of Unicode's bidirectional algorithm, and what has no width.
    #[test]
    fn what_looks_like_something_else_is_no_name() {
        let ranges = [0x202a..=0x202e, 0x2066..=0x2069, 0x200b..=0x200f, 0x2060..=0x2060, 0xfeff..=0xfeff];
        for character in ranges.into_iter().flatten().filter_map(char::from_u32) {
            for text in [format!("{character}a"), format!("a{character}b"), format!("a{character}")] {
                assert!(id_fault(&text).is_some(), "{text:?}");
                assert!(policy_name_fault(&text).is_some(), "{text:?}");
            }
        }
        let fault = id_fault("admin\u{202e}txt").unwrap();
        assert_eq!(fault, "expected an id without invisible characters, found U+202E in it");
    }
}
