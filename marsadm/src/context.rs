//! What every command works with: connection, options, deadline, and batches of changes.

use crate::error::{Error, Kind, Result};
use crate::error_code::Code;
use crate::limits::{READ_TIMEOUT, TIMEOUT_MIN, WAIT_SILENT};
use crate::output::{Change, value_text};
use crate::snapshot::Origin;
use crate::systemd::Settings;
use crate::ui::Ui;
use mars_lamport::Timestamp;
use mars_meta_api::{
    CallError, Client, ErrorCode, NodeInfo, Overriding, PeerInfo, Request, Response,
};
use mars_meta_model::{
    Entry, Key, NodeState, Owner, REMOVED_PREFIX, Table, Value, classify, roster,
};
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
    /// Skip the checks of values, too.
    pub force_values: bool,
    /// Write nothing.
    pub dry_run: bool,
    /// Where reading commands look.
    pub origin: Origin,
    /// The host that is acted for; `None`: this one.
    pub acting: Option<String>,
    /// On how many resources a command works at once.
    pub parallel: usize,
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
    /// How systemd is dealt with.
    pub systemd: Settings,
    greeting: Duration,
    client: OnceCell<Client>,
    node: OnceCell<NodeInfo>,
    acting: OnceCell<String>,
}

impl Ctx {
    /// The surroundings of a command that begins now.
    #[must_use]
    pub fn new(ui: Ui, opts: Options) -> Self {
        Self {
            // Without any time not even the daemon could answer.
            deadline: Instant::now() + opts.timeout.max(TIMEOUT_MIN),
            systemd: Settings::from_env(),
            greeting: READ_TIMEOUT,
            ui,
            opts,
            client: OnceCell::new(),
            node: OnceCell::new(),
            acting: OnceCell::new(),
        }
    }

    /// The same, dealing with systemd or not.
    #[must_use]
    pub fn with_systemd(mut self, enabled: bool) -> Self {
        self.systemd.enabled = enabled;
        self
    }

    /// The same, with another limit for the daemon's greeting than [`READ_TIMEOUT`].
    #[must_use]
    pub const fn with_greeting(mut self, limit: Duration) -> Self {
        self.greeting = limit;
        self
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
    /// If nobody answers at the socket, or does not greet within the limit for that.
    pub async fn client(&self) -> Result<&Client> {
        self.client
            .get_or_try_init(|| async {
                let connect = Client::connect(&self.opts.socket);
                self.greeted(connect).await?.map_err(Error::from)
            })
            .await
    }

    /// A connection for work that goes on behind the deadline; `--timeout` bounds the daemon's greeting alone.
    ///
    /// # Errors
    /// As [`Ctx::client`].
    pub async fn connect(&self) -> Result<Client> {
        let limit = Instant::now() + self.opts.timeout.max(TIMEOUT_MIN);
        let connect = Client::connect(&self.opts.socket);
        self.greeted_until(limit, connect)
            .await?
            .map_err(Error::from)
    }

    /// Waits for the daemon's greeting, which comes at once from one that runs: so `--timeout` is not what limits it, and who
    /// waits is told soon.
    ///
    /// # Errors
    /// [`Kind::Timeout`] if it does not come.
    pub async fn greeted<T>(&self, connect: impl Future<Output = T>) -> Result<T> {
        self.greeted_until(self.deadline, connect).await
    }

    async fn greeted_until<T>(
        &self,
        deadline: Instant,
        connect: impl Future<Output = T>,
    ) -> Result<T> {
        let began = Instant::now();
        let limit = deadline.min(began + self.greeting);
        tokio::pin!(connect);
        if let Ok(greeted) =
            tokio::time::timeout_at(limit.min(began + WAIT_SILENT), &mut connect).await
        {
            return Ok(greeted);
        }
        let socket = self.opts.socket.display();
        let what = format!(
            "for the metadata daemon at {socket} to answer, at most {} s more",
            limit.saturating_duration_since(Instant::now()).as_secs()
        );
        if self.ui.is_quiet() {
            self.ui.aside(&format!("waiting {what}"));
        } else {
            self.ui.progress(&format!("waiting: {what}"));
        }
        let greeted = tokio::time::timeout_at(limit, &mut connect).await;
        greeted.map_err(|_| {
            let secs = limit.saturating_duration_since(began).as_secs();
            Error::new(
                Kind::Timeout,
                format!("the metadata daemon at {socket} did not greet within {secs} s: it hangs, or was stopped"),
            )
            .hint("let marsd go on (kill -CONT) or start it again, then look at its log")
        })
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

    /// Name of the host that the command acts for: that of `--host`, else this node, which must belong to a cluster.
    ///
    /// # Errors
    /// If this node belongs to none, or the named host is not in it; as [`Ctx::call`].
    pub async fn host(&self) -> Result<&str> {
        let me = self.member_host().await?;
        match &self.opts.acting {
            Some(other) if other != me => self
                .acting
                .get_or_try_init(|| self.check_acting(me, other))
                .await
                .map(String::as_str),
            _ => Ok(me),
        }
    }

    /// Name of this node for a command that works on its disks: `--host` with another name is refused.
    ///
    /// # Errors
    /// As [`Ctx::host`].
    pub async fn local_host(&self) -> Result<&str> {
        let me = self.member_host().await?;
        match &self.opts.acting {
            Some(other) if other != me => Err(Error::refused(format!(
                "this command looks at a disk, and that of {other} cannot be seen from {me}"
            ))
            .hint(format!("run it on {other}"))),
            _ => Ok(me),
        }
    }

    async fn check_acting(&self, me: &str, other: &str) -> Result<String> {
        let table = self.table(&["roster/"]).await?;
        let known: Vec<String> = roster(&table)
            .into_iter()
            .filter(|(_, node)| node.state == NodeState::Active)
            .map(|(host, _)| host)
            .collect();
        if !known.iter().any(|host| host == other) && !self.opts.force {
            return Err(Error::of(
                Code::HostNotFound,
                format!("node {other} does not belong to the cluster"),
            )
            .hint(crate::suggest::hint("nodes of the cluster", other, &known))
            .about(&format!("--host={other}")));
        }
        self.ui.note(&format!(
            "ATTENTION: acting as if I were host '{other}' (this is {me})"
        ));
        Ok(other.to_owned())
    }

    async fn member_host(&self) -> Result<&str> {
        let node = self.node().await?;
        if node.cluster.is_none() {
            return Err(Error::of(
                Code::NoCluster,
                format!("node {} belongs to no cluster yet", node.host),
            )
            .hint(
                "marsadm create-cluster on the first node, \
                     marsadm join-cluster HOST --token FILE on the others",
            ));
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
        // Whether a line of the roster counts is said elsewhere.
        let marks = prefixes.contains(&"roster/").then_some(&REMOVED_PREFIX);
        for prefix in prefixes.iter().chain(marks) {
            let list = self.bounded(NO_ANSWER, client.list(prefix, true)).await?;
            for entry in list? {
                table.merge(entry);
            }
        }
        Ok(table)
    }

    /// Tells that something was done; with `--dry-run` that it would be.
    pub fn done(&self, done: &str, would: &str) {
        if self.opts.dry_run {
            self.ui.note(&format!("would {would}"));
        } else {
            self.ui.note(done);
        }
    }

    /// [`Ctx::done`] of a command of the original's, which said so on stdout.
    pub fn achieved(&self, done: &str, would: &str) {
        if self.opts.dry_run {
            self.ui.note(&format!("would {would}"));
        } else {
            self.ui.token(done);
        }
    }

    /// Writes a batch; with `--dry-run` shows it instead and returns `None`. A key that belongs to another
    /// host makes the batch an override.
    ///
    /// # Errors
    /// As [`Ctx::call`]; after a refusal nothing was written.
    pub async fn apply(&self, changes: Changes) -> Result<Option<Timestamp>> {
        self.write(changes, false).await
    }

    /// [`Ctx::apply`] as an administrator's override in any case: for keys of others than hosts, whose owners are gone.
    ///
    /// # Errors
    /// As [`Ctx::apply`].
    pub async fn apply_forced(&self, changes: Changes) -> Result<Option<Timestamp>> {
        self.write(changes, true).await
    }

    async fn write(&self, changes: Changes, forced: bool) -> Result<Option<Timestamp>> {
        let host = self.node().await?.host.clone();
        let forced = forced || changes.iter().any(|(key, _)| is_foreign(key, &host));
        let mut record = Vec::new();
        for (key, value) in &changes {
            // Only who asks for it pays for looking at the old value.
            let old = if self.opts.dry_run || self.ui.is_structured() {
                self.get(key).await?
            } else {
                None
            };
            let old = old.and_then(|entry| entry.value().map(|v| value_text(v.as_bytes())));
            let change = Change {
                key: key.to_string(),
                old,
                new: value.as_ref().map(|value| value_text(value.as_bytes())),
                forced: is_foreign(key, &host),
            };
            if self.opts.dry_run {
                self.ui
                    .note(&format!("would write: {}", would_change(&change)));
            } else {
                self.ui.detail(&format!("write: {}", new_value(&change)));
            }
            record.push(change);
        }
        if self.opts.dry_run {
            self.ui.changed(record);
            return Ok(None);
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let stamp = self.send(changes, forced).await?;
        self.ui.changed(record);
        Ok(Some(stamp))
    }

    /// Sends a batch; with `--force` again, as often as it is refused for something that one may insist against. A write in
    /// another owner's name is flagged and logged everywhere: only where it is needed.
    async fn send(&self, changes: Changes, forced: bool) -> Result<Timestamp> {
        let client = self.client().await?;
        let how = |forced, insist| Overriding { forced, insist };
        let steps = match (self.opts.force, forced) {
            (false, forced) => vec![how(forced, false)],
            (true, true) => vec![how(true, false), how(true, true)],
            (true, false) => vec![how(false, false), how(false, true), how(true, true)],
        };
        let mut told = None;
        for (nr, step) in steps.iter().enumerate() {
            let sent = client.apply_as(changes.clone(), *step);
            match self.bounded(NO_ANSWER, sent).await? {
                Err(CallError::Refused(error))
                    if error.code == ErrorCode::Refused && nr + 1 < steps.len() =>
                {
                    let text = format!("overridden by --force: {error}");
                    if told.as_ref() != Some(&text) {
                        self.ui.note(&text);
                        told = Some(text);
                    }
                }
                other => return Ok(other?),
            }
        }
        Err(Error::internal("a batch was never sent"))
    }
}

fn new_value(change: &Change) -> String {
    match &change.new {
        Some(new) => format!("{} -> {new}", change.key),
        None => format!("{} deleted", change.key),
    }
}

/// A change with what it changes.
fn would_change(change: &Change) -> String {
    let new = new_value(change);
    let forced = if change.forced {
        ", overriding its owner"
    } else {
        ""
    };
    match &change.old {
        Some(old) if change.new.as_ref() == Some(old) => format!("{new} (as now{forced})"),
        Some(old) => format!("{new} (now: {old}{forced})"),
        None if change.new.is_none() => format!("{new} (not there{forced})"),
        None => format!("{new} (new{forced})"),
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
    Error::internal(format!(
        "the metadata daemon gave an answer that was not understood: {}",
        response.kind()
    ))
    .hint("marsadm and marsd are of different versions: use those of one release")
}

/// The key written in `text`.
///
/// # Errors
/// If the text is no key.
pub fn key(text: &str) -> Result<Key> {
    Key::parse(text).map_err(|error| Error::of(Code::BadKey, error.to_string()))
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
