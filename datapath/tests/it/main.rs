//! Integration tests of the data plane.

#[cfg(test)]
mod nbd;
#[cfg(test)]
mod plain_client;
#[cfg(test)]
mod replication;
mod requests;
mod succession;
#[cfg(test)]
mod trouble;
#[cfg(test)]
mod world;
