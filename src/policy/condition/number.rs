//! `Number…`: comparisons of decimal numbers, exactly. A floating-point number would take two ids for one.

use std::cmp::Ordering;

use super::order::Order;
use super::read_all;

/// A comparison with the values of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NumberTest {
    order: Order,
    values: Vec<Decimal<Box<str>>>,
}

impl NumberTest {
    pub(super) fn new(order: Order, values: &[&str]) -> Result<Self, (usize, &'static str)> {
        Ok(Self { order, values: read_all(values, Decimal::owned, "a decimal number such as 42 or -1.5")? })
    }

    /// Whether a value of the call fits one of the policy's, or nothing if it is no number.
    pub(super) fn fits(&self, seen: &str) -> Option<bool> {
        let seen = Decimal::parse(seen)?;
        Some(self.values.iter().any(|value| self.order.holds(seen.cmp(value))))
    }
}

/// A decimal number: `-?digits(.digits)?`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decimal<T> {
    /// INVARIANT: false for zero.
    is_negative: bool,
    /// INVARIANT: no zeros in front.
    whole: T,
    /// INVARIANT: no zeros at the end.
    fraction: T,
}

impl<'t> Decimal<&'t str> {
    fn parse(text: &'t str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Self { is_negative: text.starts_with('-') && !is_zero, whole, fraction })
    }
}

impl Decimal<Box<str>> {
    fn owned(text: &str) -> Option<Self> {
        let Decimal { is_negative, whole, fraction } = Decimal::parse(text)?;
        Some(Self { is_negative, whole: whole.into(), fraction: fraction.into() })
    }
}

impl<T: AsRef<str>> Decimal<T> {
    fn magnitude(&self) -> (usize, &str, &str) {
        let (whole, fraction) = (self.whole.as_ref(), self.fraction.as_ref());
        (whole.len(), whole, fraction)
    }

    fn cmp(&self, other: &Decimal<impl AsRef<str>>) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.magnitude().cmp(&other.magnitude()),
            (true, true) => other.magnitude().cmp(&self.magnitude()),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_compared_exactly() {
        let sorted =
            ["-10", "-9.5", "-1", "-0.01", "0", "0.001", "0.01", "1", "9007199254740992", "9007199254740993"];
        for (index, text) in sorted.iter().enumerate() {
            for (other_index, other) in sorted.iter().enumerate() {
                let compared = Decimal::parse(text).unwrap().cmp(&Decimal::parse(other).unwrap());
                assert_eq!(compared, index.cmp(&other_index), "{text} {other}");
            }
        }
        assert_eq!(Decimal::parse("-0.0"), Decimal::parse("0"));
        assert_eq!(Decimal::parse("007.50"), Decimal::parse("7.5"));
        for text in ["", "-", ".5", "5.", "1e3", "+1", " 1", "0x1", "1,5", "--1", "1.2.3"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn integers_compare_as_integers(a in any::<i64>(), b in any::<i64>()) {
            let (x, y) = (Decimal::owned(&a.to_string()).unwrap(), Decimal::owned(&b.to_string()).unwrap());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }
    }
}
