//! Messages of one method, and the answers that they are to get.

use std::path::Path;
use std::sync::Arc;

use ecs_authz::catalog::Catalog;
use ecs_authz::grpc::{pb, render};
use ecs_authz::pdp::{Defaults, Pdp};
use ecs_authz::request::{Request, RequestParts};
use ecs_authz::store::cache::PolicyCache;
use ecs_authz::store::directory::DirectoryStore;
use prost::bytes::Bytes;

use super::Outcome;
use super::answers::{self, Answer};
use super::messages;
use super::mix;
use super::plan::{BATCH, Expected, Method, Plan};
use super::policies::GROUPS;

/// Holds all principals of the requests.
const CACHE_BYTES: u64 = 1 << 30;

/// Requests, and what is to be answered to each.
pub(super) struct Requests {
    parts: Vec<RequestParts>,
    answers: Vec<Answer>,
}

impl Requests {
    pub(super) async fn draw(plan: &Plan, count: usize) -> Outcome<Self> {
        let catalog = Arc::new(Catalog::published()?);
        let parts = mix::draw(catalog.operations(), count, plan.principals, GROUPS)?;
        let answers = match &plan.expected {
            Expected::Allowed => vec![Answer { is_allow: true, reason: Some(0) }; count],
            Expected::Decided(policies) => decide(policies, catalog, &parts).await?,
        };
        Ok(Self { parts, answers })
    }
}

/// What a decision point in this process says, over the same policies.
async fn decide(policies: &Path, catalog: Arc<Catalog>, parts: &[RequestParts]) -> Outcome<Vec<Answer>> {
    let store = Arc::new(DirectoryStore::open(policies, catalog.clone())?);
    let cache = PolicyCache::new(store, catalog.action_count(), CACHE_BYTES);
    let pdp = Pdp::new(catalog, cache, Defaults::default());
    let mut answers = Vec::with_capacity(parts.len());
    for parts in parts {
        let request = Request::new(parts.clone())?;
        let decision = pdp.decide(&request).await?.decision();
        let reason = render::wire_reason(decision.reason()).into();
        answers.push(Answer { is_allow: decision.is_allow(), reason: Some(reason) });
    }
    Ok(answers)
}

/// The messages of one method.
pub(super) struct Workload {
    pub(super) method: Method,
    messages: Vec<Bytes>,
    answers: Vec<Answer>,
}

impl Workload {
    pub(super) fn new(method: Method, requests: &Requests) -> Self {
        let Requests { parts, answers } = requests;
        let numbered = parts.iter().enumerate();
        let messages = match method {
            Method::Authorize => {
                numbered.map(|(number, parts)| messages::frame(&messages::authorize(parts, number))).collect()
            }
            Method::Check => {
                numbered.map(|(number, parts)| messages::frame(&messages::check(parts, number))).collect()
            }
            Method::Batch(requests) => parts.chunks_exact(requests).map(batch).collect(),
            Method::Stream => {
                let request = |(number, parts)| Some(messages::authorize(parts, number));
                let message = |it| messages::frame(&pb::StreamAuthorizeRequest { request: request(it) });
                numbered.map(message).collect()
            }
        };
        Self { method, messages, answers: answers.clone() }
    }

    /// Which message a call sends. After the last one it goes on with the first.
    pub(super) fn position(&self, call: usize) -> usize {
        call % self.messages.len().max(1)
    }

    /// The message of a call.
    pub(super) fn message(&self, call: usize) -> Outcome<Bytes> {
        self.messages.get(self.position(call)).cloned().ok_or("there is no message".into())
    }

    /// Compares an answer with what is awaited. Tells how many decisions there were, how many denials, and the number of the
    /// message in a stream.
    pub(super) fn compare(&self, call: usize, message: &[u8]) -> Outcome<Compared> {
        let found = answers::read(self.method, message)?;
        if found.len() != self.method.decisions() {
            return Err(format!("found {} answers in one", found.len()).into());
        }
        let mut compared = Compared { decisions: found.len(), denied: 0, message: None };
        for (index, (answer, message)) in found.into_iter().enumerate() {
            let request = message.unwrap_or(self.position(call) * self.method.decisions() + index);
            let awaited = self.answers.get(request).ok_or("an answer to no request")?;
            let is_same_reason = answer.reason.is_none() || answer.reason == awaited.reason;
            if answer.is_allow != awaited.is_allow || !is_same_reason {
                return Err(format!("request {request}: expected {awaited:?}, found {answer:?}").into());
            }
            compared.denied += usize::from(!answer.is_allow);
            compared.message = message;
        }
        Ok(compared)
    }
}

/// What comparing an answer found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compared {
    pub(super) decisions: usize,
    pub(super) denied: usize,
    /// Which message of a stream it answers.
    pub(super) message: Option<usize>,
}

fn batch(parts: &[RequestParts]) -> Bytes {
    let numbered = parts.iter().enumerate();
    let requests = numbered.map(|(number, parts)| messages::authorize(parts, number)).collect();
    messages::frame(&pb::BatchAuthorizeRequest { requests })
}

/// Batches in which every principal asks once, so that the server has all of them in its cache.
pub(super) fn every_principal(principals: usize) -> Outcome<impl Iterator<Item = Bytes>> {
    let catalog = Catalog::published()?;
    let request = mix::draw(catalog.operations(), 1, 1, 1)?.pop().ok_or("there is no request")?;
    let numbers = (0..principals).step_by(BATCH);
    Ok(numbers.map(move |first| {
        let members = (first..principals.min(first + BATCH))
            .map(|number| RequestParts { principal: mix::principal(number, GROUPS), ..request.clone() });
        batch(&members.collect::<Vec<_>>())
    }))
}
