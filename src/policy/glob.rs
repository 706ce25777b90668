//! Text patterns, taken apart when a policy is read: `*` stands for any text, `?` for one character.
//!
//! No pattern and no text make matching slow: it takes time by the length of the text, and with a `?` by that times a
//! sixty-fourth of the pattern's length at most. The text can be a segment of a path, as long as its sender likes.

use smallvec::SmallVec;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Glob {
    /// `*`, which also what is not known meets.
    Any,
    /// Without a wildcard.
    Exact(Box<str>),
    /// With `*` alone.
    Pieces(Pieces),
    /// With a `?`.
    Steps(Steps),
}

/// Texts with any text between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    first: Box<str>,
    middle: Box<[Box<str>]>,
    last: Box<str>,
}

impl Glob {
    pub(super) fn parse(pattern: &str) -> Self {
        if pattern == "*" {
            return Self::Any;
        }
        if pattern.contains('?') {
            return Self::Steps(Steps::parse(pattern));
        }
        let mut pieces: Vec<Box<str>> = pattern.split('*').map(Into::into).collect();
        let last = pieces.pop().unwrap_or_default();
        if pieces.is_empty() {
            return Self::Exact(last);
        }
        let first = pieces.remove(0);
        pieces.retain(|piece| !piece.is_empty());
        Self::Pieces(Pieces { first, middle: pieces.into(), last })
    }

    /// Whether a text matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(expected) => text == &**expected,
            Self::Pieces(pieces) => pieces.match_text(text).is_some(),
            Self::Steps(steps) => steps.matches(text),
        }
    }
}

impl Pieces {
    /// Each piece where it first is: what follows then has the most room.
    fn match_text(&self, text: &str) -> Option<()> {
        let mut rest = text.strip_prefix(&*self.first)?.strip_suffix(&*self.last)?;
        for piece in &self.middle {
            rest = rest.get(rest.find(&**piece)? + piece.len()..)?;
        }
        Some(())
    }
}

/// A pattern as steps from character to character, all of which are tried at once: after so many steps, a bit is set for
/// each beginning of the pattern that the text's beginning matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Steps {
    /// Characters and `?`. The bit behind the last one stands for a match.
    count: usize,
    /// Where a `*` stands in front of the step, or behind the last.
    stays: Box<[u64]>,
    /// The steps that are a `?`.
    any: Box<[u64]>,
    /// The steps that are a character, sorted by it.
    exact: Box<[(char, Places)]>,
}

/// The steps of one character. Both forms take no more room than steps, and no more time than words.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Places {
    /// Fewer than a bit set has words.
    Few(Box<[usize]>),
    Many(Box<[u64]>),
}

type Bits = SmallVec<[u64; 4]>;
const BITS: usize = u64::BITS as usize;

impl Steps {
    fn parse(pattern: &str) -> Self {
        let (mut stars, mut questions, mut characters) = (Vec::new(), Vec::new(), Vec::new());
        let mut count = 0;
        for character in pattern.chars() {
            match character {
                '*' => stars.push(count),
                '?' => questions.push(count),
                other => characters.push((other, count)),
            }
            count += usize::from(character != '*');
        }
        let width = count / BITS + 1;
        characters.sort_unstable();
        let exact = characters.chunk_by(|(one, _), (other, _)| one == other).filter_map(|places| {
            let (character, _) = places.first()?;
            let places: Vec<usize> = places.iter().map(|(_, place)| *place).collect();
            let is_few = places.len() < width;
            let places = if is_few { Places::Few(places.into()) } else { Places::Many(bits(&places, width)) };
            Some((*character, places))
        });
        Self { count, exact: exact.collect(), stays: bits(&stars, width), any: bits(&questions, width) }
    }

    fn matches(&self, text: &str) -> bool {
        let mut reached = Bits::from_elem(0, self.any.len());
        set(&mut reached, 0);
        for character in text.chars() {
            let mut moving: Bits =
                reached.iter().zip(&self.any).map(|(reached, any)| reached & any).collect();
            let found = self.exact.binary_search_by_key(&character, |(known, _)| *known).ok();
            if let Some((_, places)) = found.and_then(|index| self.exact.get(index)) {
                places.add(&reached, &mut moving);
            }
            let mut carried = 0;
            for ((reached, stays), moving) in reached.iter_mut().zip(&self.stays).zip(&moving) {
                *reached = *reached & stays | moving << 1 | carried;
                carried = moving >> (BITS - 1);
            }
            if reached.iter().all(|word| *word == 0) {
                return false;
            }
        }
        has(&reached, self.count)
    }
}

impl Places {
    /// Adds those that are reached.
    fn add(&self, reached: &[u64], moving: &mut [u64]) {
        match self {
            Self::Few(places) => {
                places.iter().filter(|place| has(reached, **place)).for_each(|place| set(moving, *place));
            }
            Self::Many(places) => {
                for ((moving, reached), places) in moving.iter_mut().zip(reached).zip(places) {
                    *moving |= reached & places;
                }
            }
        }
    }
}

fn bits(places: &[usize], width: usize) -> Box<[u64]> {
    let mut bits = vec![0; width];
    places.iter().for_each(|place| set(&mut bits, *place));
    bits.into()
}

fn set(bits: &mut [u64], place: usize) {
    if let Some(word) = bits.get_mut(place / BITS) {
        *word |= 1 << (place % BITS);
    }
}

fn has(bits: &[u64], place: usize) -> bool {
    bits.get(place / BITS).is_some_and(|word| word >> (place % BITS) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without regard to cost.
    fn obviously(glob: &[char], text: &[char]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => (0..=text.len()).any(|skip| obviously(rest, &text[skip..])),
            (Some((a, glob)), Some((b, text))) => (*a == '?' || a == b) && obviously(glob, text),
            _ => false,
        }
    }

    fn check(pattern: &str, text: &str) -> bool {
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        let matches = Glob::parse(pattern).matches(text);
        assert_eq!(matches, obviously(&characters(pattern), &characters(text)), "{pattern} {text}");
        matches
    }

    #[test]
    fn a_pattern_longer_than_a_word_matches_to_its_end() {
        for length in [62, 63, 64, 65, 127, 128, 129, 200] {
            let text = "ab".repeat(length);
            let text = text.get(..length).unwrap();
            let all = format!("{}?", text.get(..length - 1).unwrap());
            assert!(check(&all, text) && check(&format!("*{all}"), &format!("ab{text}")), "{length}");
            assert!(check(&"?".repeat(length), text) && !check(&"?".repeat(length + 1), text), "{length}");
            assert!(!check(&format!("{all}c"), &format!("{text}d")), "{length}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        // Backtracking would take hours.
        let text = "a".repeat(8_192);
        for pattern in
            ["*a".repeat(3_000) + "b", "*a?".repeat(2_000) + "b", "*".to_owned() + &"a".repeat(3_000) + "?b"]
        {
            assert!(!Glob::parse(&pattern).matches(&text));
        }
    }

    proptest! {
        #[test]
        fn globbing_is_what_its_definition_says(pattern in "[ab*?é]{0,8}", text in "[abé]{0,10}") {
            check(&pattern, &text);
        }

        #[test]
        fn so_it_is_without_a_question_mark(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            check(&pattern, &text);
        }
    }
}
