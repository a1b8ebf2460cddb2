//! Where macros are found: `--macro`, files of the user, and our own.

use super::parse::strip;
use crate::limits::{MACRO_FILE_MAX, MACRO_FILES_LISTED};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
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
    files: BTreeMap<String, Option<String>>,
    built_in: BTreeMap<&'static str, Arc<str>>,
    note: Option<String>,
}

impl Library {
    /// A library that looks for files in these folders, the first one first.
    pub(crate) fn new(dirs: Vec<PathBuf>) -> Self {
        let built_in = TEMPLATES
            .iter()
            .map(|(name, text)| (*name, Arc::from(strip(text, false))))
            .collect();
        Self {
            dirs,
            built_in,
            ..Self::default()
        }
    }

    /// The user's own macro of this name.
    pub(crate) fn file(&mut self, name: &str) -> Option<String> {
        if self.dirs.is_empty() || !is_name(name) {
            return None;
        }
        if let Some(known) = self.files.get(name) {
            return known.clone();
        }
        let found = self.read(name);
        self.files.insert(name.to_owned(), found.clone());
        found
    }

    fn read(&mut self, name: &str) -> Option<String> {
        for dir in &self.dirs {
            let path = dir.join(format!("{name}.tpl"));
            // Asked first, because opening a pipe would wait for its other end.
            if !std::fs::metadata(&path).is_ok_and(|meta| meta.is_file()) {
                continue;
            }
            let Ok(file) = crate::regular::open_regular(&path) else {
                continue;
            };
            let mut bytes = Vec::new();
            let read = file.take(MACRO_FILE_MAX).read_to_end(&mut bytes);
            if read.is_ok() {
                let text = String::from_utf8_lossy(&bytes);
                if TEMPLATES.iter().any(|entry| entry.0 == name) {
                    self.note = Some(format!("the macro file {} is used", path.display()));
                }
                return Some(strip(&text, true));
            }
        }
        None
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

    /// What is to be told of the last file that was found, once.
    pub(crate) fn take_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// Our own macro of this name, without its comments.
    pub(crate) fn built_in(&self, name: &str) -> Option<Arc<str>> {
        self.built_in.get(name).cloned()
    }

    /// The source of a macro: the user's, or our own.
    pub(crate) fn source(&mut self, name: &str) -> Option<String> {
        self.file(name)
            .or_else(|| self.built_in(name).map(|text| text.as_ref().to_owned()))
    }
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
