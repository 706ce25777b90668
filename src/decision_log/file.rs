//! A file of records: renamed by size, and opened again where it was moved away.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use super::settings::FileConfig;

/// Who operates the service writes, its group reads.
const MODE: u32 = 0o640;

/// The file, open.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode, by which a file that was moved away is told from the one at its place.
    identity: (u64, u64),
    size: u64,
    /// A pipe or a device is not renamed.
    is_regular: bool,
    /// Whether the last line is not whole: whoever wrote it was killed.
    is_torn: bool,
    rotate_bytes: u64,
    /// The size at which it is renamed next.
    rotate_at: u64,
    keep: u32,
}

impl LogFile {
    pub(super) fn open(config: &FileConfig) -> io::Result<Self> {
        let FileConfig { path, rotate_bytes, keep, queue: _ } = config;
        // To read, for the last byte; and a pipe that nobody reads yet is opened without waiting.
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)?;
        let metadata = file.metadata()?;
        let (size, is_regular) = (metadata.size(), metadata.is_file());
        let mut last = [b'\n'];
        if is_regular && size > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Self {
            path: path.clone(),
            file,
            identity: (metadata.dev(), metadata.ino()),
            size,
            is_regular,
            is_torn: last != [b'\n'],
            rotate_bytes: *rotate_bytes,
            rotate_at: *rotate_bytes,
            keep: keep.get(),
        })
    }

    /// Opens the file at the path, whatever is open now.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let keep = std::num::NonZeroU32::new(self.keep).unwrap_or(std::num::NonZeroU32::MIN);
        let (path, rotate_bytes) = (self.path.clone(), self.rotate_bytes);
        *self = Self::open(&FileConfig { path, rotate_bytes, keep, queue: Default::default() })?;
        Ok(())
    }

    /// Before a chunk: the right file is open, and has room.
    pub(super) fn prepare(&mut self, bytes: usize) -> io::Result<()> {
        if self.is_moved() {
            return self.reopen();
        }
        let length = u64::try_from(bytes).unwrap_or(u64::MAX);
        if self.is_regular && self.size > 0 && self.size.saturating_add(length) > self.rotate_at {
            self.rotate()?;
        }
        Ok(())
    }

    /// Whether another file, or none, is where this one was.
    pub(super) fn is_moved(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()) != self.identity,
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }

    /// Writes some of the bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.is_torn = false;
        }
        let written = self.file.write(bytes)?;
        self.size += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    /// Renames the files. Where that fails, the file grows: that is better than no records.
    fn rotate(&mut self) -> io::Result<()> {
        if let Err(error) = self.rename() {
            tracing::error!(file = %self.path.display(), %error, "the decision log can't be rotated");
            self.rotate_at = self.size.saturating_add(self.rotate_bytes);
            return Ok(());
        }
        self.reopen()
    }

    fn rename(&self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}
