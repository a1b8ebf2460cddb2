//! The client: pipelined requests and watches over one connection.

use crate::frame::{FrameError, GREETING, encode_frame, read_frame};
use crate::limits::{WATCH_QUEUE_LEN, WRITE_BYTES};
use crate::{ApiError, ErrorCode, FromServer, Overriding, Request, Response, ToServer};
use mars_lamport::Timestamp;
use mars_meta_model::{Entry, Key, Value};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or no permission.
    #[error("the metadata daemon does not answer at {path}: {error}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// Somebody listens who speaks something else.
    #[error("what listens at {0} is no metadata daemon of this version")]
    Protocol(PathBuf),
}

/// Why a request was not answered as wished.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The daemon refused; nothing was changed.
    #[error("{0}")]
    Refused(#[from] ApiError),
    /// The connection ended; whether a change was made is not known.
    #[error("the connection to the metadata daemon ended before it answered")]
    Disconnected,
    /// The daemon answered with something that is no answer to this request.
    #[error("the metadata daemon gave an answer that was not understood: {0}")]
    Protocol(String),
}

/// What a watch reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// Entries of the snapshot or changes.
    Entries(Vec<Entry>),
    /// The snapshot is complete.
    Synced,
    /// Changes were lost: forget everything, a new snapshot follows.
    Lagged,
}

enum Pending {
    Call(oneshot::Sender<Response>),
    Watch(mpsc::Sender<Response>),
}

#[derive(Default)]
struct Shared {
    next_id: u64,
    closed: bool,
    /// Why the daemon ended the connection, if it said so: an error that answers no request.
    last_words: Option<ApiError>,
    pending: BTreeMap<u64, Pending>,
}

/// A connection to the metadata daemon of one node. Cheap to clone; requests of all clones are pipelined.
#[derive(Clone, Debug)]
pub struct Client {
    out: mpsc::Sender<ToServer>,
    shared: Arc<Mutex<Shared>>,
    _reader: Arc<ReaderTask>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct ReaderTask(AbortHandle);

impl Drop for ReaderTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(path: &Path) -> Result<Self, ConnectError> {
        let io_error = |error| ConnectError::Io {
            path: path.to_owned(),
            error,
        };
        let mut stream = UnixStream::connect(path).await.map_err(io_error)?;
        stream.write_all(&GREETING).await.map_err(io_error)?;
        let mut greeting = [0; GREETING.len()];
        match stream.read_exact(&mut greeting).await {
            Ok(_) if greeting == GREETING => {}
            Ok(_) => return Err(ConnectError::Protocol(path.to_owned())),
            Err(error) => return Err(io_error(error)),
        }
        let (read, write) = stream.into_split();
        let (out, requests) = mpsc::channel(64);
        let shared = Arc::new(Mutex::new(Shared::default()));
        let reader = tokio::spawn(read_answers(read, Arc::clone(&shared)));
        tokio::spawn(write_requests(write, requests));
        Ok(Self {
            out,
            shared,
            _reader: Arc::new(ReaderTask(reader.abort_handle())),
        })
    }

    fn register(&self, pending: Pending) -> Result<u64, CallError> {
        let mut shared = lock(&self.shared);
        if shared.closed {
            return Err(match &shared.last_words {
                Some(error) => CallError::Refused(error.clone()),
                None => CallError::Disconnected,
            });
        }
        shared.next_id += 1;
        let id = shared.next_id;
        shared.pending.insert(id, pending);
        Ok(id)
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// [`CallError`]; see there for what may have changed.
    pub async fn call(&self, request: Request) -> Result<Response, CallError> {
        let (sender, answer) = oneshot::channel();
        let id = self.register(Pending::Call(sender))?;
        if self.out.send(ToServer { id, request }).await.is_err() {
            return Err(CallError::Disconnected);
        }
        match answer.await {
            Ok(Response::Error(error)) => Err(CallError::Refused(error)),
            Ok(response) => Ok(response),
            Err(_) => Err(CallError::Disconnected),
        }
    }

    /// The entry of `key`, tombstones included.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get(&self, key: &Key) -> Result<Option<Entry>, CallError> {
        match self
            .call(Request::Get {
                key: key.as_str().to_owned(),
            })
            .await?
        {
            Response::Entry(None) => Ok(None),
            Response::Entry(Some(bytes)) => {
                let mut entries = bytes.unpack().map_err(protocol)?;
                Ok(entries.pop())
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Writes `changes` (value or deletion) as one batch; returns the stamp of the first.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn apply(
        &self,
        changes: impl IntoIterator<Item = (Key, Option<Value>)>,
        forced: bool,
    ) -> Result<Timestamp, CallError> {
        let how = Overriding {
            forced,
            insist: false,
        };
        self.apply_as(changes, how).await
    }

    /// [`Client::apply`], past the checks named.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn apply_as(
        &self,
        changes: impl IntoIterator<Item = (Key, Option<Value>)>,
        how: Overriding,
    ) -> Result<Timestamp, CallError> {
        let ops = changes
            .into_iter()
            .map(|(key, value)| {
                let key = key.as_str().to_owned();
                match value {
                    Some(value) => crate::Op::Set {
                        key,
                        value: crate::Bin(value.as_bytes().to_vec()),
                    },
                    None => crate::Op::Delete { key },
                }
            })
            .collect();
        let Overriding { forced, insist } = how;
        let request = Request::Apply {
            ops,
            forced,
            insist,
        };
        match self.call(request).await? {
            Response::Applied { stamp } => Ok(Timestamp::from_nanos(stamp)),
            other => Err(unexpected(&other)),
        }
    }

    /// All entries under `prefix` in key order.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list(&self, prefix: &str, tombstones: bool) -> Result<Vec<Entry>, CallError> {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let request = Request::List {
                prefix: prefix.to_owned(),
                after: all.last().map(|entry| entry.key.as_str().to_owned()),
                limit: u32::MAX,
                tombstones,
            };
            match self.call(request).await? {
                Response::List { entries, more } => {
                    let page = entries.unpack().map_err(protocol)?;
                    let empty = page.is_empty();
                    all.extend(page);
                    if !more || empty {
                        return Ok(all);
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Follows a resource, whether this node is a member of it or not.
    ///
    /// # Errors
    /// [`CallError::Disconnected`]. A refusal is the first event.
    pub async fn follow(&self, resource: &str) -> Result<Watch, CallError> {
        let resource = resource.to_owned();
        self.begin_watch(Request::Follow { resource }).await
    }

    /// Starts a watch over `prefixes`.
    ///
    /// # Errors
    /// [`CallError::Disconnected`].
    pub async fn watch(&self, prefixes: &[&str]) -> Result<Watch, CallError> {
        let prefixes = prefixes.iter().map(|p| (*p).to_owned()).collect();
        self.begin_watch(Request::Watch { prefixes }).await
    }

    async fn begin_watch(&self, request: Request) -> Result<Watch, CallError> {
        let (sender, events) = mpsc::channel(WATCH_QUEUE_LEN);
        let id = self.register(Pending::Watch(sender))?;
        if self.out.send(ToServer { id, request }).await.is_err() {
            return Err(CallError::Disconnected);
        }
        Ok(Watch {
            id,
            events,
            client: self.clone(),
        })
    }
}

/// A running watch; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    id: u64,
    events: mpsc::Receiver<Response>,
    client: Client,
}

impl Watch {
    /// The next event. Safe to cancel.
    ///
    /// # Errors
    /// [`CallError::Disconnected`] when the connection ended, or the daemon's refusal.
    pub async fn next(&mut self) -> Result<WatchEvent, CallError> {
        match self.events.recv().await {
            None => Err(CallError::Disconnected),
            Some(Response::WatchEntries(bytes)) => {
                Ok(WatchEvent::Entries(bytes.unpack().map_err(protocol)?))
            }
            Some(Response::WatchSynced) => Ok(WatchEvent::Synced),
            Some(Response::WatchLagged) => Ok(WatchEvent::Lagged),
            Some(Response::Error(error)) => Err(error.into()),
            Some(other) => Err(unexpected(&other)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.client.shared).pending.remove(&self.id);
        // Best effort: a full queue means that the connection is about to end or will be told later by its end.
        let _ = self.client.out.try_send(ToServer {
            id: 0,
            request: Request::Unwatch { watch: self.id },
        });
    }
}

fn protocol(error: impl std::fmt::Display) -> CallError {
    CallError::Protocol(error.to_string())
}

fn unexpected(response: &Response) -> CallError {
    CallError::Protocol(response.kind())
}

/// What is queued leaves together: under load, one system call carries many requests.
async fn write_requests(mut io: OwnedWriteHalf, mut requests: mpsc::Receiver<ToServer>) {
    let mut bytes = Vec::new();
    while let Some(request) = requests.recv().await {
        let mut next = Some(request);
        while let Some(request) = next {
            if encode_frame(&request, &mut bytes).is_err() {
                return;
            }
            let more = bytes.len() < WRITE_BYTES;
            next = more.then(|| requests.try_recv().ok()).flatten();
        }
        if io.write_all(&bytes).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

async fn read_answers(io: OwnedReadHalf, shared: Arc<Mutex<Shared>>) {
    let mut io = tokio::io::BufReader::new(io);
    // A frame that is not understood ends the connection, as an error of the connection does.
    while let Ok::<_, FrameError>(Some(FromServer { id, response })) = read_frame(&mut io).await {
        let watcher = {
            let mut shared = lock(&shared);
            match shared.pending.remove(&id) {
                Some(Pending::Call(sender)) => {
                    let _ = sender.send(response);
                    continue;
                }
                Some(Pending::Watch(sender)) => {
                    shared.pending.insert(id, Pending::Watch(sender.clone()));
                    sender
                }
                None => {
                    // Answers no request, and the daemon reads no more.
                    if let (0, Response::Error(error)) = (id, response)
                        && error.code == ErrorCode::Limit
                    {
                        shared.last_words = Some(error);
                    }
                    continue;
                }
            }
        };
        // A slow watcher holds back the whole connection; the daemon then reports a lag instead of queueing.
        let _ = watcher.send(response).await;
    }
    let mut shared = lock(&shared);
    shared.closed = true;
    let pending = std::mem::take(&mut shared.pending);
    // What the daemon had read, it answered before its last words.
    let Some(error) = &shared.last_words else {
        return;
    };
    for (_, waiting) in pending {
        let answer = Response::Error(error.clone());
        match waiting {
            Pending::Call(sender) => {
                let _ = sender.send(answer);
            }
            Pending::Watch(sender) => {
                let _ = sender.try_send(answer);
            }
        }
    }
}
