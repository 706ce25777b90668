//! A line as it is written: a JSON object, member by member.

use crate::bytes;

/// The bytes that most records have at most.
const LINE_BYTES: usize = 1_024;

/// A JSON object that is being written.
#[derive(Debug)]
pub(super) struct Line(Vec<u8>);

impl Line {
    /// Begins a line with these bytes, which are JSON.
    pub(super) fn begin(start: &str) -> Self {
        let mut line = Vec::with_capacity(LINE_BYTES);
        line.extend_from_slice(start.as_bytes());
        Self(line)
    }

    /// Adds bytes that are JSON, such as `,"name":`.
    #[inline]
    pub(super) fn raw(&mut self, json: &str) {
        self.0.extend_from_slice(json.as_bytes());
    }

    /// Adds text that has nothing to escape, such as a time.
    #[expect(
        clippy::inline_always,
        reason = "a name of known length is copied in two instructions; in a function of its own, by a call"
    )]
    #[inline(always)]
    pub(super) fn plain(&mut self, before: &str, text: &[u8]) {
        self.0.reserve(before.len() + text.len() + 2);
        self.raw(before);
        self.0.push(b'"');
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    /// Adds text, in quotes.
    #[expect(clippy::inline_always, reason = "as for `plain`")]
    #[inline(always)]
    pub(super) fn text(&mut self, before: &str, text: &str) {
        if is_plain(text) {
            self.plain(before, text.as_bytes());
        } else {
            self.raw(before);
            self.escaped(text);
        }
    }

    #[cold]
    fn escaped(&mut self, text: &str) {
        // A text is always JSON, and memory takes every byte.
        let _written = serde_json::to_writer(&mut self.0, text);
    }

    /// Adds text, if there is some.
    #[inline]
    pub(super) fn optional(&mut self, before: &str, text: Option<impl AsRef<str>>) {
        if let Some(text) = text {
            self.text(before, text.as_ref());
        }
    }

    /// Adds a number.
    pub(super) fn number(&mut self, before: &str, number: u64) {
        self.raw(before);
        self.raw(itoa::Buffer::new().format(number));
    }

    /// Adds items between brackets.
    pub(super) fn list<T>(
        &mut self,
        before: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.raw(before);
        self.raw("[");
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            write(self, item);
        }
        self.raw("]");
    }

    /// The line, with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

/// Whether a text has nothing to escape (RFC 8259, section 7).
fn is_plain(text: &str) -> bool {
    bytes::all(text.as_bytes(), |byte| (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_what_a_library_reads(text: String, number: u64, items: Vec<String>) {
            let mut line = Line::begin("{");
            line.text(r#""text":"#, &text);
            line.optional(r#","none":"#, None::<&str>);
            line.number(r#","number":"#, number);
            line.list(r#","items":"#, &items, |line, item| line.text("", item));
            let line = line.finish();
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(read, json!({"text": text, "number": number, "items": items}));
        }
    }
}
