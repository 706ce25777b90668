//! Action patterns: `service:type:verb` with wildcards.
//!
//! A `*` stands for any text inside its segment, and never crosses a colon. Alone, or as the last of fewer
//! segments, it stands for all that follows: `*`, `identity:*`. The service is compared as written and lower case;
//! type and verb fold case (IAM user guide, Policy Syntax), once, here. `?` has no documented meaning and is
//! refused.

use std::fmt;

use super::document::Version;
use crate::catalog::Action;

/// The most characters in an action (IAM.1034).
const MAX_CHARACTERS: usize = 128;

/// An action pattern, compiled: its segments, folded to lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    segments: Vec<Box<str>>,
    /// Whether segments may follow: the last one is a `*` that stands for all of them.
    is_open: bool,
}

/// Why an action pattern is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// Longer than the published limit (IAM.1034).
    #[error("expected an action of at most {MAX_CHARACTERS} characters, found {0}")]
    TooLong(usize),
    /// A character that no action has (IAM.1035).
    #[error("expected letters, digits, `-`, `_`, `:` and `*` in an action, found {0:?}")]
    Character(char),
    /// More or fewer segments than three, or an empty one.
    #[error("expected an action `service:type:verb`, found `{0}`")]
    Segments(String),
    /// A service in capitals, which is no service: it would match nothing.
    #[error("expected the service in lower case, found `{0}`")]
    ServiceCase(String),
}

impl Pattern {
    /// Reads a pattern as a document of this version writes it. Roles (1.0) are older and looser: the published
    /// ones have `identity:assume role` and `WebScan:*:*`, which match nothing in this catalog.
    ///
    /// # Errors
    ///
    /// If it is malformed.
    pub fn parse(text: &str, version: Version) -> Result<Self, PatternFault> {
        let count = text.chars().count();
        if count > MAX_CHARACTERS {
            return Err(PatternFault::TooLong(count));
        }
        let is_allowed = |character: char| {
            character.is_ascii_alphanumeric()
                || "-_:*".contains(character)
                || (character == ' ' && version == Version::Role)
        };
        if let Some(character) = text.chars().find(|character| !is_allowed(*character)) {
            return Err(PatternFault::Character(character));
        }
        let parts: Vec<&str> = text.split(':').collect();
        let is_open = parts.len() < 3 && parts.last() == Some(&"*");
        let has_known_length = parts.len() == 3 || is_open || (parts.len() < 3 && version == Version::Role);
        if !has_known_length || parts.iter().any(|part| part.is_empty()) {
            return Err(PatternFault::Segments(text.to_owned()));
        }
        let (service, rest) = parts.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
        if version == Version::Policy && service.contains(|c: char| c.is_ascii_uppercase()) {
            return Err(PatternFault::ServiceCase(service.to_owned()));
        }
        // The service keeps its case: catalog names are lower case there, so `WebScan` matches nothing.
        let segments = std::iter::once(service.into())
            .chain(rest.iter().map(|part| part.to_ascii_lowercase().into_boxed_str()))
            .collect();
        Ok(Self { segments, is_open })
    }

    /// Whether the pattern covers an action: by its name or by one of its older names.
    #[must_use]
    pub fn covers(&self, action: &Action) -> bool {
        action.folded_names().any(|name| self.matches(name))
    }

    /// Whether the pattern matches a name in lower case.
    fn matches(&self, name: &str) -> bool {
        let mut names = name.split(':');
        let segments_match = self
            .segments
            .iter()
            .all(|segment| names.next().is_some_and(|name| glob(segment.as_bytes(), name.as_bytes())));
        segments_match && (self.is_open || names.next().is_none())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments.join(":"))
    }
}

/// Whether `text` matches `glob`, where `*` stands for any text. Iterative: no pattern makes it slow or deep. What is matched by
/// each call is taken apart before, as a [`Glob`](super::glob::Glob); this is for once, when a policy is compiled.
fn glob(mut glob: &[u8], mut text: &[u8]) -> bool {
    // Where to go on after the last `*` if the plain characters behind it do not match here.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (glob.split_first(), text.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, text));
                glob = after;
            }
            (Some((expected, glob_rest)), Some((found, text_rest))) if expected == found => {
                (glob, text) = (glob_rest, text_rest);
            }
            (None, None) => return true,
            _ => match retry.and_then(|(after, from)| Some((after, from.split_first()?.1))) {
                Some((after, from)) => {
                    retry = Some((after, from));
                    (glob, text) = (after, from);
                }
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern, Version::Policy).unwrap().matches(&name.to_ascii_lowercase())
    }

    #[test]
    fn a_star_stays_in_its_segment() {
        assert!(matches("ecs:*:*", "ecs:servers:start"));
        assert!(matches("ecs:*:get*", "ecs:servers:getMetadata"));
        assert!(matches("ecs:*ers:*a*", "ecs:servers:start"));
        assert!(matches("e*:servers:start", "ecs:servers:start"));
        assert!(!matches("ecs:*:start", "ecs:servers:stop"));
        assert!(!matches("evs:*:*", "ecs:servers:start"));
        assert!(!matches("ecs:serv*art:*", "ecs:servers:start"));
        assert!(!matches("ecs:servers:get", "ecs:servers:getMetadata"));
    }

    #[test]
    fn a_last_star_of_fewer_segments_stands_for_all_that_follows() {
        assert!(matches("*", "ecs:servers:start"));
        assert!(matches("ecs:*", "ecs:servers:start"));
        assert!(!matches("identity:*", "ecs:servers:start"));
    }

    #[test]
    fn type_and_verb_fold_case_and_the_service_does_not() {
        assert!(matches("ecs:CLOUDSERVERS:CreateServers", "ecs:cloudServers:createServers"));
        let fault = PatternFault::ServiceCase("ECS".into());
        assert_eq!(Pattern::parse("ECS:*:*", Version::Policy), Err(fault));
        let role = Pattern::parse("ECS:*:*", Version::Role).unwrap();
        assert!(!role.matches("ecs:servers:start"));
    }

    #[test]
    fn a_malformed_pattern_says_what_was_expected() {
        let segments = |text: &str| PatternFault::Segments(text.to_owned());
        let cases = [
            ("", segments("")),
            ("ecs", segments("ecs")),
            ("ecs:servers", segments("ecs:servers")),
            ("ecs:serv*", segments("ecs:serv*")),
            ("ecs::start", segments("ecs::start")),
            ("ecs:servers:start:now", segments("ecs:servers:start:now")),
            ("ecs:servers:st?rt", PatternFault::Character('?')),
            ("ecs:servers:start ", PatternFault::Character(' ')),
            ("ecs:sérvers:start", PatternFault::Character('é')),
        ];
        for (text, fault) in cases {
            assert_eq!(Pattern::parse(text, Version::Policy), Err(fault), "{text}");
        }
        let long = format!("ecs:servers:{}", "x".repeat(MAX_CHARACTERS));
        assert_eq!(Pattern::parse(&long, Version::Policy), Err(PatternFault::TooLong(long.len())));
    }

    #[test]
    fn the_published_patterns_of_roles_are_read() {
        for text in ["*", "identity:*", "identity:assume role", "WebScan:*:*", "*:*:Get*"] {
            assert!(Pattern::parse(text, Version::Role).is_ok(), "{text}");
        }
    }

    /// The definition of a glob, without regard to cost.
    fn obvious_glob(glob: &[u8], text: &[u8]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => (0..=text.len()).any(|skip| obvious_glob(rest, &text[skip..])),
            (Some((a, glob)), Some((b, text))) => a == b && obvious_glob(glob, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globbing_is_what_its_definition_says(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let expected = obvious_glob(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected);
        }
    }
}
