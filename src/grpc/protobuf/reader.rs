//! The fields of a message (Protocol Buffers, Encoding).

use ascii::AsAsciiStr as _;

use super::{MAX_VARINT_BYTES, NotPlain};

/// What is left of the last of them.
const MAX_LAST_BYTE: u8 = 1;
/// The largest key: a number of a field, and three bits that say how its value is written.
const MAX_KEY: u64 = u32::MAX as u64;

/// What is left of a message: its fields, one after another.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::grpc) struct Fields<'a>(&'a [u8]);

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::grpc) enum Value<'a> {
    /// A number of any length: also a flag or the choice of an enumeration.
    Number(u64),
    /// Eight bytes, such as a number with a fraction.
    Eight([u8; 8]),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
    /// Four bytes, of which none of our fields are.
    Four,
}

impl<'a> Fields<'a> {
    pub(in crate::grpc) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The bytes that are left.
    pub(in crate::grpc) fn len(&self) -> usize {
        self.0.len()
    }

    /// The next field, with its number.
    #[inline]
    pub(in crate::grpc) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, NotPlain> {
        match self.0 {
            [] => Ok(None),
            // Nearly all are like this: a low number, and what is short.
            [key @ 8..0x80, len @ ..0x80, rest @ ..] if key & 7 == 2 => {
                let (value, rest) = rest.split_at_checked(usize::from(*len)).ok_or(NotPlain)?;
                self.0 = rest;
                Ok(Some((u32::from(key >> 3), Value::Bytes(value))))
            }
            _ => self.next_of_any_form().map(Some),
        }
    }

    fn next_of_any_form(&mut self) -> Result<(u32, Value<'a>), NotPlain> {
        let key = self.varint()?;
        if key > MAX_KEY {
            return Err(NotPlain);
        }
        let field = u32::try_from(key >> 3).map_err(|_| NotPlain)?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Eight(self.fixed()?),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| NotPlain)?;
                Value::Bytes(self.take(len)?)
            }
            5 => {
                self.fixed::<4>()?;
                Value::Four
            }
            // Groups, which no field of ours is; and what means nothing.
            _ => return Err(NotPlain),
        };
        // No field has the number zero.
        if field == 0 { Err(NotPlain) } else { Ok((field, value)) }
    }

    /// The message in this field, the only one of ours. An empty one if there is none.
    pub(in crate::grpc) fn sole_message(mut self, number: u32) -> Result<Self, NotPlain> {
        let mut found = None;
        while let Some((field, value)) = self.next()? {
            if field == number {
                once(&mut found, value.message()?)?;
            }
        }
        Ok(found.unwrap_or_default())
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, NotPlain> {
        match self.0.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.0 = rest;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, NotPlain> {
        let mut number = 0;
        for (index, byte) in self.0.iter().enumerate().take(MAX_VARINT_BYTES) {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                let overflows = index + 1 == MAX_VARINT_BYTES && *byte > MAX_LAST_BYTE;
                self.0 = self.0.get(index + 1..).unwrap_or_default();
                return if overflows { Err(NotPlain) } else { Ok(number) };
            }
        }
        Err(NotPlain)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], NotPlain> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(NotPlain)?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], NotPlain> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(NotPlain)?;
        self.0 = rest;
        Ok(*taken)
    }
}

impl<'a> Value<'a> {
    pub(in crate::grpc) fn number(self) -> Result<u64, NotPlain> {
        match self {
            Self::Number(number) => Ok(number),
            _ => Err(NotPlain),
        }
    }

    /// A choice of an enumeration: of a number that is too long, the low bits.
    pub(in crate::grpc) fn choice(self) -> Result<i32, NotPlain> {
        let [low @ .., _, _, _, _] = self.number()?.to_le_bytes();
        Ok(i32::from_le_bytes(low))
    }

    pub(in crate::grpc) fn flag(self) -> Result<bool, NotPlain> {
        Ok(self.number()? != 0)
    }

    pub(in crate::grpc) fn bytes(self) -> Result<&'a [u8], NotPlain> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(NotPlain),
        }
    }

    pub(in crate::grpc) fn text(self) -> Result<&'a str, NotPlain> {
        let bytes = self.bytes()?;
        // Nearly all texts are short and ASCII: `from_utf8` takes some 110 to 160 instructions to see that, this one 50.
        match bytes.as_ascii_str() {
            Ok(text) => Ok(text.as_str()),
            Err(_) => str::from_utf8(bytes).map_err(|_| NotPlain),
        }
    }

    pub(in crate::grpc) fn message(self) -> Result<Fields<'a>, NotPlain> {
        self.bytes().map(Fields::of)
    }
}

/// Keeps what may stand once: two messages would have to be merged.
pub(in crate::grpc) fn once<T>(place: &mut Option<T>, found: T) -> Result<(), NotPlain> {
    match place.replace(found) {
        None => Ok(()),
        Some(_) => Err(NotPlain),
    }
}

/// The entry of a map from text: its key, and its value if it has one.
pub(in crate::grpc) fn entry(value: Value<'_>) -> Result<(&str, Option<Value<'_>>), NotPlain> {
    let (mut key, mut found) = ("", None);
    let mut fields = value.message()?;
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => key = value.text()?,
            2 => once(&mut found, value)?,
            // No entry has anything else, and how deep it may lie is up to prost.
            _ => return Err(NotPlain),
        }
    }
    Ok((key, found))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    /// What prost makes of fields: those of this message have each a way of writing, and others are skipped.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Sample {
        #[prost(uint64, tag = "1")]
        number: u64,
        #[prost(double, tag = "2")]
        eight: f64,
        #[prost(string, tag = "3")]
        text: String,
        #[prost(bytes = "vec", repeated, tag = "4")]
        bytes: Vec<Vec<u8>>,
        #[prost(fixed32, tag = "5")]
        four: u32,
    }

    /// The same by [`Fields`].
    fn read(message: &[u8]) -> Result<Sample, NotPlain> {
        let mut sample = Sample::default();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, value) => sample.number = value.number()?,
                (2, Value::Eight(bytes)) => sample.eight = f64::from_le_bytes(bytes),
                (3, value) => sample.text = value.text()?.to_owned(),
                (4, value) => sample.bytes.push(value.bytes()?.to_vec()),
                (5, Value::Four) => {}
                (2 | 5, _) => return Err(NotPlain),
                _ => {}
            }
        }
        Ok(Sample { four: 0, ..sample })
    }

    /// Whatever is read is what prost reads.
    fn is_as_prost_reads(message: &[u8]) -> bool {
        let by_prost = Sample::decode(message).map(|sample| Sample { four: 0, ..sample }.encode_to_vec());
        match (read(message).map(|sample| sample.encode_to_vec()), by_prost) {
            (Ok(read), Ok(by_prost)) => read == by_prost,
            (Ok(_), Err(_)) => false,
            (Err(NotPlain), _) => true,
        }
    }

    proptest! {
        #[test]
        fn messages_are_read_as_prost_reads_them(
            number: u64, eight: f64, text: String, bytes: Vec<Vec<u8>>, four: u32, cut: usize, flip: u8,
        ) {
            let sample = Sample { number, eight, text, bytes, four };
            let mut message = sample.encode_to_vec();
            prop_assert_eq!(read(&message).map(|it| it.encode_to_vec()), Ok(Sample { four: 0, ..sample }.encode_to_vec()));
            if !message.is_empty() {
                let at = cut % message.len();
                prop_assert!(is_as_prost_reads(&message[..at]));
                message[at] ^= flip;
                prop_assert!(is_as_prost_reads(&message));
            }
        }

        #[test]
        fn no_bytes_are_read_otherwise_than_by_prost(message: Vec<u8>) {
            prop_assert!(is_as_prost_reads(&message));
        }

        #[test]
        fn numbers_of_any_length_are_read_as_by_prost(mut bytes in prop::collection::vec(0x80_u8.., 0..11), last in 0..4_u8) {
            bytes.insert(0, 1 << 3);
            bytes.push(last);
            let by_prost = Sample::decode(&*bytes).ok().map(|sample| sample.number);
            prop_assert_eq!(read(&bytes).ok().map(|sample| sample.number), by_prost);
        }
    }

    #[test]
    fn groups_are_left_to_prost() {
        let group = [9 << 3 | 3, 1 << 3, 1, 9 << 3 | 4];
        assert!(Sample::decode(&group[..]).is_ok());
        assert_eq!(read(&group), Err(NotPlain));
    }

    #[test]
    fn an_entry_has_a_key_and_a_value_and_not_two() {
        let entry_of = |bytes: &'static [u8]| entry(Value::Bytes(bytes));
        assert_eq!(entry_of(b"\x0a\x01k\x12\x01v"), Ok(("k", Some(Value::Bytes(b"v")))));
        assert_eq!(entry_of(b"\x12\x01v\x0a\x01k"), Ok(("k", Some(Value::Bytes(b"v")))));
        assert_eq!(entry_of(b""), Ok(("", None)));
        assert_eq!(entry_of(b"\x12\x01v\x12\x01w"), Err(NotPlain));
    }
}
