//! A place of records as decisions see it: a queue, and what happens when it is full.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout_at;

use super::Unrecorded;
use super::queue::{NoPlace, Queue};
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
    pub(super) is_failing: AtomicBool,
    /// Whether the writer ended.
    pub(super) ended: watch::Sender<bool>,
    pub(super) written: AtomicU64,
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
    /// `file` or `stdout`.
    pub sink: &'static str,
    /// Records that were written.
    pub written: u64,
    /// Records that were dropped because the queue was full.
    pub dropped_full: u64,
    /// Records that were dropped because the server stopped.
    pub dropped_stopped: u64,
    /// Decisions that were not answered because they could not be recorded.
    pub refused: u64,
    /// The bytes that wait to be written.
    pub queued_bytes: usize,
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

    /// Records that were not written before the end.
    pub(super) fn count_stopped(&self, records: u64) {
        self.dropped_stopped.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> SinkCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SinkCounters {
            sink: self.name,
            written: load(&self.written),
            dropped_full: load(&self.dropped_full),
            dropped_stopped: load(&self.dropped_stopped),
            refused: load(&self.refused),
            queued_bytes: self.queue.waiting().0,
            is_failing: self.is_failing(),
        }
    }
}
