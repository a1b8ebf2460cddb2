//! Import of legacy symlink trees.
