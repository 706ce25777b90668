//! `String…`: comparisons of text.
//!
//! `StringLike` is a test for a substring, as policies 1.1 mean it (OBS user guide, IAM permissions); `StringMatch` takes
//! `*` for any text and `?` for one character.

use super::super::glob::Glob;

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
pub(super) enum TextTest {
    /// With texts. To be compared without letter case, they are folded.
    Texts(Relation, Box<[Box<str>]>),
    /// With patterns.
    Globs(Box<[Glob]>),
}

impl TextTest {
    pub(super) fn new(relation: Relation, values: &[&str]) -> Self {
        let texts = |read: fn(&str) -> String| {
            Self::Texts(relation, values.iter().map(|value| read(value).into_boxed_str()).collect())
        };
        match relation {
            Relation::Matches => Self::Globs(values.iter().map(|value| Glob::parse(value)).collect()),
            Relation::EqualsIgnoreCase => texts(str::to_lowercase),
            Relation::Equals | Relation::Contains | Relation::StartsWith | Relation::EndsWith => {
                texts(str::to_owned)
            }
        }
    }

    /// Whether a value of the call fits one of the policy's.
    pub(super) fn fits(&self, seen: &str) -> bool {
        let (relation, values) = match self {
            Self::Texts(relation, values) => (relation, values),
            Self::Globs(globs) => return globs.iter().any(|glob| glob.matches(seen)),
        };
        let mut values = values.iter().map(|value| &**value);
        match relation {
            Relation::Equals | Relation::Matches => values.any(|value| seen == value),
            Relation::EqualsIgnoreCase if seen.is_ascii() => {
                values.any(|value| seen.eq_ignore_ascii_case(value))
            }
            Relation::EqualsIgnoreCase => {
                let seen = seen.to_lowercase();
                values.any(|value| seen == value)
            }
            Relation::Contains => values.any(|value| seen.contains(value)),
            Relation::StartsWith => values.any(|value| seen.starts_with(value)),
            Relation::EndsWith => values.any(|value| seen.ends_with(value)),
        }
    }
}
