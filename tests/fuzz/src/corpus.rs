//! Good inputs: made here from the encoders, and committed in `tests/fuzz/corpus/TARGET`, one file each.
//!
//! What was found and mended is there too, in files that begin with `regress-`.

mod frames;
mod places;
mod wires;

use std::io;
use std::path::{Path, PathBuf};

/// The folder of a target's corpus.
#[must_use]
pub fn corpus_dir(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

/// Good inputs of a target by file name, made anew.
#[must_use]
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "gossip_frame" => frames::gossip(),
        "datagram_brief" => frames::brief(),
        "mark" => frames::mark(),
        "local_api_request" => frames::requests(),
        "local_api_reply" => frames::replies(),
        "join_frame" => frames::join(),
        "join_token" => frames::token(),
        "store_entry" => places::entries(),
        "store_record" => places::records(),
        "store_export" => places::export(),
        "snapshot_file" => places::snapshot(),
        "segment_header" => places::header(),
        "log_batch" => places::batches(),
        "superblock_slot" => places::superblock(),
        "legacy_log" => places::legacy(),
        "data_frame" => wires::frames(),
        "nbd_client" => wires::clients(),
        _ => Vec::new(),
    }
}

/// All committed inputs of a target by file name.
///
/// # Errors
/// If folder or files cannot be read.
pub fn committed(target: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(corpus_dir(target))? {
        let path = file?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        all.push((name, std::fs::read(&path)?));
    }
    all.sort();
    Ok(all)
}

/// Writes the good inputs of a target; others stay.
///
/// # Errors
/// If they cannot be written.
pub fn write_corpus(target: &str) -> io::Result<usize> {
    let dir = corpus_dir(target);
    std::fs::create_dir_all(&dir)?;
    let all = seeds(target);
    for (name, bytes) in &all {
        std::fs::write(dir.join(name), bytes)?;
    }
    Ok(all.len())
}

fn named(list: Vec<(&str, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    list.into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes))
        .collect()
}
