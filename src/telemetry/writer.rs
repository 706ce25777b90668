//! Lines on their way to standard error.
//!
//! A thread writes them. So whoever logs waits for nobody, and what becomes of standard error is nobody else's fault: a pipe
//! that nobody reads, or that is closed, a full disk. What has no place in the queue is lost, and the next line that has one says
//! how many were.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// The most lines that wait.
const MAX_LINES: usize = 2_048;
/// The most bytes of a line. What others say may be longer than anybody reads.
const MAX_LINE_BYTES: usize = 16 * 1_024;

/// Takes lines. Clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    queue: SyncSender<Line>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Line {
    Text(Vec<u8>),
    /// All before it is written.
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If there can be no more threads.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = sync_channel(MAX_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || write(&lines, &counted, out))?;
        Ok(Self { queue, lost })
    }

    /// Waits until all lines are written, and at most so long.
    pub(super) fn flush(&self, limit: Duration) {
        let (written, is_written) = sync_channel(1);
        // Where the queue is full, nobody takes lines.
        if self.queue.try_send(Line::Flush(written)).is_ok() {
            let _late = is_written.recv_timeout(limit);
        }
    }

    fn take(&self, line: &[u8]) {
        let text = match line.get(..MAX_LINE_BYTES) {
            Some(cut) if line.len() > MAX_LINE_BYTES => {
                [String::from_utf8_lossy(cut).as_bytes(), b"...\n"].concat()
            }
            _ => line.to_vec(),
        };
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Line::Text(text)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write(lines: &Receiver<Line>, lost: &AtomicU64, mut out: impl Write) {
    for line in lines {
        let _unwritten = match line {
            Line::Text(text) => out.write_all(&text),
            Line::Flush(written) => written.try_send(()).map_err(io::Error::other),
        };
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _unwritten =
                writeln!(out, "{lost} lines of the log were lost: they were not written fast enough");
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Lines {
    /// An event is one write.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Tells what is written, and waits before each write until it is let go.
    struct Slow(Sender<Vec<u8>>, Receiver<()>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _end = self.1.recv();
            let _end = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// As a pipe whose reader has gone.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_waits_for_nobody_and_the_loss_is_told() {
        let ((written, told), (go, wait)) = (channel(), channel());
        let lines = Lines::start(Slow(written, wait)).unwrap();
        // None is let go yet; one may have been taken from the queue.
        for _ in 0..MAX_LINES + 10 {
            (&lines).write_all(b"line\n").unwrap();
        }
        lines.flush(Duration::ZERO);
        let lost = lines.lost.load(Ordering::Relaxed);
        assert!((9..=10).contains(&lost), "{lost}");
        drop(go);
        assert_eq!(told.recv().unwrap(), b"line\n");
        let loss = String::from_utf8(told.recv().unwrap()).unwrap();
        assert!(loss.starts_with(&lost.to_string()), "{loss}");
    }

    #[test]
    fn what_can_not_be_written_is_no_fault_of_who_logs() {
        let lines = Lines::start(Broken).unwrap();
        for _ in 0..3 {
            (&lines).write_all(b"line\n").unwrap();
        }
        lines.flush(Duration::from_secs(60));
    }

    #[test]
    fn a_line_that_nobody_reads_to_its_end_is_cut() {
        let ((written, told), (go, wait)) = (channel(), channel());
        drop(go);
        let lines = Lines::start(Slow(written, wait)).unwrap();
        (&lines).write_all(&vec![b'x'; 3_000_000]).unwrap();
        assert_eq!(told.recv().unwrap().len(), MAX_LINE_BYTES + 4);
    }
}
