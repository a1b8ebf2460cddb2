//! Every bound of this crate, by name.

/// Largest body of a frame in bytes.
pub const FRAME_LEN_MAX: usize = 256 << 10;
/// Bytes of encoded entries after which a batch is cut, well below [`FRAME_LEN_MAX`].
pub const BATCH_BYTES: usize = 64 << 10;
/// Most entries in one batch.
pub const BATCH_ENTRIES_MAX: usize = 1024;
/// Messages handed out for one peer whose sending was not yet confirmed.
pub const WINDOW: u32 = 4;
/// Keys queued for one peer; what exceeds it is left to anti-entropy.
pub const QUEUE_KEYS_MAX: usize = 65_536;
/// Control messages queued for one peer; what exceeds it is left to the next round.
pub const CONTROL_MAX: usize = 64;
/// Ranges in one message.
pub const RANGES_MAX: usize = 256;
/// Item sets in one message.
pub const ITEM_SETS_MAX: usize = 128;
/// Items in one set, and key hashes in one request.
pub const ITEMS_MAX: usize = 4096;
/// Into how many parts a differing range is divided.
pub const BRANCH: u64 = 16;
/// A differing range of at most this many keys is listed instead of divided.
pub const LEAF: usize = 32;
/// Repairs that one node takes part in at the same time; further peers wait.
pub const REPAIRS_MAX: usize = 4;
/// Refused entries remembered for one peer.
pub const QUARANTINE_MAX: usize = 4096;
/// Scopes, by peer, of which refused volatile entries are to be asked for.
pub const MISSED_MAX: usize = 4096;
/// Entries received and not yet merged, over all peers, beyond which no message is to be handed in.
pub const PENDING_MERGE_MAX: usize = 8192;
/// Quick repair rounds in a row before the ordinary interval applies again.
pub const FAST_ROUNDS_MAX: u32 = 64;
/// Lines of one message of marks.
pub const MARKS_MAX: usize = 256;
/// Least time between two messages of marks to one peer: 5 s. Cuts are hours apart, so nothing is in a hurry.
pub const MARKS_INTERVAL_NS: u64 = 5_000_000_000;
/// Between two looks at what can be collected: 60 s.
pub const COLLECT_INTERVAL_NS: u64 = 60_000_000_000;
/// Most slots in one context; the others follow with the next.
pub const SLOTS_TOLD_MAX: usize = 2048;
/// Most contexts that wait for the store; of a peer and scope only the last.
pub const CONTEXTS_MAX: usize = 32;
/// After how long a peer is told all of a mark again that still differs: 60 s, then twice as long each time.
pub const RETELL_NS: u64 = 60_000_000_000;
/// The longest of these times: 1 h.
pub const RETELL_MAX_NS: u64 = 3_600_000_000_000;
/// Range groups in one compact message.
pub const PRINT_GROUPS_MAX: usize = 512;
/// So many of them are sent in one: the peer answers the first ones while the others are on their way.
pub const PRINT_GROUPS_SENT: usize = 128;
/// Keys in a scope beyond which a comparison begins with 256 parts instead of 16.
pub const WIDE_START: u32 = 65_536;

/// Rings of the overlay with few nodes: a node has about twice as many neighbours.
pub const RINGS: u8 = 3;
/// Rings of the overlay with more than [`RINGS_FEW_NODES_MAX`] nodes: one hop less on the longest way.
pub const RINGS_MANY_NODES: u8 = 4;
/// So many nodes are few.
pub const RINGS_FEW_NODES_MAX: usize = 400;
/// With at most so many nodes, everyone is everyone's neighbour.
pub const MESH_MAX: usize = 7;
/// Members of a resource that a node keeps connected which has written into it without being one of them.
pub const FOREIGN_MEMBERS: usize = 2;
/// Such connections in all.
pub const FOREIGN_MAX: usize = 16;
/// Observers that must have lost a node before it counts as down; fewer if it has no more neighbours.
pub const DOWN_OBSERVERS: usize = 3;
/// Observations of links kept.
pub const LINKS_MAX: usize = 16_384;
/// Observations in one message.
pub const LINK_NOTES_MAX: usize = 512;
/// Changes remembered for peers that come back; who missed more compares ranges.
pub const ARRIVALS_MAX: usize = 65_536;
/// Peers of which is remembered how far they had followed.
pub const CURSORS_MAX: usize = 4096;
/// Foreign volatile entries of the global scope that are known as passed on.
pub const RELAYED_MAX: usize = 65_536;

/// Resources that one node watches without being a member, and that one member tells one node of.
pub const WATCH_SCOPES_MAX: usize = 16;
/// Nodes that one member tells of resources that they are no members of; further ones are sent to another member.
pub const WATCHERS_MAX: usize = 32;
/// Keys that wait for one watcher, hence the greatest resource that can be watched.
pub const WATCH_KEYS_MAX: usize = 16_384;
/// News of watched resources that wait for the shell, beyond which no message is to be handed in.
pub const NEWS_MAX: usize = 64;
/// How long a watch lasts that is not renewed: 30 s. It is renewed after a third of that.
pub const WATCH_LEASE_NS: u64 = 30_000_000_000;
/// How long a watched member may take to tell anything, before another one is asked: 5 s.
pub const WATCH_PATIENCE_NS: u64 = 5_000_000_000;
/// A member that did not tell is not asked again for so long: 5 s.
pub const WATCH_AVOID_NS: u64 = 5_000_000_000;

/// Longest name of a resource on the wire in bytes.
pub const SCOPE_NAME_MAX: usize = 255;
/// Longest text of a farewell in bytes.
pub const BYE_TEXT_MAX: usize = 200;

/// Between two digests to a peer with which all is equal: 10 s.
pub const DIGEST_INTERVAL_NS: u64 = 10_000_000_000;
/// Least time between two sendings of volatile keys to one peer: 1 s.
pub const VOLATILE_INTERVAL_NS: u64 = 1_000_000_000;
/// Quiet time within a repair after which the fingerprints are compared again: 200 ms.
pub const REPAIR_QUIET_NS: u64 = 200_000_000;
/// A repair that moved nothing for so long is over: 30 s.
pub const REPAIR_TIMEOUT_NS: u64 = 30_000_000_000;
/// A neighbour without connection is reported as lost after this time: 30 s.
pub const LOST_AFTER_NS: u64 = 30_000_000_000;
/// A substitute that could not be reached is not tried again for so long: 5 min.
pub const AVOID_NS: u64 = 300_000_000_000;
/// A connection that neither side needs is closed after this time: 60 s.
pub const UNNEEDED_NS: u64 = 60_000_000_000;
/// Observations that say nothing new are forgotten after this time: 10 min.
pub const LINK_MEMORY_NS: u64 = 600_000_000_000;
/// Between two messages that tell a peer the system clock: 60 s.
pub const CLOCK_INTERVAL_NS: u64 = 60_000_000_000;

/// A peer that asks for the system clock is told at most that often: 1 s.
pub const CLOCK_ANSWER_NS: u64 = 1_000_000_000;
/// A node has told of all neighbours that it could not reach so long after its start: 40 s. Before, its silence about a
/// link does not mean that the link is up.
pub const YOUNG_NS: u64 = LOST_AFTER_NS + 10_000_000_000;
/// The notes of a peer have come so long after the connection: 5 s.
pub const NOTES_SETTLE_NS: u64 = 5_000_000_000;

/// Keys named in one report of forced writes.
pub const FORCED_KEYS_MAX: usize = 16;
/// How far an entry of this node's earlier lives may be stamped behind the beginning of the present one, in ns: 1 hour. A
/// store that was lost or restored, and a system clock that was set back, must not make own entries look forged.
pub const FORMER_LIFE_LEAD_NS: u64 = 3_600_000_000_000;
