//! A message as it is written: as prost writes it, fields in order, without those that have nothing.

use super::MAX_VARINT_BYTES;

/// Writes the fields of a message.
#[derive(Debug)]
pub(in crate::grpc) struct Writer<'a>(&'a mut Vec<u8>);

/// How a value is written.
const VARINT: u64 = 0;
const BYTES: u64 = 2;

impl<'a> Writer<'a> {
    pub(in crate::grpc) fn to(message: &'a mut Vec<u8>) -> Self {
        Self(message)
    }

    /// A text, unless it is empty.
    pub(in crate::grpc) fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.item(field, text);
        }
    }

    /// One text of several.
    pub(in crate::grpc) fn item(&mut self, field: u32, text: &str) {
        self.encoded(field, text.as_bytes());
    }

    /// A number, unless it is zero.
    pub(in crate::grpc) fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.key(field, VARINT);
            self.varint(number);
        }
    }

    /// The choice of an enumeration, unless it is zero.
    pub(in crate::grpc) fn choice(&mut self, field: u32, choice: impl Into<i32>) {
        // Of a negative one, protobuf writes all 64 bits.
        self.number(field, i64::from(choice.into()).cast_unsigned());
    }

    /// A flag, unless it is not set.
    pub(in crate::grpc) fn flag(&mut self, field: u32, flag: bool) {
        self.number(field, flag.into());
    }

    /// A message, also an empty one.
    pub(in crate::grpc) fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer<'_>)) {
        let opened = self.open(field);
        write(self);
        self.close(opened);
    }

    /// Begins a message: until it is closed, what is written are its fields.
    pub(in crate::grpc) fn open(&mut self, field: u32) -> Opened {
        let begin = self.0.len();
        self.key(field, BYTES);
        // Most lengths take one byte: only a longer one moves what is written.
        self.0.push(0);
        Opened { begin, start: self.0.len() }
    }

    /// Ends a message.
    pub(in crate::grpc) fn close(&mut self, Opened { start, .. }: Opened) {
        let len = number(self.0.len().saturating_sub(start));
        match short(len) {
            Some(length) => {
                if let Some(place) = self.0.get_mut(start - 1) {
                    *place = length;
                }
            }
            None => self.close_long(start, &Varint::of(len)),
        }
    }

    fn close_long(&mut self, start: usize, length: &Varint) {
        let (end, length) = (self.0.len(), length.bytes());
        let moved = start - 1 + length.len();
        self.0.resize(end + moved - start, 0);
        self.0.copy_within(start..end, moved);
        if let Some(place) = self.0.get_mut(start - 1..moved) {
            place.copy_from_slice(length);
        }
    }

    /// Takes back a message, with what was written of it.
    pub(in crate::grpc) fn take_back(&mut self, opened: Opened) {
        self.0.truncate(opened.begin);
    }

    /// A message that is encoded already.
    pub(in crate::grpc) fn encoded(&mut self, field: u32, message: &[u8]) {
        self.0.reserve(message.len() + 2 * MAX_VARINT_BYTES);
        self.key(field, BYTES);
        self.length(message.len());
        self.0.extend_from_slice(message);
    }

    fn key(&mut self, field: u32, form: u64) {
        self.varint(u64::from(field) << 3 | form);
    }

    fn length(&mut self, len: usize) {
        self.varint(number(len));
    }

    fn varint(&mut self, number: u64) {
        match short(number) {
            Some(byte) => self.0.push(byte),
            None => self.0.extend_from_slice(Varint::of(number).bytes()),
        }
    }
}

/// A number that is one byte, as nearly all are.
fn short(number: u64) -> Option<u8> {
    u8::try_from(number).ok().filter(|byte| *byte < 0x80)
}

/// A message that is being written: where its key is, and where its fields begin.
#[derive(Debug)]
#[must_use]
pub(in crate::grpc) struct Opened {
    begin: usize,
    start: usize,
}

/// A number as it is written: seven bits a byte, the low ones first.
struct Varint {
    bytes: [u8; MAX_VARINT_BYTES],
    len: usize,
}

impl Varint {
    fn of(mut number: u64) -> Self {
        let (mut bytes, mut len) = ([0; MAX_VARINT_BYTES], 0);
        for byte in &mut bytes {
            let [low, ..] = number.to_le_bytes();
            len += 1;
            number >>= 7;
            if number == 0 {
                *byte = low & 0x7f;
                break;
            }
            *byte = low | 0x80;
        }
        Self { bytes, len }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Sample {
        #[prost(string, tag = "1")]
        text: String,
        #[prost(uint64, tag = "2")]
        number: u64,
        #[prost(int32, tag = "3")]
        choice: i32,
        #[prost(bool, tag = "4")]
        flag: bool,
        #[prost(string, repeated, tag = "5")]
        items: Vec<String>,
        #[prost(message, boxed, optional, tag = "16")]
        inner: Option<Box<Sample>>,
    }

    fn write(sample: &Sample, writer: &mut Writer<'_>) {
        writer.text(1, &sample.text);
        writer.number(2, sample.number);
        writer.choice(3, sample.choice);
        writer.flag(4, sample.flag);
        sample.items.iter().for_each(|item| writer.item(5, item));
        if let Some(inner) = &sample.inner {
            writer.message(16, |writer| write(inner, writer));
        }
    }

    fn samples() -> impl Strategy<Value = Sample> {
        let parts = any::<(String, u64, i32, bool, Vec<String>)>();
        prop::collection::vec(parts, 1..4).prop_map(|parts| {
            let nest = |inner: Option<Box<Sample>>, (text, number, choice, flag, items)| {
                Some(Box::new(Sample { text, number, choice, flag, items, inner }))
            };
            *parts.into_iter().fold(None, nest).unwrap()
        })
    }

    proptest! {
        #[test]
        fn messages_are_written_as_prost_writes_them(sample in samples()) {
            let mut message = Vec::new();
            write(&sample, &mut Writer::to(&mut message));
            prop_assert_eq!(message, sample.encode_to_vec());
        }

        #[test]
        fn a_message_may_have_any_length(len in 0..40_000_usize) {
            let inner = Sample { text: "x".repeat(len), ..Default::default() };
            let mut message = Vec::new();
            Writer::to(&mut message).message(16, |writer| write(&inner, writer));
            prop_assert_eq!(&message, &Sample { inner: Some(Box::new(inner.clone())), ..Default::default() }.encode_to_vec());
            let mut taken_back = message.clone();
            let mut writer = Writer::to(&mut taken_back);
            let opened = writer.open(16);
            write(&inner, &mut writer);
            writer.take_back(opened);
            prop_assert_eq!(&taken_back, &message);
            let mut encoded = Vec::new();
            Writer::to(&mut encoded).encoded(16, &inner.encode_to_vec());
            prop_assert_eq!(encoded, message);
        }
    }
}
