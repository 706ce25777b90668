//! `ecs.authz.v1.AuthorizationService`.

use std::borrow::Cow;
use std::sync::Arc;

use prost::Message as _;
use prost::bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::Instant;
use tonic::{Request, Status};
use uuid::Uuid;

use super::deadline::TooLate;
use super::limits::CallLimits;
use super::parse::{Message, Parsed};
use super::protobuf::{self, Encoded, Fields, NotPlain, Writer};
use super::render::{self, Answer, Rendering};
use super::status::{CallError, invalid};
use super::{deadline, parse, pb, peer, span};
use crate::clock::{self, Moment};
use crate::decision_log::{DecisionLog, Origin, Peer, Rpc};
use crate::metrics::Decisions;
use crate::pdp::{self, Pdp};
use crate::request::{self, Identity, InvalidRequest};
use crate::slots::{Slot, Slots};
use crate::traces::{self, TraceContext};

pub use server::AuthorizeServer;

mod queries;
mod server;

/// The most requests of a batch.
const MAX_BATCH: usize = 1_000;
/// How many of them are decided before others get a turn. Decisions from the cache never wait, so nobody else would, nor the
/// caller's going away be noticed.
const TURN: usize = 8;

/// Whether a revision that is not there yet is waited for.
#[derive(Debug, Clone, Copy)]
enum Patience {
    UntilDeadline,
    /// One request of a batch must not keep the others waiting.
    None,
}

/// Answers authorization requests.
#[derive(Debug, Clone)]
pub struct Authorize {
    pdp: Arc<Pdp>,
    log: DecisionLog,
    decisions: Arc<Decisions>,
    limits: CallLimits,
}

/// How one request of a call is answered.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    rpc: Rpc,
    peer: Peer,
    trace: Option<TraceContext>,
    deadline: Instant,
    patience: Patience,
}

/// A request, and when it came to be parsed. Whoever answers it borrows it: a future keeps what it is given, and is moved.
#[derive(Debug)]
struct Asked<'a> {
    parsed: Result<Parsed, InvalidRequest>,
    request_id: &'a str,
    moment: Moment,
}

impl<'a> Asked<'a> {
    /// Parses a request that is made now.
    fn now(message: Message<'a>) -> Self {
        let (moment, request_id) = (Moment::now(), message.request_id);
        Self { parsed: parse::request(message, moment.seconds()), request_id, moment }
    }
}

impl Terms {
    fn of<T>(request: &Request<T>, rpc: Rpc, patience: Patience, limits: &CallLimits) -> Self {
        let deadline = deadline::of(request, limits.budget);
        Self { rpc, peer: peer::recorded(request), trace: traces::current(), deadline, patience }
    }

    /// For a request that has its own deadline.
    pub(super) fn until(self, deadline: Instant) -> Self {
        Self { deadline, ..self }
    }
}

impl Authorize {
    /// The service over a decision point, with its decisions recorded and counted.
    #[must_use]
    pub fn service(
        pdp: Arc<Pdp>,
        log: DecisionLog,
        decisions: Arc<Decisions>,
        limits: CallLimits,
    ) -> AuthorizeServer {
        AuthorizeServer::new(Self { pdp, log, decisions, limits })
    }

    /// A place for a decision. A call that finds none is counted and not recorded: to refuse must cost less than to decide.
    fn admit(&self) -> Result<Slot<&Slots>, CallError> {
        self.limits.admit().inspect_err(|shed| self.decisions.failed(shed.failure()))
    }

    /// Until when a request that comes now is of use.
    pub(super) fn deadline_from(&self, now: Instant) -> Instant {
        now + self.limits.budget
    }

    /// Answers a call.
    async fn authorize(&self, request: Request<Bytes>) -> Result<Encoded, Status> {
        let _slot = self.admit()?;
        let terms = Terms::of(&request, Rpc::Authorize, Patience::UntilDeadline, &self.limits);
        let mut plain = Vec::new();
        let read = protobuf::read::<pb::AuthorizeRequest, _>(request.get_ref(), &mut plain, Message::read);
        let mut answer = Encoded::with_room_for(1);
        let asked = Asked::now(read?);
        let decided = self.authorize_one(&asked, &terms, &mut answer.writer()).await;
        decided.inspect_err(|error| {
            self.decisions.failed(error.failure());
            span::failed(error.failure());
        })?;
        Ok(answer)
    }

    /// Answers a batch.
    async fn batch_authorize(&self, request: Request<Bytes>) -> Result<Encoded, Status> {
        let _slot = self.admit()?;
        let terms = Terms::of(&request, Rpc::BatchAuthorize, Patience::None, &self.limits);
        let count = count_requests(request.get_ref())?;
        if !(1..=MAX_BATCH).contains(&count) {
            let expected = format!("expected 1 to {MAX_BATCH} requests, found {count}");
            return Err(invalid("requests", expected).into());
        }
        let mut plain = Vec::new();
        let read = |fields| read_batch(fields, count);
        let requests = protobuf::read::<pb::BatchAuthorizeRequest, _>(request.get_ref(), &mut plain, read)?;
        span::batch(requests.len());
        let mut results = Encoded::with_room_for(requests.len());
        for (index, message) in requests.into_iter().enumerate() {
            if index % TURN == TURN - 1 {
                yield_now().await;
            }
            let mut writer = results.writer();
            let result = writer.open(1);
            self.authorize_next(&Asked::now(message), &terms, &mut writer).await;
            writer.close(result);
        }
        Ok(results)
    }

    /// Answers one request of a stream, if there is a place for it.
    pub(super) async fn stream_authorize(&self, message: &[u8], terms: &Terms) -> Result<Encoded, Status> {
        let mut plain = Vec::new();
        let message = protobuf::read::<pb::StreamAuthorizeRequest, _>(message, &mut plain, read_of_stream)?;
        let mut answer = Encoded::with_room_for(1);
        let mut writer = answer.writer();
        match self.admit() {
            Ok(_slot) => self.authorize_next(&Asked::now(message), terms, &mut writer).await,
            Err(shed) => write_error(&mut writer, shed, message.request_id),
        }
        Ok(answer)
    }

    /// Answers one request of several: writes the fields of its result, which are the same of a batch and of a stream.
    async fn authorize_next(&self, asked: &Asked<'_>, terms: &Terms, writer: &mut Writer<'_>) {
        let response = writer.open(1);
        match self.authorize_one(asked, terms, writer).await {
            Ok(()) => writer.close(response),
            Err(error) => {
                self.decisions.failed(error.failure());
                writer.take_back(response);
                write_error(writer, error, asked.request_id);
            }
        }
    }

    /// Decides, records, counts and renders one request. Where there is no decision, nothing is written.
    async fn authorize_one(
        &self,
        asked: &Asked<'_>,
        terms: &Terms,
        writer: &mut Writer<'_>,
    ) -> Result<(), CallError> {
        let Asked { parsed, request_id, moment } = asked;
        let mut buffer = Uuid::encode_buffer();
        let decision_id: &str = clock::decision_id(moment).hyphenated().encode_lower(&mut buffer);
        let origin = Origin {
            rpc: terms.rpc,
            decision_id,
            request_id,
            peer: &terms.peer,
            trace: terms.trace.clone(),
            moment: *moment,
        };
        let entry = self.log.entry(origin, parsed.as_ref().ok().map(|parsed| &parsed.request));
        let decided = match parsed {
            Ok(parsed) => {
                let decided = self.decide(&parsed.request, terms, moment.instant.into()).await;
                decided.map(|response| (response, parsed.explain))
            }
            Err(invalid) => Err(invalid.clone().into()),
        };
        match decided {
            Ok((response, explain)) => {
                let resource = response.resource();
                entry.decided(&response, || Cow::Borrowed(&resource), self.pdp.catalog()).await?;
                self.decisions.decided(&response);
                // A batch has many.
                if terms.rpc == Rpc::Authorize {
                    span::decided(&response, self.pdp.catalog(), decision_id);
                }
                self.tell(&response, decision_id);
                let rendering = Rendering { decision_id, request_id, explain };
                let answer = Answer { response: &response, resource: &resource };
                render::write(writer, answer, self.pdp.catalog(), rendering);
                Ok(())
            }
            Err(error) => {
                entry.failed(error.recorded());
                Err(error)
            }
        }
    }

    /// Tells who looks at single decisions in the program's own log.
    fn tell(&self, response: &pdp::Response<'_>, decision_id: &str) {
        let action = || response.action().map(|action| self.pdp.catalog().action_name(action));
        let revision = || match response {
            pdp::Response::Evaluated { revision, .. } => revision.0,
            _ => 0,
        };
        tracing::debug!(
            decision_id,
            decision = render::wire_decision(response.decision()).as_str_name(),
            reason = render::wire_reason(response.decision().reason()).as_str_name(),
            action = action().unwrap_or_default(),
            revision = revision(),
            "decided"
        );
    }

    async fn decide<'r>(
        &'r self,
        request: &'r request::Request,
        terms: &Terms,
        now: Instant,
    ) -> Result<pdp::Response<'r>, CallError> {
        let (identity, minimum) = (request.identity(), request.min_revision());
        if let Patience::None = terms.patience {
            if now >= terms.deadline {
                return Err(CallError::DeadlineExceeded);
            }
            if let Some(minimum) = minimum.filter(|minimum| self.pdp.is_behind(identity, *minimum)) {
                return Err(CallError::Behind { minimum });
            }
        }
        let decided = deadline::in_time(terms.deadline, now, self.pdp.decide(request)).await;
        Ok(decided.map_err(|TooLate| self.too_late(identity, minimum))??)
    }

    /// Why there is no answer at the deadline.
    fn too_late(&self, identity: &Identity, minimum: Option<u64>) -> CallError {
        match minimum {
            Some(minimum) if self.pdp.is_behind(identity, minimum) => CallError::Behind { minimum },
            _ => CallError::DeadlineExceeded,
        }
    }
}

/// How many requests a batch has. A request that is read takes hundreds of times the memory of an empty one's message, so those
/// of a batch that is too long are not read.
fn count_requests(batch: &Bytes) -> Result<usize, Status> {
    let mut fields = Fields::of(batch);
    let mut count = || {
        let mut count = 0;
        while let Some((field, _)) = fields.next()? {
            count += usize::from(field == 1);
        }
        Ok(count)
    };
    count().or_else(|NotPlain| {
        let decoded = BatchAuthorizeRequest::decode(batch.clone());
        decoded.map(|batch| batch.requests.len()).map_err(|error| Status::internal(error.to_string()))
    })
}

/// A batch whose requests are not read. By the name of the batch, for errors tell it.
#[derive(Clone, PartialEq, prost::Message)]
struct BatchAuthorizeRequest {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    requests: Vec<Bytes>,
}

/// The requests of a batch, which has so many.
fn read_batch(mut fields: Fields<'_>, count: usize) -> Result<Vec<Message<'_>>, NotPlain> {
    let mut requests = Vec::with_capacity(count);
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            requests.push(Message::read(value.message()?)?);
        }
    }
    Ok(requests)
}

/// The request in a message of a stream.
fn read_of_stream(fields: Fields<'_>) -> Result<Message<'_>, NotPlain> {
    Message::read(fields.sole_message(1)?)
}

/// Writes the result of a request that got no decision.
fn write_error(writer: &mut Writer<'_>, error: CallError, request_id: &str) {
    writer.encoded(2, &error.into_batch_error(request_id.to_owned()).encode_to_vec());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_batch_are_counted_as_prost_counts_them() {
        let batch = |count| {
            let requests = vec![pb::AuthorizeRequest { method: "GET".into(), ..Default::default() }; count];
            pb::BatchAuthorizeRequest { requests }.encode_to_vec()
        };
        // A group that nobody knows is skipped.
        let group = [9 << 3 | 3, 1 << 3, 1, 9 << 3 | 4];
        for count in [0, 1, 3, 1_001] {
            for message in [batch(count), [&group, &*batch(count), &group].concat()] {
                assert_eq!(count_requests(&message.into()).unwrap(), count);
            }
        }
        let message = [&*batch(2), &[1 << 3 | 2, 200]].concat();
        let error = pb::BatchAuthorizeRequest::decode(&*message).unwrap_err();
        assert_eq!(count_requests(&message.into()).unwrap_err().message(), error.to_string());
    }
}
