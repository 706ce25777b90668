//! Messages on their way: how many bytes of them calls hold, all together.
//!
//! A message is kept until it is whole, and a client may have one on each of its streams. So what the limits of one message
//! and of one connection leave is bounded here, for a listener: a call whose message has no place ends, and others go on.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use prost::bytes::Bytes;
use tonic::Status;

use super::status::CallError;

/// The places for bytes of messages that are not whole yet.
#[derive(Debug)]
pub struct Intake {
    held: AtomicUsize,
    most: usize,
    /// More is never kept for one call: it is a longer message, or the next one of a stream.
    most_of_call: usize,
}

impl Intake {
    /// For so many bytes in all, and at most so many of one message.
    #[must_use]
    pub fn new(most: usize, max_message_bytes: usize) -> Self {
        Self { held: AtomicUsize::new(0), most, most_of_call: max_message_bytes }
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.most);
        self.held.try_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// What a call holds. Dropped, it is given back.
#[derive(Debug)]
struct Held {
    intake: Arc<Intake>,
    bytes: usize,
}

impl Held {
    fn take(&mut self, bytes: usize) -> bool {
        let more = bytes.min(self.intake.most_of_call.saturating_sub(self.bytes));
        let has_place = self.intake.take(more);
        self.bytes += if has_place { more } else { 0 };
        has_place
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.intake.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

pin_project! {
    /// The message of a call, or those of a stream, as they come.
    #[derive(Debug)]
    pub struct IntakeBody<B> {
        #[pin]
        body: B,
        held: Held,
    }
}

impl<B> IntakeBody<B> {
    /// What comes in this body.
    pub(super) fn new(body: B, intake: Arc<Intake>) -> Self {
        Self { body, held: Held { intake, bytes: 0 } }
    }
}

impl<B> Body for IntakeBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(context));
        let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        if !this.held.take(bytes) {
            return Poll::Ready(Some(Err(Status::from(CallError::Crowded).into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(intake: &Arc<Intake>) -> Held {
        Held { intake: intake.clone(), bytes: 0 }
    }

    #[test]
    fn what_a_call_holds_is_given_back_when_it_ends() {
        let intake = Arc::new(Intake::new(100, 60));
        let (mut one, mut other) = (held(&intake), held(&intake));
        assert!(one.take(50) && other.take(50) && !other.take(1));
        drop(one);
        assert!(other.take(10));
        assert_eq!(intake.held.load(Ordering::Relaxed), 60);
        drop(other);
        assert_eq!(intake.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_stream_holds_no_more_than_a_message() {
        let intake = Arc::new(Intake::new(100, 60));
        let mut stream = held(&intake);
        assert!((0..1_000).all(|_| stream.take(50)));
        assert_eq!(intake.held.load(Ordering::Relaxed), 60);
    }
}
