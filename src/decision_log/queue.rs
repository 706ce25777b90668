//! Lines that wait to be written: bounded in bytes, and cheap to add to.
//!
//! Lines are gathered in chunks. Who adds one copies it under a lock and wakes the writer only if it sleeps; the writer,
//! once awake, lets lines gather for a moment, so neither pays a system call for each record.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The bytes of a chunk, unless one line is longer.
const CHUNK_BYTES: usize = 64 * 1_024;
/// How long lines gather. The writer's turn holds up the calls on its core: after each hundred records, it would be their slowest
/// hundredth.
const LINGER: Duration = Duration::from_millis(25);
/// The full chunks with which lines gather no longer.
const GATHERED_CHUNKS: usize = 4;
/// The chunks whose memory is kept: the full ones, and the one that is being filled.
const SPARE_CHUNKS: usize = GATHERED_CHUNKS + 1;

/// Whole lines.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u64,
}

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Next {
    Write(Chunk),
    Reopen,
    /// Nothing is left, and nothing will come.
    End,
}

/// Why a line was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    Full,
    Closed,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    state: Mutex<State>,
    /// For the writer: something is to do.
    work: Condvar,
    /// For who waits to add: something was written.
    pub(super) space: Notify,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Memory of chunks that are written, for the next ones: new memory costs its first use, and the caches forgot it.
    spare: Vec<Vec<u8>>,
    /// What waits, and what the writer has in hand.
    bytes: usize,
    records: u64,
    writer: Writer,
    is_closed: bool,
    is_reopen_asked: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Writer {
    #[default]
    Busy,
    /// It sleeps until there is something.
    Idle,
    /// It lets lines gather.
    Lingering,
}

impl State {
    fn must_act(&self) -> bool {
        self.is_closed || self.is_reopen_asked
    }

    fn has_gathered(&self, limit: usize) -> bool {
        self.must_act() || self.chunks.len() > GATHERED_CHUNKS || self.bytes > limit / 2
    }

    fn add(&mut self, line: &[u8]) {
        let fits = |chunk: &&mut Chunk| chunk.bytes.len() + line.len() <= CHUNK_BYTES;
        match self.chunks.back_mut().filter(fits) {
            Some(chunk) => {
                chunk.bytes.extend_from_slice(line);
                chunk.records += 1;
            }
            None => {
                // A longer line has memory of its own, which is not kept.
                let spare = if line.len() > CHUNK_BYTES { None } else { self.spare.pop() };
                let mut bytes = spare.unwrap_or_default();
                // One that grows would be copied again and again.
                bytes.reserve_exact(CHUNK_BYTES.max(line.len()));
                bytes.extend_from_slice(line);
                self.chunks.push_back(Chunk { bytes, records: 1 });
            }
        }
        self.bytes += line.len();
        self.records += 1;
    }
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), work: Condvar::new(), space: Notify::new() }
    }

    /// The most bytes that it holds.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Adds a line.
    pub(super) fn push(&self, line: &[u8]) -> Result<(), NoPlace> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(NoPlace::Closed);
        }
        if state.bytes + line.len() > self.limit {
            return Err(NoPlace::Full);
        }
        state.add(line);
        let wakes = match state.writer {
            Writer::Busy => false,
            Writer::Idle => true,
            Writer::Lingering => state.has_gathered(self.limit),
        };
        if wakes {
            state.writer = Writer::Busy;
            drop(state);
            self.work.notify_one();
        }
        Ok(())
    }

    /// For the writer: waits for something to do.
    pub(super) fn take(&self) -> Next {
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.is_reopen_asked) {
                return Next::Reopen;
            }
            if let Some(chunk) = state.chunks.pop_front() {
                return Next::Write(chunk);
            }
            if state.is_closed {
                return Next::End;
            }
            state = self.await_work(state);
        }
    }

    fn await_work<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.writer = Writer::Idle;
        let idle = |state: &mut State| state.chunks.is_empty() && !state.must_act();
        let mut state = self.work.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        state.writer = Writer::Lingering;
        let gathers = |state: &mut State| !state.has_gathered(self.limit);
        let waited = self.work.wait_timeout_while(state, LINGER, gathers);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.writer = Writer::Busy;
        state
    }

    /// For the writer: waits before it tries again. Ends early if it is told something. Whether it should try again.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let waits = |state: &mut State| !state.must_act();
        let waited = self.work.wait_timeout_while(self.lock(), time, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_reopen_asked = false;
        !state.is_closed
    }

    /// For the writer: a chunk is written, or given up.
    pub(super) fn finished(&self, chunk: Chunk) {
        let Chunk { mut bytes, records } = chunk;
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes.len());
        state.records = state.records.saturating_sub(records);
        if state.spare.len() < SPARE_CHUNKS && bytes.len() <= CHUNK_BYTES {
            bytes.clear();
            state.spare.push(bytes);
        }
        drop(state);
        self.space.notify_waiters();
    }

    /// Tells the writer to open its file again.
    pub(super) fn ask_to_reopen(&self) {
        self.lock().is_reopen_asked = true;
        self.work.notify_one();
    }

    /// Takes nothing more. The writer ends when the rest is written.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.work.notify_one();
        self.space.notify_waiters();
    }

    /// The bytes and the records that are not written yet.
    pub(super) fn waiting(&self) -> (usize, u64) {
        let state = self.lock();
        (state.bytes, state.records)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_no_more_bytes_than_its_limit_also_in_the_writers_hand() {
        let queue = Queue::new(10);
        assert_eq!(queue.push(b"12345"), Ok(()));
        assert_eq!(queue.push(b"123456"), Err(NoPlace::Full));
        assert_eq!(queue.push(b"12345"), Ok(()));
        let Next::Write(chunk) = queue.take() else { panic!("expected a chunk") };
        assert_eq!((chunk.bytes.as_slice(), chunk.records), (b"1234512345".as_slice(), 2));
        assert_eq!(queue.push(b"1"), Err(NoPlace::Full), "not written yet");
        let memory = chunk.bytes.as_ptr();
        queue.finished(chunk);
        assert_eq!(queue.waiting(), (0, 0));
        assert_eq!(queue.push(b"1"), Ok(()));
        let Next::Write(chunk) = queue.take() else { panic!("expected a chunk") };
        assert_eq!((chunk.bytes.as_slice(), chunk.bytes.as_ptr()), (b"1".as_slice(), memory), "used again");
    }

    #[test]
    fn a_closed_queue_is_emptied_and_takes_nothing() {
        let queue = Queue::new(10);
        queue.push(b"1").unwrap();
        queue.close();
        assert_eq!(queue.push(b"2"), Err(NoPlace::Closed));
        assert!(matches!(queue.take(), Next::Write(_)));
        assert!(matches!(queue.take(), Next::End));
    }

    #[test]
    fn chunks_hold_whole_lines() {
        let queue = Queue::new(10 * CHUNK_BYTES);
        let line = vec![b'x'; CHUNK_BYTES / 2 + 1];
        queue.push(&line).unwrap();
        queue.push(&line).unwrap();
        queue.close();
        for _ in 0..2 {
            let Next::Write(chunk) = queue.take() else { panic!("expected a chunk") };
            assert_eq!(chunk.bytes.len(), line.len());
        }
    }
}
