//! The version chain: which history a replica's position belongs to (`docs/spec/version-chain.md`).

mod compare;
mod value;

pub use compare::{Comparison, compare_histories};
pub use value::{
    ChainError, Digest, LogEnd, LogName, ReplayValue, SyncPos, VersionValue, chain_value,
};
