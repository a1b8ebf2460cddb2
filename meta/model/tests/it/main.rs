//! Integration tests of the model: the collection of tombstones under random histories.

mod gcmodel;
mod gcrun;
