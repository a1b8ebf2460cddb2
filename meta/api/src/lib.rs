//! Local API of the metadata daemon: messages, framing and client. Specified in `docs/spec/local-api.md`.
//!
//! One Unix socket per node; access is decided by the credentials of the peer process. After an eight-byte
//! greeting in both directions, every message is a frame: length, then a MessagePack map. Requests carry a number
//! chosen by the client and may be pipelined; answers carry the same number.

#![forbid(unsafe_code)]

mod client;
mod frame;
pub mod limits;
mod message;

pub use client::{CallError, Client, ConnectError, Watch, WatchEvent};
pub use frame::{
    FrameError, GREETING, decode_request, encode_frame, read_body, read_frame, write_frame,
};
pub use message::{
    ApiError, Bin, EntryBytes, ErrorCode, FromServer, HELD_UP, ImportOutcome, MergeInfo, NodeInfo,
    Op, Overriding, PeerInfo, PeerState, RemovedInfo, Request, Response, Secret, ToServer,
    TokenInfo,
};
