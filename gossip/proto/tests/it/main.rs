//! Several cores over an in-memory network of messages.

mod giving_way;
mod missed;
mod net;
mod overlay;
mod overrides;
mod spreading;
mod watching;
