//! Which paths say something about the same keys as a path that has changed.

use super::MirrorTree;
use crate::ObjectKind;
use crate::place::{Place, place_of};
use mars_meta_model::Key;
use std::collections::BTreeSet;

/// A set of paths that belong together, and the keys among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Related {
    /// Paths to look at.
    pub paths: BTreeSet<Vec<u8>>,
    /// Keys to compare, whether there is a link or not.
    pub keys: BTreeSet<Key>,
    /// Paths that were added with what belongs to them.
    done: BTreeSet<Vec<u8>>,
}

impl Related {
    /// Adds a path that has changed, with what belongs to it in `tree`.
    pub fn add(&mut self, tree: &MirrorTree, path: &[u8]) {
        if !self.one(path) {
            return;
        }
        let (folder, leaf) = split(path);
        if leaf.starts_with(b"delete-")
            && let Some(object) = tree.look(path)
            && let ObjectKind::Link { value } = &object.kind
            && let Some(target) = value.strip_prefix(b"/mars/")
        {
            self.one(target);
        }
        if let Place::Marker(target) = place_of(path) {
            self.one(&target);
        }
        if let Place::Alive { name, host } = place_of(path) {
            self.one(&[b"actual-", host, b"/", name.as_bytes()].concat());
        }
        if let Some(host) = folder.strip_prefix(b"actual-") {
            self.one(&[leaf, b"-", host].concat());
        }
        for (one, other) in [
            (b"data-".as_slice(), b"device-".as_slice()),
            (b"device-", b"data-"),
        ] {
            if let Some(host) = leaf
                .strip_prefix(one)
                .filter(|_| folder.starts_with(b"resource-"))
            {
                self.one(&[folder, b"/", other, host].concat());
            }
        }
    }

    /// Adds a path with the marker beside it; false if it was there already.
    fn one(&mut self, path: &[u8]) -> bool {
        let (folder, leaf) = split(path);
        if !self.done.insert(path.to_vec()) {
            return false;
        }
        self.paths.insert(path.to_vec());
        if !leaf.starts_with(b".") {
            let slash: &[u8] = if folder.is_empty() { b"" } else { b"/" };
            self.paths
                .insert([folder, slash, b".deleted-", leaf].concat());
        }
        // Deep keys are written where their folder is.
        if folder.contains(&b'/') {
            self.paths.insert(folder.to_vec());
        }
        let key = std::str::from_utf8(path)
            .ok()
            .and_then(|p| Key::parse(p).ok());
        self.keys
            .extend(key.filter(|key| key.as_str().as_bytes() == path));
        true
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    }
}
