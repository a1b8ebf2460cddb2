//! Extensions of an entry: `docs/spec/entry.md`, *Extensions*.

use crate::Entry;
use crate::limits::ENTRY_EXT_LEN_MAX;
use mars_lamport::Timestamp;

/// The stamp that an entry had in a legacy tree.
const TREE_STAMP: u8 = 1;

/// Kinds and contents of the extensions of a block.
fn extensions(mut block: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = block.split_first_chunk::<2>()?;
        let [kind, len] = *head;
        let (content, rest) = rest.split_at_checked(usize::from(len))?;
        block = rest;
        Some((kind, content))
    })
}

impl Entry {
    /// The stamp that this entry has in a legacy tree: the one it was imported with, else its own.
    #[must_use]
    pub fn tree_stamp(&self) -> Timestamp {
        let told = extensions(&self.ext).find(|(kind, _)| *kind == TREE_STAMP);
        told.and_then(|(_, content)| content.try_into().ok())
            .map_or(self.stamp, |bytes| {
                Timestamp::from_nanos(u64::from_le_bytes(bytes))
            })
    }

    /// Gives the entry another stamp of its own, and keeps the one that it has in the tree beside it.
    #[must_use]
    pub fn stamped_anew(mut self, epoch: u16, stamp: Timestamp) -> Self {
        let tree = self.tree_stamp();
        let mut block = vec![TREE_STAMP, 8];
        block.extend_from_slice(&tree.as_nanos().to_le_bytes());
        for (kind, content) in extensions(&self.ext).filter(|(kind, _)| *kind != TREE_STAMP) {
            if block.len() + 2 + content.len() <= ENTRY_EXT_LEN_MAX {
                block.push(kind);
                block.push(u8::try_from(content.len()).unwrap_or(u8::MAX));
                block.extend_from_slice(content);
            }
        }
        self.ext = block.into();
        (self.epoch, self.stamp) = (epoch, stamp);
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::entry;
    use mars_lamport::Timestamp;

    #[test]
    fn the_stamp_of_the_tree_is_kept_beside_others() {
        let at = Timestamp::from_nanos;
        let mut old = entry("userspace/x", Some("1"), 5, 0);
        assert_eq!(old.tree_stamp(), at(5));
        old.ext = vec![9, 2, 7, 7].into();
        let new = old.stamped_anew(3, at(100));
        assert_eq!(
            (new.tree_stamp(), new.stamp, new.epoch),
            (at(5), at(100), 3)
        );
        assert_eq!(&new.ext[..], [1, 8, 5, 0, 0, 0, 0, 0, 0, 0, 9, 2, 7, 7]);
        let again = new.stamped_anew(4, at(200));
        assert_eq!((again.tree_stamp(), again.stamp), (at(5), at(200)));
        assert_eq!(again.ext.len(), 14);
    }

    #[test]
    fn blocks_of_others_and_broken_ones_say_nothing() {
        let at = Timestamp::from_nanos;
        for block in [&[1, 8, 5][..], &[1, 2, 5, 0], &[2, 0], &[1], &[7, 200, 1]] {
            let mut odd = entry("userspace/x", Some("1"), 5, 0);
            odd.ext = block.into();
            assert_eq!(odd.tree_stamp(), at(5), "{block:?}");
        }
    }
}
