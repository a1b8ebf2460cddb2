//! Several cores over an in-memory network of messages.

mod missed;
mod net;
mod overlay;
mod spreading;
mod watching;
