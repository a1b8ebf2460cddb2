//! Hooks of the original, which are not run here: whoever has some must hear of it, since they may fence.

use std::path::{Path, PathBuf};

/// The hooks in these folders that the original would run at `verb`: `hook-pre`, `hook-post`, the same with the name of the
/// command behind it, and folders of these names with `.d`.
///
/// `there` tells whether a path exists.
#[must_use]
pub fn unheeded(verb: &str, dirs: &[PathBuf], there: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in dirs {
        for when in ["pre", "post"] {
            for name in [format!("hook-{when}-{verb}"), format!("hook-{when}")] {
                for path in [dir.join(&name), dir.join(format!("{name}.d"))] {
                    if there(&path) {
                        found.push(path);
                    }
                }
            }
        }
    }
    found
}

/// The warning about such hooks; nothing if there are none.
#[must_use]
pub fn warning(verb: &str, found: &[PathBuf]) -> Option<String> {
    let names: Vec<String> = found
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "WARNING: hooks are not run by this marsadm, because a command that hangs or fails in one would leave a role \
             half changed: {} was left alone. Instead fence and check in what calls marsadm {verb}, start and stop \
             applications by systemd units (marsadm set-systemd-unit), notify from marsadm events --follow; then remove the \
             hooks, which ends this warning (docs/migrate.md)",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_of_the_command_and_of_all_commands_are_found() {
        let dirs = [
            PathBuf::from("/etc/marsadm"),
            PathBuf::from("/usr/lib/marsadm"),
        ];
        let have = [
            "/etc/marsadm/hook-pre-primary",
            "/usr/lib/marsadm/hook-post.d",
        ];
        let there = |path: &Path| have.iter().any(|held| path == Path::new(held));
        let found = unheeded("primary", &dirs, there);
        assert_eq!(found, have.map(PathBuf::from));
        let text = warning("primary", &found).unwrap();
        assert!(
            text.contains("hook-pre-primary") && text.contains("not run"),
            "{text}"
        );
        // The reason, and what to do instead.
        for part in [
            "because",
            "calls marsadm primary",
            "set-systemd-unit",
            "docs/migrate.md",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(unheeded("attach", &dirs, there).len(), 1);
        assert_eq!(
            warning("attach", &unheeded("attach", &dirs, |_| false)),
            None
        );
    }
}
