//! The segments of a path, cut where its slashes are.
//!
//! Nearly all targets can be read in one way at first sight: [`Segments::plain`] checks and cuts them in one pass. The
//! rules for all others are those of [`CanonicalPath`], which also says what is wrong with one.

use super::path::CanonicalPath;
use super::template::MAX_SEGMENTS;
use crate::bytes;

/// The segments of a path, as many as a route can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segments<'a> {
    /// The canonical path, without the slash in front.
    path: &'a str,
    /// Where each segment ends in it. Copied with each call, so short.
    ends: [u16; MAX_SEGMENTS],
    count: u16,
}

impl<'a> Segments<'a> {
    /// The segments, or `None` if there are more than any route has, or the path is longer than any API reads.
    pub(super) fn of(path: &CanonicalPath<'a>) -> Option<Self> {
        let mut segments = Self::none(path.as_str().strip_prefix('/')?);
        let mut end = 0;
        for segment in path.segments() {
            end += segment.len();
            segments.add(end)?;
            end += 1;
        }
        Some(segments)
    }

    /// The segments of a target, query included, of letters, digits and a few marks, in which none starts with a dot. `None`
    /// says nothing of any other.
    ///
    /// INVARIANT: [`CanonicalPath::parse`] and [`Self::of`] find the same.
    pub(super) fn plain(target: &'a str) -> Option<Self> {
        let path = target.strip_prefix('/')?;
        if is_plain(path.as_bytes()) {
            return Self::cut(path);
        }
        let (path, _) = path.split_once('?')?;
        if !is_plain(path.as_bytes()) {
            return None;
        }
        // One byte later: the slash in front.
        CanonicalPath::before_query(target, path.len() + 1)?;
        Self::cut(path)
    }

    /// The segments of a plain path, if none is empty.
    fn cut(path: &'a str) -> Option<Self> {
        let mut segments = Self::none(path);
        let mut start = 0;
        let slashes = words(path.as_bytes()).map(slashes).enumerate();
        for (number, mut slashes) in slashes {
            while slashes != 0 {
                let end = number * WORD + usize::try_from(slashes.trailing_zeros() / u8::BITS).ok()?;
                slashes &= slashes - 1;
                start = segments.add_plain(start, end)?;
            }
        }
        segments.add_plain(start, path.len())?;
        Some(segments)
    }

    /// Adds the segment between two places, if there is one and it starts with no dot, and tells where the next one starts.
    fn add_plain(&mut self, start: usize, end: usize) -> Option<usize> {
        if start == end || *self.path.as_bytes().get(start)? == b'.' {
            return None;
        }
        self.add(end)?;
        Some(end + 1)
    }

    fn none(path: &'a str) -> Self {
        Self { path, ends: [0; MAX_SEGMENTS], count: 0 }
    }

    fn add(&mut self, end: usize) -> Option<()> {
        *self.ends.get_mut(usize::from(self.count))? = u16::try_from(end).ok()?;
        self.count += 1;
        Some(())
    }

    /// Whether the last segment ends with a format. No published literal does.
    pub(super) fn has_format(&self) -> bool {
        matches!(self.path.as_bytes(), [.., b'.', b'j', b's', b'o', b'n'] | [.., b'.', b'x', b'm', b'l'])
    }

    /// One of them, as received: percent-encoding is kept.
    pub(super) fn get(&self, index: usize) -> Option<&'a str> {
        let (start, end) = self.bounds(index)?;
        self.path.get(start..end)
    }

    /// The bytes of those from one on. Whoever looks for a route asks for each, and need not know that they are text.
    pub(super) fn bytes_from(&self, index: usize) -> impl Iterator<Item = &'a [u8]> {
        let path = self.path.as_bytes();
        let ends = self.ends();
        let before = index.checked_sub(1).and_then(|before| ends.get(before));
        let mut start = before.map_or(0, |end| usize::from(*end) + 1);
        ends.get(index..).unwrap_or_default().iter().map_while(move |end| {
            let end = usize::from(*end);
            let segment = path.get(start..end);
            start = end + 1;
            segment
        })
    }

    fn bounds(&self, index: usize) -> Option<(usize, usize)> {
        let end = |index: usize| self.ends().get(index).copied().map(usize::from);
        let start = index.checked_sub(1).map_or(Some(0), |before| Some(end(before)? + 1))?;
        Some((start, end(index)?))
    }

    fn ends(&self) -> &[u16] {
        self.ends.get(..usize::from(self.count)).unwrap_or_default()
    }
}

/// Whether a text has nothing but slashes, letters, digits, and some of the marks that RFC 3986, section 3.3, allows in a
/// segment as they are.
fn is_plain(text: &[u8]) -> bool {
    bytes::all(text, is_plain_byte)
}

/// Without branches, so that a block of bytes is checked at once.
const fn is_plain_byte(byte: u8) -> bool {
    let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    // `-./`, the digits and `:` stand in a row.
    let is_digit_or_mark = byte.wrapping_sub(b'-') <= b':' - b'-';
    is_letter | is_digit_or_mark | (byte == b'_')
}

/// Bytes that slashes are looked for in together.
const WORD: usize = size_of::<u64>();
/// A word of eight times the byte one.
const EACH: u64 = u64::MAX / 0xff;

/// A text in words, the first byte lowest, and zeros behind its end.
fn words(text: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = text.as_chunks::<WORD>();
    let last = match text.last_chunk() {
        // The bytes before the rest were in a whole word.
        Some(last) => u64::from_le_bytes(*last).unbounded_shr(bits(WORD - rest.len())),
        None => rest.iter().rev().fold(0, |word, byte| word << u8::BITS | u64::from(*byte)),
    };
    whole.iter().map(|word| u64::from_le_bytes(*word)).chain([last])
}

/// The bits of a few bytes.
fn bits(bytes: usize) -> u32 {
    u32::try_from(bytes).map_or(u64::BITS, |bytes| bytes * u8::BITS)
}

/// Of the bytes of a word of ASCII, the top bits of those that are slashes.
fn slashes(word: u64) -> u64 {
    // What is left of a byte reaches its top bit unless nothing is left; no sum of two bytes reaches the next one.
    let others = (word ^ (EACH * u64::from(b'/'))).wrapping_add(EACH * 0x7f);
    !others & (EACH << 7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn carefully(target: &str) -> Option<Segments<'_>> {
        Segments::of(&CanonicalPath::parse(target).ok()?)
    }

    #[test]
    fn a_plain_target_is_cut_at_its_slashes() {
        for target in ["/v1/p/cloudservers", "/v1/p/s?limit=1&x=//..", "/a/b_c-d:e.f", "/a/b..", "/a?"] {
            let segments = Segments::plain(target);
            assert!(segments.is_some(), "{target}");
            assert_eq!(segments, carefully(target), "{target}");
        }
        let segments = Segments::plain("/v1/p/s?x").unwrap();
        assert_eq!([0, 1, 2, 3].map(|index| segments.get(index)), [Some("v1"), Some("p"), Some("s"), None]);
    }

    #[test]
    fn a_path_is_as_long_as_its_ends_can_tell() {
        for (bytes, is_told) in [(65_535, true), (65_536, false)] {
            let target = format!("/{}", "a".repeat(bytes));
            assert_eq!(Segments::plain(&target).is_some(), is_told, "{bytes}");
            assert_eq!(carefully(&target).is_some(), is_told, "{bytes}");
        }
    }

    #[test]
    fn every_byte_is_plain_only_where_it_has_one_reading() {
        for byte in 0..=0x7f_u8 {
            let is_plain = byte.is_ascii_alphanumeric() || b"-./:_?".contains(&byte);
            // At each place of a word.
            for place in 1..=WORD {
                let target = format!("/{}{}c", "b".repeat(place), char::from(byte));
                let plain = Segments::plain(&target);
                assert_eq!(plain.is_some(), is_plain, "{target:?}");
                assert!(plain.is_none() || plain == carefully(&target), "{target:?}");
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        let targets = [
            "",
            "/",
            "a",
            "//a",
            "/a/",
            "/a//b",
            "/a/.",
            "/./a",
            "/.a",
            "/a%20b",
            "/a;b",
            "/a?_method=PUT",
            "/a?é",
        ];
        for target in targets {
            assert_eq!(Segments::plain(target), None, "{target:?}");
        }
        assert_eq!(Segments::plain(&"/s".repeat(MAX_SEGMENTS + 1)), None);
    }

    proptest! {
        #[test]
        fn at_first_sight_and_with_care_are_the_same(target in "[/a.%2eé?#;&=_\\-]{0,12}|(/[a-z.]{0,3}){0,18}(\\?[ -~]{0,12})?") {
            if let Some(plain) = Segments::plain(&target) {
                prop_assert_eq!(Some(plain), carefully(&target));
            }
        }
    }
}
