//! `StreamAuthorize`: requests as they come, answers as they are there.
//!
//! A stream has few requests in the making at once. The next one is not read before there is room, and an answer that the
//! caller does not read takes room: so whoever does not read is not read either, and HTTP/2 holds up the caller. A stream ends
//! with its caller's last request, or when its connection is told to go: then what was read is answered, and the end is
//! `UNAVAILABLE`, which means to go on with another stream.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{self, Fuse, FuturesUnordered, Stream, StreamExt as _};
use prost::bytes::Bytes;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::authorize::{Authorize, Terms};
use super::departure::Departure;
use super::protobuf::Encoded;
use super::status::CallError;

/// The most requests of a stream that wait at once, for a store or for a place in the log: then no more are read.
const MAX_IN_FLIGHT: usize = 32;

/// What a caller gets.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<Encoded, Status>> + Send>>;

/// Answers the requests of a stream, each in its own time.
pub(super) fn answers(
    service: Arc<Authorize>,
    requests: Streaming<Bytes>,
    terms: Terms,
    departure: Option<Departure>,
) -> Answers {
    let told = departure.clone();
    let told = async move {
        match told {
            Some(departure) => departure.told().await,
            None => std::future::pending().await,
        }
    };
    let requests = requests.take_until(Box::pin(told));
    let making = requests.map(move |request| answer(service.clone(), terms.clone(), request));
    let answers = Making { begun: making.fuse(), waiting: FuturesUnordered::new() };
    let last = move || departure.is_some_and(|departure| departure.was_told());
    let end = stream::once(async { last() }).filter_map(|was_told| ready(was_told.then(leave)));
    Box::pin(answers.chain(end))
}

/// Answers in the making.
struct Making<S: Stream> {
    begun: Fuse<S>,
    /// Those that were not there at once.
    waiting: FuturesUnordered<Pin<Box<S::Item>>>,
}

impl<S> Stream for Making<S>
where
    S: Stream<Item: Future> + Unpin,
{
    type Item = <S::Item as Future>::Output;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            // First, so that those that come and need not wait keep nobody waiting.
            if let Poll::Ready(Some(answer)) = self.waiting.poll_next_unpin(context) {
                return Poll::Ready(Some(answer));
            }
            if self.waiting.len() == MAX_IN_FLIGHT {
                return Poll::Pending;
            }
            match self.begun.poll_next_unpin(context) {
                Poll::Ready(Some(answer)) => {
                    let mut answer = Box::pin(answer);
                    // From the cache it is there at once, and needs no place among those that wait.
                    if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                        return Poll::Ready(Some(answer));
                    }
                    // The next turn of the loop polls it there, so that its own waker is the one that counts.
                    self.waiting.push(answer);
                }
                Poll::Ready(None) if self.waiting.is_empty() => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// The end of a stream whose connection is told to go.
fn leave() -> Result<Encoded, Status> {
    Err(CallError::Departing.into())
}

async fn answer(
    service: Arc<Authorize>,
    terms: Terms,
    request: Result<Bytes, Status>,
) -> Result<Encoded, Status> {
    // What is no message ends the stream: nobody knows where the next one begins.
    let terms = terms.until(service.deadline_from(Instant::now()));
    service.stream_authorize(&request?, &terms).await
}
