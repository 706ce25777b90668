//! The thread that writes: what can't be written now is kept and tried again.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::file::LogFile;
use super::queue::{Chunk, Next};
use super::sink::Sink;

/// How long until what failed is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Where records go.
#[derive(Debug)]
pub(super) enum Output {
    File(LogFile),
    Stdout(File),
}

impl Output {
    /// Standard output without a buffer: what is written is out.
    pub(super) fn stdout() -> io::Result<Self> {
        Ok(Self::Stdout(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }

    fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.reopen(),
            Self::Stdout(_) => Ok(()),
        }
    }

    /// Writes what is left of a chunk. A line that a file got a part of is repeated whole where another file is at its
    /// place by now.
    fn write(&mut self, chunk: &[u8], position: &mut usize) -> io::Result<()> {
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
                if write(sink, &mut output, &chunk).is_break() {
                    break;
                }
            }
            Next::End => break,
        }
    }
    sink.ended.send_replace(true);
}

/// Writes a chunk, however long it takes; while the server stops, gives up.
fn write(sink: &Sink, output: &mut Output, chunk: &Chunk) -> ControlFlow<()> {
    let mut position = 0;
    while let Err(error) = output.write(&chunk.bytes, &mut position) {
        if !sink.is_failing.swap(true, Ordering::Relaxed) {
            tracing::error!(sink = sink.name, %error, "the decision log can't be written: trying again");
        }
        if !sink.queue.pause(RETRY) && output.write(&chunk.bytes, &mut position).is_err() {
            return ControlFlow::Break(());
        }
    }
    if sink.is_failing.swap(false, Ordering::Relaxed) {
        tracing::info!(sink = sink.name, "the decision log is written again");
    }
    sink.written.fetch_add(chunk.records, Ordering::Relaxed);
    sink.queue.finished(chunk.bytes.len(), chunk.records);
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
