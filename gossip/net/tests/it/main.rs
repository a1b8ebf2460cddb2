//! The endpoint over loopback and in a simulated world.

// `cfg(test)` says to the linter that helpers outside of a test function are test code too.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod common;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod joining;
#[cfg(test)]
mod rogue;
#[cfg(test)]
mod simulated;
