//! A message as it is written: as prost writes it, fields in order, without those that have nothing.

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
        self.key(field, BYTES);
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
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
        self.key(field, BYTES);
        let start = self.0.len();
        // Most lengths take one byte: only a longer one moves what is written.
        self.0.push(0);
        write(&mut Writer(self.0));
        let len = self.0.len() - start - 1;
        match (u8::try_from(len), self.0.get_mut(start)) {
            (Ok(short), Some(byte)) if short < 0x80 => *byte = short,
            _ => {
                let mut length = Vec::with_capacity(10);
                Writer(&mut length).length(len);
                self.0.splice(start..=start, length);
            }
        }
    }

    /// A message that is encoded already.
    pub(in crate::grpc) fn encoded(&mut self, field: u32, message: &[u8]) {
        self.key(field, BYTES);
        self.length(message.len());
        self.0.extend_from_slice(message);
    }

    fn key(&mut self, field: u32, form: u64) {
        self.varint(u64::from(field) << 3 | form);
    }

    fn length(&mut self, len: usize) {
        self.varint(u64::try_from(len).unwrap_or(u64::MAX));
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(low_bits(number) | 0x80);
            number >>= 7;
        }
        self.0.push(low_bits(number));
    }
}

fn low_bits(number: u64) -> u8 {
    let [low, ..] = number.to_le_bytes();
    low & 0x7f
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
            let mut encoded = Vec::new();
            Writer::to(&mut encoded).encoded(16, &inner.encode_to_vec());
            prop_assert_eq!(encoded, message);
        }
    }
}
