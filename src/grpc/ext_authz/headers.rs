//! The headers of a checked request, in either form that Envoy sends.
//!
//! With `encode_raw_headers` each header stands by itself with its bytes as received. Without, repeated ones are
//! joined by commas and bytes that are not UTF-8 are replaced by `!`. So a value that must be single is refused if
//! it could be either.

use super::denial::Denial;
use crate::bytes;
use crate::request::OVERRIDE_HEADERS;

/// A request's headers as they lie in its message. Names are lower case, as Envoy sends them.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    entries: Vec<Entry<'a>>,
    form: Form,
}

/// How Envoy sends headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Each header by itself, bytes as received.
    Raw,
    /// By name: repeated headers joined, other bytes replaced.
    Joined,
}

/// The headers that every check asks for. Each header is compared with all of them once, and not anew for each question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Accept,
    ContentEncoding,
    ContentType,
    /// Envoy's word that the body is cut short.
    PartialBody,
    RequestId,
    Traceparent,
    Tracestate,
    /// One of [`OVERRIDE_HEADERS`], by its place.
    Override(usize),
}

#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    name: &'a str,
    known: Option<Known>,
    value: &'a [u8],
}

/// The headers that a request has mostly at most.
const MOST: usize = 24;

impl Known {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "accept" => Self::Accept,
            "content-encoding" => Self::ContentEncoding,
            "content-type" => Self::ContentType,
            "x-envoy-auth-partial-body" => Self::PartialBody,
            "x-request-id" => Self::RequestId,
            "traceparent" => Self::Traceparent,
            "tracestate" => Self::Tracestate,
            _ if name.starts_with("x-") => {
                Self::Override(OVERRIDE_HEADERS.iter().position(|known| *known == name)?)
            }
            _ => return None,
        })
    }
}

impl Default for Headers<'_> {
    fn default() -> Self {
        Self::new(Form::Joined)
    }
}

impl<'a> Headers<'a> {
    pub(super) fn new(form: Form) -> Self {
        Self { entries: Vec::new(), form }
    }

    pub(super) fn add(&mut self, name: &'a str, value: &'a [u8]) {
        if self.entries.is_empty() {
            self.entries.reserve(MOST);
        }
        self.entries.push(Entry { name, known: Known::of(name), value });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// The first of [`OVERRIDE_HEADERS`] that there is.
    pub(super) fn override_header(&self) -> Option<&'static str> {
        let places = self.entries.iter().filter_map(|entry| match entry.known {
            Some(Known::Override(place)) => Some(place),
            _ => None,
        });
        places.min().and_then(|place| OVERRIDE_HEADERS.get(place).copied())
    }

    /// All values of a header, each as received.
    pub(super) fn values(&self, known: Known) -> impl Iterator<Item = &'a [u8]> {
        self.matching(move |entry| entry.known == Some(known))
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.matching(move |entry| entry.name == name)
    }

    /// The values of the headers that are meant, each as received. Where each name has one value, the later one counts.
    fn matching(&self, is_meant: impl Fn(&Entry<'a>) -> bool) -> impl Iterator<Item = &'a [u8]> {
        let from = match self.form {
            Form::Raw => 0,
            Form::Joined => self.entries.iter().rposition(&is_meant).unwrap_or(self.entries.len()),
        };
        let entries = self.entries.get(from..).unwrap_or_default().iter();
        entries.filter(move |entry| is_meant(entry)).map(|entry| entry.value)
    }

    /// The value of a header that may stand once.
    ///
    /// # Errors
    ///
    /// If it stands twice, is not text, or may have been either before Envoy joined or replaced it.
    pub(super) fn single(&self, name: &str) -> Result<Option<&str>, Denial> {
        let mut values = self.named(name);
        let Some(value) = values.next() else { return Ok(None) };
        let text = self.plain(value).filter(|text| self.form == Form::Raw || !text.contains(','));
        match text.filter(|_| values.next().is_none()) {
            Some(text) => Ok(Some(text)),
            None => Err(Denial::Identity(format!("the header `{name}` is not one value of plain text"))),
        }
    }

    /// The items of a header that is a list: between commas, in one header or, joined or not, in several.
    ///
    /// # Errors
    ///
    /// If a value is no plain text.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<String>>, Denial> {
        let mut items = Vec::new();
        for value in self.named(name) {
            let text = self.plain(value);
            let text =
                text.ok_or_else(|| Denial::Identity(format!("the header `{name}` is not plain text")))?;
            items.extend(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()));
        }
        Ok(self.has(name).then_some(items))
    }

    /// A value as text, if it is what was sent: where Envoy replaces other bytes, a `!` may have been one.
    fn plain<'v>(&self, value: &'v [u8]) -> Option<&'v str> {
        let is_plain = |_: &&str| bytes::all(value, |byte| byte.is_ascii_graphic() | (byte == b' '));
        let text = str::from_utf8(value).ok().filter(is_plain)?;
        (self.form == Form::Raw || !text.contains('!')).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn raw<'a>(headers: &[(&'a str, &'a [u8])]) -> Headers<'a> {
        let mut raw = Headers::new(Form::Raw);
        headers.iter().for_each(|(name, value)| raw.add(name, value));
        raw
    }

    fn joined<'a>(name: &'a str, value: &'a str) -> Headers<'a> {
        let mut joined = Headers::new(Form::Joined);
        joined.add(name, value.as_bytes());
        joined
    }

    impl<'a> Headers<'a> {
        /// All values by name.
        pub(in crate::grpc::ext_authz) fn all(&self) -> HashMap<&'a str, Vec<&'a [u8]>> {
            self.entries.iter().map(|entry| (entry.name, self.named(entry.name).collect())).collect()
        }
    }

    #[test]
    fn a_single_value_is_read_in_both_forms() {
        for headers in [raw(&[("x-user", b"alice")]), joined("x-user", "alice")] {
            assert_eq!(headers.single("x-user").unwrap(), Some("alice"));
            assert_eq!(headers.single("x-other").unwrap(), None);
        }
    }

    #[test]
    fn what_may_be_two_values_or_other_bytes_is_refused() {
        let refused = [
            raw(&[("x-user", b"alice"), ("x-user", b"bob")]),
            raw(&[("x-user", b"alice"), ("x-user", b"alice")]),
            raw(&[("x-user", b"ali\xffce")]),
            raw(&[("x-user", "zo\u{e9}".as_bytes())]),
            raw(&[("x-user", b"alice\0")]),
            joined("x-user", "alice,bob"),
            joined("x-user", "ali!ce"),
        ];
        for headers in refused {
            assert!(headers.single("x-user").is_err(), "{headers:?}");
        }
        let certain = raw(&[("x-user", b"a,b!")]);
        assert_eq!(certain.single("x-user").unwrap(), Some("a,b!"));
    }

    #[test]
    fn a_list_stands_in_one_header_or_in_several() {
        for headers in [raw(&[("x-groups", b"a, b"), ("x-groups", b"c")]), joined("x-groups", "a, b,c,")] {
            let list = headers.list("x-groups").unwrap();
            assert_eq!(list, Some(["a", "b", "c"].map(String::from).to_vec()));
        }
        assert_eq!(raw(&[]).list("x-groups").unwrap(), None);
        for headers in [raw(&[("x-groups", b"a\0")]), raw(&[("x-groups", b"\xff")]), joined("x-groups", "a!")]
        {
            assert!(headers.list("x-groups").is_err(), "{headers:?}");
        }
    }
    #[test]
    fn of_headers_by_name_the_later_counts() {
        let mut headers = joined("x-user", "alice");
        headers.add("x-user", b"bob");
        headers.add("accept", b"a");
        headers.add("accept", b"b");
        assert_eq!(headers.single("x-user").unwrap(), Some("bob"));
        assert_eq!(headers.values(Known::Accept).collect::<Vec<_>>(), [b"b"]);
        let raw = raw(&[("accept", b"a"), ("accept", b"b")]);
        assert_eq!(raw.values(Known::Accept).collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn every_header_that_replaces_is_known() {
        for name in OVERRIDE_HEADERS {
            assert_eq!(raw(&[("accept", b""), (name, b"")]).override_header(), Some(name));
        }
        assert_eq!(raw(&[("x-http-methods", b""), ("x-http-metho", b"")]).override_header(), None);
    }
}
