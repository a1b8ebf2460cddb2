//! Histories in the simulated world.

mod broken;
mod histories;
mod hostile;
mod overlay;
mod stories;
