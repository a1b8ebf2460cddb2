//! The socket: taking it over, accepting, ending.

use crate::limits::{IDLE_MIN_MS, ROOM_TICK_MS, ROOM_WAIT_MS, SIGN_TICK_MS, WRITE_TIMEOUT_MS};
use crate::node::Meta;
use crate::server::connection::{serve_connection, turn_away};
use crate::server::room::Seats;
use crate::server::{Access, Control};
use mars_meta_api::limits::CONNECTIONS_MAX;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Why the socket of the local API was not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers there.
    #[error("another daemon answers at {0}: stop it first, or choose another socket")]
    InUse(PathBuf),
    /// Something else lies there.
    #[error("{0} exists and is no socket: remove it, or choose another path")]
    NoSocket(PathBuf),
    /// The socket cannot be made.
    #[error("the socket {path} cannot be made: {error}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// The listening socket of the local API; removed when dropped.
#[derive(Debug)]
pub struct ApiListener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ApiListener {
    fn drop(&mut self) {
        // It may be gone already; a left-over is taken over at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

impl ApiListener {
    /// Takes the socket at `path`; a left-over one is removed if nobody answers there. `mode` are its
    /// permission bits: 0600, or more if [`Access`] lets other users in. Needs a runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(path: &Path, mode: u32) -> Result<Self, BindError> {
        let io_error = |error| BindError::Io {
            path: path.to_owned(),
            error,
        };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(BindError::NoSocket(path.to_owned()));
            }
            Ok(_) => match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(io_error)?;
                }
                Err(error) => return Err(io_error(error)),
                Ok(_) => return Err(BindError::InUse(path.to_owned())),
            },
        }
        let listener = UnixListener::bind(path).map_err(io_error)?;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io_error)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What a server needs to know.
#[derive(Clone)]
pub struct ServerConfig {
    /// Who may use it.
    pub access: Access,
    /// How long one answer may take to leave before the client is cut off.
    pub write_timeout: Duration,
    /// Changes queued for a watch before it is told that it lagged.
    pub watch_queue_len: usize,
    /// Bytes that all watches of a connection may queue together; which one wants more is told that it lagged.
    pub watch_bytes: usize,
    /// How often it is looked whether a data plane is silent.
    pub sign_tick: Duration,
    /// How long a connection has been idle before it has to make room for another one.
    pub idle_min: Duration,
    /// How long a new connection waits for room before it is turned away.
    pub room_wait: Duration,
}

impl ServerConfig {
    /// The usual limits.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self {
            access,
            write_timeout: Duration::from_millis(WRITE_TIMEOUT_MS),
            watch_queue_len: mars_meta_api::limits::WATCH_QUEUE_LEN,
            watch_bytes: mars_meta_api::limits::WATCH_BYTES_MAX,
            sign_tick: Duration::from_millis(SIGN_TICK_MS),
            idle_min: Duration::from_millis(IDLE_MIN_MS),
            room_wait: Duration::from_millis(ROOM_WAIT_MS),
        }
    }
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig").finish_non_exhaustive()
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) meta: Meta,
    pub(super) control: Arc<dyn Control>,
    pub(super) config: ServerConfig,
}

/// Serves the local API until `shutdown` is done; open connections are cut then, and the socket is removed.
/// A write that was read completely before happens all the same.
pub async fn serve(
    listener: ApiListener,
    meta: Meta,
    control: Arc<dyn Control>,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send,
) {
    let shared = Arc::new(Shared {
        meta,
        control,
        config,
    });
    let mut connections = JoinSet::new();
    let mut seats = Seats::new();
    // Who came when all places were taken, and since when it waits.
    let mut waiting: Option<(UnixStream, Instant)> = None;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        if connections.len() < CONNECTIONS_MAX
            && let Some((stream, _)) = waiting.take()
        {
            connections.spawn(serve_connection(stream, Arc::clone(&shared), seats.take()));
        }
        tokio::select! {
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.listener.accept(), if waiting.is_none() => {
                match accepted {
                    Ok((stream, _)) => waiting = Some((stream, Instant::now())),
                    Err(error) => {
                        tracing::warn!(%error, "the local API could not accept a connection");
                        // Most likely out of descriptors: let others end first.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
                if waiting.is_some() && connections.len() >= CONNECTIONS_MAX {
                    seats.evict(shared.config.idle_min);
                }
            }
            () = tokio::time::sleep(Duration::from_millis(ROOM_TICK_MS)), if waiting.is_some() => {
                if seats.evict(shared.config.idle_min) {
                    continue;
                }
                let patience = shared.config.room_wait;
                if let Some((stream, _)) = waiting.take_if(|(_, since)| since.elapsed() >= patience) {
                    tracing::warn!(connections = CONNECTIONS_MAX, "the local API has no room for another client");
                    // Not one of those that are served; short.
                    tokio::spawn(turn_away(stream));
                }
            }
        }
    }
}
