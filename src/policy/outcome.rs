//! Whether a part of a statement holds for a call.

use crate::decision::Effect;

/// Whether something holds. The order is that of certainty: of several that must all hold, the least counts, and of
/// several of which one must hold, the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// It does not.
    NotMet,
    /// It can't be told, or some of several values say so and some do not.
    Unclear,
    /// It does.
    Met,
}

impl Outcome {
    /// Of parts that must all hold. None is fulfilled.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().min().unwrap_or(Self::Met)
    }

    /// Of parts of which one must hold. None is not fulfilled.
    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().max().unwrap_or(Self::NotMet)
    }

    /// Whether a statement of this effect applies: what can't be told never allows, and always denies.
    pub(super) fn applies(self, effect: Effect) -> bool {
        match effect {
            Effect::Allow => self == Self::Met,
            Effect::Deny => self != Self::NotMet,
        }
    }
}

impl From<bool> for Outcome {
    fn from(holds: bool) -> Self {
        if holds { Self::Met } else { Self::NotMet }
    }
}
