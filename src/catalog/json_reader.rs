//! A strict reader of JSON objects that builds no tree.
//!
//! It reads RFC 8259 and nothing more: what a lenient parser would accept or repair is a fault, because the API
//! behind might read it differently. Depth and size are bounded. It yields the members of an object one by one;
//! the caller looks into a value or skips it.

use std::borrow::Cow;
use std::str;

pub use string::Key;

mod string;

/// The deepest nesting that is read. The deepest body in the API reference has eight levels.
pub const MAX_DEPTH: usize = 64;

/// Why a body could not be read. Offsets are bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Nothing but white space.
    #[error("the body is empty")]
    Empty,
    /// The text ends before the object does.
    #[error("the body is cut short")]
    Truncated,
    /// The value is not an object.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// Not JSON.
    #[error("the body is not JSON: unexpected byte at offset {0}")]
    Syntax(usize),
    /// Not UTF-8.
    #[error("the body is not UTF-8 at offset {0}")]
    NotUtf8(usize),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the body is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

type Outcome<T> = Result<T, JsonFault>;

/// Reads one object from its opening to its closing brace.
#[derive(Debug)]
pub struct ObjectReader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> ObjectReader<'a> {
    /// Starts to read a body.
    ///
    /// # Errors
    ///
    /// If the body is not UTF-8 or does not start with an object.
    pub fn new(body: &'a [u8]) -> Outcome<Self> {
        let text = str::from_utf8(body).map_err(|error| match error.error_len() {
            Some(_) => JsonFault::NotUtf8(error.valid_up_to()),
            // A character that was cut in two by the end.
            None => JsonFault::Truncated,
        })?;
        let mut reader = Self { text, at: 0, depth: 0 };
        reader.skip_white_space();
        match reader.peek() {
            None => Err(JsonFault::Empty),
            Some(b'{') => Ok(reader),
            Some(_) => Err(JsonFault::NotAnObject),
        }
    }

    /// Reads the object that starts here. `member` is called at each value and must consume it, with
    /// [`Self::skip_value`] or by another call of this function.
    ///
    /// # Errors
    ///
    /// The first fault of the reader or of `member`.
    pub fn object(&mut self, member: &mut dyn FnMut(&mut Self, Key<'a>) -> Outcome<()>) -> Outcome<()> {
        self.enter(b'{')?;
        if self.next_is(b'}') {
            return self.leave(b'}');
        }
        loop {
            self.skip_white_space();
            let key = self.string()?;
            self.skip_white_space();
            self.expect(b':')?;
            self.skip_white_space();
            member(self, key)?;
            if !self.next_is(b',') {
                return self.leave(b'}');
            }
            self.expect(b',')?;
        }
    }

    /// Whether the value that starts here is an object.
    #[must_use]
    pub fn at_object(&self) -> bool {
        self.peek() == Some(b'{')
    }

    /// Whether the value that starts here is an array.
    #[must_use]
    pub fn at_array(&self) -> bool {
        self.peek() == Some(b'[')
    }

    /// Reads a value that is neither object nor array, as text: a string decoded, a number and a truth value as
    /// written. `null` is none.
    ///
    /// # Errors
    ///
    /// If it is not such a value.
    pub fn scalar(&mut self) -> Outcome<Option<Cow<'a, str>>> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string().map(|text| Some(text.decoded())),
            Some(b'{' | b'[') => return Err(JsonFault::Syntax(start)),
            _ => self.skip_value()?,
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        Ok((text != "null").then_some(Cow::Borrowed(text)))
    }

    /// Reads past one value of any type.
    ///
    /// # Errors
    ///
    /// If it is not a value.
    pub fn skip_value(&mut self) -> Outcome<()> {
        match self.peek().ok_or(JsonFault::Truncated)? {
            b'{' => self.object(&mut |reader, _| reader.skip_value()),
            b'[' => self.array(&mut Self::skip_value),
            b'"' => self.string().map(drop),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number(),
        }
    }

    /// Checks that nothing but white space follows.
    ///
    /// # Errors
    ///
    /// If something does.
    pub fn end(&mut self) -> Outcome<()> {
        self.skip_white_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(JsonFault::Syntax(self.at)),
        }
    }

    /// Reads the array that starts here. `item` is called at each value and must consume it.
    ///
    /// # Errors
    ///
    /// The first fault of the reader or of `item`.
    pub fn array(&mut self, item: &mut dyn FnMut(&mut Self) -> Outcome<()>) -> Outcome<()> {
        self.enter(b'[')?;
        if self.next_is(b']') {
            return self.leave(b']');
        }
        loop {
            self.skip_white_space();
            item(self)?;
            if !self.next_is(b',') {
                return self.leave(b']');
            }
            self.expect(b',')?;
        }
    }

    fn number(&mut self) -> Outcome<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        // No leading zeros: `01` is read by some parsers and refused by others.
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Outcome<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match self.peek() {
            _ if self.at > start => Ok(()),
            None => Err(JsonFault::Truncated),
            Some(_) => Err(JsonFault::Syntax(self.at)),
        }
    }

    fn literal(&mut self, word: &str) -> Outcome<()> {
        word.bytes().try_for_each(|byte| self.expect(byte))
    }

    fn enter(&mut self, open: u8) -> Outcome<()> {
        if self.depth == MAX_DEPTH {
            return Err(JsonFault::TooDeep);
        }
        self.depth += 1;
        self.expect(open)
    }

    fn leave(&mut self, close: u8) -> Outcome<()> {
        self.depth -= 1;
        self.skip_white_space();
        self.expect(close)
    }

    fn next_is(&mut self, byte: u8) -> bool {
        self.skip_white_space();
        self.peek() == Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Outcome<()> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(JsonFault::Syntax(self.at)),
            None => Err(JsonFault::Truncated),
        }
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(body: &[u8]) -> Outcome<Vec<String>> {
        let mut keys = Vec::new();
        let mut reader = ObjectReader::new(body)?;
        reader.object(&mut |reader, key| {
            keys.push(key.decoded().into_owned());
            reader.skip_value()
        })?;
        reader.end()?;
        Ok(keys)
    }

    #[test]
    fn yields_each_member_in_order_with_its_escapes_decoded() {
        assert_eq!(keys(b"{}"), Ok(vec![]));
        assert_eq!(
            keys(b" { \"a\" : [1, {\"b\": \"}\"}] , \"c\":-0.5e+3}\n"),
            Ok(vec!["a".into(), "c".into()])
        );
        assert_eq!(keys(br#"{"os-st\u0061rt": null}"#), Ok(vec!["os-start".into()]));
        assert_eq!(
            keys(br#"{"\ud83d\ude00\"\\\/\b\f\n\r\t": 1}"#),
            Ok(vec!["😀\"\\/\u{8}\u{c}\n\r\t".into()])
        );
        assert_eq!(keys("{\"é\": \"ü\"}".as_bytes()), Ok(vec!["é".into()]));
        assert_eq!(keys(br#"{"a":1,"a":2}"#), Ok(vec!["a".into(), "a".into()]));
    }

    #[test]
    fn what_is_not_strict_json_is_a_fault_with_its_place() {
        use JsonFault as F;
        let cases: &[(&[u8], F)] = &[
            (b"", F::Empty),
            (b" \n", F::Empty),
            (b"[]", F::NotAnObject),
            (b"null", F::NotAnObject),
            (b"\"os-start\"", F::NotAnObject),
            (b"\xef\xbb\xbf{}", F::NotAnObject),
            (b"{", F::Truncated),
            (b"{\"a", F::Truncated),
            (b"{\"a\"", F::Truncated),
            (b"{\"a\":", F::Truncated),
            (b"{\"a\":nul", F::Truncated),
            (b"{\"a\":1", F::Truncated),
            (b"{\"a\":-", F::Truncated),
            (b"{\"a\":\"\\u00", F::Truncated),
            (b"{\"a\":[1,", F::Truncated),
            (b"{\"caf\xc3", F::Truncated),
            (b"{\"\xff\": 1}", F::NotUtf8(2)),
            (b"{\"a\":\"\xc0\xae\"}", F::NotUtf8(6)),
            (b"{\"a\":1,}", F::Syntax(7)),
            (b"{,}", F::Syntax(1)),
            (b"{'a':1}", F::Syntax(1)),
            (b"{a:1}", F::Syntax(1)),
            (b"{\"a\" 1}", F::Syntax(5)),
            (b"{\"a\":01}", F::Syntax(6)),
            (b"{\"a\":+1}", F::Syntax(5)),
            (b"{\"a\":1.}", F::Syntax(7)),
            (b"{\"a\":NaN}", F::Syntax(5)),
            (b"{\"a\":True}", F::Syntax(5)),
            (b"{\"a\":\"\n\"}", F::Syntax(6)),
            (b"{\"a\":\"\\x\"}", F::Syntax(7)),
            (b"{\"a\":\"\\ud800\"}", F::Syntax(12)),
            (b"{\"a\":\"\\ud800\\u0041\"}", F::Syntax(7)),
            (b"{\"a\":\"\\udc00\"}", F::Syntax(7)),
            (b"{} {}", F::Syntax(3)),
            (b"{}x", F::Syntax(2)),
            (b"{/**/}", F::Syntax(1)),
            (b"{\"a\":[1,]}", F::Syntax(8)),
            (b"{\"a\":[}", F::Syntax(6)),
        ];
        for (body, fault) in cases {
            assert_eq!(keys(body), Err(*fault), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(keys(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert_eq!(keys(nested(MAX_DEPTH).as_bytes()), Err(JsonFault::TooDeep));
        assert_eq!(keys(nested(100_000).as_bytes()), Err(JsonFault::TooDeep));
    }

    proptest! {
        /// Differential: what this reader accepts, serde_json reads alike, and the other way round.
        #[test]
        fn agrees_with_serde_json(body in json_like()) {
            let ours = keys(body.as_bytes());
            let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&body);
            match (&ours, &theirs) {
                (Ok(keys), Ok(map)) => {
                    let unique: std::collections::BTreeSet<&String> = keys.iter().collect();
                    prop_assert_eq!(unique, map.keys().collect());
                }
                (Err(_), Err(_)) => {}
                _ => prop_assert!(false, "{body}: {ours:?} / {theirs:?}"),
            }
        }

        /// Cutting a good body anywhere is seen.
        #[test]
        fn a_cut_is_never_taken_for_the_whole(cut in 0_usize..58) {
            let body = "{\"os-start\": {\"a\": [1, \"é\", null, 2.5e3, true]}, \"b\": \"\\u00e9\"}";
            let cut = body.as_bytes().get(..cut).unwrap_or_default();
            prop_assert!(matches!(keys(cut), Err(JsonFault::Truncated | JsonFault::Empty)));
        }
    }

    /// Texts near JSON: fragments in random order hit good and bad bodies alike.
    fn json_like() -> impl Strategy<Value = String> {
        let fragment = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"a\"",
            "\"b\"",
            "\"\\u0061\"",
            "\"\\n\"",
            "null",
            "true",
            "0",
            "-1",
            "1.5",
            "1e5",
            " ",
            "\n",
            "\"é\"",
            "\"\\ud83d\\ude00\"",
            "x",
            "{\"a\":1}",
            "\"k\":[]",
            "\"m\":{\"n\":{}}",
        ]);
        prop::collection::vec(fragment, 0..8).prop_map(|parts| format!("{{{}}}", parts.concat()))
    }
}
