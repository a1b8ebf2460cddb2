//! The endpoint over loopback and in a simulated world.

mod common;
mod frames;
mod handshake;
mod identity;
mod joining;
mod rogue;
mod simulated;
