//! The segments of a path, cut where its slashes are.
//!
//! Nearly all targets can be read in one way at first sight: [`Segments::plain`] checks and cuts them in one pass. The
//! rules for all others are those of [`CanonicalPath`], which also says what is wrong with one.

use super::path::CanonicalPath;
use super::template::MAX_SEGMENTS;

/// The segments of a path, as many as a route can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segments<'a> {
    /// The canonical path, without the slash in front.
    path: &'a str,
    /// Where each segment ends in it. Copied with each call, so short.
    ends: [u32; MAX_SEGMENTS],
    count: usize,
}

impl<'a> Segments<'a> {
    /// The segments, or `None` if there are more than any route has.
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

    /// The segments of a target, query included, in which nothing is encoded and no segment starts with a dot. `None`
    /// says nothing of any other.
    ///
    /// INVARIANT: [`CanonicalPath::parse`] and [`Self::of`] find the same.
    pub(super) fn plain(target: &'a str) -> Option<Self> {
        let path = target.strip_prefix('/')?;
        let mut segments = Self::none(path);
        let mut start = 0;
        loop {
            let rest = path.as_bytes().get(start..)?;
            let length = rest.iter().position(|byte| !is_plain(*byte)).unwrap_or(rest.len());
            if length == 0 || rest.starts_with(b".") {
                return None;
            }
            let end = start + length;
            segments.add(end)?;
            match rest.get(length) {
                None => return Some(segments),
                Some(b'/') => start = end + 1,
                Some(b'?') => {
                    // One byte later: the slash in front.
                    let canonical = CanonicalPath::before_query(target, end + 1)?;
                    return Some(Self { path: canonical.as_str().strip_prefix('/')?, ..segments });
                }
                Some(_) => return None,
            }
        }
    }

    fn none(path: &'a str) -> Self {
        Self { path, ends: [0; MAX_SEGMENTS], count: 0 }
    }

    fn add(&mut self, end: usize) -> Option<()> {
        *self.ends.get_mut(self.count)? = u32::try_from(end).ok()?;
        self.count += 1;
        Some(())
    }

    /// Whether the last segment ends with a format. No published literal does.
    pub(super) fn has_format(&self) -> bool {
        self.path.ends_with(".json") || self.path.ends_with(".xml")
    }

    /// One of them, as received: percent-encoding is kept.
    pub(super) fn get(&self, index: usize) -> Option<&'a str> {
        let (start, end) = self.bounds(index)?;
        self.path.get(start..end)
    }

    /// The bytes of one of them. Whoever looks for a route asks for each, and need not know that they are text.
    pub(super) fn bytes(&self, index: usize) -> Option<&'a [u8]> {
        let (start, end) = self.bounds(index)?;
        self.path.as_bytes().get(start..end)
    }

    fn bounds(&self, index: usize) -> Option<(usize, usize)> {
        let ends = self.ends.get(..self.count)?;
        let end = |index: usize| usize::try_from(*ends.get(index)?).ok();
        let start = index.checked_sub(1).map_or(Some(0), |before| Some(end(before)? + 1))?;
        Some((start, end(index)?))
    }
}

/// Whether a byte stands for itself anywhere in a segment, but for a dot in front.
fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// By byte: those that RFC 3986, section 3.3, allows in a segment as they are, without `;`.
#[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = matches!(
            byte as u8,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~'
                | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        );
        byte += 1;
    }
    plain
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn carefully(target: &str) -> Option<Segments<'_>> {
        Segments::of(&CanonicalPath::parse(target).ok()?)
    }

    #[test]
    fn a_plain_target_is_cut_at_its_slashes() {
        for target in ["/v1/p/cloudservers", "/v1/p/s?limit=1&x=//..", "/a/b,c@d:e=f", "/a/b..", "/a?"] {
            let segments = Segments::plain(target);
            assert!(segments.is_some(), "{target}");
            assert_eq!(segments, carefully(target), "{target}");
        }
        let segments = Segments::plain("/v1/p/s?x").unwrap();
        assert_eq!([0, 1, 2, 3].map(|index| segments.get(index)), [Some("v1"), Some("p"), Some("s"), None]);
    }

    #[test]
    fn every_byte_is_plain_only_where_it_has_one_reading() {
        for byte in 0..=0x7f_u8 {
            let target = format!("/a/b{}c", char::from(byte));
            if let Some(plain) = Segments::plain(&target) {
                assert_eq!(Some(plain), carefully(&target), "{target:?}");
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
