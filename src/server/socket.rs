//! A Unix domain socket to listen on: a file whose permissions say who may connect.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Who may connect: the owner and the group of the process, as for any file that they may write.
const MODE: u32 = 0o660;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// A socket that is listened on. Its file is removed with it.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// The device and number of the file: another process may have put its own in our place.
    file: (u64, u64),
}

impl Socket {
    /// Makes the file. One that is there already is replaced only if it is a socket on which nobody listens.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // Nobody can connect before somebody listens, so nobody comes before this.
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        let file = identity(path)?;
        Ok(Self { listener: socket.listen(BACKLOG)?, path: path.to_owned(), file })
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        Poll::Ready(ready!(self.listener.poll_accept(cx)).map(|(stream, _)| stream))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // What stays is stale, and replaced at the next start.
            let _stays = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match Probe::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Somebody listens, or it can't be told.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        fs::write(&path, "precious").unwrap();
        assert_eq!(Socket::bind(&path).err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();

        // As a process leaves it that is killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        assert_eq!(Socket::bind(&path).err().unwrap().kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_file_of_another_process_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let ours = Socket::bind(&path).unwrap();
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        let theirs = Socket::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
        assert!(!path.exists());
    }
}
