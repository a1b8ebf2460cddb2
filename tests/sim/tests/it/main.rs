//! Histories in the simulated world.

mod broken;
mod histories;
mod overlay;
mod stories;
