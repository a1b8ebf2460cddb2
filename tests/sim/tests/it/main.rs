//! Histories in the simulated world.

mod collect;
mod histories;
mod stories;
