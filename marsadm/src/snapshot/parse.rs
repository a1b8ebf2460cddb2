//! Reading a snapshot.

use super::model::{Body, Device, Disk, FORMAT, Header, Item, Snapshot};
use crate::limits::{SNAPSHOT_BYTES_MAX, SNAPSHOT_PATH_MAX, SNAPSHOT_VALUE_MAX};
use mars_lamport::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Why a text is no snapshot. Nothing was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text is longer than any snapshot may be.
    #[error("the snapshot has more than {SNAPSHOT_BYTES_MAX} bytes")]
    TooLong,
    /// There is no first line.
    #[error("the snapshot is empty: its first line must be the header")]
    Empty,
    /// A line is wrong.
    #[error("line {line} of the snapshot: {why}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

type Fields = Map<String, Value>;

/// Reads a snapshot from its text.
///
/// # Errors
/// [`ParseError`], naming the line.
pub fn parse(text: &str) -> Result<Snapshot, ParseError> {
    if text.len() > SNAPSHOT_BYTES_MAX {
        return Err(ParseError::TooLong);
    }
    let mut lines = text.lines().enumerate();
    let (_, first) = lines.next().ok_or(ParseError::Empty)?;
    let header = object(first)
        .and_then(header)
        .map_err(|why| ParseError::Line { line: 1, why })?;
    let mut snapshot = Snapshot {
        header,
        items: BTreeMap::new(),
        unknown: Vec::new(),
    };
    for (index, line) in lines {
        if line.trim().is_empty() {
            continue;
        }
        object(line)
            .and_then(|fields| add(&mut snapshot, fields))
            .map_err(|why| ParseError::Line {
                line: index + 1,
                why,
            })?;
    }
    Ok(snapshot)
}

fn object(line: &str) -> Result<Fields, String> {
    match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("is no JSON object".to_owned()),
        Err(error) => Err(format!("is no JSON: {error}")),
    }
}

fn string(fields: &mut Fields, name: &str) -> Result<Option<String>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("field `{name}` is no string")),
    }
}

fn required(fields: &mut Fields, name: &str) -> Result<String, String> {
    string(fields, name)?.ok_or_else(|| format!("has no field `{name}`"))
}

fn number(fields: &mut Fields, name: &str) -> Result<Option<u64>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .map(Some)
            .ok_or_else(|| format!("field `{name}` is no number of bytes or sectors")),
    }
}

fn boolean(fields: &mut Fields, name: &str) -> Result<bool, String> {
    match fields.remove(name) {
        Some(Value::Bool(value)) => Ok(value),
        Some(_) => Err(format!("field `{name}` is neither true nor false")),
        None => Err(format!("has no field `{name}`")),
    }
}

fn stamp(name: &str, text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|error| format!("field `{name}` is no stamp: {error}"))
}

fn objects(fields: &mut Fields, name: &str) -> Result<Vec<(String, Fields)>, String> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(inner)) => inner
            .into_iter()
            .map(|(path, value)| match value {
                Value::Object(fields) => Ok((path, fields)),
                _ => Err(format!("`{path}` in field `{name}` is no object")),
            })
            .collect(),
        Some(_) => Err(format!("field `{name}` is no object")),
    }
}

fn header(mut fields: Fields) -> Result<Header, String> {
    let format = required(&mut fields, "format")?;
    if format != FORMAT {
        return Err(format!(
            "the format is `{format}`, this program reads `{FORMAT}`"
        ));
    }
    let host = required(&mut fields, "host")?;
    let wall = stamp("wall", &required(&mut fields, "wall")?)?;
    let lamport = string(&mut fields, "lamport")?
        .map(|text| stamp("lamport", &text))
        .transpose()?;
    let daemon = boolean(&mut fields, "daemon")?;
    let program = string(&mut fields, "program")?;
    let mut disks = BTreeMap::new();
    for (path, mut disk) in objects(&mut fields, "disks")? {
        let disk = Disk {
            present: boolean(&mut disk, "present")?,
            size: number(&mut disk, "size")?,
        };
        disks.insert(path, disk);
    }
    let mut devices = BTreeMap::new();
    for (path, mut device) in objects(&mut fields, "devices")? {
        let device = Device {
            sectors: number(&mut device, "sectors")?,
            mountpoint: string(&mut device, "mountpoint")?,
            fstype: string(&mut device, "fstype")?,
            mountflags: string(&mut device, "mountflags")?,
        };
        devices.insert(path, device);
    }
    Ok(Header {
        host,
        wall,
        lamport,
        daemon,
        program,
        disks,
        devices,
        extra: fields,
    })
}

fn add(snapshot: &mut Snapshot, mut fields: Fields) -> Result<(), String> {
    let kinds = ["key", "file", "dir"];
    let Some(kind) = kinds.into_iter().find(|kind| fields.contains_key(*kind)) else {
        snapshot.unknown.push(fields);
        return Ok(());
    };
    let path = required(&mut fields, kind)?;
    check_path(&path)?;
    let at = stamp("stamp", &required(&mut fields, "stamp")?)?;
    let body = match kind {
        "key" => Body::Key(value(&mut fields)?),
        "file" => match string(&mut fields, "content")? {
            Some(content) => Body::Content(content),
            None => Body::Size(
                number(&mut fields, "size")?
                    .ok_or_else(|| format!("file `{path}` has neither `size` nor `content`"))?,
            ),
        },
        _ => Body::Dir,
    };
    let item = Item {
        stamp: at,
        body,
        extra: fields,
    };
    match snapshot.items.entry(path) {
        Entry::Occupied(entry) => Err(format!("`{}` is given twice", entry.key())),
        Entry::Vacant(entry) => {
            entry.insert(item);
            Ok(())
        }
    }
}

fn value(fields: &mut Fields) -> Result<Vec<u8>, String> {
    let value = match (string(fields, "value")?, string(fields, "value_b64")?) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => base64_decode(&text).ok_or("`value_b64` is no base64")?,
        (None, None) => return Err("has neither `value` nor `value_b64`".to_owned()),
        (Some(_), Some(_)) => return Err("has both `value` and `value_b64`".to_owned()),
    };
    if value.len() > SNAPSHOT_VALUE_MAX {
        return Err(format!(
            "the value has more than {SNAPSHOT_VALUE_MAX} bytes"
        ));
    }
    Ok(value)
}

fn check_path(path: &str) -> Result<(), String> {
    let bad_part = |part: &str| part.is_empty() || part == "." || part == "..";
    if path.len() > SNAPSHOT_PATH_MAX || path.contains('\0') || path.split('/').any(bad_part) {
        return Err(format!(
            "`{}` is no path relative to /mars",
            mars_meta_model::escaped(&path.chars().take(100).collect::<String>())
        ));
    }
    Ok(())
}

/// Decodes base64 with padding (RFC 4648, section 4).
fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in digits.bytes() {
        let digit = super::write::BASE64.iter().position(|b| *b == byte)?;
        bits = (bits << 6) | u32::try_from(digit).ok()?;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::write;

    const HEADER: &str =
        r#"{"format":"mars-snapshot/1","host":"a","wall":"12.000000005","daemon":true,"odd":[1]}"#;

    fn with(line: &str) -> Result<Snapshot, ParseError> {
        parse(&format!("{HEADER}\n{line}\n"))
    }

    #[test]
    fn errors_name_the_line() {
        for (line, why) in [
            ("{", "is no JSON"),
            ("[]", "is no JSON object"),
            (r#"{"key":"a","value":"b","stamp":"x"}"#, "is no stamp"),
            (r#"{"key":"a","value":"b"}"#, "has no field `stamp`"),
            (r#"{"key":"a","stamp":"1.000000000"}"#, "neither `value`"),
            (
                r#"{"key":"../a","value":"b","stamp":"1.000000000"}"#,
                "no path",
            ),
            (
                r#"{"key":"a","value_b64":"?","stamp":"1.000000000"}"#,
                "no base64",
            ),
            (r#"{"file":"a","stamp":"1.000000000"}"#, "neither `size`"),
        ] {
            let error = with(line).unwrap_err().to_string();
            assert!(
                error.starts_with("line 2 of the snapshot: ") && error.contains(why),
                "{line}: {error}"
            );
        }
        let twice = r#"{"key":"a","value":"b","stamp":"1.000000000"}"#;
        let error = with(&format!("{twice}\n{twice}")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3 of the snapshot: `a` is given twice"
        );
        assert_eq!(parse(""), Err(ParseError::Empty));
        assert!(
            parse(r#"{"format":"mars-snapshot/2"}"#)
                .unwrap_err()
                .to_string()
                .contains("reads `mars-snapshot/1`")
        );
    }

    #[test]
    fn what_is_unknown_is_kept() {
        let lines = [
            r#"{"key":"k","value":"v","stamp":"1.000000000","note":"n"}"#,
            r#"{"key":"raw","value_b64":"/wA=","stamp":"1.000000000"}"#,
            r#"{"file":"f","size":7,"stamp":"2.000000000"}"#,
            r#"{"dir":"d","stamp":"2.000000000"}"#,
            r#"{"comment":"of a later version"}"#,
        ];
        let snapshot = with(&lines.join("\n")).unwrap();
        assert_eq!(snapshot.items["raw"].body, Body::Key(vec![0xff, 0]));
        let text = write(&snapshot);
        assert_eq!(parse(&text).unwrap(), snapshot);
        assert!(text.contains("of a later version") && text.contains(r#""odd":[1]"#));
        assert!(text.contains(r#""note":"n""#) && text.contains(r#""value_b64":"/wA=""#));
    }
}
