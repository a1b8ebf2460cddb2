//! Writing generated units, and removing those that are not wanted any more. Files that were not generated here are never
//! touched.

use super::engine::Unit;
use super::name::UnitName;
use crate::limits::UNIT_TEXT_MAX;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How a generated unit begins, as in the original.
const FROM: &str = "### GENERATED FROM: ";
/// The line by which we know our own: which resource it is for.
const RESOURCE: &str = "### MARS RESOURCE: ";
/// Permission bits of a unit.
const MODE: u32 = 0o444;

/// The file of a unit: what the template made, with the lines by which it is known.
pub(super) fn file_text(name: &UnitName, unit: &Unit, target: &Path) -> String {
    format!(
        "{FROM}{}\n### GENERATED NAME: {name}\n### GENERATED   TO: {}\n{RESOURCE}{}\n{}",
        unit.template,
        target.join(name.as_str()).display(),
        unit.resource.as_deref().unwrap_or("(none)"),
        unit.text
    )
}

/// A unit that was generated before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) text: String,
    /// The resource; `None`: of none.
    pub(super) resource: Option<String>,
}

impl Installed {
    /// Whether the template said that it is not to be stopped.
    pub(super) fn has_marker(&self, marker: &str) -> bool {
        self.text
            .lines()
            .any(|line| line.strip_prefix("# ") == Some(marker))
    }

    pub(super) fn is_installable(&self) -> bool {
        is_installable(&self.text)
    }
}

/// Whether `systemctl enable` has anything to do with a unit.
pub(super) fn is_installable(text: &str) -> bool {
    text.lines().any(|line| line.trim_end() == "[Install]")
}

/// The units of the folder that were generated here.
///
/// # Errors
/// If the folder cannot be read; a folder that does not exist is empty.
pub(super) fn installed(target: &Path) -> io::Result<BTreeMap<UnitName, Installed>> {
    let mut out = BTreeMap::new();
    let entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(out),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| UnitName::parse(name).ok()) else {
            continue;
        };
        if !entry.file_type()?.is_file() {
            continue;
        }
        if let Some(unit) = read_own(&entry.path())? {
            out.insert(name, unit);
        }
    }
    Ok(out)
}

fn read_own(path: &Path) -> io::Result<Option<Installed>> {
    let limit = u64::try_from(2 * UNIT_TEXT_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(limit).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = text.lines();
    let ours = lines.next().is_some_and(|line| line.starts_with(FROM));
    let resource = lines.take(3).find_map(|line| line.strip_prefix(RESOURCE));
    Ok(match resource {
        Some(resource) if ours => Some(Installed {
            resource: (resource != "(none)").then(|| resource.to_owned()),
            text,
        }),
        _ => None,
    })
}

/// Why a unit may not be written; `None` if it may.
pub(super) fn obstacle(name: &UnitName, target: &Path, system: &[PathBuf]) -> Option<String> {
    for dir in system.iter().filter(|dir| dir.as_path() != target) {
        let path = dir.join(name.as_str());
        if path.symlink_metadata().is_ok() {
            return Some(format!(
                "{} exists, and is not to be replaced",
                path.display()
            ));
        }
    }
    let path = target.join(name.as_str());
    let there = path.symlink_metadata().ok()?;
    let ours = there.is_file() && matches!(read_own(&path), Ok(Some(_)));
    (!ours).then(|| format!("{} exists and was not generated here", path.display()))
}

/// Writes a unit in one step: readers see the old file or the new one.
///
/// # Errors
/// The reason; the old file stays.
pub(super) fn write(target: &Path, name: &UnitName, text: &str) -> io::Result<()> {
    let temporary = target.join(format!(".mars-systemd.{}.tmp", std::process::id()));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        // Whatever the mask is.
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        fs::rename(&temporary, target.join(name.as_str()))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Removes a generated unit.
///
/// # Errors
/// The reason.
pub(super) fn remove(target: &Path, name: &UnitName) -> io::Result<()> {
    let path = target.join(name.as_str());
    match read_own(&path)? {
        Some(_) => fs::remove_file(path),
        None => Ok(()),
    }
}

/// One pass at a time: held until it is dropped. `None` if another process has it.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn lock(target: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(target)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(target.join(".mars-systemd.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn unit(text: &str) -> Unit {
        Unit {
            chosen: Vec::new(),
            text: text.to_owned(),
            template: "x-@{res}.service".to_owned(),
            resource: Some("r".to_owned()),
            markers: BTreeSet::new(),
        }
    }

    #[test]
    fn only_own_files_are_known_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path();
        let name = |text: &str| UnitName::parse(text).unwrap();
        let mine = name("x-r.service");
        write(
            target,
            &mine,
            &file_text(&mine, &unit("# KEEP_RUNNING\n[Install]\n"), target),
        )
        .unwrap();
        fs::write(target.join("foreign.service"), "[Unit]\n").unwrap();
        // A value that looks like our mark does not make a file ours.
        fs::write(
            target.join("fake.service"),
            format!("[Unit]\n{FROM}x\n{RESOURCE}r\n"),
        )
        .unwrap();
        std::os::unix::fs::symlink(target.join("x-r.service"), target.join("link.service"))
            .unwrap();
        let found = installed(target).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), [&mine]);
        assert_eq!(found[&mine].resource.as_deref(), Some("r"));
        assert!(found[&mine].has_marker("KEEP_RUNNING") && found[&mine].is_installable());
        let mode = fs::metadata(target.join("x-r.service"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o444);
        for other in ["foreign.service", "fake.service", "link.service"] {
            let why = obstacle(&name(other), target, &[]).unwrap();
            assert!(why.contains("was not generated here"), "{why}");
        }
        assert_eq!(obstacle(&mine, target, &[]), None);
        assert_eq!(obstacle(&name("new.service"), target, &[]), None);
        let system = dir.path().join("etc");
        fs::create_dir(&system).unwrap();
        fs::write(system.join("sshd.service"), "").unwrap();
        let why = obstacle(&name("sshd.service"), target, &[system]).unwrap();
        assert!(why.contains("not to be replaced"));
        write(target, &mine, &file_text(&mine, &unit("two\n"), target)).unwrap();
        assert!(installed(target).unwrap()[&mine].text.ends_with("two\n"));
        remove(target, &name("foreign.service")).unwrap();
        assert!(target.join("foreign.service").exists());
        remove(target, &mine).unwrap();
        assert!(!target.join("x-r.service").exists());
        assert!(installed(&target.join("missing")).unwrap().is_empty());
    }

    #[test]
    fn one_pass_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        assert!(held.is_some());
        assert!(lock(dir.path()).unwrap().is_none());
        drop(held);
        assert!(lock(dir.path()).unwrap().is_some());
    }
}
