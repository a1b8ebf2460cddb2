//! Makes the sockets that clients connect to.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    sockopt,
};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use super::limits::{LISTEN_QUEUE, SOCKET_BUFFER};

/// Why a server could not take its address. Nobody else's socket or file was touched.
#[derive(Debug, Error)]
pub enum BindError {
    /// TCP beyond this host is refused, because there is no TLS yet.
    #[error(
        "refusing to serve NBD on {0}: without TLS only loopback addresses are allowed; use \
         127.0.0.1, [::1] or a Unix socket"
    )]
    NotLoopback(SocketAddr),
    /// Another server listens there.
    #[error("another server listens on {}; stop it or choose another path", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket has this name.
    #[error("{} exists and is not a socket; remove it or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// The path does not fit into a socket address.
    #[error("{} is too long for a Unix socket (at most 107 bytes)", .0.display())]
    PathTooLong(PathBuf),
    /// A system call failed.
    #[error("cannot {step} {place}: {source}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        place: String,
        /// How it failed.
        source: io::Error,
    },
}

/// A bound Unix socket; its file vanishes with it.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file.
    identity: (u64, u64),
    /// Lock file: two servers that start at once do not unlink each other's socket.
    lock: fs::File,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let ours = |meta: fs::Metadata| (meta.dev(), meta.ino()) == self.identity;
        if fs::symlink_metadata(&self.path).is_ok_and(ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove NBD socket");
        }
        // By name: a child of another thread may have the descriptor until it executes its program.
        let _ = self.lock.unlock();
    }
}

/// Binds a Unix socket that was never open to more than `mode`.
pub(super) fn bind_unix(path: &Path, mode: u32) -> Result<UnixSocket, BindError> {
    let io = |step| {
        move |source: io::Error| BindError::Io {
            step,
            place: path.display().to_string(),
            source,
        }
    };
    let address = SocketAddrUnix::new(path).map_err(|_| BindError::PathTooLong(path.to_owned()))?;
    let lock = lock(path)?;
    remove_stale(path, &address)?;

    let socket = unix_socket().map_err(io("make a socket for"))?;
    // The file gets the mode of the socket less the umask, so it is never too open.
    fchmod(&socket, Mode::from_raw_mode(mode)).map_err(|e| io("set the mode of")(e.into()))?;
    bind(&socket, &address).map_err(|errno| match errno {
        Errno::ADDRINUSE => BindError::InUse(path.to_owned()),
        errno => io("bind")(errno.into()),
    })?;
    let meta = fs::symlink_metadata(path).map_err(io("look at"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io("set the mode of"))?;
    listen(&socket, LISTEN_QUEUE).map_err(|e| io("listen on")(e.into()))?;
    let listener = std::os::unix::net::UnixListener::from(socket);
    let listener = UnixListener::from_std(listener).map_err(io("watch"))?;
    Ok(UnixSocket {
        listener,
        path: path.to_owned(),
        identity: (meta.dev(), meta.ino()),
        lock,
    })
}

fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Takes the lock `PATH.lock` for the life of the server.
fn lock(path: &Path) -> Result<fs::File, BindError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let io = |source: io::Error| BindError::Io {
        step: "lock",
        place: name.display().to_string(),
        source,
    };
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(io)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(BindError::InUse(path.to_owned())),
        Err(errno) => Err(io(errno.into())),
    }
}

/// Removes a socket file on which nobody listens.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let io = |step| {
        move |source: io::Error| BindError::Io {
            step,
            place: path.display().to_string(),
            source,
        }
    };
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("look at")(error)),
    };
    if !meta.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    let probe = unix_socket().map_err(io("make a socket for"))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(io("remove stale socket")),
        Err(Errno::NOENT) => Ok(()),
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse(path.to_owned())),
        Err(errno) => Err(io("probe")(errno.into())),
    }
}

/// Binds TCP on this host only.
pub(super) async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    if !address.ip().is_loopback() {
        return Err(BindError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(PathBuf::from(address.to_string())),
            _ => BindError::Io {
                step: "bind",
                place: address.to_string(),
                source,
            },
        })
}

/// Asks for large socket buffers; what the kernel grants is good enough.
pub(super) fn enlarge_buffers(socket: impl AsFd) {
    let _ = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER);
    let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER);
}

/// Lets the kernel notice a dead TCP peer.
pub(super) fn keep_alive(socket: impl AsFd) {
    if let Err(error) = sockopt::set_socket_keepalive(socket, true) {
        tracing::debug!(%error, "no keepalive on NBD connection");
    }
}
