//! The thread that writes: what can't be written now is kept and tried again.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::collector::{Collector, SendError};
use super::file::LogFile;
use super::queue::{Chunk, Next};
use super::sink::Sink;

/// How long until what failed is tried again.
const RETRY: Duration = Duration::from_millis(250);
/// The longest that a collector is waited for, after failures that each double the wait, or by its own word.
const MAX_RETRY: Duration = Duration::from_secs(8);

/// Where records go.
#[derive(Debug)]
pub(super) enum Output {
    File(LogFile),
    Stdout(File),
    Collector(Box<Collector>),
}

/// Why a chunk was not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Send(#[from] SendError),
}

impl WriteError {
    /// Whether it would fail each time.
    fn is_final(&self) -> bool {
        matches!(self, Self::Send(SendError::Refused(_)))
    }

    /// How long until it is tried again.
    fn pause(&self, failures: u32) -> Duration {
        match self {
            Self::Io(_) => RETRY,
            Self::Send(error) => {
                let doubled = RETRY.saturating_mul(1 << failures.min(5));
                error.after().unwrap_or(doubled).clamp(RETRY, MAX_RETRY)
            }
        }
    }
}

impl Output {
    /// Standard output without a buffer: what is written is out.
    pub(super) fn stdout() -> io::Result<Self> {
        Ok(Self::Stdout(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }

    fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.reopen(),
            Self::Stdout(_) | Self::Collector(_) => Ok(()),
        }
    }

    /// Writes what is left of a chunk. How many of its records are not wanted there.
    fn write(&mut self, chunk: &[u8], position: &mut usize) -> Result<u64, WriteError> {
        match self {
            Self::Collector(collector) => Ok(collector.send(chunk)?),
            Self::File(_) | Self::Stdout(_) => {
                self.write_lines(chunk, position)?;
                Ok(0)
            }
        }
    }

    /// A line that a file got a part of is repeated whole where another file is at its place by now.
    fn write_lines(&mut self, chunk: &[u8], position: &mut usize) -> io::Result<()> {
        if let Self::File(file) = self {
            if *position > 0 && file.is_moved() {
                *position = start_of_line(chunk, *position);
                file.reopen()?;
            } else if *position == 0 {
                file.prepare(chunk.len())?;
            }
        }
        while let Some(rest) = chunk.get(*position..).filter(|rest| !rest.is_empty()) {
            let written = match self {
                Self::File(file) => file.write(rest),
                Self::Stdout(file) => file.write(rest),
                Self::Collector(_) => return Ok(()),
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *position += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn start_of_line(chunk: &[u8], position: usize) -> usize {
    let before = chunk.get(..position).unwrap_or_default();
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Writes until the queue ends.
pub(super) fn run(sink: &Sink, mut output: Output) {
    loop {
        match sink.queue.take() {
            Next::Reopen => match output.reopen() {
                Ok(()) => tracing::info!(sink = sink.name, "the decision log is opened again"),
                Err(error) => {
                    tracing::error!(sink = sink.name, %error, "the decision log can't be opened again");
                }
            },
            Next::Write(chunk) => {
                if write(sink, &mut output, chunk).is_break() {
                    break;
                }
            }
            Next::End => break,
        }
    }
    sink.ended.send_replace(true);
}

/// Writes a chunk, however long it takes; while the server stops, gives up.
fn write(sink: &Sink, output: &mut Output, chunk: Chunk) -> ControlFlow<()> {
    let mut position = 0;
    let mut failures = 0;
    let rejected = loop {
        let error = match output.write(&chunk.bytes, &mut position) {
            Ok(rejected) => break rejected.min(chunk.records),
            Err(error) => error,
        };
        sink.failed(&error);
        let is_stopping = !sink.queue.pause(error.pause(failures));
        if error.is_final() {
            break chunk.records;
        }
        // One last time.
        if is_stopping {
            match output.write(&chunk.bytes, &mut position) {
                Ok(rejected) => break rejected.min(chunk.records),
                Err(_) => return ControlFlow::Break(()),
            }
        }
        failures += 1;
    };
    sink.finished(chunk, rejected);
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_after_a_line_break() {
        let chunk = b"one\ntwo\n";
        for (position, start) in [(0, 0), (2, 0), (4, 4), (6, 4), (8, 8)] {
            assert_eq!(start_of_line(chunk, position), start, "{position}");
        }
    }
}
