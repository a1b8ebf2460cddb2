//! Where the user's own macros are looked for.

use std::ffi::OsStr;
use std::path::PathBuf;

/// The folders of macro files, the first one first.
///
/// `mars_path` is the variable `MARS_PATH`: a list joined by colons, which replaces the default. The default is the
/// current folder, `$HOME/.marsadm`, `/etc/marsadm` and two folders of the installation. Root never reads macros from
/// the current folder, nor from any relative path: whoever may write there would decide what root is told.
#[must_use]
pub fn template_dirs(mars_path: Option<&OsStr>, home: Option<&OsStr>, root: bool) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = match mars_path.filter(|path| !path.is_empty()) {
        Some(list) => std::env::split_paths(list).collect(),
        None => {
            let mut dirs = vec![PathBuf::from(".")];
            dirs.extend(home.map(|home| PathBuf::from(home).join(".marsadm")));
            for dir in ["/etc/marsadm", "/usr/lib/marsadm", "/usr/local/lib/marsadm"] {
                dirs.push(PathBuf::from(dir));
            }
            dirs
        }
    };
    dirs.retain(|dir| !dir.as_os_str().is_empty() && (!root || dir.is_absolute()));
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_reads_no_relative_folder() {
        let list = OsStr::new(".:/a::b");
        let both = |root| template_dirs(Some(list), None, root);
        assert_eq!(both(true), [PathBuf::from("/a")]);
        assert_eq!(both(false), [".", "/a", "b"].map(PathBuf::from));
        let home = Some(OsStr::new("/h"));
        assert!(!template_dirs(None, home, true).contains(&PathBuf::from(".")));
        assert_eq!(
            template_dirs(None, home, false)[1],
            PathBuf::from("/h/.marsadm")
        );
    }
}
