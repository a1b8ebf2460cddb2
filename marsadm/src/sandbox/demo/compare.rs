//! Comparing the replicas' disks with the model, byte for byte.

use super::stage::{RESOURCE, Stage, io, wrong};
use super::writer::{Model, SECTOR};
use crate::error::Result;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

const PIECE: usize = 1 << 20;

/// Waits until all replicas have all, then compares each with the model.
pub(super) fn replicas(stage: &mut Stage, model: &Model, primary: &str) -> Result<()> {
    stage.on(primary, &["wait-resource", RESOURCE, "is-uptodate"])?;
    // The primary's own disk is written behind its log; nothing is written now, so that it comes to rest.
    let replay = format!("resource-{RESOURCE}/replay-{primary}");
    stage.wait("the primary's disk comes to rest", || {
        let said = stage.ask(primary, &["get-link", &replay])?;
        Ok(said.out.ends_with(",0").then_some(()))
    })?;
    let expected = blake3::hash(&model.bytes).to_hex();
    let size = u64::try_from(model.bytes.len()).unwrap_or(u64::MAX);
    stage.say(&format!("{:<6} BLAKE3 {expected}, {size} bytes", "model"));
    let place = stage.place()?;
    for node in &place.nodes {
        let disk = node.disk(RESOURCE);
        let hash = hash(&disk)?;
        stage.say(&format!("{:<6} BLAKE3 {hash}", node.name));
        if hash != expected.as_str() {
            return Err(wrong(
                &format!("the disk of {} is what was written", node.name),
                expected.as_str(),
                format!("{hash}; {}", first_difference(&disk, &model.bytes)?),
            ));
        }
        stage.compared(size);
    }
    let count = place.nodes.len();
    stage.ok(format!(
        "the disks of all {count} replicas are identical with what was written: {count} x {size} bytes"
    ));
    Ok(())
}

fn hash(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    pieces(path, |_, piece| {
        hasher.update(piece);
    })?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn pieces(path: &Path, mut take: impl FnMut(usize, &[u8])) -> Result<()> {
    let failed = format!("{} cannot be read", path.display());
    let mut file = File::open(path).map_err(io(&failed))?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let len = file.read(&mut piece).map_err(io(&failed))?;
        if len == 0 {
            return Ok(());
        }
        take(at, &piece[..len]);
        at += len;
    }
}

fn first_difference(path: &Path, model: &[u8]) -> Result<String> {
    let (mut sectors, mut first, mut total) = (0_usize, None, 0);
    pieces(path, |at, piece| {
        total = at + piece.len();
        for (i, sector) in piece.chunks(SECTOR).enumerate() {
            let from = at + i * SECTOR;
            if model.get(from..from + sector.len()) != Some(sector) {
                sectors += 1;
                first.get_or_insert(from);
            }
        }
    })?;
    let first = first.map_or_else(|| "none".to_owned(), |from| from.to_string());
    Ok(format!(
        "{total} bytes, {sectors} sectors of {SECTOR} bytes differ, the first at byte {first}"
    ))
}
