//! The messages.

use mars_meta_model::{DecodeEntryError, Entry, decode_entry, encode_entry};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes, written as a MessagePack binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bin(pub Vec<u8>);

impl Serialize for Bin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BinVisitor;

        impl<'de> Visitor<'de> for BinVisitor {
            type Value = Bin;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bin, E> {
                Ok(Bin(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bin, E> {
                Ok(Bin(bytes))
            }

            fn visit_str<E>(self, text: &str) -> Result<Bin, E> {
                Ok(Bin(text.as_bytes().to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bin, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bin(bytes))
            }
        }

        deserializer.deserialize_bytes(BinVisitor)
    }
}

/// Entries in their own encoding (`docs/spec/entry.md`), one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryBytes(pub Bin);

impl EntryBytes {
    /// Encodes all `entries`.
    #[must_use]
    pub fn pack<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut bytes = Vec::new();
        for entry in entries {
            encode_entry(entry, &mut bytes);
        }
        Self(Bin(bytes))
    }

    /// Decodes all entries.
    ///
    /// # Errors
    /// [`DecodeEntryError`] of the first entry that is damaged.
    pub fn unpack(&self) -> Result<Vec<Entry>, DecodeEntryError> {
        let mut rest = &self.0.0[..];
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (entry, len) = decode_entry(rest)?;
            entries.push(entry);
            rest = &rest[len..];
        }
        Ok(entries)
    }
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Set a key to a value.
    Set {
        /// The key, with or without `/mars/`.
        key: String,
        /// The value's bytes.
        value: Bin,
    },
    /// Write a tombstone, also where there is no key.
    Delete {
        /// The key.
        key: String,
    },
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
const fn is_not(flag: &bool) -> bool {
    !*flag
}

/// Which checks a write passes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overriding {
    /// The owner rule: it is written in another owner's name, which is flagged in the entries and logged.
    pub forced: bool,
    /// What this node's clock or its standing in the cluster forbids: an administrator insists.
    pub insist: bool,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Who this node is.
    Node,
    /// The entry of a key, tombstones included.
    Get {
        /// The key.
        key: String,
    },
    /// Write all of `ops` as one batch with consecutive stamps; answered when durable (volatile keys: when
    /// visible).
    Apply {
        /// The changes, at most `BATCH_LEN_MAX` of the model.
        ops: Vec<Op>,
        /// In another owner's name (`--host`, `lowlevel-*`): flagged in the entries and logged.
        forced: bool,
        /// Also where this node's clock or its standing forbids it, because an administrator said so. Not sent if it is
        /// `false`, and taken for that if it is missing.
        #[serde(default, skip_serializing_if = "is_not")]
        insist: bool,
    },
    /// Merge entries with the stamps that they carry, as an import does; flagged and logged.
    Import {
        /// The entries, at most `BATCH_LEN_MAX` of the model.
        entries: EntryBytes,
        /// As in `Apply`.
        #[serde(default, skip_serializing_if = "is_not")]
        insist: bool,
    },
    /// As `Import`, for a backup of the store: what lies below the collection floor of its scope and is not there stays
    /// away, because it may have been deleted since.
    Restore {
        /// The entries, at most `BATCH_LEN_MAX` of the model.
        entries: EntryBytes,
        /// As in `Apply`.
        #[serde(default, skip_serializing_if = "is_not")]
        insist: bool,
    },
    /// What `Restore` would do with these now; nothing is changed. Stamps that lie too far ahead are not looked for.
    RestorePreview {
        /// The entries, at most `BATCH_LEN_MAX` of the model.
        entries: EntryBytes,
    },
    /// Entries whose key begins with `prefix`, in key order.
    List {
        /// Beginning of the keys' text.
        prefix: String,
        /// Only keys behind this one.
        after: Option<String>,
        /// Most entries wanted; the daemon may give fewer.
        limit: u32,
        /// Whether tombstones are wanted.
        tombstones: bool,
    },
    /// All entries under any of the prefixes now, then every change. Ends with the connection or `Unwatch`.
    Watch {
        /// Beginnings of the keys' text; an empty one is everything.
        prefixes: Vec<String>,
    },
    /// All entries of a resource now, then every change, also on a node that is no member of it: then as a member tells.
    /// Answers and end as those of `Watch`; an error ends it.
    Follow {
        /// Name of the resource.
        resource: String,
    },
    /// End the watch whose request had this number.
    Unwatch {
        /// Number of the watch request.
        watch: u64,
    },
    /// Both clocks.
    Clock,
    /// When each node was last heard of.
    Peers,
    /// Make this node the first of a new cluster.
    CreateCluster,
    /// A token by which other nodes may join.
    JoinToken {
        /// Seconds until it expires.
        ttl_secs: u64,
        /// How many nodes may use it.
        uses: u32,
    },
    /// The join tokens that this node has issued and that have not expired.
    ListTokens,
    /// Take a join token back that this node has issued.
    RevokeToken {
        /// Its number, 16 hexadecimal digits.
        id: String,
    },
    /// Join the cluster of another node.
    JoinCluster {
        /// `HOST[:PORT]`; `None`: the address in the token.
        addr: Option<String>,
        /// The token's text.
        token: Secret,
    },
    /// Leave the cluster: this node's line in the roster says so, its store is emptied, its identity is given up.
    LeaveCluster {
        /// Also as the last node, as the holder of the authority, or as a member of resources.
        force: bool,
    },
    /// Move this node, with what its store holds, to another cluster.
    MergeCluster {
        /// `HOST[:PORT]`; `None`: the address in the token.
        addr: Option<String>,
        /// A join token of the other cluster.
        token: Secret,
        /// Only tell what is there and what is in the way.
        check: bool,
    },
    /// Begin a new epoch of the cluster's clock.
    BeginEpoch,
    /// The private key of the cluster's authority, for a backup.
    ExportAuthority,
    /// Hold the authority of the cluster from now on.
    ImportAuthority {
        /// Its private key, as exported.
        key: Secret,
        /// As in `Apply`.
        #[serde(default, skip_serializing_if = "is_not")]
        insist: bool,
    },
}

/// A join token, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Its number, 16 hexadecimal digits.
    pub id: String,
    /// When it expires, in seconds since 1970.
    pub expires: u64,
    /// How many nodes may still use it.
    pub uses_left: u32,
    /// The nodes that it has admitted: names, or numbers of those that are no longer known.
    #[serde(default)]
    pub admitted: Vec<String>,
    /// When it was revoked, in seconds since 1970.
    #[serde(default)]
    pub revoked: Option<u64>,
    /// What else keeps it from being used, for people.
    #[serde(default)]
    pub note: Option<String>,
}

/// What a node would find in the cluster that it asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeInfo {
    /// Name of the other cluster (key `uuid`).
    pub uuid: String,
    /// Its active hosts, with their addresses.
    pub hosts: Vec<(String, String)>,
    /// Its resources.
    pub resources: Vec<String>,
    /// Why the two cannot become one; empty: they can.
    pub conflicts: Vec<String>,
}

/// A text that is never shown: its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How a line of [`NodeInfo::collection`] begins that an administrator should read.
pub const HELD_UP: &str = "held up: ";

/// What this node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Configured host name.
    pub host: String,
    /// Node identity as text; empty before the node has one.
    pub node_id: String,
    /// Identity of the cluster as text; `None` before create-cluster or join-cluster.
    pub cluster: Option<String>,
    /// Version of the daemon.
    pub version: String,
    /// Address under which other nodes reach the metadata daemon.
    pub meta_addr: String,
    /// Address under which other nodes reach the data plane.
    pub data_addr: String,
    /// How far tombstones were collected, and who holds it up: one line for each scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collection: Vec<String>,
    /// What the neighbours' clocks say of this node's system clock: `unknown`, `good`, `warn` or `insane`;
    /// `ahead`: its own store is further ahead of it than the drift bound.
    #[serde(default)]
    pub clock: String,
    /// Median of how far the neighbours' system clocks are ahead of this node's, in ns.
    #[serde(default)]
    pub clock_offset_ns: Option<i64>,
    /// Epoch of the cluster's clock.
    #[serde(default)]
    pub epoch: u16,
    /// Feature level of the cluster: what all its active nodes understand; 0 from a daemon that does not say.
    #[serde(default)]
    pub feature_level: u16,
    /// Feature level of this daemon.
    #[serde(default)]
    pub feature_level_own: u16,
    /// Hosts that keep the cluster at its level, while others have a greater one: to be upgraded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_back_by: Vec<String>,
    /// Nodes that this one tells of resources which they are no members of.
    #[serde(default)]
    pub watchers: u32,
    /// The cluster has removed this node, or its name belongs to another one now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<RemovedInfo>,
    /// Another process writes in this node's name with its key: the addresses that it told of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twice: Option<Box<str>>,
}

/// That a node is out of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedInfo {
    /// System clock (ns since the epoch) when it was noticed.
    pub since_ns: u64,
    /// How it is known.
    pub reason: String,
}

/// What is known of another node (and of this one).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Host name.
    pub host: String,
    /// Whether there is a live connection, or it is this node itself.
    pub connected: bool,
    /// System clock (ns since the epoch) when it was last heard of; `None`: not since this daemon started.
    pub heard_ns: Option<u64>,
    /// Round-trip time in microseconds, where known.
    pub rtt_us: Option<u64>,
    /// Why there is no connection, if one was tried.
    pub error: Option<String>,
    /// What is known of its life; `None` from a daemon that does not say.
    #[serde(default)]
    pub state: Option<PeerState>,
    /// System clock (ns since the epoch) since when it is not simply up, as far as known.
    #[serde(default)]
    pub since_ns: Option<u64>,
    /// Whether this node keeps a connection with it; of others it hears over its neighbours.
    #[serde(default)]
    pub neighbour: bool,
    /// How far its system clock is ahead of this node's, in ns.
    #[serde(default)]
    pub offset_ns: Option<i64>,
    /// How many of its entries were refused since this daemon started: stamps too far ahead, epochs not announced.
    #[serde(default)]
    pub refused: u64,
    /// The greatest stamp that was refused so, in ns since the epoch.
    #[serde(default)]
    pub refused_stamp: Option<u64>,
    /// How many of its entries were refused because they break a rule of trust.
    #[serde(default)]
    pub denied: u64,
    /// Key and rule of the last of them.
    #[serde(default)]
    pub denied_last: Option<String>,
    /// How many entries it wrote in another owner's name, as an administrator's override.
    #[serde(default)]
    pub forced: u64,
    /// The epoch of the cluster's clock in which it says that it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u16>,
    /// The addresses of two processes that both say they are this host, if that was seen lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twice: Option<String>,
    /// System clock (ns since the epoch) when it certainly lived: `heard_ns`, less the time that others may be late in missing
    /// it where it is known over them; `None` also from a daemon that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certain_ns: Option<u64>,
}

/// What is known of a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerState {
    /// It is heard of, directly or over other nodes.
    Up,
    /// Some of its neighbours have lost it.
    Suspect,
    /// Enough of its neighbours have lost it, it took leave, or no way leads to it any more.
    Down,
    /// Nothing was heard of it since this daemon started.
    Unknown,
}

/// What became of an entry of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportOutcome {
    /// It is newer than what was there, and is stored.
    Taken,
    /// The same entry is there already.
    Known,
    /// What is there is newer.
    Older,
    /// Its stamp lies beyond the drift guard; nothing was changed.
    TooFarAhead,
    /// As [`Self::Taken`], with a new stamp: its own is as old as deletions that the cluster has forgotten. The stamp of the
    /// tree is kept beside it.
    TakenAnew,
    /// Only of `Restore`: it is not there, and as old as deletions that the cluster has forgotten; nothing was changed.
    Collected,
}

/// Kinds of failure, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// A key, value, prefix or argument breaks a rule.
    BadRequest,
    /// The request is of a kind that this daemon does not know.
    Unsupported,
    /// The node belongs to no cluster yet.
    NoCluster,
    /// The node belongs to a cluster already.
    AlreadyInCluster,
    /// A rule forbids it in the present state.
    Refused,
    /// The peer's credentials do not allow it.
    Denied,
    /// A limit was exceeded.
    Limit,
    /// Another node could not be reached in time.
    Unreachable,
    /// The store failed; the daemon needs attention.
    Storage,
    /// A fault of the daemon.
    Internal,
}

/// A refusal: what, why, and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Kind of failure.
    pub code: ErrorCode,
    /// What was refused and why. Lower case, no full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl ApiError {
    /// An error without a hint.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same error with the next step.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Response {
    /// Which answer it is, without what it holds.
    #[must_use]
    pub fn kind(&self) -> String {
        let text = format!("{self:?}");
        let end = text.find(|c: char| !c.is_ascii_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    }
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `Node`.
    Node(NodeInfo),
    /// To `Get`: one entry, or none if there is neither value nor tombstone.
    Entry(Option<EntryBytes>),
    /// To `Apply`: the stamp of the first change in ns; the others follow 1 ns apart.
    Applied {
        /// First stamp in ns since the epoch.
        stamp: u64,
    },
    /// To `Import`: one outcome per entry.
    Imported(Vec<ImportOutcome>),
    /// To `List`.
    List {
        /// The entries.
        entries: EntryBytes,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// To `Watch`: entries of the first snapshot, or changes later on.
    WatchEntries(EntryBytes),
    /// To `Watch`: the snapshot is complete; changes follow.
    WatchSynced,
    /// To `Watch`: changes were lost because the client reads too slowly; a new snapshot follows.
    WatchLagged,
    /// To `Clock`, both in ns since the epoch.
    Clock {
        /// System clock.
        wall: u64,
        /// Lamport clock.
        lamport: u64,
    },
    /// To `Peers`.
    Peers(Vec<PeerInfo>),
    /// To `JoinToken` and `ExportAuthority`.
    Token(Secret),
    /// To `ListTokens`.
    Tokens(Vec<TokenInfo>),
    /// To `MergeCluster`.
    Merge(MergeInfo),
    /// To `BeginEpoch`: the epoch that has begun.
    Epoch(u16),
    /// To `Unwatch`, `CreateCluster`, `JoinCluster`, `LeaveCluster`, `ImportAuthority`, `RevokeToken`.
    Done,
    /// A refusal.
    Error(ApiError),
}

/// A request with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToServer {
    /// Chosen by the client, unique among its open requests.
    pub id: u64,
    /// The request.
    pub request: Request,
}

/// An answer with the number of its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromServer {
    /// Number of the request.
    pub id: u64,
    /// The answer.
    pub response: Response,
}
