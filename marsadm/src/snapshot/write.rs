//! Writing a snapshot.

use super::model::{Body, Device, Disk, FORMAT, Header, Item, Snapshot};
use serde_json::{Map, Value, json};

/// The digits of base64.
pub(super) const BASE64: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of a snapshot: header, then all paths in order, then what this version does not know.
#[must_use]
pub fn write(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    line(&mut out, header(&snapshot.header));
    for (path, item) in &snapshot.items {
        line(&mut out, entry(path, item));
    }
    for fields in &snapshot.unknown {
        line(&mut out, fields.clone());
    }
    out
}

fn line(out: &mut String, fields: Map<String, Value>) {
    out.push_str(&Value::Object(fields).to_string());
    out.push('\n');
}

fn header(header: &Header) -> Map<String, Value> {
    let mut fields = header.extra.clone();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("format", json!(FORMAT));
    put("host", json!(header.host));
    put("wall", json!(header.wall.to_string()));
    put("daemon", json!(header.daemon));
    if let Some(lamport) = header.lamport {
        put("lamport", json!(lamport.to_string()));
    }
    if let Some(program) = &header.program {
        put("program", json!(program));
    }
    let disks = header.disks.iter();
    let disks: Map<_, _> = disks.map(|(p, d)| (p.clone(), disk(d))).collect();
    put("disks", Value::Object(disks));
    let devices = header.devices.iter();
    let devices: Map<_, _> = devices.map(|(p, d)| (p.clone(), device(d))).collect();
    put("devices", Value::Object(devices));
    fields
}

fn disk(disk: &Disk) -> Value {
    let mut fields = Map::new();
    fields.insert("present".to_owned(), json!(disk.present));
    if let Some(size) = disk.size {
        fields.insert("size".to_owned(), json!(size));
    }
    Value::Object(fields)
}

fn device(device: &Device) -> Value {
    let mut fields = Map::new();
    if let Some(sectors) = device.sectors {
        fields.insert("sectors".to_owned(), json!(sectors));
    }
    for (name, value) in [
        ("mountpoint", &device.mountpoint),
        ("fstype", &device.fstype),
        ("mountflags", &device.mountflags),
    ] {
        if let Some(value) = value {
            fields.insert(name.to_owned(), json!(value));
        }
    }
    Value::Object(fields)
}

fn entry(path: &str, item: &Item) -> Map<String, Value> {
    let mut fields = item.extra.clone();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("stamp", json!(item.stamp.to_string()));
    let kind = match &item.body {
        Body::Key(value) => {
            match std::str::from_utf8(value) {
                Ok(text) => put("value", json!(text)),
                Err(_) => put("value_b64", json!(base64_encode(value))),
            };
            "key"
        }
        Body::Size(size) => {
            put("size", json!(size));
            "file"
        }
        Body::Content(content) => {
            put("content", json!(content));
            "file"
        }
        Body::Dir => "dir",
    };
    put(kind, json!(path));
    fields
}

/// Encodes with padding (RFC 4648, section 4).
fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| usize::from(chunk.get(i).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for (i, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            if i <= chunk.len() {
                out.push(char::from(BASE64[(bits >> shift) & 63]));
            } else {
                out.push('=');
            }
        }
    }
    out
}
