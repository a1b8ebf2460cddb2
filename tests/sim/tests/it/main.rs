//! Histories in the simulated world.

mod histories;
mod hostile;
mod stories;
