//! Canonical paths: what two parsers could read differently is refused, not repaired.
//!
//! A gateway, this service and the API behind them each parse the request target. If one collapses `//`, resolves
//! `..` or decodes `%2f` and another does not, they see different calls. So a target passes only if every
//! parser must read the same segments in it. [`CanonicalPath`] is the proof that it did.

use std::borrow::Cow;
use std::str;

/// A request target that has one reading, without its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    /// INVARIANT: starts with a slash; no segment is empty, a dot segment or badly encoded.
    path: &'a str,
}

/// Why a target has more than one reading. Offsets are bytes from the start of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Not in origin form: `http://host/path`, `*`, or nothing at all.
    #[error("the path does not start with a slash")]
    NotOriginForm,
    /// A control character, a space or a byte outside ASCII.
    #[error("the byte at offset {0} is a control character, a space or not ASCII")]
    Byte(usize),
    /// A `#`, where some parsers cut and others do not.
    #[error("there is a `#` at offset {0}")]
    Fragment(usize),
    /// `//`, which some servers collapse.
    #[error("there is an empty segment at offset {0}")]
    EmptySegment(usize),
    /// A slash at the end, which some routers ignore.
    #[error("there is a slash at the end")]
    TrailingSlash,
    /// A segment `.` or `..`.
    #[error("there is a dot segment at offset {0}")]
    DotSegment(usize),
    /// A character that has no place in a segment: `;`, `\` or one that must be encoded.
    #[error("the character at offset {0} is not allowed in a path segment")]
    Character(usize),
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("the percent-encoding at offset {0} is malformed")]
    PercentEncoding(usize),
    /// An encoded character that some parser decodes into structure, or that need not be encoded.
    #[error("the percent-encoding at offset {0} hides a character that must not be encoded")]
    HiddenCharacter(usize),
    /// Encoded bytes that are not UTF-8, such as an overlong `%c0%ae`.
    #[error("the percent-encoded bytes of the segment at offset {0} are not UTF-8")]
    NotUtf8(usize),
    /// A query parameter `_method`, by which Nova's routing replaces the method.
    #[error("the query has a `_method` parameter, which can replace the method")]
    MethodOverride,
}

impl<'a> CanonicalPath<'a> {
    /// Reads a request target as received, query included.
    ///
    /// # Errors
    ///
    /// The first thing that has more than one reading.
    pub fn parse(target: &'a str) -> Result<Self, PathFault> {
        if !target.starts_with('/') {
            return Err(PathFault::NotOriginForm);
        }
        if let Some(offset) = target.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(PathFault::Byte(offset));
        }
        if let Some(offset) = target.find('#') {
            return Err(PathFault::Fragment(offset));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if has_method_override(query) {
            return Err(PathFault::MethodOverride);
        }
        let canonical = Self { path };
        let mut offset = 1;
        for segment in canonical.segments() {
            let is_last = offset + segment.len() == path.len();
            check_segment(segment, offset, is_last)?;
            offset += segment.len() + 1;
        }
        Ok(canonical)
    }

    /// The path in front of the question mark at an offset, if it was checked and the query has one reading too.
    pub(super) fn before_query(target: &'a str, at: usize) -> Option<Self> {
        let (path, query) = target.split_at_checked(at)?;
        let is_canonical = query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        (is_canonical && !has_method_override(query.strip_prefix('?')?)).then_some(Self { path })
    }

    /// The path, as received.
    pub(super) fn as_str(&self) -> &'a str {
        self.path
    }

    /// The segments, as received: percent-encoding is kept. `/` has none.
    pub fn segments(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let segments = self.path.strip_prefix('/').unwrap_or(self.path);
        // `"".split('/')` yields one empty segment; the root path has none.
        let count = if segments.is_empty() { 0 } else { usize::MAX };
        segments.split('/').take(count)
    }
}

fn check_segment(segment: &str, offset: usize, is_last: bool) -> Result<(), PathFault> {
    match segment {
        "" if is_last => return Err(PathFault::TrailingSlash),
        "" => return Err(PathFault::EmptySegment(offset)),
        "." | ".." => return Err(PathFault::DotSegment(offset)),
        _ => {}
    }
    let bytes = segment.as_bytes();
    let mut decodes_beyond_ascii = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let decoded = decode(bytes, at).ok_or(PathFault::PercentEncoding(offset + at))?;
            if hides_structure(decoded) || (decoded == b'%' && decode(bytes, at + 2).is_some()) {
                return Err(PathFault::HiddenCharacter(offset + at));
            }
            decodes_beyond_ascii |= !decoded.is_ascii();
            at += 3;
        } else if is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte) {
            at += 1;
        } else {
            return Err(PathFault::Character(offset + at));
        }
    }
    if decodes_beyond_ascii && str::from_utf8(&percent_decode(bytes)).is_err() {
        return Err(PathFault::NotUtf8(offset));
    }
    Ok(())
}

/// Whether a character that was percent-encoded gives the path another meaning to whoever decodes it.
fn hides_structure(decoded: u8) -> bool {
    is_unreserved(decoded) || decoded.is_ascii_control() || b"/\\;?#".contains(&decoded)
}

/// The characters that RFC 3986, section 2.3, calls unreserved: encoding them changes nothing, so nobody needs to.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The byte that the three bytes at `at` encode: `%2f`. The first is taken for a `%` unseen, so that the
/// digits after an encoded percent sign can be tried too.
fn decode(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |offset: usize| char::from(*bytes.get(at + offset)?).to_digit(16);
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

/// A segment of a canonical path, decoded, if it is text.
pub(super) fn decoded(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    String::from_utf8(percent_decode(segment.as_bytes())).ok().map(Cow::Owned)
}

/// Decodes percent-encoding; what is malformed stays as it is.
fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match decode(bytes, at).filter(|_| byte == b'%') {
            Some(hidden) => {
                decoded.push(hidden);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Nova's routing reads a `_method` parameter as the method. Some parsers split parameters at `;` too.
fn has_method_override(query: &str) -> bool {
    query.split(['&', ';']).any(|parameter| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        let is_plain = !name.contains('%');
        if is_plain {
            name.eq_ignore_ascii_case("_method")
        } else {
            percent_decode(name.as_bytes()).eq_ignore_ascii_case(b"_method")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(target: &str) -> Result<Vec<&str>, PathFault> {
        CanonicalPath::parse(target).map(|path| path.segments().collect())
    }

    #[test]
    fn a_canonical_path_is_split_and_kept_as_received() {
        assert_eq!(segments("/v1/p/cloudservers"), Ok(vec!["v1", "p", "cloudservers"]));
        assert_eq!(segments("/v1/p/s?limit=1&x=../..//%2f"), Ok(vec!["v1", "p", "s"]));
        assert_eq!(segments("/t/%C3%A9/a%20b"), Ok(vec!["t", "%C3%A9", "a%20b"]));
        assert_eq!(segments("/a/b,c@d:e=f"), Ok(vec!["a", "b,c@d:e=f"]));
        assert_eq!(segments("/"), Ok(vec![]));
        assert_eq!(segments("/?limit=1"), Ok(vec![]));
        assert_eq!(segments("/a/...?"), Ok(vec!["a", "..."]));
        assert_eq!(segments("/a/100%25"), Ok(vec!["a", "100%25"]));
    }

    #[test]
    fn what_has_two_readings_is_refused_with_its_place() {
        use PathFault as F;
        let cases: &[(&str, F)] = &[
            ("", F::NotOriginForm),
            ("*", F::NotOriginForm),
            ("v1/p", F::NotOriginForm),
            ("http://host/v1/p", F::NotOriginForm),
            ("//host/v1", F::EmptySegment(1)),
            ("/a//b", F::EmptySegment(3)),
            ("/a///b", F::EmptySegment(3)),
            ("/a/b/", F::TrailingSlash),
            ("/a/b/?x", F::TrailingSlash),
            ("/a/./b", F::DotSegment(3)),
            ("/a/../b", F::DotSegment(3)),
            ("/../../etc", F::DotSegment(1)),
            ("/a/..", F::DotSegment(3)),
            ("/a/%2e%2e/b", F::HiddenCharacter(3)),
            ("/%2e/a", F::HiddenCharacter(1)),
            ("/a/.%2E/b", F::HiddenCharacter(4)),
            ("/a/..;/b", F::Character(5)),
            ("/a/..;x=1/b", F::Character(5)),
            ("/a/.;/b", F::Character(4)),
            ("/a/%2e%2e;/b", F::HiddenCharacter(3)),
            ("/a/..%3b/b", F::HiddenCharacter(5)),
            ("/a%3Bb", F::HiddenCharacter(2)),
            ("/a;p=1/b", F::Character(2)),
            ("/a%2Fb", F::HiddenCharacter(2)),
            ("/a/..%2fb", F::HiddenCharacter(5)),
            ("/a%5Cb", F::HiddenCharacter(2)),
            ("/a\\b", F::Character(2)),
            ("/%41%42", F::HiddenCharacter(1)),
            ("/%7Eu", F::HiddenCharacter(1)),
            ("/a%00b", F::HiddenCharacter(2)),
            ("/a%0ab", F::HiddenCharacter(2)),
            ("/a%0d%0ab", F::HiddenCharacter(2)),
            ("/a%09b", F::HiddenCharacter(2)),
            ("/a%7fb", F::HiddenCharacter(2)),
            ("/a/%252e%252e/b", F::HiddenCharacter(3)),
            ("/a/%25%32%66b", F::HiddenCharacter(6)),
            ("/a/%252fb", F::HiddenCharacter(3)),
            ("/a%3fb", F::HiddenCharacter(2)),
            ("/a%23b", F::HiddenCharacter(2)),
            ("/a%", F::PercentEncoding(2)),
            ("/a%2", F::PercentEncoding(2)),
            ("/a%zz", F::PercentEncoding(2)),
            ("/a/%u002e/b", F::PercentEncoding(3)),
            ("/a/%c0%ae", F::NotUtf8(3)),
            ("/a/%ff", F::NotUtf8(3)),
            ("/a|b", F::Character(2)),
            ("/a^b", F::Character(2)),
            ("/a`b", F::Character(2)),
            ("/a\"b", F::Character(2)),
            ("/a<b>", F::Character(2)),
            ("/a{b}", F::Character(2)),
            ("/a[b]", F::Character(2)),
            ("/a/b#frag", F::Fragment(4)),
            ("/a?b#frag", F::Fragment(4)),
            ("/a b", F::Byte(2)),
            ("/a\tb", F::Byte(2)),
            ("/a\0b", F::Byte(2)),
            ("/a\x7fb", F::Byte(2)),
            ("/caf\u{e9}", F::Byte(4)),
            ("/a?x=\u{e9}", F::Byte(5)),
            ("/a?_method=DELETE", F::MethodOverride),
            ("/a?x=1&_method=DELETE", F::MethodOverride),
            ("/a?x=1;_method=DELETE", F::MethodOverride),
            ("/a?_METHOD=DELETE", F::MethodOverride),
            ("/a?_method", F::MethodOverride),
            ("/a?%5fmethod=DELETE", F::MethodOverride),
            ("/a?_m%65thod=DELETE", F::MethodOverride),
        ];
        for (target, fault) in cases {
            assert_eq!(segments(target), Err(*fault), "{target:?}");
        }
    }

    #[test]
    fn a_query_is_not_judged_otherwise() {
        for query in ["x=//y", "x=%00", "x=%zz", "method=DELETE", "x=_method", "", "a?b"] {
            assert!(segments(&format!("/a?{query}")).is_ok(), "{query}");
        }
    }
}
