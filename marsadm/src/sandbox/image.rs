//! The data of the demo: a filesystem image, and a shadow of what the device must hold.

use super::nbd_client::NbdClient;
use crate::error::{Error, Kind, Result};
use crate::ui::Ui;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Bytes per request and per comparison.
const CHUNK: usize = 1 << 20;
/// Trees of the system that are about as large as wanted.
const TREES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/share/perl", "/etc"];

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |error| Error::internal(format!("{path}: {error}"))
}

/// Makes an image of `size` bytes at `target`; says what is in it.
pub(super) async fn make(target: &Path, size: u64, tree: Option<&Path>) -> Result<String> {
    let file = File::create(target).map_err(io(target))?;
    file.set_len(size).map_err(io(target))?;
    let tree = tree
        .map(Path::to_owned)
        .or_else(|| TREES.iter().map(PathBuf::from).find(|tree| tree.is_dir()));
    if let Some(tree) = &tree {
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F", "-d"])
            .arg(tree)
            .arg(target)
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .await;
        match made {
            Ok(output) if output.status.success() => {
                return Ok(format!("ext4 with the files of {}", tree.display()));
            }
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(Error::refused(format!(
                    "mkfs.ext4 cannot pack {}: {}",
                    tree.display(),
                    text.trim()
                ))
                .hint("name a smaller tree that you may read: --tree DIR"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::internal(format!("mkfs.ext4: {error}"))),
        }
    }
    let mut data = vec![0; CHUNK];
    for i in 0..32 {
        blake3::Hasher::new()
            .update(&[i])
            .finalize_xof()
            .fill(&mut data);
        let at = u64::from(i) * (size / 32);
        file.write_all_at(&data, at).map_err(io(target))?;
    }
    Ok("mkfs.ext4 (e2fsprogs) is not installed: an image made up by the demo itself".to_owned())
}

/// Checks the filesystem of a replica, where there is one and a tool for it. The replica is only read.
pub(super) async fn check(disk: &Path, ui: &Ui) -> Result<()> {
    let checked = Command::new("e2fsck")
        .args(["-f", "-n"])
        .arg(disk)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .await;
    let mut magic = [0; 2];
    let file = File::open(disk).map_err(io(disk))?;
    file.read_exact_at(&mut magic, 1024 + 56)
        .map_err(io(disk))?;
    match checked {
        Ok(output) if magic == [0x53, 0xef] => {
            if output.status.success() {
                ui.line("        e2fsck finds the filesystem on the replica of hostc clean");
                return Ok(());
            }
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Err(Error::new(
                Kind::Negative,
                format!("e2fsck finds damage on {}: {text}", disk.display()),
            ))
        }
        _ => Ok(()),
    }
}

/// Digest of a whole file.
pub(super) fn digest(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(io(path))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(io(path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// What the device must hold.
pub(super) struct Shadow {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Shadow {
    /// A shadow of a device of zeroes.
    pub(super) fn create(path: &Path, size: u64) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(io(path))?;
        file.set_len(size).map_err(io(path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            size,
        })
    }

    /// Notes a write.
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.file.write_all_at(data, offset).map_err(io(&self.path))
    }

    /// Copies a file to the beginning of the device, except for chunks of zeroes; returns the bytes written.
    pub(super) async fn copy_in(&self, source: &Path, device: &mut NbdClient) -> Result<u64> {
        let file = File::open(source).map_err(io(source))?;
        let len = file.metadata().map_err(io(source))?.len();
        let mut written = 0;
        for (offset, mut chunk) in chunks(len) {
            file.read_exact_at(&mut chunk, offset).map_err(io(source))?;
            if chunk.iter().all(|byte| *byte == 0) {
                continue;
            }
            device
                .write(offset, &chunk)
                .await
                .map_err(|error| Error::new(Kind::Negative, format!("write: {error}")))?;
            self.write(offset, &chunk)?;
            written += u64::try_from(chunk.len()).unwrap_or(0);
        }
        Ok(written)
    }

    /// Reads the whole device and compares.
    pub(super) async fn compare(&self, device: &mut NbdClient, what: &str) -> Result<()> {
        for (offset, mut wanted) in chunks(self.size) {
            self.file
                .read_exact_at(&mut wanted, offset)
                .map_err(io(&self.path))?;
            let mut found = vec![0; wanted.len()];
            device
                .read(offset, &mut found)
                .await
                .map_err(|error| Error::new(Kind::Negative, format!("read: {error}")))?;
            if let Some(at) = (0..wanted.len()).find(|i| wanted[*i] != found[*i]) {
                let at = offset + u64::try_from(at).unwrap_or(0);
                return Err(Error::new(
                    Kind::Negative,
                    format!(
                        "{what}: the device holds something else than was written, first at byte {at}"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Digest of the whole.
    pub(super) fn digest(&self) -> Result<String> {
        digest(&self.path)
    }

    /// Removes the file.
    pub(super) fn remove(&self) {
        // It lies in the sandbox's folder, which stays then and is named to the user by others.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn chunks(len: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let step = u64::try_from(CHUNK).unwrap_or(1 << 20);
    (0..len.div_ceil(step)).map(move |i| {
        let offset = i * step;
        let size = usize::try_from(step.min(len - offset)).unwrap_or(CHUNK);
        (offset, vec![0; size])
    })
}
