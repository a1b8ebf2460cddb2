//! What every command works with: connection, options, deadline, and batches of changes.

use crate::error::{Error, Kind, Result};
use crate::snapshot::Origin;
use crate::ui::Ui;
use mars_lamport::Timestamp;
use mars_meta_api::{Client, NodeInfo, PeerInfo, Request, Response};
use mars_meta_model::{Entry, Key, Owner, Table, Value, classify};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// The options that all commands share.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// How long the whole command may take.
    pub timeout: Duration,
    /// How old a sign of life may be.
    pub window: Duration,
    /// Skip checks.
    pub force: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Where reading commands look.
    pub origin: Origin,
}

/// One batch of changes, in the order in which they are stamped.
pub type Changes = Vec<(Key, Option<Value>)>;

/// The surroundings of a command.
#[derive(Debug)]
pub struct Ctx {
    /// Where output goes.
    pub ui: Ui,
    /// Options.
    pub opts: Options,
    /// When the command must have ended.
    pub deadline: Instant,
    client: OnceCell<Client>,
    node: OnceCell<NodeInfo>,
}

impl Ctx {
    /// The surroundings of a command that begins now.
    #[must_use]
    pub fn new(ui: Ui, opts: Options) -> Self {
        Self {
            deadline: Instant::now() + opts.timeout,
            ui,
            opts,
            client: OnceCell::new(),
            node: OnceCell::new(),
        }
    }

    /// Waits for `work`, at most until the deadline.
    ///
    /// # Errors
    /// [`Kind::Timeout`] naming `what` did not come about.
    pub async fn bounded<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T> {
        tokio::time::timeout_at(self.deadline, work)
            .await
            .map_err(|_| {
                Error::new(
                    Kind::Timeout,
                    format!("{what} within {} s", self.opts.timeout.as_secs()),
                )
                .hint("run the command again, with a longer --timeout if need be")
            })
    }

    /// The connection to the daemon, made at first use.
    ///
    /// # Errors
    /// If nobody answers at the socket.
    pub async fn client(&self) -> Result<&Client> {
        self.client
            .get_or_try_init(|| async {
                let connect = Client::connect(&self.opts.socket);
                let client = self.bounded("the metadata daemon did not greet", connect);
                Ok(client.await??)
            })
            .await
    }

    /// One request.
    ///
    /// # Errors
    /// The daemon's refusal, a lost connection, or the deadline.
    pub async fn call(&self, request: Request) -> Result<Response> {
        let call = self.client().await?.call(request);
        Ok(self.bounded(NO_ANSWER, call).await??)
    }

    /// What this node is.
    ///
    /// # Errors
    /// As [`Ctx::call`].
    pub async fn node(&self) -> Result<&NodeInfo> {
        self.node
            .get_or_try_init(|| async {
                match self.call(Request::Node).await? {
                    Response::Node(node) => Ok(node),
                    other => Err(unexpected(&other)),
                }
            })
            .await
    }

    /// Name of this node, which must belong to a cluster.
    ///
    /// # Errors
    /// If it belongs to none; as [`Ctx::call`].
    pub async fn host(&self) -> Result<&str> {
        let node = self.node().await?;
        if node.cluster.is_none() {
            return Err(
                Error::refused(format!("node {} belongs to no cluster yet", node.host)).hint(
                    "marsadm create-cluster on the first node, \
                     marsadm join-cluster HOST --token FILE on the others",
                ),
            );
        }
        Ok(&node.host)
    }

    /// When each node was last heard of.
    ///
    /// # Errors
    /// As [`Ctx::call`].
    pub async fn peers(&self) -> Result<Vec<PeerInfo>> {
        match self.call(Request::Peers).await? {
            Response::Peers(peers) => Ok(peers),
            other => Err(unexpected(&other)),
        }
    }

    /// The entry of a key, tombstones included.
    ///
    /// # Errors
    /// As [`Ctx::call`].
    pub async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let get = self.client().await?.get(key);
        Ok(self.bounded(NO_ANSWER, get).await??)
    }

    /// All entries under the prefixes now.
    ///
    /// # Errors
    /// As [`Ctx::call`].
    pub async fn table(&self, prefixes: &[&str]) -> Result<Table> {
        let client = self.client().await?;
        let mut table = Table::new();
        for prefix in prefixes {
            let list = self.bounded(NO_ANSWER, client.list(prefix, true)).await?;
            for entry in list? {
                table.merge(entry);
            }
        }
        Ok(table)
    }

    /// Writes a batch; with `--dry-run` shows it instead and returns `None`. A key that belongs to another
    /// host makes the batch an override.
    ///
    /// # Errors
    /// As [`Ctx::call`]; after a refusal nothing was written.
    pub async fn apply(&self, changes: Changes) -> Result<Option<Timestamp>> {
        let host = self.node().await?.host.clone();
        let forced = changes.iter().any(|(key, _)| is_foreign(key, &host));
        for (key, value) in &changes {
            let text = match value {
                Some(value) => format!("{key} -> {}", value.as_bytes().escape_ascii()),
                None => format!("{key} deleted"),
            };
            if self.opts.dry_run {
                self.ui.note(&format!("would write: {text}"));
            } else {
                self.ui.detail(&format!("write: {text}"));
            }
        }
        if self.opts.dry_run || changes.is_empty() {
            return Ok(None);
        }
        let apply = self.client().await?.apply(changes, forced);
        Ok(Some(self.bounded(NO_ANSWER, apply).await??))
    }
}

const NO_ANSWER: &str = "the metadata daemon did not answer";

fn is_foreign(key: &Key, me: &str) -> bool {
    let (family, host, _) = classify(key);
    family.owner == Owner::Host && host.is_some_and(|host| host != me)
}

/// An answer that does not belong to the request.
#[must_use]
pub fn unexpected(response: &Response) -> Error {
    let text: String = format!("{response:?}").chars().take(80).collect();
    Error::internal(format!(
        "the metadata daemon gave an answer that was not understood: {text}"
    ))
    .hint("marsadm and marsd are of different versions: use those of one release")
}

/// The key written in `text`.
///
/// # Errors
/// If the text is no key.
pub fn key(text: &str) -> Result<Key> {
    Key::parse(text).map_err(|error| Error::usage(error.to_string()))
}

/// The value `text`.
///
/// # Errors
/// If the text is no value.
pub fn value(text: &str) -> Result<Value> {
    Value::text(text).map_err(|error| Error::usage(error.to_string()))
}

/// A change that sets `key` to `text`.
///
/// # Errors
/// If either breaks its rules.
pub fn set(key_text: &str, text: &str) -> Result<(Key, Option<Value>)> {
    Ok((key(key_text)?, Some(value(text)?)))
}
