//! The data plane as a library: block devices with a transaction log, replicated to other hosts.
//!
//! [`run`] is the process `mars-datapath`. It follows the metadata daemon through the local API, keeps one driver
//! thread per resource, exports devices of primaries over NBD, and ships logs to the other members over QUIC.
//! [`Adoption`] takes a disk into service behind a history of the original.
//! [`block`] is the interface between devices and front ends, [`nbd`] the front end.

#![forbid(unsafe_code)]

mod adopt;
pub mod block;
mod clock;
mod config;
mod control;
pub mod limits;
mod mirror;
pub mod nbd;
mod network;
mod observe;
mod replicate;
mod report;
mod resource;
mod segments;
mod status;

pub use adopt::{AdoptError, Adoption};
pub use config::Config;
pub use control::{RunError, Signs, run, run_supervised};
#[doc(hidden)]
pub use replicate::reread_data_frame;
