//! Histories in the simulated world.

mod histories;
mod overlay;
mod stories;
