//! A metadata daemon in memory, of one node, with a scripted data plane: answers the local API as specified.

use mars_lamport::Timestamp;
use mars_meta_api::{
    ApiError, EntryBytes, ErrorCode, FromServer, GREETING, ImportOutcome, MergeInfo, NodeInfo, Op,
    PeerInfo, Request, Response, Secret, ToServer, read_frame, write_frame,
};
use mars_meta_model::{Cell, Entry, Key, Merge, NodeId, NodeRecord, Table, Value, View as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// More than any test has under way.
const QUEUE: usize = 1000;

/// What the data plane does when keys change: gets the table, returns what it writes.
pub(crate) type Script = Box<dyn FnMut(&Table) -> Vec<(String, String)> + Send>;

pub(crate) struct State {
    pub(crate) table: Table,
    pub(crate) stamp: u64,
    pub(crate) forced: Vec<String>,
    pub(crate) cluster: Option<String>,
    pub(crate) peers: Vec<PeerInfo>,
    /// System clock, in ns since 1970.
    pub(crate) wall: u64,
    pub(crate) requests: Vec<String>,
    pub(crate) conflicts: Vec<String>,
    /// Up to where deletions were collected.
    pub(crate) floor: Timestamp,
    /// What a member tells of resources that this node is no member of, if that is not what lies here; nothing in it: no
    /// member answers.
    pub(crate) told: Option<Table>,
    watches: Vec<(Vec<String>, mpsc::Sender<Entry>)>,
    script: Option<Script>,
}

#[derive(Clone)]
pub(crate) struct Double {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) socket: PathBuf,
}

impl Double {
    pub(crate) fn start(dir: &Path, peers: &[&str]) -> Self {
        let socket = dir.join("marsd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let state = State {
            table: Table::new(),
            stamp: 1_000_000_000,
            forced: Vec::new(),
            cluster: Some("c1".to_owned()),
            peers: Vec::new(),
            wall: 5_000_000_001,
            requests: Vec::new(),
            conflicts: Vec::new(),
            floor: Timestamp::ZERO,
            told: None,
            watches: Vec::new(),
            script: None,
        };
        let double = Self {
            state: Arc::new(Mutex::new(state)),
            socket,
        };
        for (i, host) in peers.iter().enumerate() {
            let record = NodeRecord {
                key_hash: [u8::try_from(i + 1).unwrap(); 32],
                meta: vec![format!("192.0.2.{}:7900", i + 1).parse().unwrap()],
                ..mars_meta_model::testing::node_record(i as u128 + 1)
            };
            double.put(&[(&format!("roster/{host}"), &record.to_string())]);
        }
        let accept = double.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accept.clone().serve(stream));
            }
        });
        double
    }

    /// Writes keys as another node or the data plane would; an empty value is a deletion.
    pub(crate) fn put(&self, pairs: &[(&str, &str)]) {
        let mut state = self.state.lock().unwrap();
        for (key, value) in pairs {
            state.write(key, (!value.is_empty()).then_some(value.as_bytes()));
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let state = self.state.lock().unwrap();
        state.table.text(key).map(str::to_owned)
    }

    /// From now on `script` plays the data plane.
    pub(crate) fn play(
        &self,
        script: impl FnMut(&Table) -> Vec<(String, String)> + Send + 'static,
    ) {
        let mut state = self.state.lock().unwrap();
        state.script = Some(Box::new(script));
        state.react();
    }

    /// Whether somebody watches a prefix now.
    pub(crate) fn watched(&self, prefix: &str) -> bool {
        let state = self.state.lock().unwrap();
        let mut watches = state.watches.iter().filter(|(_, to)| !to.is_closed());
        watches.any(|(prefixes, _)| prefixes.iter().any(|p| p == prefix))
    }

    async fn serve(self, mut stream: UnixStream) {
        let mut greeting = [0; 8];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(greeting, GREETING);
        stream.write_all(&GREETING).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let (out, mut answers) = mpsc::channel::<FromServer>(QUEUE);
        tokio::spawn(async move {
            while let Some(answer) = answers.recv().await {
                if write_frame(&mut write, &answer).await.is_err() {
                    return;
                }
            }
        });
        while let Ok(Some(ToServer { id, request })) = read_frame::<ToServer>(&mut read).await {
            if let Request::Watch { prefixes } = &request {
                self.watch(id, prefixes.clone(), &out);
                continue;
            }
            if let Request::Follow { resource } = &request {
                let prefix = format!("resource-{resource}/");
                let told = self.state.lock().unwrap().told.clone();
                let Some(told) = told else {
                    self.watch(id, vec![prefix], &out);
                    continue;
                };
                let entries: Vec<Entry> = told.scan(&prefix).cloned().collect();
                if !entries.is_empty() {
                    let told = Response::WatchEntries(EntryBytes::pack(&entries));
                    for response in [told, Response::WatchSynced] {
                        let _ = out.try_send(FromServer { id, response });
                    }
                }
                continue;
            }
            let response = self.state.lock().unwrap().answer(request);
            let _ = out.try_send(FromServer { id, response });
        }
    }

    fn watch(&self, id: u64, prefixes: Vec<String>, out: &mpsc::Sender<FromServer>) {
        let mut state = self.state.lock().unwrap();
        let (sender, mut changes) = mpsc::channel(QUEUE);
        let snapshot: Vec<Entry> = prefixes
            .iter()
            .flat_map(|prefix| state.table.scan(prefix).cloned().collect::<Vec<_>>())
            .collect();
        let _ = out.try_send(FromServer {
            id,
            response: Response::WatchEntries(EntryBytes::pack(&snapshot)),
        });
        let _ = out.try_send(FromServer {
            id,
            response: Response::WatchSynced,
        });
        state.watches.push((prefixes, sender));
        let out = out.clone();
        tokio::spawn(async move {
            while let Some(entry) = changes.recv().await {
                let response = Response::WatchEntries(EntryBytes::pack([&entry]));
                if out.try_send(FromServer { id, response }).is_err() {
                    return;
                }
            }
        });
    }
}

impl State {
    /// Lets the clock go on.
    pub(crate) fn skip(&mut self, secs: u64) {
        self.stamp += secs * 1_000_000_000;
    }

    fn write(&mut self, key: &str, value: Option<&[u8]>) {
        self.stamp += 1;
        let entry = Entry {
            key: Key::parse(key).unwrap(),
            cell: value.map_or(Cell::Tombstone, |v| Cell::Live(Value::new(v).unwrap())),
            epoch: 0,
            stamp: Timestamp::from_nanos(self.stamp),
            origin: NodeId(1),
            boot: 1,
            forced: false,
            ext: Box::default(),
        };
        self.table.merge(entry.clone());
        for (prefixes, sender) in &self.watches {
            if prefixes
                .iter()
                .any(|p| entry.key.as_str().starts_with(p.as_str()))
            {
                let _ = sender.try_send(entry.clone());
            }
        }
    }

    /// Lets the data plane act until it has nothing more to do.
    fn react(&mut self) {
        let Some(mut script) = self.script.take() else {
            return;
        };
        for _ in 0..20 {
            let news: Vec<(String, String)> = script(&self.table)
                .into_iter()
                .filter(|(key, value)| self.table.text(key) != Some(value))
                .collect();
            if news.is_empty() {
                break;
            }
            for (key, value) in news {
                self.write(&key, Some(value.as_bytes()));
            }
        }
        self.script = Some(script);
    }

    fn answer(&mut self, request: Request) -> Response {
        self.requests.push(format!("{request:?}"));
        match request {
            Request::Node => Response::Node(NodeInfo {
                host: "hosta".to_owned(),
                node_id: NodeId(1).to_string(),
                cluster: self.cluster.clone(),
                version: "0".to_owned(),
                meta_addr: "192.0.2.1:7900".to_owned(),
                data_addr: "192.0.2.1:7901".to_owned(),
                ..NodeInfo::default()
            }),
            Request::Get { key } => {
                let entry = self.table.entry(&Key::parse(&key).unwrap());
                Response::Entry(entry.map(|entry| EntryBytes::pack([entry])))
            }
            Request::Apply { ops, forced, .. } => {
                let first = self.stamp + 1;
                for op in ops {
                    let (key, value) = match op {
                        Op::Set { key, value } => (key, Some(value.0)),
                        Op::Delete { key } => (key, None),
                    };
                    if forced {
                        self.forced.push(key.clone());
                    }
                    self.write(&key, value.as_deref());
                }
                self.react();
                Response::Applied { stamp: first }
            }
            Request::List {
                prefix,
                after,
                tombstones,
                ..
            } => {
                // Small pages, so that paging is exercised.
                let after = after.map(|key| Key::parse(&key).unwrap());
                let rest: Vec<&Entry> = self
                    .table
                    .scan_after(&prefix, after.as_ref())
                    .filter(|entry| tombstones || !entry.is_tombstone())
                    .collect();
                Response::List {
                    entries: EntryBytes::pack(rest.iter().take(3).copied()),
                    more: rest.len() > 3,
                }
            }
            Request::Clock => Response::Clock {
                wall: self.wall,
                lamport: self.stamp.max(self.wall + 1_000_000_001),
            },
            Request::Peers => Response::Peers(self.peers.clone()),
            Request::Restore { entries, .. } => {
                let mut outcomes = Vec::new();
                for entry in entries.unpack().unwrap() {
                    let absent = self.table.entry(&entry.key).is_none();
                    outcomes.push(if absent && entry.stamp <= self.floor {
                        ImportOutcome::Collected
                    } else {
                        self.import(entry)
                    });
                }
                Response::Imported(outcomes)
            }
            Request::RestorePreview { entries } => {
                let table = self.table.clone();
                let mut preview = Vec::new();
                for entry in entries.unpack().unwrap() {
                    let absent = self.table.entry(&entry.key).is_none();
                    preview.push(if absent && entry.stamp <= self.floor {
                        ImportOutcome::Collected
                    } else {
                        self.import(entry)
                    });
                }
                self.table = table;
                Response::Imported(preview)
            }
            Request::Import { entries, .. } => {
                let merged = entries.unpack().unwrap().into_iter();
                Response::Imported(merged.map(|entry| self.import(entry)).collect())
            }
            other => self.about_cluster(other),
        }
    }

    fn import(&mut self, entry: Entry) -> ImportOutcome {
        let anew = self.table.entry(&entry.key).is_none() && entry.stamp <= self.floor;
        match self.table.merge(entry) {
            Merge::Apply if anew => ImportOutcome::TakenAnew,
            Merge::Apply => ImportOutcome::Taken,
            Merge::Duplicate => ImportOutcome::Known,
            Merge::Stale => ImportOutcome::Older,
        }
    }

    fn about_cluster(&mut self, request: Request) -> Response {
        match request {
            Request::CreateCluster if self.cluster.is_some() => Response::Error(
                ApiError::new(
                    ErrorCode::AlreadyInCluster,
                    "node hosta belongs to cluster c1 already",
                )
                .with_hint("leave it first"),
            ),
            Request::CreateCluster => {
                self.cluster = Some("c1".to_owned());
                Response::Done
            }
            Request::JoinToken { .. } | Request::ExportAuthority
                if self
                    .table
                    .text("defaults/ca-host")
                    .is_some_and(|h| h != "hosta") =>
            {
                let why = "this node does not hold the authority of the cluster";
                Response::Error(ApiError::new(ErrorCode::Refused, why))
            }
            Request::JoinToken { .. } => Response::Token(Secret("mm1.secret".to_owned())),
            Request::ListTokens => Response::Tokens(vec![
                mars_meta_api::TokenInfo {
                    id: "0123456789abcdef".to_owned(),
                    expires: 4_000_000_000,
                    uses_left: 1,
                    admitted: vec!["hostb".to_owned()],
                    revoked: None,
                    note: None,
                },
                mars_meta_api::TokenInfo {
                    id: "fedcba9876543210".to_owned(),
                    expires: 4_000_000_000,
                    uses_left: 0,
                    admitted: Vec::new(),
                    revoked: Some(1_795_306_304),
                    note: None,
                },
            ]),
            Request::RevokeToken { id } if id == "0123456789abcdef" => Response::Done,
            Request::RevokeToken { .. } => Response::Error(ApiError::new(
                ErrorCode::Refused,
                "this node has issued no such token",
            )),
            Request::JoinCluster { token, .. } if token.0 == "mm1.secret" => Response::Done,
            Request::JoinCluster { .. } => {
                Response::Error(ApiError::new(ErrorCode::Denied, "the token is not valid"))
            }
            Request::Unwatch { .. }
            | Request::LeaveCluster { .. }
            | Request::ImportAuthority { .. } => Response::Done,
            Request::BeginEpoch => Response::Epoch(1),
            Request::ExportAuthority => Response::Token(Secret("a key".to_owned())),
            Request::MergeCluster { .. } => Response::Merge(MergeInfo {
                uuid: "other_1.000000000".to_owned(),
                hosts: vec![("hostx".to_owned(), "192.0.2.9:7900".to_owned())],
                resources: vec!["s".to_owned()],
                conflicts: self.conflicts.clone(),
            }),
            _ => Response::Error(ApiError::new(ErrorCode::Unsupported, "not known here")),
        }
    }
}
