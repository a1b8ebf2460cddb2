//! Keys, values, entries, the one merge rule, the schema table, and the ports of the metadata store.
//!
//! The store maps a *key* (the legacy path below `/mars`) to a *cell* (a live value or a tombstone) with a
//! Lamport stamp; the last writer wins. [`Entry`] is the unit that is stored and exchanged, [`Table`] the
//! ordered map in memory that all reads come from, [`Store`] the port behind which a durable backend lies.
//! Everything here is pure: no IO, no clock, no randomness.

#![forbid(unsafe_code)]

mod codec;
pub mod collect;
mod directory;
mod entry;
mod epoch;
mod extension;
mod key;
mod level;
pub mod limits;
mod owner;
mod roster;
mod schema;
mod shown;
mod store;
mod summary;
mod table;
pub mod testing;
mod value;

pub use codec::{DecodeEntryError, decode_entry, encode_entry, encoded_len, peek_entry};
pub use directory::{
    Membership, end_of_memberships, is_membership, member_key, members, replica_keys, resource_key,
    resources, resources_of, scope_includes,
};
pub use entry::{Cell, Entry, Merge, NodeId, ParseNodeIdError};
pub use epoch::{
    EPOCH_GAP_NS, EPOCH_PREFIX, EPOCH_SKIP_MAX, Epochs, announced_epoch, current_epoch, epoch_key,
    epoch_may_be_entered, epoch_may_follow,
};
pub use key::{Key, NameError, ParseKeyError, check_host_name, check_name, is_reserved};
pub use level::{
    ClusterLevel, FEATURE_LEVEL, LEVEL_EPOCH_MARKS, LEVEL_OLDEST, LEVEL_PREFIX, LEVEL_SUMMARIES,
    NodeLevel, cluster_level, level_key, version_key,
};
pub use owner::{Trespass, entry_trespass, trespass, was_member};
pub use roster::{
    NodeRecord, NodeState, ParseNodeRecordError, REMOVED_PREFIX, is_removed, node_record, removal,
    removed_hash, removed_key, removed_mark, removed_node, roster, roster_key,
};
pub use schema::{Durability, Family, Owner, SCHEMA, Scope, classify, is_volatile, scope_of};
pub use shown::{escaped, shown};
pub use store::{Durable, Store, View, Write};
pub use summary::{
    BEHIND_SECS, DiskClass, ParseSummaryError, ReplayClass, ReplicaRole, ReplicaSummary, summaries,
    summarize, summary_key,
};
pub use table::Table;
pub use value::{ParseValueError, TOMBSTONE_TEXT, Value};
