//! Traces: a span for each call of gRPC, joined to the trace that its caller tells, and sent to a collector.
//!
//! [`Tracer::begin`] reads the caller's W3C trace context from a call's headers and decides whether the call is recorded: as the
//! caller says, or else by the configured ratio. While the call runs, its [`TracedCall`] is in a local of its task,
//! where [`current`] finds the trace for logs and records, and [`note`] adds what was decided. Its end makes a span, which a
//! queue of [`QUEUE_SPANS`] hands to a thread that sends them in batches. Nobody waits for that thread: without a
//! place in the queue, a span is dropped and counted.
//!
//! Without a tracer and without a caller's trace, a call costs one look at its headers: there is no span, nothing is
//! allocated, and no clock is read. So this is no `tracing` span, which would be made for each call before its sampling.
//! A span tells the call, its code, and of the decision what [`crate::metrics`] tells too: never a principal, a path, or
//! anything else that a caller could put there.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tokio::task::futures::TaskLocalFuture;
use tonic::Code;

use crate::otlp::pb::common::v1::KeyValue;
use crate::otlp::{CollectorConfig, Destination, OtlpError, Signal};
use exporter::Exporter;
use span::Recording;

pub use context::TraceContext;
pub use exporter::SpanCounters;
pub use ratio::Ratio;

mod context;
mod exporter;
mod ratio;
mod span;

/// The most spans that wait to be sent. One weighs about a kilobyte.
pub const QUEUE_SPANS: usize = 8_192;

tokio::task_local! {
    static CALL: RefCell<TracedCall>;
}

/// Decides which calls are recorded, and sends their spans. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

#[derive(Debug)]
struct Recorder {
    /// Roots are recorded where the number in their trace id is below this.
    threshold: u64,
    exporter: Exporter,
}

/// A call on its way. Dropped, it was cancelled.
#[derive(Debug)]
pub struct TracedCall {
    recorder: Option<Arc<Recorder>>,
    /// What the call is named, with a recorder.
    name: Option<Arc<str>>,
    has_parent: bool,
    trace: Option<Box<Trace>>,
}

/// The trace of a call.
#[derive(Debug)]
struct Trace {
    /// Ours if the call is recorded, else the caller's.
    context: TraceContext,
    recording: Option<Recording>,
}

impl Tracer {
    /// No tracer: nothing is recorded.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts the thread that sends to a collector. Of the calls whose callers don't say, a part is recorded: the standard
    /// variables say which if this does not.
    ///
    /// # Errors
    ///
    /// If the collector or the sampler is not understood, or the thread can't be started. Whether the collector is there
    /// makes no difference.
    pub fn start(collector: &CollectorConfig, sample_ratio: Option<Ratio>) -> Result<Self, TracesError> {
        let destination = Destination::open(collector, Signal::Traces)?;
        let ratio = match sample_ratio {
            Some(ratio) => ratio,
            None => Ratio::of_environment(&|name| std::env::var(name).ok())?,
        };
        let exporter = Exporter::start(destination)?;
        Ok(Self(Some(Arc::new(Recorder { threshold: ratio.threshold(), exporter }))))
    }

    /// A call begins, with these headers.
    #[must_use]
    pub fn begin(&self, name: &Arc<str>, headers: &HeaderMap) -> TracedCall {
        let recorder = self.0.clone();
        let name = recorder.is_some().then(|| name.clone());
        let mut call = TracedCall { recorder, name, has_parent: false, trace: None };
        call.decide(TraceContext::of_headers(headers));
        call
    }

    /// What became of spans so far, if there are any.
    #[must_use]
    pub fn counters(&self) -> Option<SpanCounters> {
        self.0.as_ref().map(|recorder| recorder.exporter.counters())
    }

    /// Takes no more spans, and waits at most `limit` until those that wait are sent. What is left is counted and told.
    pub async fn drain(&self, limit: Duration) {
        if let Some(recorder) = &self.0 {
            recorder.exporter.drain(limit).await;
        }
    }
}

impl TracedCall {
    /// A call that is not looked at, such as one that asks for health.
    #[must_use]
    pub fn unseen() -> Self {
        Self { recorder: None, name: None, has_parent: false, trace: None }
    }

    /// Runs the call in its trace.
    pub fn scope<F: Future>(self, future: F) -> Scoped<F> {
        CALL.scope(RefCell::new(self), future)
    }

    /// Ends the call with the code of its answer.
    pub fn end(mut self, code: Code) {
        self.finish(code);
    }

    /// Whether it is recorded: as the caller says, or by chance.
    fn decide(&mut self, parent: Option<TraceContext>) {
        self.has_parent = parent.is_some();
        self.trace = match (&self.recorder, parent) {
            (Some(_), Some(parent)) if parent.is_sampled() => Some(Trace::child(parent)),
            (Some(recorder), None) => TraceContext::root(recorder.threshold).map(Trace::root),
            (_, Some(parent)) => Some(Box::new(Trace { context: parent, recording: None })),
            (None, None) => None,
        };
    }

    fn finish(&mut self, code: Code) {
        let Some(Trace { context, recording: Some(recording) }) = self.trace.take().map(|trace| *trace)
        else {
            return;
        };
        if let (Some(recorder), Some(name)) = (&self.recorder, &self.name) {
            recorder.exporter.offer(recording.into_span(&context, name, code, SystemTime::now()));
        }
    }
}

impl Drop for TracedCall {
    /// Nobody waits for it any more.
    fn drop(&mut self) {
        self.finish(Code::Cancelled);
    }
}

impl Trace {
    fn root(context: TraceContext) -> Box<Self> {
        Box::new(Self { context, recording: Some(Recording::begin(None)) })
    }

    fn child(parent: TraceContext) -> Box<Self> {
        Box::new(Self { context: parent.child(), recording: Some(Recording::begin(Some(parent))) })
    }
}

/// A call that runs in its trace.
pub type Scoped<F> = TaskLocalFuture<RefCell<TracedCall>, F>;

/// The call of a future that is done.
pub fn take_call<F: Future>(scoped: std::pin::Pin<&mut Scoped<F>>) -> Option<TracedCall> {
    scoped.take_value().map(RefCell::into_inner)
}

/// The trace of the call that runs here: its own span, or the caller's.
#[must_use]
pub fn current() -> Option<TraceContext> {
    with_trace(|trace| trace.context.clone())
}

/// The call that runs here has this trace, if its headers told none: what is behind the caller tells it.
pub fn join(parent: impl FnOnce() -> Option<TraceContext>) {
    let _outside = CALL.try_with(|call| {
        if let Ok(mut call) = call.try_borrow_mut()
            && !call.has_parent
            && let Some(parent) = parent()
        {
            call.decide(Some(parent));
        }
    });
}

/// Adds attributes to the span of the call that runs here, if it is recorded.
pub fn note<const N: usize>(attributes: impl FnOnce() -> [Option<KeyValue>; N]) {
    with_trace(|trace| {
        if let Some(recording) = &mut trace.recording {
            recording.add(attributes().into_iter().flatten());
        }
    });
}

fn with_trace<T>(look: impl FnOnce(&mut Trace) -> T) -> Option<T> {
    let looked = CALL.try_with(|call| {
        let mut call = call.try_borrow_mut().ok()?;
        call.trace.as_deref_mut().map(look)
    });
    looked.ok().flatten()
}

/// Why traces can't be made.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The collector can't be used as it is configured.
    #[error(transparent)]
    Collector(#[from] OtlpError),
    /// The sampler of the environment is not understood.
    #[error(
        "OTEL_TRACES_SAMPLER: expected `parentbased_always_on`, `parentbased_always_off` or `parentbased_traceidratio` with \
         a ratio from 0 to 1 in OTEL_TRACES_SAMPLER_ARG"
    )]
    Sampler,
    /// The thread that sends can't be started.
    #[error("the thread that sends spans can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_trace_there_is_nothing() {
        let call = Tracer::off().begin(&"a/b".into(), &HeaderMap::new());
        assert!(call.trace.is_none() && call.name.is_none());
        assert_eq!(current(), None);
        note(|| -> [Option<KeyValue>; 0] { panic!("nothing is recorded") });
    }
}
