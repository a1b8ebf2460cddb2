//! One connection: reads requests, answers as they are done, cuts off who does not read.

use crate::hub::Source;
use crate::job::{Change, Done, Job, MergeResult};
use crate::limits::{
    ANSWER_QUEUE_LEN, GREETING_TIMEOUT_MS, LAST_WORDS_TIMEOUT_MS, LOGGED_KEYS_MAX,
};
use crate::node::Ticket;
use crate::server::listen::Shared;
use crate::server::room::{Activity, idle_too_long, no_room};
use crate::server::sign::SignOfLife;
use crate::server::{check, follow, read_requests, watch};
use mars_meta_api::limits::{
    CONNECTIONS_MAX, REQUESTS_IN_FLIGHT_MAX, WATCH_PREFIXES_MAX, WATCHES_MAX, WRITE_BYTES,
};
use mars_meta_api::{
    ApiError, EntryBytes, ErrorCode, FrameError, FromServer, GREETING, ImportOutcome, Op,
    Overriding, Request, Response, decode_request, encode_frame, read_body,
};
use mars_meta_model::{Entry, Value, check_name};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Serves one client until it ends, is cut off, or has to make room for another one.
pub(super) async fn serve_connection(
    mut stream: UnixStream,
    shared: Arc<Shared>,
    activity: Arc<Activity>,
) {
    let uid = match stream.peer_cred() {
        Ok(credentials) => credentials.uid(),
        Err(error) => {
            tracing::warn!(%error, "a local client without credentials was cut off");
            return;
        }
    };
    let allowed = (shared.config.access)(uid);
    let greet = timeout(
        Duration::from_millis(GREETING_TIMEOUT_MS),
        greet(&mut stream),
    );
    let greeted = tokio::select! {
        greeted = greet => matches!(greeted, Ok(Ok(true))),
        () = activity.evicted() => false,
    };
    if !greeted {
        tracing::debug!(uid, "a local client did not speak this protocol");
        return;
    }
    let (read, write) = stream.into_split();
    let (answers, queue) = mpsc::channel(ANSWER_QUEUE_LEN);
    let connection = Connection {
        shared: Arc::clone(&shared),
        answers,
        denied: (!allowed).then(|| denied(uid)),
        in_flight: Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX)),
        tasks: JoinSet::new(),
        watches: BTreeMap::new(),
        common: watch::Common::new(shared.config.watch_bytes),
        sign: None,
        beats: false,
        activity,
    };
    // The reading half also ends when the writing half gave up, and the other way round: a client that closes
    // its writing half still gets its answers.
    let mut write_half = std::pin::pin!(write_answers(write, queue, shared.config.write_timeout));
    let mut read_half = std::pin::pin!(connection.read_requests(read));
    tokio::select! {
        reason = &mut write_half => {
            if let Err(reason) = reason {
                tracing::debug!(uid, reason, "a local client was cut off");
            }
        }
        made_room = &mut read_half => {
            if made_room {
                tracing::info!(uid, "a local client that was idle was cut off, to make room for another one");
                let _ = timeout(Duration::from_millis(LAST_WORDS_TIMEOUT_MS), write_half).await;
            } else {
                let _ = write_half.await;
            }
        }
    }
}

/// Tells a client that there is no room for it.
pub(super) async fn turn_away(mut stream: UnixStream) {
    let words = FromServer {
        id: 0,
        response: Response::Error(no_room(CONNECTIONS_MAX)),
    };
    let told = async {
        greet(&mut stream).await?;
        let mut bytes = Vec::new();
        if append_answer(&words, &mut bytes).is_ok() {
            stream.write_all(&bytes).await?;
        }
        std::io::Result::Ok(())
    };
    let _ = timeout(Duration::from_millis(LAST_WORDS_TIMEOUT_MS), told).await;
}

async fn greet(stream: &mut UnixStream) -> std::io::Result<bool> {
    stream.write_all(&GREETING).await?;
    let mut theirs = [0; GREETING.len()];
    stream.read_exact(&mut theirs).await?;
    Ok(theirs == GREETING)
}

fn denied(uid: u32) -> ApiError {
    ApiError::new(
        ErrorCode::Denied,
        format!("user id {uid} may not use the metadata daemon"),
    )
    .with_hint("run the command as root, or add the user id to the daemon's allow_uids")
}

/// What is ready leaves together: under load, one system call carries many answers.
async fn write_answers(
    mut io: OwnedWriteHalf,
    mut queue: mpsc::Receiver<FromServer>,
    limit: Duration,
) -> Result<(), &'static str> {
    let mut bytes = Vec::new();
    while let Some(answer) = queue.recv().await {
        let mut next = Some(answer);
        while let Some(answer) = next {
            append_answer(&answer, &mut bytes).map_err(|_| "the connection failed")?;
            let more = bytes.len() < WRITE_BYTES;
            next = more.then(|| queue.try_recv().ok()).flatten();
        }
        match timeout(limit, io.write_all(&bytes)).await {
            Ok(Ok(())) => bytes.clear(),
            Ok(Err(_)) => return Err("the connection failed"),
            Err(_) => return Err("it does not read its answers"),
        }
    }
    Ok(())
}

/// An answer that cannot be sent is replaced by an error that says so.
fn append_answer(answer: &FromServer, bytes: &mut Vec<u8>) -> Result<(), FrameError> {
    encode_frame(answer, bytes).or_else(|_| {
        let error = ApiError::new(ErrorCode::Internal, "the answer is too long to be sent");
        let response = Response::Error(error);
        encode_frame(
            &FromServer {
                id: answer.id,
                response,
            },
            bytes,
        )
    })
}

struct Connection {
    shared: Arc<Shared>,
    answers: mpsc::Sender<FromServer>,
    denied: Option<ApiError>,
    in_flight: Arc<Semaphore>,
    /// Requests that wait for something; aborted with the connection.
    tasks: JoinSet<()>,
    watches: BTreeMap<u64, AbortHandle>,
    /// What they share.
    common: watch::Common,
    /// What is to be taken back when this connection ends.
    sign: Option<SignOfLife>,
    /// Whether it has asked for the clock: then it does so all the time, if it gives a sign of life.
    beats: bool,
    activity: Arc<Activity>,
}

impl Connection {
    /// The next request. Meanwhile the connection is idle if nothing that it asked for goes on. `Err`: for how long it has
    /// been idle when it has to make room.
    async fn next_request(
        &mut self,
        io: &mut BufReader<OwnedReadHalf>,
    ) -> Result<Result<Option<Vec<u8>>, FrameError>, Duration> {
        let mut body = std::pin::pin!(read_body(io));
        while self.tasks.try_join_next().is_some() {}
        let mut idle = false;
        loop {
            if !idle && self.tasks.is_empty() && self.sign.is_none() {
                idle = true;
                self.activity.set_idle(true);
            }
            tokio::select! {
                body = &mut body => {
                    self.activity.set_idle(false);
                    return Ok(body);
                }
                Some(_) = self.tasks.join_next() => {}
                () = self.activity.evicted() => {
                    // It may have got something to do since it was chosen.
                    let least = self.shared.config.idle_min;
                    if let Some(idle) = self.activity.idle_for().filter(|idle| *idle >= least) {
                        return Err(idle);
                    }
                }
            }
        }
    }

    /// Until the client ends, breaks the protocol, or no longer takes answers (`false`), or has to make room (`true`).
    async fn read_requests(mut self, io: OwnedReadHalf) -> bool {
        let mut io = BufReader::new(io);
        loop {
            let body = match self.next_request(&mut io).await {
                Err(idle) => {
                    self.refuse(0, idle_too_long(idle, CONNECTIONS_MAX)).await;
                    return true;
                }
                Ok(Ok(Some(body))) => body,
                Ok(Ok(None) | Err(FrameError::Io(_))) => break,
                Ok(Err(error)) => {
                    self.refuse(0, ApiError::new(ErrorCode::Limit, error.to_string()))
                        .await;
                    break;
                }
            };
            let sent = match decode_request(&body) {
                Ok(message) => match self.denied.clone() {
                    Some(error) => self.refuse(message.id, error).await,
                    None => self.handle(message.id, message.request).await,
                },
                Err((id, error)) => {
                    let error = ApiError::new(
                        ErrorCode::Unsupported,
                        format!("the request was not understood: {error}"),
                    );
                    let error = error.with_hint("use programs of the daemon's version");
                    self.refuse(id, error).await
                }
            };
            if !sent {
                return false;
            }
        }
        // The client asks no more; what it asked is answered, its watches end.
        for (_, watch) in std::mem::take(&mut self.watches) {
            watch.abort();
        }
        while self.tasks.join_next().await.is_some() {}
        false
    }

    /// `false` if answers are no longer taken.
    async fn answer(&self, id: u64, response: Response) -> bool {
        self.answers.send(FromServer { id, response }).await.is_ok()
    }

    async fn refuse(&self, id: u64, error: ApiError) -> bool {
        self.answer(id, Response::Error(error)).await
    }

    /// Runs `work` beside the reading of further requests, within the bound of requests in flight.
    async fn later(
        &mut self,
        id: u64,
        work: impl Future<Output = Result<Response, ApiError>> + Send + 'static,
    ) -> bool {
        let Ok(permit) = Arc::clone(&self.in_flight).acquire_owned().await else {
            return false;
        };
        let answers = self.answers.clone();
        self.tasks.spawn(async move {
            let response = work.await.unwrap_or_else(Response::Error);
            let _ = answers.send(FromServer { id, response }).await;
            drop(permit);
        });
        true
    }

    async fn handle(&mut self, id: u64, request: Request) -> bool {
        let control = Arc::clone(&self.shared.control);
        let now = match request {
            Request::Get { key } => read_requests::get(&self.shared, &key),
            Request::List {
                prefix,
                after,
                limit,
                tombstones,
            } => {
                let page = read_requests::Page {
                    prefix: &prefix,
                    after: after.as_deref(),
                    limit,
                    tombstones,
                };
                read_requests::list(&self.shared, &page)
            }
            Request::Clock => {
                self.heard();
                let (wall, lamport) = self.shared.meta.clock();
                Ok(Response::Clock {
                    wall,
                    lamport: lamport.as_nanos(),
                })
            }
            Request::Apply {
                ops,
                forced,
                insist,
            } => {
                let how = Overriding { forced, insist };
                return self.apply(id, ops, how).await;
            }
            Request::Import { entries, insist } => {
                return self.import(id, (&entries, insist), tree).await;
            }
            Request::Restore { entries, insist } => {
                return self.import(id, (&entries, insist), backup).await;
            }
            Request::RestorePreview { entries } => {
                read_requests::restore_preview(&self.shared, &entries)
            }
            Request::Watch { prefixes } => match self.watch(id, &prefixes) {
                Ok(()) => return true,
                Err(error) => Err(error),
            },
            Request::Follow { resource } => match self.follow(id, &resource) {
                Ok(()) => return true,
                Err(error) => Err(error),
            },
            Request::Unwatch { watch } => {
                if let Some(task) = self.watches.remove(&watch) {
                    task.abort();
                }
                Ok(Response::Done)
            }
            Request::Node => {
                return self
                    .later(id, async move { control.node().await.map(Response::Node) })
                    .await;
            }
            Request::Peers => {
                return self
                    .later(
                        id,
                        async move { control.peers().await.map(Response::Peers) },
                    )
                    .await;
            }
            request => return self.membership(id, request).await,
        };
        self.answer(id, now.unwrap_or_else(Response::Error)).await
    }

    /// Requests about the cluster as a whole.
    async fn membership(&mut self, id: u64, request: Request) -> bool {
        let control = Arc::clone(&self.shared.control);
        match request {
            Request::CreateCluster => {
                tracing::info!("a local client creates a cluster");
                let created = async move { control.create_cluster().await };
                self.later(id, async { created.await.map(|()| Response::Done) })
                    .await
            }
            Request::JoinToken { ttl_secs, uses } => {
                let token = async move { control.join_token(ttl_secs, uses).await };
                self.later(id, async { token.await.map(Response::Token) })
                    .await
            }
            Request::JoinCluster { addr, token } => {
                tracing::info!("a local client joins a cluster");
                let joined = async move { control.join_cluster(addr, token).await };
                self.later(id, async { joined.await.map(|()| Response::Done) })
                    .await
            }
            Request::ListTokens => {
                let list = async move { control.list_tokens().await };
                self.later(id, async { list.await.map(Response::Tokens) })
                    .await
            }
            Request::RevokeToken { id: token } => {
                tracing::info!(token, "a local client revokes a join token");
                let revoked = async move { control.revoke_token(token).await };
                self.later(id, async { revoked.await.map(|()| Response::Done) })
                    .await
            }
            Request::LeaveCluster { force } => {
                tracing::info!(force, "a local client leaves the cluster");
                let left = async move { control.leave_cluster(force).await };
                self.later(id, async { left.await.map(|()| Response::Done) })
                    .await
            }
            Request::MergeCluster { addr, token, check } => {
                tracing::info!(check, "a local client merges clusters");
                let merged = async move { control.merge_cluster(addr, token, check).await };
                self.later(id, async { merged.await.map(Response::Merge) })
                    .await
            }
            Request::ExportAuthority => {
                tracing::warn!("a local client takes a copy of the authority's key");
                let key = async move { control.export_authority().await };
                self.later(id, async { key.await.map(Response::Token) })
                    .await
            }
            Request::ImportAuthority { key, insist } => {
                tracing::warn!("a local client brings the authority's key");
                let done = async move { control.import_authority(key, insist).await };
                self.later(id, async { done.await.map(|()| Response::Done) })
                    .await
            }
            Request::BeginEpoch => {
                tracing::warn!("a local client begins a new epoch of the cluster's clock");
                let meta = self.shared.meta.clone();
                self.later(id, async move {
                    let name = control.node().await?.host;
                    begin_epoch(&meta, &name).await
                })
                .await
            }
            _ => {
                let error = ApiError::new(ErrorCode::Unsupported, "not served here");
                self.refuse(id, error).await
            }
        }
    }

    /// Who asks for the clock lets itself be heard all the time, if it is a data plane.
    fn heard(&mut self) {
        self.beats = true;
        self.beat();
    }

    /// Something was heard of a data plane that lets itself be heard all the time.
    fn beat(&mut self) {
        if let Some(sign) = self.sign.as_mut().filter(|_| self.beats) {
            sign.beat(self.shared.config.sign_tick);
        }
    }

    async fn apply(&mut self, id: u64, ops: Vec<Op>, how: Overriding) -> bool {
        let forced = how.forced;
        let changes = match check::changes(ops, forced) {
            Ok(changes) => changes,
            Err(error) => return self.refuse(id, error).await,
        };
        if let Err(error) = self.shared.control.check_write(&changes, how) {
            return self.refuse(id, error).await;
        }
        if forced {
            log_forced("write", changes.iter().map(|(key, _)| key.as_str()));
        } else if let Some(sign) = SignOfLife::among(&self.shared.meta, &changes) {
            if let Some(earlier) = self.sign.replace(sign) {
                earlier.replaced();
            }
            self.beat();
        }
        self.write(id, Job::Apply { changes, forced }, Source::Local)
            .await
    }

    async fn import(
        &mut self,
        id: u64,
        (entries, insist): (&EntryBytes, bool),
        job: fn(Vec<Entry>) -> Job,
    ) -> bool {
        let mut entries = match check::import(entries) {
            Ok(entries) => entries,
            Err(error) => return self.refuse(id, error).await,
        };
        let changes = entries.iter();
        let changes = changes.map(|entry| (entry.key.clone(), entry.value().cloned()));
        let changes: Vec<Change> = changes.collect();
        // Whoever wrote them: they are brought by an administrator.
        let how = Overriding {
            forced: true,
            insist,
        };
        if let Err(error) = self.shared.control.check_write(&changes, how) {
            return self.refuse(id, error).await;
        }
        log_forced("import", entries.iter().map(|entry| entry.key.as_str()));
        for entry in &mut entries {
            entry.forced = true;
        }
        self.write(id, job(entries), Source::Import).await
    }

    /// Queued here and now, so writes of one connection keep their order; awaited beside.
    async fn write(&mut self, id: u64, job: Job, source: Source) -> bool {
        match self.shared.meta.submit(job, source).await {
            Err(error) => self.refuse(id, check::refusal(&error)).await,
            Ok(ticket) => self.later(id, written(ticket)).await,
        }
    }

    /// A resource as a watch of its keys; of one that this node is no member of, as its members tell.
    fn follow(&mut self, id: u64, res: &str) -> Result<(), ApiError> {
        if let Err(error) = check_name(res, "resource") {
            return Err(ApiError::new(ErrorCode::BadRequest, error.to_string()));
        }
        self.room_for_watch(id)?;
        let Some(news) = self.shared.control.follow(res)? else {
            return self.watch(id, &[format!("resource-{res}/")]);
        };
        let answers = self.answers.clone();
        let task = self
            .tasks
            .spawn(follow::run(news, watch::Out { id, answers }));
        self.watches.insert(id, task);
        Ok(())
    }

    fn watch(&mut self, id: u64, prefixes: &[String]) -> Result<(), ApiError> {
        if prefixes.is_empty() || prefixes.len() > WATCH_PREFIXES_MAX {
            let message = format!("a watch takes 1 to {WATCH_PREFIXES_MAX} prefixes");
            return Err(ApiError::new(ErrorCode::Limit, message));
        }
        self.room_for_watch(id)?;
        let prefixes: Vec<String> = prefixes
            .iter()
            .map(|text| check::prefix(text).map(str::to_owned))
            .collect::<Result<_, _>>()?;
        let (shared, answers) = (Arc::clone(&self.shared), self.answers.clone());
        let common = self.common.clone();
        let run = watch::run(shared, id, prefixes, answers, common);
        let task = self.tasks.spawn(run);
        self.watches.insert(id, task);
        Ok(())
    }

    /// Whether a watch of this number may begin.
    fn room_for_watch(&mut self, id: u64) -> Result<(), ApiError> {
        self.watches.retain(|_, task| !task.is_finished());
        if self.watches.contains_key(&id) {
            let message = format!("request number {id} is a running watch already");
            return Err(ApiError::new(ErrorCode::BadRequest, message));
        }
        if self.watches.len() >= WATCHES_MAX {
            let message = format!("at most {WATCHES_MAX} watches of one connection are served");
            return Err(ApiError::new(ErrorCode::Limit, message)
                .with_hint("end one, or open another connection"));
        }
        Ok(())
    }
}

async fn begin_epoch(meta: &crate::Meta, host: &str) -> Result<Response, ApiError> {
    let note =
        Value::text(host).map_err(|error| ApiError::new(ErrorCode::Internal, error.to_string()))?;
    let begun = meta.begin_epoch(note).await;
    match begun.map_err(|error| check::refusal(&error))? {
        Ok(epoch) => Ok(Response::Epoch(epoch)),
        Err(refusal) => Err(ApiError::new(ErrorCode::Refused, refusal.to_string())),
    }
}

async fn written(ticket: Ticket) -> Result<Response, ApiError> {
    match ticket
        .done()
        .await
        .map_err(|error| check::refusal(&error))?
    {
        Done::Applied(committed) => Ok(Response::Applied {
            stamp: committed.first.as_nanos(),
        }),
        Done::Merged(merged) => {
            let outcome = |result: &MergeResult| match result {
                MergeResult::Applied => ImportOutcome::Taken,
                MergeResult::AppliedAnew => ImportOutcome::TakenAnew,
                MergeResult::Duplicate => ImportOutcome::Known,
                MergeResult::Stale => ImportOutcome::Older,
                MergeResult::BelowFloor => ImportOutcome::Collected,
                MergeResult::TooFarAhead | MergeResult::EpochAhead => ImportOutcome::TooFarAhead,
            };
            Ok(Response::Imported(
                merged.results.iter().map(outcome).collect(),
            ))
        }
        Done::Forgotten(_)
        | Done::Observed(_)
        | Done::Collected(_)
        | Done::Epoch(_)
        | Done::Local => Ok(Response::Done),
    }
}

const fn tree(entries: Vec<Entry>) -> Job {
    Job::Import { entries }
}

const fn backup(entries: Vec<Entry>) -> Job {
    Job::Restore { entries }
}

/// Keys only: values may be secrets.
fn log_forced<'a>(what: &str, keys: impl Iterator<Item = &'a str>) {
    let mut names: Vec<&str> = keys.take(LOGGED_KEYS_MAX + 1).collect();
    let more = names.len() > LOGGED_KEYS_MAX;
    names.truncate(LOGGED_KEYS_MAX);
    tracing::info!(keys = ?names, more, "forced {what}");
}
