//! The headers of a checked request, in either form that Envoy sends.
//!
//! With `encode_raw_headers` each header stands by itself with its bytes as received. Without, repeated ones are
//! joined by commas and bytes that are not UTF-8 are replaced by `!`. So a value that must be single is refused if
//! it could be either.

use super::denial::Denial;
use crate::grpc::wire::envoy::config::core::v3::HeaderValue;
use crate::grpc::wire::envoy::service::auth::v3::attribute_context::HttpRequest;

/// A request's headers. Names are lower case, as Envoy sends them.
#[derive(Debug)]
pub(super) struct Headers<'a> {
    entries: Vec<(&'a str, &'a [u8])>,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each header by itself, bytes as received.
    Raw,
    /// By name: repeated headers joined, other bytes replaced.
    Joined,
}

impl<'a> Headers<'a> {
    pub(super) fn of(http: &'a HttpRequest) -> Self {
        let Some(map) = &http.header_map else {
            let joined = http.headers.iter();
            let entries = joined.map(|(name, value)| (name.as_str(), value.as_bytes()));
            return Self { entries: entries.collect(), form: Form::Joined };
        };
        let raw = map.headers.iter().map(|HeaderValue { key, value, raw_value }| {
            let bytes = if raw_value.is_empty() { value.as_bytes() } else { raw_value.as_slice() };
            (key.as_str(), bytes)
        });
        Self { entries: raw.collect(), form: Form::Raw }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// All values of a header, each as received.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(move |(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// The value of a header that may stand once.
    ///
    /// # Errors
    ///
    /// If it stands twice, is not text, or may have been either before Envoy joined or replaced it.
    pub(super) fn single(&self, name: &str) -> Result<Option<&str>, Denial> {
        let mut values = self.values(name);
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
        for value in self.values(name) {
            let text = self.plain(value);
            let text =
                text.ok_or_else(|| Denial::Identity(format!("the header `{name}` is not plain text")))?;
            items.extend(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()));
        }
        Ok(self.has(name).then_some(items))
    }

    /// A value as text, if it is what was sent: where Envoy replaces other bytes, a `!` may have been one.
    fn plain<'v>(&self, value: &'v [u8]) -> Option<&'v str> {
        let is_plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let text = str::from_utf8(value).ok().filter(|_| value.iter().all(is_plain))?;
        (self.form == Form::Raw || !text.contains('!')).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::wire::envoy::config::core::v3::HeaderMap;

    fn raw(headers: &[(&str, &[u8])]) -> HttpRequest {
        let headers = headers.iter().map(|(key, value)| HeaderValue {
            key: key.to_string(),
            raw_value: value.to_vec(),
            ..Default::default()
        });
        HttpRequest { header_map: Some(HeaderMap { headers: headers.collect() }), ..Default::default() }
    }

    fn joined(name: &str, value: &str) -> HttpRequest {
        HttpRequest { headers: [(name.to_owned(), value.to_owned())].into(), ..Default::default() }
    }

    #[test]
    fn a_single_value_is_read_in_both_forms() {
        for http in [raw(&[("x-user", b"alice")]), joined("x-user", "alice")] {
            let headers = Headers::of(&http);
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
        for http in refused {
            assert!(Headers::of(&http).single("x-user").is_err(), "{http:?}");
        }
        let certain = raw(&[("x-user", b"a,b!")]);
        assert_eq!(Headers::of(&certain).single("x-user").unwrap(), Some("a,b!"));
    }

    #[test]
    fn a_list_stands_in_one_header_or_in_several() {
        for http in [raw(&[("x-groups", b"a, b"), ("x-groups", b"c")]), joined("x-groups", "a, b,c,")] {
            let list = Headers::of(&http).list("x-groups").unwrap();
            assert_eq!(list, Some(["a", "b", "c"].map(String::from).to_vec()));
        }
        assert_eq!(Headers::of(&raw(&[])).list("x-groups").unwrap(), None);
        for http in [raw(&[("x-groups", b"a\0")]), raw(&[("x-groups", b"\xff")]), joined("x-groups", "a!")] {
            assert!(Headers::of(&http).list("x-groups").is_err(), "{http:?}");
        }
    }
}
