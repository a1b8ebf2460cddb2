//! Histories in the simulated world.

mod broken;
mod histories;
mod stories;
