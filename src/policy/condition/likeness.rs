//! Which known name an unknown one was meant to be.

use std::fmt;

/// The longest name that is compared: all known ones are shorter.
const MAX_CHARACTERS: usize = 64;

/// A known name that looks like an unknown one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Likeness {
    /// It differs by letter case alone.
    Case(String),
    /// It is near.
    Near(String),
}

impl Likeness {
    /// The known name that differs by letter case alone, or else the nearest that at most so many edits lead to: a
    /// character more, less or another, or two neighbours swapped.
    pub(super) fn find(
        name: &str,
        known: impl Iterator<Item = String> + Clone,
        max_edits: usize,
    ) -> Option<Self> {
        if let Some(same) = known.clone().find(|known| known.eq_ignore_ascii_case(name)) {
            return Some(Self::Case(same));
        }
        let measured = known.filter_map(|known| Some((edits(name, &known, max_edits)?, known)));
        measured.min_by_key(|(edits, _)| *edits).map(|(_, known)| Self::Near(known))
    }
}

impl fmt::Display for Likeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Case(known) => write!(f, "letter case matters, expected `{known}`"),
            Self::Near(known) => write!(f, "the nearest known one is `{known}`"),
        }
    }
}

/// How many edits lead from one text to the other, whatever its letter case, if at most `max` do.
fn edits(from: &str, to: &str, max: usize) -> Option<usize> {
    let folded = |text: &str| -> Vec<char> {
        text.chars().take(MAX_CHARACTERS + 1).map(|character| character.to_ascii_lowercase()).collect()
    };
    let (from, to) = (folded(from), folded(to));
    if from.len().abs_diff(to.len()) > max || from.len() > MAX_CHARACTERS {
        return None;
    }
    // Rows of the table of distances between the beginnings of both: the one before the last, and the last.
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=to.len()).collect());
    for (row, character) in from.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&last, column) + usize::from(character != other);
            let mut least = replaced.min(at(&last, column + 1) + 1).min(at(&next, column) + 1);
            let is_swap = row > 0
                && column > 0
                && to.get(column - 1) == Some(character)
                && from.get(row - 1) == Some(other);
            if is_swap {
                least = least.min(at(&before, column - 1) + 1);
            }
            next.push(least);
        }
        (before, last) = (last, next);
    }
    last.last().copied().filter(|edits| *edits <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, expected) in [
            ("abc", "abc", Some(0)),
            ("ABC", "abc", Some(0)),
            ("abc", "abcd", Some(1)),
            ("abc", "bc", Some(1)),
            ("abc", "axc", Some(1)),
            ("abc", "bac", Some(1)),
            ("abcd", "badc", Some(2)),
            ("", "ab", Some(2)),
            ("abc", "xyz", None),
            ("abc", "", None),
            ("äbc", "abc", Some(1)),
        ] {
            assert_eq!(edits(from, to, 2), expected, "{from} {to}");
            assert_eq!(edits(to, from, 2), expected, "{to} {from}");
        }
        let long = "x".repeat(MAX_CHARACTERS + 1);
        assert_eq!(edits(&long, &long, 2), None);
    }

    #[test]
    fn letter_case_goes_before_nearness() {
        let known = || ["ab", "abc", "Abd"].into_iter().map(ToOwned::to_owned);
        assert_eq!(Likeness::find("abD", known(), 2), Some(Likeness::Case("Abd".into())));
        assert_eq!(Likeness::find("bac", known(), 2), Some(Likeness::Near("abc".into())));
        assert_eq!(Likeness::find("bac", known(), 0), None);
    }
}
