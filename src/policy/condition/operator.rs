//! The names of operators.

use super::key::Kind;
use super::likeness::Likeness;
use super::order::Order;
use super::text::Relation;
use crate::policy::outcome::Outcome;

/// An operator, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) family: Family,
    pub(super) polarity: Polarity,
    pub(super) quantifier: Quantifier,
    pub(super) missing: Missing,
}

/// What is compared, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Text(Relation),
    Number(Order),
    Date(Order),
    Flag,
    Address,
    Presence,
}

/// Whether a value of the policy must fit, or none may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polarity {
    Positive,
    Negated,
}

/// What of several values of the call counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantifier {
    /// They must all say the same.
    Alike,
    /// One that says yes is enough: `ForAnyValue:…`, `…AnyOf`.
    Any,
    /// One that says no is enough: `ForAllValues:…`.
    All,
}

/// What a key that is not there means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// What the polarity says.
    Decides,
    /// The clause holds: `…IfExists`.
    Fulfils,
    /// `IsNullOrEmpty`: empty text counts as not there.
    OrEmpty,
}

/// The operators without prefix and suffix. Those marked may end with `AnyOf`.
const OPERATORS: [(&str, Family, Polarity, bool); 25] = {
    use Family::{Address, Date, Flag, Number, Presence, Text};
    use Polarity::{Negated, Positive};
    [
        ("StringEquals", Text(Relation::Equals), Positive, true),
        ("StringNotEquals", Text(Relation::Equals), Negated, true),
        ("StringEqualsIgnoreCase", Text(Relation::EqualsIgnoreCase), Positive, true),
        ("StringNotEqualsIgnoreCase", Text(Relation::EqualsIgnoreCase), Negated, true),
        ("StringLike", Text(Relation::Contains), Positive, true),
        ("StringNotLike", Text(Relation::Contains), Negated, true),
        ("StringStartWith", Text(Relation::StartsWith), Positive, true),
        ("StringEndWith", Text(Relation::EndsWith), Positive, true),
        ("StringMatch", Text(Relation::Matches), Positive, false),
        ("StringNotMatch", Text(Relation::Matches), Negated, false),
        ("NumberEquals", Number(Order::Equal), Positive, false),
        ("NumberNotEquals", Number(Order::Equal), Negated, false),
        ("NumberLessThan", Number(Order::Less), Positive, false),
        ("NumberLessThanEquals", Number(Order::LessOrEqual), Positive, false),
        ("NumberGreaterThan", Number(Order::Greater), Positive, false),
        ("NumberGreaterThanEquals", Number(Order::GreaterOrEqual), Positive, false),
        ("DateLessThan", Date(Order::Less), Positive, false),
        ("DateLessThanEquals", Date(Order::LessOrEqual), Positive, false),
        ("DateGreaterThan", Date(Order::Greater), Positive, false),
        ("DateGreaterThanEquals", Date(Order::GreaterOrEqual), Positive, false),
        ("Bool", Flag, Positive, false),
        ("IpAddress", Address, Positive, false),
        ("NotIpAddress", Address, Negated, false),
        ("Null", Presence, Positive, false),
        ("IsNullOrEmpty", Presence, Positive, false),
    ]
};

/// The prefixes that an operator may have.
const PREFIXES: [&str; 2] = ["ForAnyValue:", "ForAllValues:"];

/// Why a name is that of no operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoOperator {
    /// No operator has the name.
    Unknown,
    /// Two parts of the name that do not go together, each known.
    Combination(&'static str, &'static str),
}

impl Operator {
    /// Takes a name apart, if it is one. Letter case matters.
    pub(super) fn parse(name: &str) -> Result<Self, NoOperator> {
        let prefix = PREFIXES.into_iter().find(|prefix| name.starts_with(prefix));
        let name = prefix.and_then(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(rest) => (rest, Some("IfExists")),
            None => (name, None),
        };
        let (base, any_of) = match name.strip_suffix("AnyOf") {
            Some(rest) => (rest, Some("AnyOf")),
            None => (name, None),
        };
        let known = OPERATORS.into_iter().find(|(known, ..)| *known == base);
        let (base, family, polarity, takes_any_of) = known.ok_or(NoOperator::Unknown)?;
        let misfit = match (prefix, any_of, if_exists) {
            (_, Some(any_of), _) if !takes_any_of => Some((any_of, base)),
            (Some(prefix), Some(any_of), _) => Some((prefix, any_of)),
            (Some(part), ..) | (.., Some(part)) if family == Family::Presence => Some((part, base)),
            _ => None,
        };
        if let Some((part, other)) = misfit {
            return Err(NoOperator::Combination(part, other));
        }
        let quantifier = match (prefix, any_of) {
            (Some("ForAllValues:"), _) => Quantifier::All,
            (None, None) => Quantifier::Alike,
            _ => Quantifier::Any,
        };
        let missing = match (base, if_exists) {
            ("IsNullOrEmpty", _) => Missing::OrEmpty,
            (_, Some(_)) => Missing::Fulfils,
            (_, None) => Missing::Decides,
        };
        Ok(Self { family, polarity, quantifier, missing })
    }

    /// The operator that a name may have been meant to be.
    pub(super) fn like(name: &str) -> Option<Likeness> {
        let decorated = |base: &'static str| {
            let prefixes = std::iter::once("").chain(PREFIXES);
            let suffixes = ["", "AnyOf", "IfExists", "AnyOfIfExists"];
            prefixes.flat_map(move |prefix| suffixes.map(|suffix| format!("{prefix}{base}{suffix}")))
        };
        let names = OPERATORS.into_iter().flat_map(|(base, ..)| decorated(base));
        Likeness::find(name, names.filter(|name| Self::parse(name).is_ok()), 1)
    }
}

impl Family {
    /// The type of the keys that it compares, or nothing if it compares any.
    pub(super) fn kind(self) -> Option<Kind> {
        match self {
            Self::Text(_) => Some(Kind::Text),
            Self::Number(_) => Some(Kind::Number),
            Self::Date(_) => Some(Kind::Date),
            Self::Flag => Some(Kind::Flag),
            Self::Address => Some(Kind::Address),
            Self::Presence => None,
        }
    }
}

impl Quantifier {
    /// The outcome of several values: whether each fits, or nothing if it can't be read. There is at least one.
    pub(super) fn combine(self, values: impl Iterator<Item = Option<bool>>) -> Outcome {
        let values = values.map(|fits| fits.map_or(Outcome::Unclear, Outcome::from));
        match self {
            Self::Any => Outcome::any(values),
            Self::All => Outcome::all(values),
            Self::Alike => {
                let (least, greatest) = values
                    .fold((Outcome::Met, Outcome::NotMet), |(least, greatest), value| {
                        (least.min(value), greatest.max(value))
                    });
                if least == greatest { least } else { Outcome::Unclear }
            }
        }
    }
}
