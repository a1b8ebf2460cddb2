//! The NBD server against a hand-made client and against other people's clients.

mod garbage;
mod lifecycle;
mod raw;
mod server;
mod tools;
mod transmission;
