//! What is seen of a condition key, as it is at hand: nothing is copied, and what has a type keeps it.

use std::borrow::Cow;
use std::net::IpAddr;

use super::condition::written;
use super::setting::service;
use crate::catalog::{ActionId, Catalog, Seen};

/// What is seen of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight<'s> {
    /// This value.
    One(Value<'s>),
    /// These, at least one, which the call tells.
    Told(&'s [Cow<'s, str>]),
    /// These, at least one, which who asks tells.
    Given(&'s [String]),
    /// There is none.
    Absent,
    /// It can't be told.
    Unknown,
}

/// A value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'s> {
    /// A text, of whatever type it may be.
    Text(&'s str),
    /// Seconds since 1970.
    Time(u64),
    /// An address, as written and as read.
    Address(&'s str, IpAddr),
}

impl<'s> Sight<'s> {
    /// The service of an action.
    pub(super) fn of_service(catalog: &'s Catalog, action: ActionId) -> Self {
        Self::of_text(service(catalog, action))
    }

    /// Text that every call has: empty where nobody tells it.
    pub(super) fn of_text(text: &'s str) -> Self {
        if text.is_empty() { Self::Unknown } else { Self::One(Value::Text(text)) }
    }

    /// The values, if there are any that are known.
    pub(super) fn values(self) -> impl Iterator<Item = Value<'s>> {
        let (one, told, given) = match self {
            Self::One(value) => (Some(value), &[][..], &[][..]),
            Self::Told(values) => (None, values, &[][..]),
            Self::Given(values) => (None, &[][..], values),
            Self::Absent | Self::Unknown => (None, &[][..], &[][..]),
        };
        let told = told.iter().map(|value| Value::Text(value));
        one.into_iter().chain(told).chain(given.iter().map(|value| Value::Text(value)))
    }

    /// Whether no value says anything.
    pub(super) fn is_blank(self) -> bool {
        self.values().all(|value| value == Value::Text(""))
    }
}

impl<'s> Value<'s> {
    /// The value as text.
    pub(super) fn text(self) -> Cow<'s, str> {
        match self {
            Self::Text(text) | Self::Address(text, _) => Cow::Borrowed(text),
            Self::Time(seconds) => Cow::Owned(written(seconds)),
        }
    }
}

impl<'s> From<&'s Seen<'_>> for Sight<'s> {
    fn from(seen: &'s Seen<'_>) -> Self {
        match seen {
            Seen::Values(values) => Self::Told(values),
            Seen::Absent => Self::Absent,
            Seen::Unknown => Self::Unknown,
        }
    }
}
