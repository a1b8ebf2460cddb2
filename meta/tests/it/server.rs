//! The local API over a real socket.

use crate::support::{Counting, config, key, set};
use mars_lamport::Timestamp;
use mars_meta::{
    Access, Answer, ApiListener, BindError, Control, Meta, ServerConfig, SledStore, allow_uids,
    serve,
};
use mars_meta_api::limits::FRAME_LEN_MAX;
use mars_meta_api::{
    ApiError, CallError, Client, EntryBytes, ErrorCode, FromServer, GREETING, ImportOutcome,
    NodeInfo, Op, PeerInfo, Request, Response, Secret, ToServer, WatchEvent, read_frame,
    write_frame,
};
use mars_meta_model::testing::{MemStore, entry};
use mars_meta_model::{Entry, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

mod liveness;
mod room;
mod signs;

#[derive(Default)]
struct TestControl {
    heard: Mutex<BTreeMap<String, u64>>,
}

impl Control for TestControl {
    fn node(&self) -> Answer<'_, NodeInfo> {
        Box::pin(async {
            Ok(NodeInfo {
                host: "hosta".to_owned(),
                node_id: String::new(),
                cluster: None,
                version: "1".to_owned(),
                meta_addr: String::new(),
                data_addr: String::new(),
                ..NodeInfo::default()
            })
        })
    }

    fn peers(&self) -> Answer<'_, Vec<PeerInfo>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn create_cluster(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn join_token(&self, ttl_secs: u64, uses: u32) -> Answer<'_, Secret> {
        Box::pin(async move { Ok(Secret(format!("{ttl_secs}/{uses}"))) })
    }

    fn join_cluster(&self, _: Option<String>, _: Secret) -> Answer<'_, ()> {
        Box::pin(async { Err(ApiError::new(ErrorCode::Unreachable, "nobody there")) })
    }

    fn liveness(&self, host: &str) -> Option<u64> {
        self.heard.lock().unwrap().get(host).copied()
    }

    fn hosts(&self) -> Vec<String> {
        self.heard.lock().unwrap().keys().cloned().collect()
    }
}

struct Server {
    _dir: TempDir,
    path: PathBuf,
    meta: Meta,
    control: Arc<TestControl>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let meta = Meta::with_store(MemStore::default(), &config(Path::new("unused"))).unwrap();
        Self::over(meta, ServerConfig::new(Arc::new(|_| true))).await
    }

    async fn over(meta: Meta, config: ServerConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api");
        let control = Arc::new(TestControl::default());
        let listener = ApiListener::bind(&path, 0o600).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let shared: Arc<dyn Control> = Arc::<TestControl>::clone(&control);
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, meta.clone(), shared, config, shutdown));
        Self {
            _dir: dir,
            path,
            meta,
            control,
            stop,
            task,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.path).await.unwrap()
    }

    /// A connection without a client around it.
    async fn raw(&self) -> UnixStream {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        stream.write_all(&GREETING).await.unwrap();
        let mut greeting = [0; 8];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(greeting, GREETING);
        stream
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what)
        .await
        .expect("within 30 s")
}

fn code(result: Result<impl std::fmt::Debug, CallError>) -> ErrorCode {
    match result.unwrap_err() {
        CallError::Refused(error) => error.code,
        other => panic!("{other}"),
    }
}

fn show(entries: &[Entry]) -> Vec<String> {
    let one = |e: &Entry| format!("{}={}", e.key, e.text().unwrap_or("-"));
    entries.iter().map(one).collect()
}

#[tokio::test]
async fn set_get_delete_list_and_the_rest() {
    let server = Server::start().await;
    let client = server.client().await;
    let stamp = client
        .apply([set("a", "1"), set("b", "2")], true)
        .await
        .unwrap();
    let b = client.get(&key("b")).await.unwrap().unwrap();
    assert_eq!(
        (b.text(), b.stamp, b.forced),
        (Some("2"), stamp.plus_nanos(1), true)
    );
    client.apply([(key("a"), None)], false).await.unwrap();
    assert!(client.get(&key("a")).await.unwrap().unwrap().is_tombstone());
    assert_eq!(client.get(&key("c")).await.unwrap(), None);
    assert_eq!(show(&client.list("", false).await.unwrap()), ["b=2"]);
    assert_eq!(
        show(&client.list("/mars/", true).await.unwrap()),
        ["a=-", "b=2"]
    );

    let Response::Clock { wall, lamport } = client.call(Request::Clock).await.unwrap() else {
        panic!("clock");
    };
    assert!(lamport >= stamp.as_nanos() && wall > 0);
    let Response::Node(node) = client.call(Request::Node).await.unwrap() else {
        panic!("node");
    };
    assert_eq!(node.host, "hosta");
    let token = Request::JoinToken {
        ttl_secs: 5,
        uses: 2,
    };
    let token = client.call(token).await.unwrap();
    assert_eq!(token, Response::Token(Secret("5/2".to_owned())));
    let join = Request::JoinCluster {
        addr: None,
        token: Secret("t".to_owned()),
    };
    assert_eq!(code(client.call(join).await), ErrorCode::Unreachable);

    use ImportOutcome::{Older, Taken, TooFarAhead};
    let preview = Request::RestorePreview {
        entries: EntryBytes::pack(&[entry("d", Some("x"), 5, 0), entry("b", Some("old"), 5, 0)]),
    };
    let seen = client.call(preview).await.unwrap();
    assert_eq!(seen, Response::Imported(vec![Taken, Older]));
    assert_eq!(server.meta.get(&key("d")), None);
    let import = Request::Import {
        entries: EntryBytes::pack(&[
            entry("d", Some("x"), 5, 0),
            entry("b", Some("old"), 5, 0),
            entry("e", Some("future"), u64::MAX / 2, 0),
        ]),
        insist: false,
    };
    assert_eq!(
        client.call(import).await.unwrap(),
        Response::Imported(vec![Taken, Older, TooFarAhead])
    );
    assert!(server.meta.get(&key("d")).unwrap().forced);
}

#[tokio::test]
async fn lists_come_in_pages_and_are_complete() {
    let server = Server::start().await;
    let client = server.client().await;
    let big = "x".repeat(4000);
    for chunk in 0..5 {
        let batch = (0..500).map(|i| set(&format!("p/{:05}", chunk * 500 + i), &big));
        client
            .apply(batch.collect::<Vec<_>>()[..200].to_vec(), false)
            .await
            .unwrap();
    }
    let all = client.list("p/", false).await.unwrap();
    assert_eq!(all.len(), 1000);
    assert!(all.windows(2).all(|pair| pair[0].key < pair[1].key));
    let page = Request::List {
        prefix: "p/".to_owned(),
        after: Some("p/00001".to_owned()),
        limit: 2,
        tombstones: false,
    };
    let Response::List { entries, more } = client.call(page).await.unwrap() else {
        panic!("list");
    };
    let keys: Vec<String> = entries
        .unpack()
        .unwrap()
        .iter()
        .map(|e| e.key.to_string())
        .collect();
    assert_eq!(
        (keys, more),
        (vec!["p/00002".to_owned(), "p/00003".to_owned()], true)
    );
}

#[tokio::test]
async fn bad_requests_are_refused_with_the_reason_and_change_nothing() {
    let server = Server::start().await;
    let client = server.client().await;
    let set_op = |key: &str, value: &[u8]| Op::Set {
        key: key.to_owned(),
        value: mars_meta_api::Bin(value.to_vec()),
    };
    let cases: Vec<(Vec<Op>, ErrorCode, &str)> = vec![
        (vec![], ErrorCode::BadRequest, "no changes"),
        (
            vec![set_op("a//b", b"1")],
            ErrorCode::BadRequest,
            "empty part",
        ),
        (
            vec![set_op("ok", b"1"), set_op("b", b".deleted")],
            ErrorCode::BadRequest,
            ".deleted",
        ),
        (vec![set_op("b", b"")], ErrorCode::BadRequest, "empty"),
        (
            vec![set_op("b", &[b'x'; 4096])],
            ErrorCode::BadRequest,
            "4096 bytes",
        ),
        (
            vec![set_op("resource-a.b/size", b"1")],
            ErrorCode::BadRequest,
            "resource name",
        ),
        (
            vec![set_op("roster/all", b"1")],
            ErrorCode::BadRequest,
            "reserved",
        ),
        (
            vec![Op::Delete {
                key: "roster/hosta".to_owned(),
            }],
            ErrorCode::Refused,
            "never deleted",
        ),
        (
            vec![set_op("a", b"1"); 4097],
            ErrorCode::Limit,
            "4097 changes",
        ),
    ];
    for (ops, expected, text) in cases {
        let refused = client
            .call(Request::Apply {
                ops,
                forced: false,
                insist: false,
            })
            .await;
        let Err(CallError::Refused(error)) = refused else {
            panic!("{text}: {refused:?}");
        };
        assert_eq!(error.code, expected, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    assert!(server.meta.with_table(mars_meta_model::Table::is_empty));
    let watch = Request::Watch { prefixes: vec![] };
    assert_eq!(code(client.call(watch).await), ErrorCode::Limit);
    let list = Request::List {
        prefix: "/etc".to_owned(),
        after: None,
        limit: 1,
        tombstones: false,
    };
    assert_eq!(code(client.call(list).await), ErrorCode::BadRequest);
    // An administrator may insist on a strange name, and everybody may delete one.
    client
        .apply([set("resource-a.b/size", "1")], true)
        .await
        .unwrap();
    client
        .apply([(key("resource-a.b/size"), None)], false)
        .await
        .unwrap();
    // The later change of a key wins.
    let stamp = client
        .apply([set("a", "1"), set("a", "2")], false)
        .await
        .unwrap();
    let a = client.get(&key("a")).await.unwrap().unwrap();
    assert_eq!((a.text(), a.stamp), (Some("2"), stamp.plus_nanos(1)));
}

#[tokio::test]
async fn a_watch_reports_snapshot_changes_and_ends() {
    let server = Server::start().await;
    let client = server.client().await;
    client
        .apply([set("userspace/a", "1"), set("other", "1")], false)
        .await
        .unwrap();
    let mut watch = client.watch(&["userspace/"]).await.unwrap();
    let WatchEvent::Entries(first) = soon(watch.next()).await.unwrap() else {
        panic!("entries");
    };
    assert_eq!(show(&first), ["userspace/a=1"]);
    assert_eq!(soon(watch.next()).await.unwrap(), WatchEvent::Synced);
    client
        .apply([set("other", "2"), set("userspace/b", "2")], false)
        .await
        .unwrap();
    let WatchEvent::Entries(change) = soon(watch.next()).await.unwrap() else {
        panic!("entries");
    };
    assert_eq!(show(&change), ["userspace/b=2"]);
    // 64 watches run; another one is refused; one that was dropped makes room.
    let mut others = Vec::new();
    for _ in 0..63 {
        let mut other = client.watch(&["x"]).await.unwrap();
        assert_eq!(soon(other.next()).await.unwrap(), WatchEvent::Synced);
        others.push(other);
    }
    let mut refused = client.watch(&["x"]).await.unwrap();
    assert_eq!(code(soon(refused.next()).await), ErrorCode::Limit);
    drop(others.pop());
    let mut again = client.watch(&["x"]).await.unwrap();
    assert_eq!(soon(again.next()).await.unwrap(), WatchEvent::Synced);

    server.stop.send(()).unwrap();
    soon(server.task).await.unwrap();
    assert!(matches!(
        soon(watch.next()).await,
        Err(CallError::Disconnected)
    ));
    assert!(!server.path.exists(), "the socket is removed");
}

/// All watches of a client that reads nothing share what they may keep for it; and when it reads, each of them is told all.
#[tokio::test]
async fn the_watches_of_a_connection_share_a_budget() {
    const WATCHES: u64 = 32;
    let meta = Meta::with_store(MemStore::default(), &config(Path::new("unused"))).unwrap();
    let server_config = ServerConfig {
        watch_bytes: 64 << 10,
        ..ServerConfig::new(Arc::new(|_| true))
    };
    let server = Server::over(meta, server_config).await;
    let mut slow = server.raw().await;
    for id in 1..=WATCHES {
        let prefixes = vec![String::new()];
        let request = Request::Watch { prefixes };
        write_frame(&mut slow, &ToServer { id, request })
            .await
            .unwrap();
    }
    for _ in 1..=WATCHES {
        let answer = soon(read_frame::<FromServer>(&mut slow)).await.unwrap();
        assert_eq!(answer.unwrap().response, Response::WatchSynced);
    }
    let client = server.client().await;
    let big = "y".repeat(4000);
    for i in 0..300 {
        let change = set(&format!("k{}", i % 20), &format!("{i}{big}"));
        client.apply([change], false).await.unwrap();
    }
    client.apply([set("z", "last")], false).await.unwrap();
    let (mut lagged, mut done) = (0, BTreeSet::new());
    while done.len() < usize::try_from(WATCHES).unwrap() {
        let answer: Option<FromServer> = soon(read_frame(&mut slow)).await.unwrap();
        let answer = answer.unwrap();
        match answer.response {
            Response::WatchLagged => lagged += 1,
            Response::WatchEntries(entries) => {
                let entries = entries.unpack().unwrap();
                if entries.iter().any(|entry| entry.key.as_str() == "z") {
                    done.insert(answer.id);
                }
            }
            _ => {}
        }
    }
    assert!(lagged > 0, "300 changes of 4000 bytes fit into no 64 KiB");
}

#[tokio::test]
async fn a_slow_watcher_lags_and_catches_up_while_others_work() {
    let meta = Meta::with_store(MemStore::default(), &config(Path::new("unused"))).unwrap();
    let server_config = ServerConfig {
        watch_queue_len: 8,
        ..ServerConfig::new(Arc::new(|_| true))
    };
    let server = Server::over(meta, server_config).await;
    let mut slow = server.raw().await;
    let request = Request::Watch {
        prefixes: vec![String::new()],
    };
    write_frame(&mut slow, &ToServer { id: 7, request })
        .await
        .unwrap();
    let next = |answer: Option<FromServer>| {
        let answer = answer.unwrap();
        assert_eq!(answer.id, 7);
        answer.response
    };
    assert_eq!(
        next(soon(read_frame(&mut slow)).await.unwrap()),
        Response::WatchSynced
    );
    // Far more than socket buffers and queues hold.
    let client = server.client().await;
    let big = "y".repeat(4000);
    for i in 0..600 {
        client
            .apply([set("a", &format!("{i}{big}"))], false)
            .await
            .unwrap();
    }
    client.apply([set("b", "last")], false).await.unwrap();
    let (mut lagged, mut last) = (false, None);
    while last.as_deref() != Some("last") {
        match next(soon(read_frame(&mut slow)).await.unwrap()) {
            Response::WatchLagged => lagged = true,
            Response::WatchEntries(entries) => {
                for entry in entries.unpack().unwrap() {
                    if entry.key.as_str() == "b" {
                        last = entry.text().map(str::to_owned);
                    }
                }
            }
            _ => {}
        }
    }
    assert!(lagged);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_others_are_not_held_up() {
    let meta = Meta::with_store(MemStore::default(), &config(Path::new("unused"))).unwrap();
    let server_config = ServerConfig {
        write_timeout: Duration::from_millis(200),
        ..ServerConfig::new(Arc::new(|_| true))
    };
    let server = Server::over(meta, server_config).await;
    let client = server.client().await;
    let big = "z".repeat(4000);
    let batch: Vec<_> = (0..200).map(|i| set(&format!("p/{i}"), &big)).collect();
    client.apply(batch, false).await.unwrap();
    let mut deaf = server.raw().await;
    let list = Request::List {
        prefix: String::new(),
        after: None,
        limit: 1000,
        tombstones: true,
    };
    // Asks without end and reads nothing; the daemon stops reading, then cuts it off.
    let cut = soon(async {
        for id in 0.. {
            let request = list.clone();
            if write_frame(&mut deaf, &ToServer { id, request })
                .await
                .is_err()
            {
                return true;
            }
            if id % 16 == 0 {
                client.get(&key("p/1")).await.unwrap();
            }
        }
        false
    });
    assert!(cut.await);
}

#[tokio::test]
async fn who_is_not_allowed_is_told_so_with_the_user_id() {
    let meta = Meta::with_store(MemStore::default(), &config(Path::new("unused"))).unwrap();
    let own: Arc<Mutex<Option<u32>>> = Arc::default();
    let seen = Arc::clone(&own);
    let access: Access = Arc::new(move |uid| {
        *seen.lock().unwrap() = Some(uid);
        allow_uids(1_000_001, &[])(uid.saturating_add(1_000_002))
    });
    let server = Server::over(meta, ServerConfig::new(access)).await;
    let client = server.client().await;
    let requests = [
        Request::Clock,
        Request::Get {
            key: "a".to_owned(),
        },
        Request::Apply {
            ops: vec![Op::Delete {
                key: "a".to_owned(),
            }],
            forced: false,
            insist: false,
        },
    ];
    for request in requests {
        let Err(CallError::Refused(error)) = client.call(request).await else {
            panic!("refused");
        };
        assert_eq!(error.code, ErrorCode::Denied);
        let uid = own.lock().unwrap().unwrap();
        assert!(
            error.message.contains(&format!("user id {uid} ")),
            "{error}"
        );
        assert!(error.hint.is_some());
    }
    assert!(server.meta.with_table(mars_meta_model::Table::is_empty));
}

#[tokio::test]
async fn garbage_ends_one_connection_and_an_unknown_request_none() {
    let server = Server::start().await;
    let mut stream = UnixStream::connect(&server.path).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    // The daemon closes with our bytes unread, which may show as a reset.
    let _ = soon(stream.read_to_end(&mut all)).await;
    assert_eq!(all, GREETING);

    let mut stream = server.raw().await;
    let too_long = u32::try_from(FRAME_LEN_MAX + 1).unwrap();
    stream.write_all(&too_long.to_le_bytes()).await.unwrap();
    let answer: FromServer = soon(read_frame(&mut stream)).await.unwrap().unwrap();
    assert!(matches!(answer.response, Response::Error(error) if error.code == ErrorCode::Limit));
    assert!(
        soon(read_frame::<FromServer>(&mut stream))
            .await
            .unwrap()
            .is_none()
    );

    let mut stream = server.raw().await;
    let strange = rmp_serde::to_vec_named(&BTreeMap::from([("id", 5u64), ("request", 1)])).unwrap();
    let len = u32::try_from(strange.len()).unwrap();
    stream.write_all(&len.to_le_bytes()).await.unwrap();
    stream.write_all(&strange).await.unwrap();
    let answer: FromServer = soon(read_frame(&mut stream)).await.unwrap().unwrap();
    assert_eq!(answer.id, 5);
    assert!(
        matches!(answer.response, Response::Error(error) if error.code == ErrorCode::Unsupported)
    );
    let request = Request::Clock;
    write_frame(&mut stream, &ToServer { id: 6, request })
        .await
        .unwrap();
    let answer: FromServer = soon(read_frame(&mut stream)).await.unwrap().unwrap();
    assert_eq!(answer.id, 6);
}

#[tokio::test]
async fn a_left_over_socket_is_taken_over_and_a_living_one_is_not() {
    let server = Server::start().await;
    let mode = std::fs::metadata(&server.path)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = ApiListener::bind(&server.path, 0o600).await;
    assert!(matches!(again, Err(BindError::InUse(_))));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left over");
    drop(ApiListener::bind(&path, 0o600).await.unwrap());
    std::fs::write(&path, "a file").unwrap();
    let file = ApiListener::bind(&path, 0o600).await;
    assert!(matches!(file, Err(BindError::NoSocket(_))));
    assert!(path.exists(), "a file is left alone");
}

/// Many sets over one connection: in order, and many share one fsync.
#[tokio::test(flavor = "multi_thread")]
async fn pipelined_sets_keep_their_order_and_share_commits() {
    const SETS: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let commits = Arc::new(AtomicUsize::new(0));
    let store = Counting {
        store: SledStore::open(&dir.path().join("db")).unwrap(),
        commits: Arc::clone(&commits),
    };
    let meta = Meta::with_store(store, &config(Path::new("unused"))).unwrap();
    let server = Server::over(meta, ServerConfig::new(Arc::new(|_| true))).await;
    let stream = server.raw().await;
    let (mut read, mut write) = stream.into_split();
    let sender = tokio::spawn(async move {
        for i in 0..SETS {
            let op = Op::Set {
                key: format!("k/{}", i % 100),
                value: mars_meta_api::Bin(i.to_string().into_bytes()),
            };
            let request = Request::Apply {
                ops: vec![op],
                forced: false,
                insist: false,
            };
            let id = u64::try_from(i).unwrap();
            write_frame(&mut write, &ToServer { id, request })
                .await
                .unwrap();
        }
        write
    });
    let mut stamps = BTreeMap::new();
    while stamps.len() < SETS {
        let answer: FromServer = soon(read_frame(&mut read)).await.unwrap().unwrap();
        let Response::Applied { stamp } = answer.response else {
            panic!("{answer:?}");
        };
        stamps.insert(answer.id, stamp);
    }
    sender.await.unwrap();
    assert!(
        stamps
            .values()
            .zip(stamps.values().skip(1))
            .all(|(a, b)| a < b),
        "applied in the order sent"
    );
    for i in 0..100 {
        let held = server.meta.get(&key(&format!("k/{i}"))).unwrap();
        assert_eq!(
            held.value(),
            Some(&Value::text(&(SETS - 100 + i).to_string()).unwrap())
        );
    }
    let commits = commits.load(Ordering::SeqCst);
    println!("{SETS} sets in {commits} commits");
    assert!(commits * 2 < SETS, "{commits} commits");
}

const SIGN: &str = "actual-hosta/datapath";
