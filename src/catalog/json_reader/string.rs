//! Strings: read past with their escapes checked, and decoded where somebody asks.
//!
//! Whoever decodes relies on what was checked, so both stand here.

use std::borrow::Cow;

use super::{JsonFault, ObjectReader, Outcome};

/// A string, such as the name of a member, as written between its quotes.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// INVARIANT: the escapes in it are well-formed; the reader checked them.
    raw: &'a str,
}

impl<'a> Key<'a> {
    /// The name with its escapes decoded: `os-st\u0061rt` is `os-start`.
    #[must_use]
    pub fn decoded(&self) -> Cow<'a, str> {
        if !self.raw.contains('\\') {
            return Cow::Borrowed(self.raw);
        }
        let mut name = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some((plain, escaped)) = rest.split_once('\\') {
            name.push_str(plain);
            let (character, length) = decode_escape(escaped);
            name.push(character);
            rest = escaped.get(length..).unwrap_or_default();
        }
        name.push_str(rest);
        Cow::Owned(name)
    }
}

/// The character of a checked escape and the length of what follows the backslash.
fn decode_escape(escaped: &str) -> (char, usize) {
    let unit = |from: usize| escaped.get(from..from + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
    match escaped.bytes().next() {
        Some(b'b') => ('\u{8}', 1),
        Some(b'f') => ('\u{c}', 1),
        Some(b'n') => ('\n', 1),
        Some(b'r') => ('\r', 1),
        Some(b't') => ('\t', 1),
        Some(b'u') => {
            let units = [unit(1), unit(7)];
            let decoded = char::decode_utf16(units.into_iter().flatten()).next();
            let character = decoded.and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER);
            (character, if character.len_utf16() == 2 { 11 } else { 5 })
        }
        Some(other) => (char::from(other), 1),
        None => (char::REPLACEMENT_CHARACTER, 0),
    }
}

impl<'a> ObjectReader<'a> {
    /// Reads the string that starts here.
    pub(super) fn string(&mut self) -> Outcome<Key<'a>> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            // RFC 8259, section 7: all else stands for itself.
            let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..=0x1f);
            let plain = rest.iter().position(is_special).ok_or(JsonFault::Truncated)?;
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                _ => return Err(JsonFault::Syntax(self.at)),
            }
        }
        // INVARIANT: both ends are at an ASCII quote, so they are character boundaries.
        let raw = self.text.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Key { raw })
    }

    fn escape(&mut self) -> Outcome<()> {
        self.expect(b'\\')?;
        match self.peek().ok_or(JsonFault::Truncated)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 1;
                Ok(())
            }
            b'u' => {
                let start = self.at;
                match self.unit()? {
                    0xd800..=0xdbff => {
                        self.expect(b'\\')?;
                        let low = self.unit()?;
                        let is_pair = (0xdc00..=0xdfff).contains(&low);
                        if is_pair { Ok(()) } else { Err(JsonFault::Syntax(start)) }
                    }
                    // Half a character: parsers differ in what they make of it.
                    0xdc00..=0xdfff => Err(JsonFault::Syntax(start)),
                    _ => Ok(()),
                }
            }
            _ => Err(JsonFault::Syntax(self.at)),
        }
    }

    /// `uXXXX`, as one unit of UTF-16.
    fn unit(&mut self) -> Outcome<u32> {
        self.expect(b'u')?;
        let mut unit = 0;
        for _ in 0..4 {
            let byte = self.peek().ok_or(JsonFault::Truncated)?;
            let digit = char::from(byte).to_digit(16).ok_or(JsonFault::Syntax(self.at))?;
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }
}
