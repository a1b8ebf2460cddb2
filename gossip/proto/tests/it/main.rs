//! Several cores over an in-memory network of messages.

mod net;
mod overlay;
mod overrides;
mod spreading;
mod watching;
