//! Histories in the simulated world.

mod broken;
mod collect;
mod histories;
mod hostile;
mod overlay;
mod stories;
mod watching;
