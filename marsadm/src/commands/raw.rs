//! What the commands for single keys share.

use crate::context::key;
use crate::error::{Error, Result};
use crate::error_code::Code;
use mars_meta_model::Key;

/// The key, which must be one of those that are free for administrators, unless forced.
pub(super) fn userspace_key(text: &str, force: bool) -> Result<Key> {
    let key = key(text)?;
    let free = format!("/{key}").contains("/userspace/");
    if free || force {
        Ok(key)
    } else {
        let why =
            format!("key {key} is not below a userspace/ part: such keys belong to MARS itself");
        Err(Error::of(Code::KeyProtected, why)
        .hint("use a key like userspace/NAME or resource-RES/userspace/NAME, or --force if you know what it does"))
    }
}
