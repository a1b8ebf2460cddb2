//! Where macros are found: `--macro`, files of the user, and our own.

use super::parse::strip;
use crate::limits::{MACRO_FILE_MAX, MACRO_FILES_LISTED};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("templates/", $name, ".tpl")))),*]
    };
}

/// Our own complex macros, by name.
pub(super) const TEMPLATES: &[(&str, &str)] = templates![
    "1and1",
    "comminfo",
    "commstate",
    "cstate",
    "default",
    "default-footer",
    "default-global",
    "default-header",
    "default-resource",
    "device-info",
    "device-stats",
    "diskstate",
    "diskstate-1and1",
    "dstate",
    "fetch-line",
    "fetch-line-1and1",
    "flags",
    "flags-1and1",
    "outdated-flags",
    "outdated-flags-1and1",
    "primarynode",
    "primarynode-1and1",
    "replay-line",
    "replay-line-1and1",
    "replinfo",
    "replinfo-1and1",
    "replstate",
    "replstate-1and1",
    "resource-errors",
    "resource-errors-1and1",
    "role",
    "role-1and1",
    "state",
    "status",
    "sync-line",
    "sync-line-1and1",
    "syncinfo",
    "syncinfo-1and1",
    "todo-role",
];

/// Where macros are found.
#[derive(Debug, Default)]
pub(crate) struct Library {
    dirs: Vec<PathBuf>,
    files: BTreeMap<String, Result<Option<String>, String>>,
    built_in: BTreeMap<&'static str, Arc<str>>,
    note: Option<String>,
    /// Files that were passed over, and why.
    warnings: Vec<String>,
    /// Only read what nobody but this user and root can write.
    careful: bool,
}

impl Library {
    /// A library that looks for files in these folders, the first one first. For root, files and folders that others may
    /// write are passed over, with a warning.
    pub(crate) fn new(dirs: Vec<PathBuf>) -> Self {
        let built_in = TEMPLATES
            .iter()
            .map(|(name, text)| (*name, Arc::from(strip(text, false))))
            .collect();
        Self {
            dirs,
            built_in,
            careful: rustix::process::geteuid().is_root(),
            ..Self::default()
        }
    }

    /// The user's own macro of this name.
    ///
    /// # Errors
    /// The file is larger than [`MACRO_FILE_MAX`].
    pub(crate) fn file(&mut self, name: &str) -> Result<Option<String>, String> {
        if self.dirs.is_empty() || !is_name(name) {
            return Ok(None);
        }
        if let Some(known) = self.files.get(name) {
            return known.clone();
        }
        let found = self.read(name);
        self.files.insert(name.to_owned(), found.clone());
        found
    }

    fn read(&mut self, name: &str) -> Result<Option<String>, String> {
        for dir in &self.dirs {
            let path = dir.join(format!("{name}.tpl"));
            // Asked first, because opening a pipe would wait for its other end.
            if !std::fs::metadata(&path).is_ok_and(|meta| meta.is_file()) {
                continue;
            }
            let Ok(file) = crate::regular::open_regular(&path) else {
                continue;
            };
            if self.careful
                && let Err(why) = is_safe(dir, &file)
            {
                self.warnings.push(format!(
                    "the macro file {} is passed over: {why}; let both belong to root, writable by nobody else (chown root, chmod go-w)",
                    path.display()
                ));
                continue;
            }
            let mut bytes = Vec::new();
            let read = file.take(MACRO_FILE_MAX + 1).read_to_end(&mut bytes);
            if read.is_err() {
                continue;
            }
            if bytes.len() as u64 > MACRO_FILE_MAX {
                return Err(format!(
                    "the macro file {} has more than {MACRO_FILE_MAX} bytes: divide it, or take it away",
                    path.display()
                ));
            }
            let text = String::from_utf8_lossy(&bytes);
            if TEMPLATES.iter().any(|entry| entry.0 == name) {
                self.note = Some(format!("the macro file {} is used", path.display()));
            }
            return Ok(Some(strip(&text, true)));
        }
        Ok(None)
    }

    /// The names of the user's own macros.
    pub(crate) fn own_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for dir in &self.dirs {
            let found = std::fs::read_dir(dir).into_iter().flatten().flatten();
            for entry in found.take(MACRO_FILES_LISTED) {
                let file = entry.file_name();
                let name = file.to_str().and_then(|file| file.strip_suffix(".tpl"));
                names.extend(name.filter(|name| is_name(name)).map(str::to_owned));
            }
        }
        names
    }

    /// Which files were passed over, and why; each once.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// What is to be told of the last file that was found, once.
    pub(crate) fn take_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// Our own macro of this name, without its comments.
    pub(crate) fn built_in(&self, name: &str) -> Option<Arc<str>> {
        self.built_in.get(name).cloned()
    }

    /// The source of a macro: the user's, or our own.
    ///
    /// # Errors
    /// That of [`Library::file`].
    pub(crate) fn source(&mut self, name: &str) -> Result<Option<String>, String> {
        let own = |library: &Self| library.built_in(name).map(|text| text.as_ref().to_owned());
        let file = self.file(name)?;
        Ok(file.or_else(|| own(self)))
    }
}

/// Whether nobody else may write a file, or exchange it in its folder.
fn is_safe(dir: &Path, file: &File) -> Result<(), String> {
    let dir = std::fs::metadata(dir).map_err(|error| error.to_string())?;
    crate::trust::trusted(&dir).map_err(|why| format!("of its folder, {why}"))?;
    let file = file.metadata().map_err(|error| error.to_string())?;
    crate::trust::trusted(&file)
}

/// Whether a name may be that of a macro and its file.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.+:,".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_above_the_limit_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let limit = usize::try_from(MACRO_FILE_MAX).unwrap();
        std::fs::write(dir.path().join("most.tpl"), "a".repeat(limit)).unwrap();
        std::fs::write(dir.path().join("more.tpl"), "a".repeat(limit + 1)).unwrap();
        std::fs::write(dir.path().join("state.tpl"), "a".repeat(limit + 1)).unwrap();
        let mut library = Library::new(vec![dir.path().to_owned()]);
        assert_eq!(library.source("most").unwrap().unwrap().len(), limit);
        // Also where there is one of our own, and each time.
        for name in ["more", "state", "more"] {
            let why = library.source(name).unwrap_err();
            assert!(
                why.contains(&format!("{name}.tpl has more than {limit} bytes")),
                "{why}"
            );
        }
        assert_eq!(library.source("none"), Ok(None));
    }

    #[test]
    fn root_passes_over_what_others_may_write() {
        let dir = tempfile::tempdir().unwrap();
        let (open, safe) = (dir.path().join("open"), dir.path().join("safe"));
        for (at, text) in [(&open, "theirs"), (&safe, "ours")] {
            std::fs::create_dir(at).unwrap();
            mode(at, 0o755);
            let path = at.join("x.tpl");
            std::fs::write(&path, text).unwrap();
            mode(&path, 0o644);
        }
        let found = |careful| {
            let mut library = Library::new(vec![open.clone(), safe.clone()]);
            library.careful = careful;
            let text = library.source("x").unwrap().unwrap();
            (text, library.take_warnings().join("\n"))
        };
        assert_eq!(found(true), ("theirs".to_owned(), String::new()));
        for (path, bits) in [
            (&open, 0o777),
            (&open, 0o1777),
            (&open, 0o775),
            (&open.join("x.tpl"), 0o666),
        ] {
            mode(path, bits);
            let (text, warning) = found(true);
            assert_eq!(text, "ours");
            assert!(warning.contains("open/x.tpl is passed over"), "{warning}");
            assert!(
                warning.contains(&format!("others may write it (mode {bits:04o})")),
                "{warning}"
            );
            // Others than root are warned of nothing.
            assert_eq!(found(false), ("theirs".to_owned(), String::new()));
            mode(&open, 0o755);
        }
    }
}
