//! The thread that sends spans: in batches, a few tries each. Spans are worth less than decisions, so nobody waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::QUEUE_SPANS;
use crate::otlp::pb::trace::v1::Span;
use crate::otlp::{Connection, Destination, ExportError};

/// The most spans of a batch: OpenTelemetry's default.
const BATCH: usize = 512;
/// How long spans gather.
const LINGER: Duration = Duration::from_millis(200);
/// How often a batch is sent at most, and the wait before the second time, which doubles.
const TRIES: u32 = 4;
const RETRY: Duration = Duration::from_millis(500);
/// The longest wait that a collector is granted.
const MAX_RETRY: Duration = Duration::from_secs(5);

/// Where spans go.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: mpsc::Sender<Span>,
    shared: Arc<Shared>,
}

/// What the thread and those who give it spans know of each other.
#[derive(Debug, Default)]
struct Shared {
    counts: Counts,
    is_stopping: watch::Sender<bool>,
    has_ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Counts {
    offered: AtomicU64,
    exported: AtomicU64,
    dropped_full: AtomicU64,
    dropped_unsent: AtomicU64,
    dropped_rejected: AtomicU64,
    dropped_stopped: AtomicU64,
}

/// What became of spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounters {
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans that were dropped because the queue was full.
    pub dropped_full: u64,
    /// Spans that were dropped because the collector could not be reached, or failed.
    pub dropped_unsent: u64,
    /// Spans that the collector did not want.
    pub dropped_rejected: u64,
    /// Spans that were dropped because the server stopped.
    pub dropped_stopped: u64,
}

impl Exporter {
    pub(super) fn start(destination: Destination) -> io::Result<Self> {
        let (queue, spans) = mpsc::channel(QUEUE_SPANS);
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sender = shared.clone();
        thread::Builder::new().name("traces".to_owned()).spawn(move || {
            runtime.block_on(run(destination, spans, &sender));
            sender.has_ended.send_replace(true);
        })?;
        Ok(Self { queue, shared })
    }

    pub(super) fn offer(&self, span: Span) {
        let counts = &self.shared.counts;
        if *self.shared.is_stopping.borrow() {
            counts.dropped_stopped.fetch_add(1, Ordering::Relaxed);
        } else if self.queue.try_send(span).is_err() {
            counts.dropped_full.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.offered.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn counters(&self) -> SpanCounters {
        self.shared.counts.read()
    }

    pub(super) async fn drain(&self, limit: Duration) {
        self.shared.is_stopping.send_replace(true);
        let mut ended = self.shared.has_ended.subscribe();
        let _too_long = timeout(limit, ended.wait_for(|ended| *ended)).await;
        let counts = &self.shared.counts;
        let left = counts.waiting();
        if left > 0 {
            counts.dropped_stopped.fetch_add(left, Ordering::Relaxed);
            tracing::warn!(spans = left, "the traces end without these spans");
        }
    }
}

impl Counts {
    fn read(&self) -> SpanCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SpanCounters {
            exported: load(&self.exported),
            dropped_full: load(&self.dropped_full),
            dropped_unsent: load(&self.dropped_unsent),
            dropped_rejected: load(&self.dropped_rejected),
            dropped_stopped: load(&self.dropped_stopped),
        }
    }

    /// Spans of which nothing has become yet.
    fn waiting(&self) -> u64 {
        let SpanCounters { exported, dropped_unsent, dropped_rejected, .. } = self.read();
        let gone = exported + dropped_unsent + dropped_rejected;
        self.offered.load(Ordering::Relaxed).saturating_sub(gone)
    }
}

/// Sends until it is told to stop and nothing is left, or until nobody can offer a span any more.
async fn run(destination: Destination, mut spans: mpsc::Receiver<Span>, shared: &Shared) {
    let connection = destination.connect();
    let mut stopping = shared.is_stopping.subscribe();
    let mut is_failing = false;
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        tokio::select! {
            biased;
            count = spans.recv_many(&mut batch, 1) => if count == 0 { return },
            _ = stopping.wait_for(|stopping| *stopping) => spans.close(),
        }
        // Without this, each span would wake this thread.
        let _stopping = timeout(LINGER, stopping.wait_for(|stopping| *stopping)).await;
        while let Ok(span) = spans.try_recv() {
            batch.push(span);
            if batch.len() == BATCH {
                send(&connection, std::mem::take(&mut batch), shared, &mut is_failing).await;
            }
        }
        if !batch.is_empty() {
            send(&connection, batch, shared, &mut is_failing).await;
        }
    }
}

/// Sends a batch. What does not arrive is counted; that it does not, is told once.
async fn send(connection: &Connection, batch: Vec<Span>, shared: &Shared, is_failing: &mut bool) {
    let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
    let counts = &shared.counts;
    let fault = match try_to_send(connection, batch, shared).await {
        Ok(rejected) => {
            let rejected = rejected.min(count);
            counts.exported.fetch_add(count - rejected, Ordering::Relaxed);
            counts.dropped_rejected.fetch_add(rejected, Ordering::Relaxed);
            None
        }
        Err(error) => {
            let counter = match error {
                ExportError::Retry { .. } => &counts.dropped_unsent,
                ExportError::Refused(_) => &counts.dropped_rejected,
            };
            counter.fetch_add(count, Ordering::Relaxed);
            Some(error)
        }
    };
    match (&fault, *is_failing) {
        (Some(error), false) => tracing::warn!(%error, "spans can't be sent: they are dropped"),
        (None, true) => tracing::info!("spans are sent again"),
        _ => {}
    }
    *is_failing = fault.is_some();
}

/// How many spans of a batch the collector did not take. While the server stops, a batch has one more try.
async fn try_to_send(connection: &Connection, batch: Vec<Span>, shared: &Shared) -> Result<u64, ExportError> {
    let mut stopping = shared.is_stopping.subscribe();
    let mut wait = RETRY;
    for _ in 1..TRIES {
        let after = match connection.export_spans(batch.clone()).await {
            Err(ExportError::Retry { after, .. }) => after,
            outcome => return outcome,
        };
        let pause = after.unwrap_or(wait).min(MAX_RETRY);
        if timeout(pause, stopping.wait_for(|stopping| *stopping)).await.is_ok() {
            break;
        }
        wait *= 2;
    }
    connection.export_spans(batch).await
}
