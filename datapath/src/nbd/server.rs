//! Accepts clients and serves each in a task of its own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::block::{Closing, Exports};

use super::conn::{self, ConnError};
use super::limits::{ACCEPT_PAUSE, MAX_CONNECTIONS};
use super::listen::{self, BindError, UnixSocket};

/// An NBD server on one address: bind it, then [`serve`](Self::serve).
///
/// Several servers may share one [`Exports`]. Dropping a server that is not serving closes its
/// socket; dropping the future of [`serve`](Self::serve) cuts its clients off.
pub struct NbdServer {
    socket: Socket,
    exports: Arc<dyn Exports>,
}

enum Socket {
    Unix(UnixSocket),
    Tcp(TcpListener),
}

enum Client {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl std::fmt::Debug for NbdServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NbdServer").finish_non_exhaustive()
    }
}

impl NbdServer {
    /// Listens on a Unix socket whose file has the permissions `mode` (0o600 for the own user
    /// only) and vanishes with the server. A file left behind by a dead server is replaced;
    /// `PATH.lock` is made beside it and stays. Needs a tokio runtime with IO.
    ///
    /// # Errors
    /// See [`BindError`]; a live server's socket is never taken away.
    pub fn bind_unix(
        path: impl AsRef<Path>,
        mode: u32,
        exports: Arc<dyn Exports>,
    ) -> Result<Self, BindError> {
        let socket = Socket::Unix(listen::bind_unix(path.as_ref(), mode)?);
        Ok(Self { socket, exports })
    }

    /// Listens on TCP, on a loopback address only. Port 0 takes any, see
    /// [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// See [`BindError`], above all [`BindError::NotLoopback`].
    pub async fn bind_tcp(
        address: SocketAddr,
        exports: Arc<dyn Exports>,
    ) -> Result<Self, BindError> {
        let socket = Socket::Tcp(listen::bind_tcp(address).await?);
        Ok(Self { socket, exports })
    }

    /// Address of a TCP server.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Unix(_) => None,
            Socket::Tcp(listener) => listener.local_addr().ok(),
        }
    }

    /// Serves clients until `shutdown` fires; then takes no new ones, answers new requests with
    /// `ESHUTDOWN`, finishes those in flight, and returns when the last connection is closed.
    pub async fn serve(self, mut shutdown: Closing) {
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.closed() => break,
                Some(ended) = clients.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = self.socket.accept(), if clients.len() < MAX_CONNECTIONS => accepted,
            };
            match accepted {
                Ok(client) => {
                    let exports = Arc::clone(&self.exports);
                    clients.spawn(client.serve(exports, shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept NBD client");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        while let Some(ended) = clients.join_next().await {
            report(ended);
        }
    }
}

impl Socket {
    async fn accept(&self) -> io::Result<Client> {
        match self {
            Self::Unix(socket) => Ok(Client::Unix(socket.listener.accept().await?.0)),
            Self::Tcp(listener) => Ok(Client::Tcp(listener.accept().await?.0)),
        }
    }
}

impl Client {
    async fn serve(self, exports: Arc<dyn Exports>, closing: Closing) -> Result<(), ConnError> {
        match self {
            Self::Unix(stream) => {
                let peer = stream.peer_cred().ok();
                let uid = peer.map(|peer| peer.uid());
                let pid = peer.and_then(|peer| peer.pid());
                tracing::debug!(uid, pid, "NBD client on Unix socket");
                listen::enlarge_buffers(&stream);
                let (reader, writer) = stream.into_split();
                conn::serve(reader, writer, exports, closing).await
            }
            Self::Tcp(stream) => {
                tracing::debug!(peer = ?stream.peer_addr().ok(), "NBD client on TCP");
                stream.set_nodelay(true)?;
                listen::keep_alive(&stream);
                listen::enlarge_buffers(&stream);
                let (reader, writer) = stream.into_split();
                conn::serve(reader, writer, exports, closing).await
            }
        }
    }
}

fn report(ended: Result<Result<(), ConnError>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => tracing::debug!("NBD client left"),
        Ok(Err(error)) => tracing::info!(%error, "NBD connection ended"),
        Err(error) => tracing::error!(%error, "NBD connection failed"),
    }
}
