//! What is written through the device first: a file system with a tree of real files, or an image of our own.

use super::stage::{Stage, io, wrong};
use super::writer::bytes;
use crate::error::Result;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Folders that are not copied: built or versioned things.
const LEFT_OUT: [&str; 2] = ["target", ".git"];
/// Most files that are copied.
const FILES_MAX: usize = 20_000;
const OWN_MAGIC: &[u8; 8] = b"MARSDEMO";
const OWN_ENTRY: usize = 48;
const OWN_BLOCKS: usize = 64;
const OWN_BLOCK_MAX: u64 = 256 << 10;

/// An image in a file.
#[derive(Debug)]
pub(super) struct Image {
    /// Contents.
    pub(super) bytes: Vec<u8>,
    /// Whether it is a file system.
    pub(super) ext4: bool,
}

/// The program of that name: on the path, or where system programs usually are.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Makes the image of `len` bytes.
pub(super) fn make(
    stage: &mut Stage,
    tree: Option<&Path>,
    own: bool,
    len: usize,
    seed: u64,
) -> Result<Image> {
    let mkfs = program("mkfs.ext4").filter(|_| !own);
    let Some(mkfs) = mkfs else {
        let why = if own {
            "--own-image"
        } else {
            "there is no mkfs.ext4 here"
        };
        stage.say(&format!(
            "{why}: instead of a file system, an image of blocks with a table of contents"
        ));
        let bytes = own_image(seed, len);
        own_check(&bytes)
            .map_err(|found| wrong("the own image is sound", "all digests fit", found))?;
        return Ok(Image { bytes, ext4: false });
    };
    let tree = tree.map_or_else(default_tree, Path::to_owned);
    let copy = stage.work.join("tree");
    let mut room = Room {
        bytes: u64::try_from(len / 2).unwrap_or(0),
        files: FILES_MAX,
        copied: (0, 0),
        left: 0,
    };
    copy_tree(&tree, &copy, &mut room)?;
    let (files, bytes) = room.copied;
    stage.say(&format!(
        "{files} files with {bytes} bytes of {}{}",
        tree.display(),
        match room.left {
            0 => String::new(),
            left => format!(" ({left} others left out: no room, or no plain files)"),
        }
    ));
    let file = stage.work.join("image");
    File::create(&file)
        .and_then(|f| f.set_len(u64::try_from(len).unwrap_or(0)))
        .map_err(io("the image cannot be made"))?;
    stage.progress("mkfs.ext4 -d");
    let output = Command::new(&mkfs)
        .args(["-q", "-F", "-m", "0", "-d"])
        .arg(&copy)
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .map_err(io("mkfs.ext4 cannot be run"))?;
    if !output.status.success() {
        return Err(wrong(
            "mkfs.ext4 makes a file system of the tree",
            "exit code 0",
            String::from_utf8_lossy(&output.stderr),
        ));
    }
    let bytes = fs::read(&file).map_err(io("the image cannot be read"))?;
    fs::remove_file(&file).map_err(io("the image cannot be removed"))?;
    fs::remove_dir_all(&copy).map_err(io("the copy cannot be removed"))?;
    Ok(Image { bytes, ext4: true })
}

/// Checks what each replica's disk holds: the file system by `e2fsck` on a copy, or the own image by its digests.
pub(super) fn check_disks(stage: &mut Stage, image: &Image) -> Result<()> {
    let place = stage.place()?;
    let e2fsck = program("e2fsck");
    for node in &place.nodes {
        let disk = node.disk(super::stage::RESOURCE);
        let mut start = vec![0; image.bytes.len()];
        File::open(&disk)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(0))?;
                file.read_exact(&mut start)
            })
            .map_err(io("a replica's disk cannot be read"))?;
        if !image.ext4 {
            own_check(&start).map_err(|found| {
                wrong(&format!("image on {}", node.name), "all digests fit", found)
            })?;
            continue;
        }
        let Some(e2fsck) = &e2fsck else {
            stage.say("there is no e2fsck here: the file systems are not checked with it");
            return Ok(());
        };
        let copy = stage.work.join(format!("{}.img", node.name));
        fs::write(&copy, &start).map_err(io("a disk cannot be copied"))?;
        drop(start);
        let output = Command::new(e2fsck)
            .arg("-fn")
            .arg(&copy)
            .stdin(Stdio::null())
            .output()
            .map_err(io("e2fsck cannot be run"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.code() != Some(0) {
            return Err(wrong(
                &format!("e2fsck -fn on a copy of the disk of {}", node.name),
                "exit code 0",
                format!("{}: {text}", output.status),
            ));
        }
        fs::remove_file(&copy).map_err(io("a copy cannot be removed"))?;
        let last = text.lines().last().unwrap_or_default();
        let counts = last.split_once(": ").map_or(last, |(_, counts)| counts);
        stage.say(&format!("{:<6} e2fsck -fn: clean, {counts}", node.name));
    }
    stage.ok(if image.ext4 {
        "e2fsck finds the file system of every replica clean"
    } else {
        "the table of contents and all digests of the own image fit on every replica"
    });
    Ok(())
}

/// The project's own sources, if this is run among them; else what most systems have.
fn default_tree() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let sources = here
        .ancestors()
        .find(|dir| dir.join("marsadm/Cargo.toml").is_file());
    if let Some(sources) = sources {
        return sources.to_owned();
    }
    ["/usr/share/doc", "/usr/share", "/etc"]
        .map(PathBuf::from)
        .into_iter()
        .find(|dir| dir.is_dir())
        .unwrap_or(here)
}

/// What still fits, and what was done.
struct Room {
    bytes: u64,
    files: usize,
    copied: (usize, u64),
    left: usize,
}

/// Copies plain files and folders, sorted by name; follows no link.
fn copy_tree(from: &Path, to: &Path, room: &mut Room) -> Result<()> {
    let failed = format!("folder {} cannot be copied", from.display());
    fs::create_dir(to).map_err(io(&failed))?;
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(io(&failed))? {
        names.push(entry.map_err(io(&failed))?.file_name());
    }
    names.sort();
    for name in names {
        let (source, target) = (from.join(&name), to.join(&name));
        let Ok(meta) = fs::symlink_metadata(&source) else {
            room.left += 1;
            continue;
        };
        if meta.is_dir() {
            // A folder that may not be read is left out, too.
            if !LEFT_OUT.iter().any(|out| name == *out) && fs::read_dir(&source).is_ok() {
                copy_tree(&source, &target, room)?;
            }
        } else if meta.is_file()
            && meta.len() <= room.bytes
            && room.files > 0
            && fs::copy(&source, &target).is_ok()
        {
            room.bytes -= meta.len();
            room.files -= 1;
            room.copied.0 += 1;
            room.copied.1 += meta.len();
        } else {
            room.left += 1;
        }
    }
    Ok(())
}

/// An image of our own: magic and number of blocks, then for each block where it is, its length and its BLAKE3
/// digest; all numbers little endian, 8 bytes.
fn own_image(seed: u64, len: usize) -> Vec<u8> {
    let mut random = super::writer::Random(seed);
    let mut image = vec![0; len];
    let mut head = [OWN_MAGIC.as_slice(), &(OWN_BLOCKS as u64).to_le_bytes()].concat();
    let slot = (len - (64 << 10)) / OWN_BLOCKS;
    for i in 0..OWN_BLOCKS {
        let at = (64 << 10) + i * slot;
        let most = OWN_BLOCK_MAX.min(u64::try_from(slot).unwrap_or(1));
        let data = bytes(
            random.next(),
            usize::try_from(1 + random.next() % most).unwrap_or(1),
        );
        image[at..at + data.len()].copy_from_slice(&data);
        for number in [at, data.len()] {
            head.extend_from_slice(&u64::try_from(number).unwrap_or(0).to_le_bytes());
        }
        head.extend_from_slice(blake3::hash(&data).as_bytes());
    }
    image[..head.len()].copy_from_slice(&head);
    image
}

/// Checks an image of our own by its table of contents alone.
fn own_check(image: &[u8]) -> Result<usize, String> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    if !image.starts_with(OWN_MAGIC) || number(8) != Some(OWN_BLOCKS) {
        return Err("there is no table of contents".to_owned());
    }
    for i in 0..OWN_BLOCKS {
        let at = 16 + i * OWN_ENTRY;
        let range = number(at).zip(number(at + 8));
        let block = range.and_then(|(from, len)| image.get(from..from.checked_add(len)?));
        let digest = image.get(at + 16..at + OWN_ENTRY);
        match (block, digest) {
            (Some(block), Some(digest)) if blake3::hash(block).as_bytes() == digest => {}
            _ => return Err(format!("block {i} does not fit its digest")),
        }
    }
    Ok(OWN_BLOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_image_knows_its_contents() {
        let image = own_image(1, 4 << 20);
        assert_eq!(own_check(&image), Ok(OWN_BLOCKS));
        assert_eq!(image, own_image(1, 4 << 20));
        assert_ne!(image, own_image(2, 4 << 20));
        assert!(own_check(&vec![0; 4 << 20]).is_err());
        assert!(own_check(&image[..4096]).is_err());
        let second =
            usize::try_from(u64::from_le_bytes(image[64..72].try_into().unwrap())).unwrap();
        for at in [16, 40, 63, second] {
            let mut damaged = image.clone();
            damaged[at] ^= 1;
            assert!(own_check(&damaged).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_copied_tree_has_no_links_and_respects_the_room() {
        let tmp = tempfile::tempdir().unwrap();
        let from = tmp.path().join("from");
        fs::create_dir_all(from.join("target/x")).unwrap();
        fs::create_dir(from.join("sub")).unwrap();
        fs::write(from.join("a"), [1; 10]).unwrap();
        fs::write(from.join("sub/b"), [2; 10]).unwrap();
        fs::write(from.join("sub/c"), [3; 10]).unwrap();
        std::os::unix::fs::symlink("a", from.join("link")).unwrap();
        let mut room = Room {
            bytes: 25,
            files: 9,
            copied: (0, 0),
            left: 0,
        };
        let to = tmp.path().join("to");
        copy_tree(&from, &to, &mut room).unwrap();
        assert_eq!((room.copied, room.left), ((2, 20), 2));
        assert_eq!(fs::read(to.join("sub/b")).unwrap(), [2; 10]);
        for missing in ["sub/c", "link", "target"] {
            assert!(!to.join(missing).exists(), "{missing}");
        }
    }
}
