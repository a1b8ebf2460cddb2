//! The sign of life of a data plane: it is given over a connection, and taken back when that breaks.

use crate::Meta;
use crate::job::Change;
use mars_meta_model::{Key, Value, View as _};

/// What a key `actual-HOST/datapath` holds when the data plane does not run.
const ENDED: &str = "0";

/// A sign of life that a client has given. Dropped with the connection: if the key still holds it, it is set to `0`.
pub(super) struct SignOfLife {
    meta: Meta,
    key: Key,
    value: Value,
    armed: bool,
}

impl SignOfLife {
    /// The sign of life among these changes, if there is one.
    pub(super) fn among(meta: &Meta, changes: &[Change]) -> Option<Self> {
        let is_sign = |key: &Key| {
            let rest = key.as_str().strip_prefix("actual-");
            let leaf = rest.and_then(|rest| rest.split_once('/'));
            leaf.is_some_and(|(_, leaf)| leaf == "datapath")
        };
        let (key, value) = changes.iter().rev().find(|(key, _)| is_sign(key))?;
        Some(Self {
            meta: meta.clone(),
            key: key.clone(),
            value: value.clone()?,
            armed: true,
        })
    }

    /// The client has said something later.
    pub(super) fn replaced(mut self) {
        self.armed = false;
    }
}

impl Drop for SignOfLife {
    fn drop(&mut self) {
        let Some(runtime) = tokio::runtime::Handle::try_current()
            .ok()
            .filter(|_| self.armed)
        else {
            return;
        };
        let (meta, key, value) = (self.meta.clone(), self.key.clone(), self.value.clone());
        runtime.spawn(async move {
            let stands = meta.with_table(|table| {
                let held = table.entry(&key).and_then(|entry| entry.value());
                held == Some(&value)
            });
            let Ok(ended) = Value::text(ENDED) else {
                return;
            };
            if !stands || value == ended {
                return;
            }
            tracing::warn!(%key, "the data plane's connection broke: it is not known to run any more");
            if let Err(error) = meta.apply(vec![(key, Some(ended))], false).await {
                tracing::debug!(%error, "the end of the data plane could not be noted");
            }
        });
    }
}
