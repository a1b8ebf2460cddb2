//! Histories in the simulated world.

mod histories;
mod stories;
