//! `String…`: comparisons of text.
//!
//! `StringLike` is a test for a substring, as policies 1.1 mean it (OBS user guide, IAM permissions); `StringMatch` takes
//! `*` for any text and `?` for one character.

use super::super::pattern::glob;

/// How text is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equals,
    EqualsIgnoreCase,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
}

/// A comparison with the values of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextTest {
    relation: Relation,
    values: Vec<Box<str>>,
}

impl TextTest {
    pub(super) fn new(relation: Relation, values: &[&str]) -> Self {
        let compiled = |value: &&str| match relation {
            Relation::EqualsIgnoreCase => value.to_lowercase().into_boxed_str(),
            _ => Box::from(*value),
        };
        Self { relation, values: values.iter().map(compiled).collect() }
    }

    /// Whether a value of the call fits one of the policy's.
    pub(super) fn fits(&self, seen: &str) -> bool {
        let mut values = self.values.iter().map(|value| &**value);
        match self.relation {
            Relation::Equals => values.any(|value| seen == value),
            Relation::EqualsIgnoreCase => {
                let seen = seen.to_lowercase();
                values.any(|value| seen == value)
            }
            Relation::Contains => values.any(|value| seen.contains(value)),
            Relation::StartsWith => values.any(|value| seen.starts_with(value)),
            Relation::EndsWith => values.any(|value| seen.ends_with(value)),
            Relation::Matches => values.any(|value| matches(value, seen)),
        }
    }
}

/// A `?` is one character, so text with one is compared by characters.
fn matches(pattern: &str, text: &str) -> bool {
    if !pattern.contains('?') {
        return glob(pattern.as_bytes(), text.as_bytes());
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut from) = (0, 0);
    // Where to go on after the last `*` if what is behind it does not match here.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), text.get(from)) {
            (Some('*'), _) => {
                retry = Some((at + 1, from));
                at += 1;
            }
            (Some(expected), Some(found)) if *expected == '?' || expected == found => {
                (at, from) = (at + 1, from + 1);
            }
            (None, None) => return true,
            _ => match retry {
                Some((after, start)) if start < text.len() => {
                    retry = Some((after, start + 1));
                    (at, from) = (after, start + 1);
                }
                _ => return false,
            },
        }
    }
}
