//! What a load generator is told to do, and what it tells of it: one line of JSON each, for it is a process of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A method that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Method {
    /// `Authorize`
    Authorize,
    /// Envoy's `Check`
    Check,
    /// `BatchAuthorize`, of so many requests
    Batch(usize),
    /// `StreamAuthorize`
    Stream,
}

/// The requests of a batch, where it is not the batch that grows.
pub(super) const BATCH: usize = 50;

impl Method {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "Authorize",
            Self::Check => "Check",
            Self::Batch(_) => "BatchAuthorize",
            Self::Stream => "StreamAuthorize",
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Authorize => "/ecs.authz.v1.AuthorizationService/Authorize",
            Self::Check => "/envoy.service.auth.v3.Authorization/Check",
            Self::Batch(_) => "/ecs.authz.v1.AuthorizationService/BatchAuthorize",
            Self::Stream => "/ecs.authz.v1.AuthorizationService/StreamAuthorize",
        }
    }

    /// The decisions of one call. A message of a stream counts as a call.
    pub(super) const fn decisions(self) -> usize {
        match self {
            Self::Authorize | Self::Check | Self::Stream => 1,
            Self::Batch(requests) => requests,
        }
    }
}

/// Calls of one method, so many at once.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) method: Method,
    pub(super) connections: usize,
    /// Calls at once on each connection; of a stream, requests that are not answered yet.
    pub(super) in_flight: usize,
    /// Calls before anything is measured.
    pub(super) warm_up: usize,
    pub(super) calls: usize,
}

/// Whose answers are awaited.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Expected {
    /// Those of a null server: everything is allowed.
    Allowed,
    /// Those of a decision point over this policy directory.
    Decided(PathBuf),
}

/// All that one load generator does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) addr: String,
    pub(super) expected: Expected,
    /// Among whom requests are drawn. The server has all of them in its cache before the first load, if it has one.
    pub(super) principals: usize,
    pub(super) loads: Vec<Load>,
}

/// What came of a load.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Outcomes {
    /// Decisions that were compared with those awaited. All were the same, or there would be no report.
    pub(super) compared: usize,
    /// How many of them were denials.
    pub(super) denied: usize,
    /// The mean size of a message.
    pub(super) answer_bytes: f64,
    pub(super) seconds: f64,
    pub(super) p50_nanoseconds: u64,
    pub(super) p99_nanoseconds: u64,
}
