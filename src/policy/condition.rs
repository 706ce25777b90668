//! Conditions: what must be so for a statement to apply.
//!
//! A clause compares what is seen of a key with the values of the policy. Of the policy's values one must fit; negated
//! operators want none to. Where the call has several values, all of them must say the same, unless the operator asks
//! for any or for all: half a yes is neither. A key that is not there meets negated operators and those with `IfExists`,
//! and no others. What can't be told, and a value that can't be read, is unclear: it never allows and always denies.
//!
//! The operators are those that the provider documents for policies 1.1 (IAM and OBS user guides) and, in the spelling of
//! 5.0, those of its newer ones; every other name is refused when the document is loaded.

pub(super) use date::written;
pub(crate) use key::Teller;
pub use key::{Key, KeyFault, Kind};
pub use likeness::Likeness;

use super::error::shorten;
use super::outcome::Outcome;
use super::sight::{Sight, Value};
use address::AddressTest;
use date::DateTest;
use number::NumberTest;
use operator::{Family, Missing, NoOperator, Operator, Polarity, Quantifier};
use text::TextTest;

mod address;
mod date;
mod key;
mod likeness;
mod number;
mod operator;
mod order;
mod text;

/// One key of a condition: `{operator: {key: values}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The operator's name, as written.
    pub operator: Box<str>,
    /// The key.
    pub key: Key,
    /// The values, as written.
    pub values: Box<[Box<str>]>,
    polarity: Polarity,
    quantifier: Quantifier,
    missing: Missing,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Text(TextTest),
    Number(NumberTest),
    Date(DateTest),
    Flag(Vec<bool>),
    Address(AddressTest),
    /// Whether the key must be missing.
    Presence(bool),
}

/// Why a condition is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionFault {
    /// An operator whose meaning is not documented.
    #[error("unknown operator `{name}`: {}", .like.as_ref().map_or(SOME_OPERATORS.to_owned(), ToString::to_string))]
    Operator {
        /// The operator.
        name: String,
        /// The operator that it may have been meant to be.
        like: Option<Likeness>,
    },
    /// An operator of known parts that do not go together.
    #[error("`{part}` does not go with `{with}`")]
    Combination {
        /// A prefix or suffix.
        part: &'static str,
        /// What it can't stand with.
        with: &'static str,
    },
    /// A key that is not known.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// A key of another type than the operator compares (IAM.1055).
    #[error("the operator compares {operator}, and the key is {key}")]
    Family {
        /// What the operator compares.
        operator: &'static str,
        /// What the key is.
        key: &'static str,
    },
    /// A value that the operator can't compare with.
    #[error("expected {expected}, found `{found}`")]
    Value {
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// `Null` and `IsNullOrEmpty` ask one question.
    #[error("expected one value, `true` or `false`, found {0}")]
    OneValue(String),
}

const SOME_OPERATORS: &str =
    "expected one such as StringEquals, NumberLessThan, DateGreaterThan, Bool or IpAddress";

impl Condition {
    /// Reads a clause.
    ///
    /// # Errors
    ///
    /// What is malformed, with the index of the value if it is one.
    pub fn parse(
        operator: &str,
        key: &str,
        values: &[&str],
    ) -> Result<Self, (Option<usize>, ConditionFault)> {
        let whole = |fault| (None, fault);
        let Operator { family, polarity, quantifier, missing } =
            Operator::parse(operator).map_err(|fault| whole(fault.named(operator)))?;
        let key = Key::parse(key).map_err(|fault| whole(fault.into()))?;
        if let (Some(compared), Some(kind)) = (family.kind(), key.kind())
            && compared != kind
        {
            return Err(whole(ConditionFault::Family { operator: compared.plural(), key: kind.singular() }));
        }
        let test = family.test(values)?;
        let values = values.iter().map(|value| Box::from(*value)).collect();
        Ok(Self { operator: operator.into(), key, values, polarity, quantifier, missing, test })
    }

    /// The clause by its place: `StringEquals['g:UserName']`.
    pub(super) fn element(&self) -> String {
        format!("{}['{}']", self.operator, self.key)
    }

    /// Whether the clause holds for what is seen of its key.
    pub(super) fn outcome(&self, seen: Sight<'_>) -> Outcome {
        match (&self.test, seen) {
            (_, Sight::Unknown) => Outcome::Unclear,
            (Test::Presence(wanted), Sight::Absent) => (*wanted).into(),
            (Test::Presence(wanted), seen) => {
                let is_missing = self.missing == Missing::OrEmpty && seen.is_blank();
                (is_missing == *wanted).into()
            }
            (_, Sight::Absent) => self.without_values(),
            (_, seen) if self.missing == Missing::Fulfils && seen.is_blank() => Outcome::Met,
            (test, Sight::One(value)) => self.one(test, value).map_or(Outcome::Unclear, Outcome::from),
            (test, seen) => self.quantifier.combine(seen.values().map(|value| self.one(test, value))),
        }
    }

    /// A missing key meets negated operators. None of no values is any, and all of no values are whatever is asked: where
    /// that says otherwise, there are two readings.
    fn without_values(&self) -> Outcome {
        match (self.missing, self.polarity, self.quantifier) {
            (Missing::Fulfils, ..) => Outcome::Met,
            (_, Polarity::Negated, Quantifier::Any) | (_, Polarity::Positive, Quantifier::All) => {
                Outcome::Unclear
            }
            (_, Polarity::Negated, _) => Outcome::Met,
            (_, Polarity::Positive, _) => Outcome::NotMet,
        }
    }

    /// Whether one value fits, or nothing if it can't be read.
    fn one(&self, test: &Test, value: Value<'_>) -> Option<bool> {
        let fits = match (test, value) {
            (test, Value::Text(text)) => Self::fits_text(test, text)?,
            (Test::Date(test), Value::Time(seconds)) => test.fits_time(seconds)?,
            (Test::Address(test), Value::Address(_, address)) => test.fits_address(address),
            (test, value) => Self::fits_text(test, &value.text())?,
        };
        Some(fits == (self.polarity == Polarity::Positive))
    }

    fn fits_text(test: &Test, value: &str) -> Option<bool> {
        match test {
            Test::Text(test) => Some(test.fits(value)),
            Test::Number(test) => test.fits(value),
            Test::Date(test) => test.fits(value),
            Test::Flag(wanted) => Some(wanted.contains(&flag(value)?)),
            Test::Address(test) => test.fits(value),
            Test::Presence(_) => None,
        }
    }
}

impl Family {
    fn test(self, values: &[&str]) -> Result<Test, (Option<usize>, ConditionFault)> {
        let fault = |(index, expected): (usize, &'static str)| {
            let found = values.get(index).copied().map(shorten).unwrap_or_default();
            (Some(index), ConditionFault::Value { expected, found })
        };
        Ok(match self {
            Self::Text(relation) => Test::Text(TextTest::new(relation, values)),
            Self::Number(order) => Test::Number(NumberTest::new(order, values).map_err(fault)?),
            Self::Date(order) => Test::Date(DateTest::new(order, values).map_err(fault)?),
            Self::Flag => Test::Flag(read_all(values, flag, "`true` or `false`").map_err(fault)?),
            Self::Address => Test::Address(AddressTest::new(values).map_err(fault)?),
            Self::Presence => match values {
                [value] => Test::Presence(flag(value).ok_or_else(|| no_one_value(values))?),
                _ => return Err(no_one_value(values)),
            },
        })
    }
}

impl NoOperator {
    fn named(self, name: &str) -> ConditionFault {
        match self {
            Self::Unknown => ConditionFault::Operator { name: shorten(name), like: Operator::like(name) },
            Self::Combination(part, with) => ConditionFault::Combination { part, with },
        }
    }
}

fn no_one_value(values: &[&str]) -> (Option<usize>, ConditionFault) {
    let found = match values {
        [value] => format!("`{}`", shorten(value)),
        _ => values.len().to_string(),
    };
    (None, ConditionFault::OneValue(found))
}

fn flag(text: &str) -> Option<bool> {
    match () {
        () if text.eq_ignore_ascii_case("true") => Some(true),
        () if text.eq_ignore_ascii_case("false") => Some(false),
        () => None,
    }
}

/// Reads each value of a policy, or tells which one is not what was expected.
fn read_all<T>(
    values: &[&str],
    read: impl Fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<Vec<T>, (usize, &'static str)> {
    values.iter().enumerate().map(|(index, value)| read(value).ok_or((index, expected))).collect()
}

#[cfg(test)]
mod tests;
