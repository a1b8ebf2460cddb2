//! Files and disks of the data plane: io_uring appends with a portable twin, and safe disk operations.
//!
//! The only crate with `unsafe` code, all of it in `append/ring.rs`.

mod append;
mod disk;
pub mod limits;

pub use append::{
    AppendError, AppendFile, Backend, Completion, available, open_append, open_append_on,
};
pub use disk::{Disk, DiskError, FreeSpace, InUse, Kind, free_space};
