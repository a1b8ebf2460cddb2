//! The store inside of a program, without a daemon and without a runtime:
//! `cargo run -p mars-meta --example embedded`.

use mars_meta::{Event, Meta, MetaConfig};
use mars_meta_model::{Key, Value};
use std::error::Error;
use std::io::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("mars-embedded-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let lines = run(&folder.join("db"))?;
    std::fs::remove_dir_all(&folder)?;
    let mut out = std::io::stdout();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The tour; returns what it saw.
pub(crate) fn run(path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut seen = Vec::new();
    let (colour, shape) = (
        Key::parse("userspace/colour")?,
        Key::parse("userspace/shape")?,
    );

    // Open: a new store if there is none. One process at a time.
    let meta = Meta::open(&MetaConfig::new(path))?;

    // Set: durable when it returns. The batch is atomic, its stamps are consecutive.
    meta.blocking_apply(vec![(colour.clone(), Some(Value::text("blue")?))], false)?;

    // Get: from memory, never from the disk.
    let entry = meta.get(&colour).ok_or("it was just set")?;
    seen.push(format!("colour is {}", entry.text().unwrap_or("not text")));

    // Watch: all that is there, then every change.
    let mut watch = meta.watch(&["userspace/"], 100);
    while let Some(event) = watch.blocking_next(None)? {
        match event {
            Event::Entries(entries) => {
                seen.extend(entries.iter().map(|e| format!("snapshot: {}", e.key)));
            }
            Event::Synced => break,
            Event::Lagged => {}
        }
    }

    // Delete: a tombstone, which wins over older values everywhere.
    meta.blocking_apply(vec![(shape.clone(), Some(Value::text("round")?))], false)?;
    meta.blocking_apply(vec![(colour.clone(), None)], false)?;
    if let Some(Event::Entries(entries)) = watch.blocking_next(None)? {
        for entry in entries {
            seen.push(match entry.text() {
                Some(text) => format!("changed: {} = {text}", entry.key),
                None => format!("changed: {} is deleted", entry.key),
            });
        }
    }

    // Reopen: everything durable is back.
    meta.blocking_close();
    drop(meta);
    let meta = Meta::open(&MetaConfig::new(path))?;
    let deleted = meta.get(&colour).is_some_and(|entry| entry.is_tombstone());
    let shape = meta.get(&shape).ok_or("it was set")?;
    seen.push(format!(
        "reopened: shape is {}, colour is {}",
        shape.text().unwrap_or("not text"),
        if deleted { "deleted" } else { "there" },
    ));
    meta.blocking_close();
    Ok(seen)
}
