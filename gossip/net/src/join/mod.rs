//! The join exchange: a machine with a token becomes a member.
//!
//! The joiner dials an issuer without a certificate and believes it only if its certificate
//! chain ends in the authority pinned by the token. It proves to know the token's secret by an
//! HMAC over key material of this very TLS session, so that the secret never travels and the
//! proof is of no use elsewhere. The issuer signs the joiner's key and hands over a payload that
//! is opaque here (the roster).

mod client;
mod server;
mod wire;

pub use client::{JoinError, Joined, Joiner, redeem, survey};
pub use server::{Grant, JoinRequest, ServeJoinError, TokenState, serve_join};
pub use wire::{Refusal, reread};
