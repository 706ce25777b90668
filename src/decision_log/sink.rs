//! A place of records as decisions see it: a queue, and what happens when it is full.

use std::error::Error;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout_at;

use super::Unrecorded;
use super::queue::{Chunk, NoPlace, Queue};
use super::settings::{QueueConfig, WhenFull};

/// How often dropped records are told.
const NOTICE_SECONDS: u64 = 10;

/// A place of records.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) name: &'static str,
    pub(super) queue: Queue,
    pub(super) when_full: WhenFull,
    budget: Duration,
    /// Whether the last attempt to write failed.
    is_failing: AtomicBool,
    /// Whether the writer ended.
    pub(super) ended: watch::Sender<bool>,
    written: AtomicU64,
    write_errors: AtomicU64,
    dropped_rejected: AtomicU64,
    dropped_full: AtomicU64,
    dropped_stopped: AtomicU64,
    refused: AtomicU64,
    started: Instant,
    /// When dropped records are told next, in seconds since the start.
    next_notice: AtomicU64,
}

/// What became of the records of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkCounters {
    /// `file`, `stdout` or `otlp`.
    pub sink: &'static str,
    /// Records that were written, or that the collector took.
    pub written: u64,
    /// Attempts to write that failed.
    pub write_errors: u64,
    /// Records that were dropped because the queue was full.
    pub dropped_full: u64,
    /// Records that were dropped because the server stopped.
    pub dropped_stopped: u64,
    /// Records that the collector did not want.
    pub dropped_rejected: u64,
    /// Decisions that were not answered because they could not be recorded.
    pub refused: u64,
    /// The bytes that wait to be written.
    pub queued_bytes: usize,
    /// The most bytes that may wait.
    pub queue_bytes_limit: usize,
    /// Whether the last attempt to write failed.
    pub is_failing: bool,
}

impl Sink {
    pub(super) fn new(name: &'static str, config: &QueueConfig) -> Self {
        Self {
            name,
            queue: Queue::new(config.bytes),
            when_full: config.when_full,
            budget: config.budget(),
            is_failing: AtomicBool::new(false),
            ended: watch::Sender::new(false),
            written: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            dropped_rejected: AtomicU64::new(0),
            dropped_full: AtomicU64::new(0),
            dropped_stopped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            started: Instant::now(),
            next_notice: AtomicU64::new(0),
        }
    }

    /// Takes a line, or does what is to be done when it can't.
    pub(super) async fn offer(&self, line: &[u8]) -> Result<(), Unrecorded> {
        match self.when_full {
            WhenFull::Drop => self.offer_now(line),
            WhenFull::Block => self.offer_within_budget(line).await,
            WhenFull::Refuse => {
                if self.is_failing() || self.queue.push(line).is_err() {
                    // Until something is written again: whoever asks is told, and goes elsewhere.
                    self.is_failing.store(true, Ordering::Relaxed);
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return Err(Unrecorded);
                }
            }
        }
        Ok(())
    }

    /// Takes a line if there is a place now.
    pub(super) fn offer_now(&self, line: &[u8]) {
        match self.queue.push(line) {
            Ok(()) => {}
            Err(NoPlace::Closed) => self.count_stopped(1),
            Err(NoPlace::Full) => {
                let dropped = self.dropped_full.fetch_add(1, Ordering::Relaxed) + 1;
                self.notice(dropped);
            }
        }
    }

    async fn offer_within_budget(&self, line: &[u8]) {
        // Mostly there is a place: nothing is asked of the clock then, and nobody is waited for.
        if !self.is_failing() && self.queue.push(line).is_ok() {
            return;
        }
        let deadline = tokio::time::Instant::now() + self.budget;
        // A failing sink makes no place soon.
        while !self.is_failing() {
            let mut freed = pin!(self.queue.space.notified());
            // From here on, no wake-up is missed.
            freed.as_mut().enable();
            match self.queue.push(line) {
                Ok(()) => return,
                Err(NoPlace::Closed) => break,
                Err(NoPlace::Full) => {}
            }
            if timeout_at(deadline, freed).await.is_err() {
                break;
            }
        }
        self.offer_now(line);
    }

    /// Whether the last attempt to write failed.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// What is wrong when it is failing.
    pub(super) fn fault(&self) -> String {
        format!("the decision log's {} can't be written: see the logs", self.name)
    }

    /// Tells now and then how many records were dropped.
    fn notice(&self, dropped: u64) {
        let now = self.started.elapsed().as_secs();
        let next = self.next_notice.load(Ordering::Relaxed);
        let claim = |next| {
            let claimed = now + NOTICE_SECONDS;
            self.next_notice.compare_exchange(next, claimed, Ordering::Relaxed, Ordering::Relaxed)
        };
        if now >= next && claim(next).is_ok() {
            tracing::warn!(
                sink = self.name,
                dropped,
                "the decision log's queue is full: records are dropped"
            );
        }
    }

    /// For the writer: what it has in hand can't be written. That is told once, until it can.
    pub(super) fn failed(&self, error: &(dyn Error + 'static)) {
        self.write_errors.fetch_add(1, Ordering::Relaxed);
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::error!(sink = self.name, error, "the decision log can't be written");
        }
    }

    /// For the writer: this is written, but for those that are not wanted there. Where none was, the sink is no better than
    /// before, and yet the next records may be: a sink that refuses would else never be offered one.
    pub(super) fn finished(&self, chunk: Chunk, rejected: u64) {
        let written = chunk.records - rejected;
        if self.is_failing.swap(false, Ordering::Relaxed) && written > 0 {
            tracing::info!(sink = self.name, "the decision log is written again");
        }
        self.written.fetch_add(written, Ordering::Relaxed);
        self.dropped_rejected.fetch_add(rejected, Ordering::Relaxed);
        self.queue.finished(chunk);
    }

    /// Records that were not written before the end.
    pub(super) fn count_stopped(&self, records: u64) {
        self.dropped_stopped.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> SinkCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SinkCounters {
            sink: self.name,
            written: load(&self.written),
            write_errors: load(&self.write_errors),
            dropped_rejected: load(&self.dropped_rejected),
            dropped_full: load(&self.dropped_full),
            dropped_stopped: load(&self.dropped_stopped),
            refused: load(&self.refused),
            queued_bytes: self.queue.waiting().0,
            queue_bytes_limit: self.queue.limit(),
            is_failing: self.is_failing(),
        }
    }
}
