//! Histories in the simulated world.

mod broken;
mod collect;
mod histories;
mod hostile;
mod overlay;
mod rejoin;
mod stories;
mod watching;
