//! Requests are checked before anything happens: a refusal names the thing, the reason and the next step.

use mars_meta_api::{ApiError, EntryBytes, ErrorCode, Op};
use mars_meta_model::limits::{BATCH_LEN_MAX, KEY_LEN_MAX};
use mars_meta_model::{Entry, Key, Value, check_host_name, check_name, classify};

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
                text.escape_debug()
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

pub(super) fn changes(ops: Vec<Op>, forced: bool) -> Result<Vec<Change>, ApiError> {
    batch_len(ops.len(), "changes")?;
    ops.into_iter()
        .map(|op| match op {
            Op::Delete { key: text } => Ok((key(&text)?, None)),
            Op::Set { key: text, value } => {
                let key = key(&text)?;
                let value =
                    Value::new(value.0).map_err(|error| bad(format!("key '{key}': {error}")))?;
                if !forced {
                    names(&key)?;
                }
                Ok((key, Some(value)))
            }
        })
        .collect()
}

pub(super) fn import(entries: &EntryBytes) -> Result<Vec<Entry>, ApiError> {
    let entries = entries.unpack().map_err(bad)?;
    batch_len(entries.len(), "entries")?;
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
