//! Messages in place: read where they lie, and written as they go out.
//!
//! What prost generates copies every text of a message, of fields that nobody reads too, and of an answer builds each text
//! before it is written. The calls that decide are asked thousands of times a second and read few fields, so they do it here.
//!
//! Nothing is read here otherwise than prost reads it. Only plain messages are: what is malformed, and what is well-formed but
//! told in a way that takes merging, such as a message that stands twice in two parts, is `NotPlain`, and
//! `read` leaves it to prost: that has the error, or writes the message again as it is meant.

use prost::Message;
use prost::bytes::Bytes;
use tonic::Status;

pub(super) use reader::{Fields, Value, entry, once};
pub(super) use writer::Writer;

mod reader;
mod writer;

/// The most bytes of a number.
const MAX_VARINT_BYTES: usize = 10;

/// A message that prost is to read: malformed, or told in a way that takes merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotPlain;

/// A message that is written, with room in front for what gRPC puts there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(Vec<u8>);

impl Encoded {
    /// Whether a message is compressed, and its length.
    pub(super) const PREFIX_BYTES: usize = 5;

    /// The bytes that most answers have at most.
    const ANSWER_BYTES: usize = 768;

    /// Writes an answer.
    pub(super) fn of(write: impl FnOnce(&mut Writer<'_>)) -> Self {
        let mut message = Self::with_room_for(1);
        write(&mut message.writer());
        message
    }

    /// A message of so many answers, of which nothing is written yet.
    pub(super) fn with_room_for(answers: usize) -> Self {
        let mut message = Vec::with_capacity(Self::PREFIX_BYTES + Self::ANSWER_BYTES * answers);
        message.extend_from_slice(&[0; Self::PREFIX_BYTES]);
        Self(message)
    }

    /// Writes what comes next.
    pub(super) fn writer(&mut self) -> Writer<'_> {
        Writer::to(&mut self.0)
    }

    /// The message as it goes out, not compressed.
    pub(super) fn into_frame(mut self) -> Bytes {
        // What decides is bounded to a small part of what a length can tell.
        let len = u32::try_from(self.as_ref().len()).unwrap_or(u32::MAX);
        if let Some([compressed, length @ ..]) = self.0.first_chunk_mut::<{ Self::PREFIX_BYTES }>() {
            *compressed = 0;
            *length = len.to_be_bytes();
        }
        self.0.into()
    }
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        self.0.get(Self::PREFIX_BYTES..).unwrap_or_default()
    }
}

/// Reads a message, or what prost makes of it, for which there is `plain`.
///
/// # Errors
///
/// What a call with such a message ends with, if it is malformed.
pub(super) fn read<'a, M: Message + Default, T>(
    message: &'a [u8],
    plain: &'a mut Vec<u8>,
    read: impl Fn(Fields<'a>) -> Result<T, NotPlain>,
) -> Result<T, Status> {
    if let Ok(read) = read(Fields::of(message)) {
        return Ok(read);
    }
    // As tonic says it, for the other calls.
    let decoded = M::decode(message).map_err(|error| Status::internal(error.to_string()))?;
    *plain = decoded.encode_to_vec();
    read(Fields::of(plain)).map_err(|NotPlain| Status::internal("the message can't be read"))
}
