//! Requests are checked before anything happens: a refusal names the thing, the reason and the next step.

use mars_meta_api::{ApiError, EntryBytes, ErrorCode, Op};
use mars_meta_model::limits::{BATCH_LEN_MAX, KEY_LEN_MAX};
use mars_meta_model::{
    EPOCH_PREFIX, Entry, Key, NodeRecord, REMOVED_PREFIX, Value, check_host_name, check_name,
    classify, removed_hash,
};

use crate::job::{Change, WriteError};

fn bad(message: impl ToString) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, message.to_string())
}

pub(super) fn key(text: &str) -> Result<Key, ApiError> {
    Key::parse(text).map_err(bad)
}

/// A prefix, with or without the legacy root.
pub(super) fn prefix(text: &str) -> Result<&str, ApiError> {
    let text = match text.strip_prefix('/') {
        None => text,
        Some("" | "mars" | "mars/") => "",
        Some(rest) => rest.strip_prefix("mars/").ok_or_else(|| {
            bad(format!(
                "prefix '{}' lies outside of /mars",
                mars_meta_model::escaped(text)
            ))
        })?,
    };
    if text.len() > KEY_LEN_MAX {
        return Err(bad(format!(
            "prefix of {} bytes is longer than any key ({KEY_LEN_MAX})",
            text.len()
        )));
    }
    Ok(text)
}

fn batch_len(len: usize, what: &str) -> Result<(), ApiError> {
    if len == 0 {
        return Err(bad(format!("the batch holds no {what}")));
    }
    if len > BATCH_LEN_MAX {
        let message =
            format!("a batch of {len} {what} is too long, at most {BATCH_LEN_MAX} are taken");
        return Err(ApiError::new(ErrorCode::Limit, message).with_hint("send several batches"));
    }
    Ok(())
}

/// The host and the resource that a key names must be names, unless an administrator insists.
fn names(key: &Key) -> Result<(), ApiError> {
    let (_, host, res) = classify(key);
    let checked = host
        .map_or(Ok(()), check_host_name)
        .and_then(|()| res.map_or(Ok(()), |res| check_name(res, "resource")));
    checked.map_err(|error| bad(format!("key '{key}': {error}")))
}

/// What MARS itself writes in its own way only, also if an administrator insists.
fn reserved(key: &Key, value: Option<&Value>) -> Result<(), ApiError> {
    if key.as_str().starts_with(EPOCH_PREFIX) {
        let message = format!("key '{key}' announces an epoch of the clock and cannot be written");
        return Err(ApiError::new(ErrorCode::Refused, message)
            .with_hint("marsadm clock epoch begins a new one; read docs/clock.md first"));
    }
    if key.as_str().starts_with(REMOVED_PREFIX) && (value.is_none() || removed_hash(key).is_none())
    {
        let message = format!("key '{key}' is to say that a node was removed, which is final");
        return Err(ApiError::new(ErrorCode::Refused, message).with_hint(
            "the machine joins again with a new key: marsadm leave-cluster --force there, then join-cluster",
        ));
    }
    if let Some(value) = value
        && let Some(host) = key.as_str().strip_prefix("roster/")
    {
        let line = value.as_str().map(str::parse::<NodeRecord>);
        if !matches!(line, Some(Ok(_))) || check_host_name(host).is_err() {
            return Err(bad(format!(
                "key '{key}': the value is no line of the roster"
            )));
        }
    }
    Ok(())
}

/// A line of the roster that is deleted would cut its node off without a word, and not for good: who was away would bring
/// it back.
fn keeps_the_roster(key: &Key) -> Result<(), ApiError> {
    let Some(host) = key.as_str().strip_prefix("roster/") else {
        return Ok(());
    };
    let message =
        format!("key '{key}' says that {host} is a node of the cluster, and is never deleted");
    Err(ApiError::new(ErrorCode::Refused, message).with_hint(format!(
        "marsadm lowlevel-delete-host {host} removes a node for good, marsadm leave-cluster there lets it go"
    )))
}

pub(super) fn changes(ops: Vec<Op>, forced: bool) -> Result<Vec<Change>, ApiError> {
    batch_len(ops.len(), "changes")?;
    ops.into_iter()
        .map(|op| match op {
            Op::Delete { key: text } => {
                let key = key(&text)?;
                reserved(&key, None)?;
                keeps_the_roster(&key)?;
                Ok((key, None))
            }
            Op::Set { key: text, value } => {
                let key = key(&text)?;
                let value =
                    Value::new(value.0).map_err(|error| bad(format!("key '{key}': {error}")))?;
                if !forced {
                    names(&key)?;
                }
                reserved(&key, Some(&value))?;
                Ok((key, Some(value)))
            }
        })
        .collect()
}

pub(super) fn import(entries: &EntryBytes) -> Result<Vec<Entry>, ApiError> {
    let entries = entries.unpack().map_err(bad)?;
    batch_len(entries.len(), "entries")?;
    for entry in &entries {
        reserved(&entry.key, entry.value())?;
    }
    Ok(entries)
}

pub(super) fn refusal(error: &WriteError) -> ApiError {
    let code = match error {
        WriteError::Store(_) | WriteError::Poisoned(_) => ErrorCode::Storage,
        WriteError::BadLocal { .. } => ErrorCode::BadRequest,
        WriteError::Closed => ErrorCode::Internal,
    };
    ApiError::new(code, error.to_string())
}
