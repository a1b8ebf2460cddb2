//! The two ports: what readers see, and what a durable backend must promise.

use crate::collect::Ledger;
use crate::{Entry, Key};

/// A readable, ordered set of entries.
pub trait View {
    /// The entry of `key`, tombstones included.
    fn entry(&self, key: &Key) -> Option<&Entry>;

    /// All entries whose key begins with the text `prefix`, in key order, tombstones included.
    fn scan<'a>(&'a self, prefix: &str) -> Box<dyn Iterator<Item = &'a Entry> + 'a>;

    /// How far tombstones were collected; `None` if the holder keeps no account of it.
    fn ledger(&self) -> Option<&Ledger> {
        None
    }

    /// The live text value of a key given as text; `None` if the key is absent, deleted, not UTF-8, or no key.
    fn text(&self, key: &str) -> Option<&str> {
        self.entry(&Key::parse(key).ok()?)?.text()
    }
}

/// One change of a [`Store`].
#[derive(Clone, Debug)]
pub enum Write<'a> {
    /// Hold this entry for its key, whatever was there.
    Put(&'a Entry),
    /// Forget the key altogether (tombstone collection, volatile keys that replace a stored one).
    Remove(&'a Key),
    /// Set a record of the node's own, which is never exchanged.
    Local {
        /// Name of the record, at most 64 bytes.
        name: &'a str,
        /// Its new content.
        value: &'a [u8],
    },
}

/// What the holder of the table shows a backend: all entries that are to be found in it, in their present state.
pub trait Durable {
    /// Length of all of them, encoded, in bytes.
    fn bytes(&self) -> u64;

    /// Those whose key lies behind `after` (`None`: all), in key order.
    fn behind<'a>(&'a self, after: Option<&Key>) -> Box<dyn Iterator<Item = &'a Entry> + 'a>;
}

/// A durable backend: journal and checkpoint behind the [`crate::Table`] that all reads come from.
///
/// Every implementation passes [`crate::testing::store_conformance`].
pub trait Store: Send {
    /// Why an operation failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Hands every stored entry to `sink`, in key order.
    ///
    /// # Errors
    /// If the backend cannot be read or a record is damaged; `sink` may have seen a part.
    fn load(&mut self, sink: &mut dyn FnMut(Entry)) -> Result<(), Self::Error>;

    /// Makes all `writes` durable, in order, all or nothing: after `Ok` they survive a power cut.
    ///
    /// # Errors
    /// Nothing, or (if the machine fails meanwhile) everything was written; after an error the backend must not
    /// be used further.
    fn commit(&mut self, writes: &[Write<'_>]) -> Result<(), Self::Error>;

    /// The local record `name`, if it was ever set.
    ///
    /// # Errors
    /// If the backend cannot be read.
    fn local(&mut self, name: &str) -> Result<Option<Vec<u8>>, Self::Error>;

    /// One step of what the backend has to do beside its commits, for example to rewrite what is live so that what is
    /// superseded can be dropped. Bounded in time; changes nothing of what [`Store::load`] gives, and need not be
    /// durable. Returns whether there is more to do. The owner calls it behind each commit, and while it has nothing
    /// else to do.
    ///
    /// # Errors
    /// As [`Store::commit`]: the backend must not be used further.
    fn tidy(&mut self, durable: &dyn Durable) -> Result<bool, Self::Error> {
        let _ = durable;
        Ok(false)
    }
}
