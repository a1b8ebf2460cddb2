//! Data plane as a library.

pub mod block;
pub mod nbd;
