//! Tests of the store as a whole.

#[cfg(test)]
mod core;
#[cfg(test)]
mod embedded;
mod epoch_marks;
mod epochs;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod server;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
#[cfg(test)]
mod watch;
