//! The folder of a sandbox and what is where in it.

use crate::error::{Error, Kind, Result};
use crate::limits::{SANDBOX_NODES_MAX, SOCKET_PATH_MAX};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Where short socket paths are made if the folder's own would be too long.
const SHORT_PREFIX: &str = "/tmp/mars-sb-";
const STATE_FILE: &str = "sandbox.json";
const SUPERVISOR_LOG: &str = "supervisor.log";

/// A sandbox as its state file describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    /// The folder, absolute.
    pub(super) dir: PathBuf,
    /// Folder of the sockets, if not within `dir`.
    pub(super) short_dir: Option<PathBuf>,
    /// The supervisor's socket.
    pub(super) control: PathBuf,
    /// The nodes by name.
    pub(super) nodes: Vec<NodePlace>,
    /// The folder with the programs.
    pub(super) programs: PathBuf,
}

/// A node's paths.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodePlace {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    /// Local API.
    pub(super) socket: PathBuf,
    /// NBD server of the data plane.
    pub(super) nbd_socket: PathBuf,
}

impl NodePlace {
    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("mars.toml")
    }

    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.dir.join(format!("{program}.log"))
    }

    pub(super) fn disk(&self, resource: &str) -> PathBuf {
        self.dir.join("disks").join(format!("{resource}.img"))
    }
}

fn io(what: &str, path: &Path, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => Kind::Denied,
        _ => Kind::Internal,
    };
    Error::new(kind, format!("{what} {}: {error}", path.display()))
}

/// What is not there need not be removed.
fn gone(result: std::io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io("cannot remove", path, &error))
        }
        _ => Ok(()),
    }
}

impl Place {
    /// Makes the folder of a new sandbox with its state file.
    pub(super) fn create(dir: &Path, nodes: usize) -> Result<Self> {
        if nodes == 0 || nodes > SANDBOX_NODES_MAX {
            return Err(Error::usage(format!(
                "--nodes {nodes}: a sandbox has 1 to {SANDBOX_NODES_MAX} nodes"
            )));
        }
        fs::create_dir_all(dir).map_err(|e| io("cannot make folder", dir, &e))?;
        let dir = &fs::canonicalize(dir).map_err(|e| io("cannot use folder", dir, &e))?;
        let mut entries = fs::read_dir(dir).map_err(|e| io("cannot read folder", dir, &e))?;
        if entries.next().is_some() {
            let hint = if dir.join(STATE_FILE).exists() {
                format!(
                    "marsadm sandbox down --dir {}, or name another --dir",
                    dir.display()
                )
            } else {
                "name another --dir".to_owned()
            };
            return Err(
                Error::refused(format!("folder {} is not empty", dir.display())).hint(hint),
            );
        }
        let names: Vec<String> = ('a'..='z')
            .take(nodes)
            .map(|c| format!("host{c}"))
            .collect();
        let longest = dir.join("hosta/run/marsd.sock");
        let short_dir = (longest.as_os_str().len() > SOCKET_PATH_MAX).then(|| {
            let random = uuid::Uuid::new_v4().simple().to_string();
            PathBuf::from(format!("{SHORT_PREFIX}{}", &random[..12]))
        });
        let place = Self {
            control: short_dir.as_ref().unwrap_or(dir).join("control.sock"),
            nodes: names
                .into_iter()
                .map(|name| {
                    let own = dir.join(&name);
                    let run = match &short_dir {
                        Some(short) => short.join(&name),
                        None => own.join("run"),
                    };
                    NodePlace {
                        socket: run.join("marsd.sock"),
                        nbd_socket: run.join("nbd.sock"),
                        dir: own,
                        name,
                    }
                })
                .collect(),
            dir: dir.clone(),
            short_dir,
            programs: programs()?,
        };
        place.make_folders()?;
        let text = serde_json::to_string_pretty(&place)
            .map_err(|error| Error::internal(error.to_string()))?;
        let file = dir.join(STATE_FILE);
        fs::write(&file, text).map_err(|e| io("cannot write", &file, &e))?;
        Ok(place)
    }

    fn make_folders(&self) -> Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut private = fs::DirBuilder::new();
        private.mode(0o700);
        let make = |path: &Path| {
            private
                .create(path)
                .map_err(|e| io("cannot make folder", path, &e))
        };
        if let Some(short) = &self.short_dir {
            make(short)?;
        }
        for node in &self.nodes {
            make(&node.dir)?;
            for sub in ["state", "disks"] {
                make(&node.dir.join(sub))?;
            }
            if let Some(run) = node.socket.parent() {
                make(run)?;
            }
        }
        Ok(())
    }

    /// Reads the state file of an existing sandbox.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let file = dir.join(STATE_FILE);
        let text = fs::read_to_string(&file).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                Error::not_found(format!("there is no sandbox in {}", dir.display()))
                    .hint("marsadm sandbox up --dir DIR starts one")
            } else {
                io("cannot read", &file, &error)
            }
        })?;
        serde_json::from_str(&text)
            .map_err(|error| Error::internal(format!("{} is damaged: {error}", file.display())))
    }

    /// The node of that name.
    pub(super) fn node(&self, name: &str) -> Result<&NodePlace> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| {
                let all: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
                Error::not_found(format!("the sandbox has no node {name}"))
                    .hint(format!("its nodes: {}", all.join(" ")))
            })
    }

    /// The supervisor's log file.
    pub(super) fn supervisor_log(&self) -> PathBuf {
        self.dir.join(SUPERVISOR_LOG)
    }

    /// Whether the supervisor shall go on: its socket and the state file are still there.
    pub(super) fn exists(&self) -> bool {
        self.control.exists() && self.dir.join(STATE_FILE).exists()
    }

    /// Removes the folder of short socket paths, if there is one.
    pub(super) fn remove_sockets(&self) -> Result<()> {
        match &self.short_dir {
            Some(short) if short.to_string_lossy().starts_with(SHORT_PREFIX) => {
                gone(fs::remove_dir_all(short), short)
            }
            _ => Ok(()),
        }
    }

    /// Removes what [`Place::create`] and the supervisor made, and nothing else.
    pub(super) fn remove(&self) -> Result<()> {
        for node in &self.nodes {
            gone(fs::remove_dir_all(&node.dir), &node.dir)?;
        }
        self.remove_sockets()?;
        for file in [
            &self.control,
            &self.supervisor_log(),
            &self.dir.join(STATE_FILE),
        ] {
            gone(fs::remove_file(file), file)?;
        }
        // Stays if somebody put something else there.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }
}

/// The folder of the running program, which has the daemons beside it.
fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe()
        .map_err(|error| Error::internal(format!("the own program is not found: {error}")))?;
    let dir = own.parent().unwrap_or(Path::new("/")).to_owned();
    if dir.join("marsd").exists() {
        return Ok(dir);
    }
    Err(
        Error::not_found(format!("there is no marsd beside {}", own.display()))
            .hint("build all programs (cargo build -p marsadm), or install them in one folder"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_files_are_removed() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("sb");
        let node = NodePlace {
            name: "hosta".to_owned(),
            dir: dir.join("hosta"),
            socket: dir.join("hosta/run/marsd.sock"),
            nbd_socket: dir.join("hosta/run/nbd.sock"),
        };
        let place = Place {
            control: dir.join("control.sock"),
            nodes: vec![node],
            dir: dir.clone(),
            short_dir: None,
            programs: dir.clone(),
        };
        fs::create_dir(&dir).unwrap();
        place.make_folders().unwrap();
        fs::write(dir.join("mine"), "x").unwrap();
        place.remove().unwrap();
        assert_eq!(fs::read(dir.join("mine")).unwrap(), b"x");
        assert!(!dir.join("hosta").exists());
        place.remove().unwrap();
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("x"), "x").unwrap();
        let error = Place::create(tmp.path(), 2).unwrap_err();
        assert!(error.why.contains("not empty"), "{error}");
        assert!(Place::create(tmp.path(), 0).is_err());
        assert_eq!(Place::open(tmp.path()).unwrap_err().kind, Kind::NotFound);
    }
}
