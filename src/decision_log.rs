//! The decision log: one record for each decision, a JSON object on a line, and for each call that got none.
//!
//! The edge opens an [`Entry`] for each call and closes it with what became of it, before it answers. An entry that is
//! dropped, because the caller went away, records that. A record is written to memory as a line, and a queue that is
//! bounded in bytes hands it to a thread for each sink, so a decision waits for no disk unless the configuration says
//! so. What a record may not tell is masked before it is in any queue.
//!
//! [`crate::pdp`] does not know of it: who asked, by which call, and how long it took, only the edge knows.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::time::timeout_at;

use crate::catalog::Catalog;
use crate::clock::Moment;
use crate::otlp::{Destination, OtlpError, Signal};
use crate::pdp::Response;
use crate::request::Request;
use crate::traces::TraceContext;
use collector::Collector;
use file::LogFile;
use record::{Decided, Style};
use selection::Selection;
use sink::Sink;
use writer::Output;

pub use mask::{Field, Masking};
pub use settings::{
    DecisionLogConfig, Decisions, FileConfig, OtlpConfig, Paths, QueueConfig, StdoutConfig, WhenFull,
};
pub use sink::SinkCounters;

mod collector;
mod file;
mod line;
mod mask;
mod queue;
mod record;
mod selection;
mod settings;
mod sink;
mod time;
mod writer;

/// The fewest bytes of the key of hashes.
const MIN_KEY_BYTES: usize = 16;

/// The decision log, or none. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct DecisionLog {
    log: Option<Arc<OpenLog>>,
}

struct OpenLog {
    style: Style,
    selection: Selection,
    /// Those that can refuse come first, so that no other has the record of a decision that is not answered.
    sinks: Vec<Arc<Sink>>,
}

impl fmt::Debug for OpenLog {
    /// Without the key of the hashes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenLog").field("sinks", &self.sinks).finish_non_exhaustive()
    }
}

/// Why the decision log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file of records can't be opened.
    #[error("the decision log `{}` can't be opened: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The key of hashes can't be read.
    #[error("the key `{}` can't be read: {cause}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The key of hashes is too short.
    #[error("`{}`: expected a key of at least {MIN_KEY_BYTES} bytes, such as `openssl rand -hex 32` prints", .0.display())]
    ShortKey(PathBuf),
    /// The collector can't be used as it is configured.
    #[error("the decision log: {0}")]
    Collector(#[from] OtlpError),
    /// Standard output or a thread can't be had.
    #[error("the decision log can't be written: {0}")]
    Writer(#[source] io::Error),
}

/// The call that a decision answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the contracts")]
pub enum Rpc {
    Authorize,
    BatchAuthorize,
    StreamAuthorize,
    Check,
}

/// Who asks: a name in a certificate, an address, or `local` for a process of this machine. Nothing where nobody knows. Clones
/// share it: all calls of a connection have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer(Option<Arc<str>>);

impl Peer {
    /// Who is recorded by this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(Some(name.into()))
    }
}

/// Where a decision comes from.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The call.
    pub rpc: Rpc,
    /// Names the decision.
    pub decision_id: &'a str,
    /// The request's own id, or nothing.
    pub request_id: &'a str,
    /// Who asks.
    pub peer: &'a Peer,
    /// The call's place in a trace, if it has one.
    pub trace: Option<TraceContext>,
    /// When the call came.
    pub moment: Moment,
}

/// What is known of a request that could not be read.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "named as in a request")]
pub struct Unread<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub source_ip: &'a str,
}

/// Why a call got no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The request is malformed.
    Invalid,
    /// The policies can't be had.
    Unavailable,
    /// There was no time.
    DeadlineExceeded,
    /// The caller went away.
    Cancelled,
    /// A fault of this program.
    Internal,
    /// The decision could not be recorded, and must be.
    Unrecorded,
}

/// A decision that must be recorded could not be: it must not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decision can't be recorded")]
pub struct Unrecorded;

/// How the decision log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogHealth {
    /// Records are written, or none are kept.
    Writing,
    /// Some can't be written, and decisions are answered all the same.
    Failing {
        /// Why, one fault for each sink.
        faults: Vec<String>,
    },
    /// Some can't be written that have to be: decisions are errors.
    Refusing {
        /// Why, one fault for each sink.
        faults: Vec<String>,
    },
}

/// What became of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Decisions that the configuration does not want recorded.
    pub filtered: u64,
    /// Allows that a recorded one stands for.
    pub sampled_out: u64,
    /// Each sink's.
    pub sinks: Vec<SinkCounters>,
}

/// A call that is not answered yet. Dropped, it records that the caller went away, or in a panic that this program has a
/// fault.
#[derive(Debug)]
pub struct Entry<'a> {
    log: Option<&'a OpenLog>,
    origin: Origin<'a>,
    request: Option<&'a Request>,
}

impl Rpc {
    fn name(self) -> &'static str {
        match self {
            Self::Authorize => "Authorize",
            Self::BatchAuthorize => "BatchAuthorize",
            Self::StreamAuthorize => "StreamAuthorize",
            Self::Check => "Check",
        }
    }
}

impl Failure {
    fn name(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID_ARGUMENT",
            Self::Unavailable => "UNAVAILABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Cancelled => "CANCELLED",
            Self::Internal => "INTERNAL",
            Self::Unrecorded => "NOT_RECORDED",
        }
    }
}

impl DecisionLog {
    /// No log: nothing is recorded.
    #[must_use]
    pub fn off() -> Self {
        Self { log: None }
    }

    /// Opens the sinks and starts their writers.
    ///
    /// # Errors
    ///
    /// If a file can't be opened or read.
    pub fn open(config: &DecisionLogConfig, catalog: &Catalog) -> Result<Self, OpenError> {
        let key = config.mask_key.clone().map(read_key).transpose()?;
        let style = Style { mask: mask::Mask::new(config.mask.clone(), key.as_deref()), paths: config.paths };
        let mut sinks = Vec::new();
        if let Some(file) = &config.file {
            let opened = LogFile::open(file);
            let opened = opened.map_err(|cause| OpenError::File { path: file.path.clone(), cause })?;
            sinks.push(start("file", &file.queue, Output::File(opened))?);
        }
        if let Some(stdout) = &config.stdout {
            let output = Output::stdout().map_err(OpenError::Writer)?;
            sinks.push(start("stdout", &stdout.queue, output)?);
        }
        if let Some(otlp) = &config.otlp {
            let collector = Collector::new(Destination::open(&otlp.collector, Signal::Logs)?);
            let output = Output::Collector(Box::new(collector.map_err(OpenError::Writer)?));
            sinks.push(start("otlp", &otlp.queue, output)?);
        }
        sinks.sort_by_key(|sink| sink.when_full != WhenFull::Refuse);
        let selection = Selection::new(config, catalog);
        Ok(Self { log: Some(Arc::new(OpenLog { style, selection, sinks })) })
    }

    /// An entry for a call, with its request if that could be read.
    #[must_use]
    pub fn entry<'a>(&'a self, origin: Origin<'a>, request: Option<&'a Request>) -> Entry<'a> {
        Entry { log: self.log.as_deref(), origin, request }
    }

    /// Opens the file at its path again: after it was moved away, which is noticed by itself, or replaced.
    pub fn reopen(&self) {
        self.sinks().for_each(|sink| sink.queue.ask_to_reopen());
    }

    /// What became of records so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let Some(log) = &self.log else { return Counters::default() };
        Counters {
            filtered: log.selection.filtered.load(Ordering::Relaxed),
            sampled_out: log.selection.sampled_out.load(Ordering::Relaxed),
            sinks: self.sinks().map(Sink::counters).collect(),
        }
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> LogHealth {
        let failing: Vec<&Sink> = self.sinks().filter(|sink| sink.is_failing()).collect();
        let faults: Vec<String> = failing.iter().map(|sink| sink.fault()).collect();
        match failing.iter().any(|sink| sink.when_full == WhenFull::Refuse) {
            true => LogHealth::Refusing { faults },
            false if faults.is_empty() => LogHealth::Writing,
            false => LogHealth::Failing { faults },
        }
    }

    /// Takes no more records, and waits at most `limit` until those that wait are written. What is left is counted and
    /// told.
    pub async fn drain(&self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        self.sinks().for_each(|sink| sink.queue.close());
        for sink in self.sinks() {
            let mut ended = sink.ended.subscribe();
            let _too_long = timeout_at(deadline, ended.wait_for(|ended| *ended)).await;
            let (_, records) = sink.queue.waiting();
            if records > 0 {
                sink.count_stopped(records);
                tracing::warn!(sink = sink.name, records, "the decision log ends without these records");
            }
        }
    }

    fn sinks(&self) -> impl Iterator<Item = &Sink> {
        self.log.iter().flat_map(|log| &log.sinks).map(|sink| &**sink)
    }
}

fn read_key(path: PathBuf) -> Result<Vec<u8>, OpenError> {
    match std::fs::read(&path) {
        Ok(key) if key.len() < MIN_KEY_BYTES => Err(OpenError::ShortKey(path)),
        Ok(key) => Ok(key),
        Err(cause) => Err(OpenError::Key { path, cause }),
    }
}

fn start(name: &'static str, config: &QueueConfig, output: Output) -> Result<Arc<Sink>, OpenError> {
    let sink = Arc::new(Sink::new(name, config));
    let writer = sink.clone();
    let builder = thread::Builder::new().name("decision-log".to_owned());
    builder.spawn(move || writer::run(&writer, output)).map_err(OpenError::Writer)?;
    Ok(sink)
}

impl Entry<'_> {
    /// Records what the decision point decided, and on which resource ([`Response::resource`]), which is asked for only if there is a
    /// record.
    ///
    /// # Errors
    ///
    /// If it can't be recorded and must be.
    pub async fn decided<'t>(
        mut self,
        response: &Response<'_>,
        resource: impl FnOnce() -> Cow<'t, str>,
        catalog: &Catalog,
    ) -> Result<(), Unrecorded> {
        let Some(log) = self.log.take() else { return Ok(()) };
        let Some(weight) = log.selection.weight(response.decision(), response.action()) else {
            return Ok(());
        };
        let decided = Decided { response, resource: &resource(), catalog, sample: weight };
        let line = log.style.decided(&self.origin, self.request, decided);
        self.hand_over(log, line).await
    }

    /// Records a denial that no policy made.
    ///
    /// # Errors
    ///
    /// If it can't be recorded and must be.
    pub async fn denied(mut self, reason: &'static str, unread: Unread<'_>) -> Result<(), Unrecorded> {
        let Some(log) = self.log.take() else { return Ok(()) };
        let line = log.style.denied(&self.origin, reason, &unread);
        self.hand_over(log, line).await
    }

    /// Records that there is no decision. The caller gets an error whether that is recorded or not.
    pub fn failed(mut self, failure: Failure) {
        if let Some(log) = self.log.take() {
            self.record_failure(log, failure);
        }
    }

    async fn hand_over(&self, log: &OpenLog, line: Vec<u8>) -> Result<(), Unrecorded> {
        let mut pending = Pending { line, sinks: &log.sinks };
        while let Some((sink, rest)) = pending.sinks.split_first() {
            let offered = sink.offer(&pending.line).await;
            pending.sinks = if offered.is_ok() { rest } else { &[] };
            if offered.is_err() {
                self.record_failure(log, Failure::Unrecorded);
            }
            offered?;
        }
        Ok(())
    }

    fn record_failure(&self, log: &OpenLog, failure: Failure) {
        let line = log.style.failed(&self.origin, self.request, failure.name());
        log.sinks.iter().for_each(|sink| sink.offer_now(&line));
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(log) = self.log.take() {
            let is_fault = thread::panicking();
            self.record_failure(log, if is_fault { Failure::Internal } else { Failure::Cancelled });
        }
    }
}

impl Drop for OpenLog {
    /// The writers write what is left, and end.
    fn drop(&mut self) {
        self.sinks.iter().for_each(|sink| sink.queue.close());
    }
}

/// A record on its way. Where the caller goes away while it waits for a place, it gets none later than now.
struct Pending<'a> {
    line: Vec<u8>,
    sinks: &'a [Arc<Sink>],
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.sinks.iter().for_each(|sink| sink.offer_now(&self.line));
    }
}
