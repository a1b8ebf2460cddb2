//! The folders of templates. As root only what root alone could write is read.

use super::engine::{Fault, Template};
use super::name::SUFFIXES;
use crate::limits::{UNIT_TEMPLATE_MAX, UNIT_TEMPLATES_MAX};
use crate::trust::trusted;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The templates of all folders; of those of one name the first one counts.
pub(super) fn load(dirs: &[PathBuf]) -> (Vec<Template>, Vec<Fault>) {
    let mut found: BTreeMap<String, Template> = BTreeMap::new();
    let mut faults = Vec::new();
    for dir in dirs {
        if let Err(why) = load_dir(dir, &mut found, &mut faults) {
            faults.push(fault(dir, why));
        }
    }
    (found.into_values().collect(), faults)
}

fn fault(path: &Path, why: String) -> Fault {
    Fault {
        template: Some(path.display().to_string()),
        line: 0,
        unit: None,
        resource: None,
        why,
        next: "let it belong to root, writable by nobody else (chown root, chmod go-w)".to_owned(),
    }
}

fn load_dir(
    dir: &Path,
    found: &mut BTreeMap<String, Template>,
    faults: &mut Vec<Fault>,
) -> Result<(), String> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(()),
        Err(error) => return Err(format!("the folder cannot be read: {error}")),
    };
    let mut names: Vec<String> = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("the folder cannot be read: {error}"))?;
        if let Some(name) = entry.file_name().to_str()
            && is_template(name)
        {
            names.push(name.to_owned());
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    let meta = std::fs::metadata(dir).map_err(|error| error.to_string())?;
    trusted(&meta)?;
    names.sort();
    for name in names {
        if found.contains_key(&name) {
            continue;
        }
        let path = dir.join(&name);
        match read(&path) {
            Ok(_) if found.len() >= UNIT_TEMPLATES_MAX => {
                return Err(format!(
                    "there are more than {UNIT_TEMPLATES_MAX} templates"
                ));
            }
            Ok(text) => {
                found.insert(name.clone(), Template { name, text });
            }
            Err(why) => faults.push(fault(&path, why)),
        }
    }
    Ok(())
}

/// Whether a file of this name is one.
fn is_template(name: &str) -> bool {
    let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
    !name.starts_with('.') && suffix.is_some_and(|suffix| SUFFIXES.contains(&suffix))
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("it cannot be read: {error}");
    // Asked first, because opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(cannot)?;
    trusted(&file.metadata().map_err(cannot)?)?;
    let limit = u64::try_from(UNIT_TEMPLATE_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    file.take(limit + 1)
        .read_to_string(&mut text)
        .map_err(cannot)?;
    if text.len() > UNIT_TEMPLATE_MAX {
        return Err(format!("it has more than {UNIT_TEMPLATE_MAX} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_first_folder_counts_and_odd_files_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for (at, name, text) in [
            (&a, "x-@{res}.service", "one"),
            (&a, "x.conf", "no"),
            (&a, ".y.service", "no"),
            (&a, "x.script", "no"),
            (&b, "x-@{res}.service", "two"),
            (&b, "z.target", "three"),
        ] {
            std::fs::create_dir_all(at).unwrap();
            std::fs::write(at.join(name), text).unwrap();
            let open = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(at.join(name), open).unwrap();
            std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::create_dir(b.join("d.service")).unwrap();
        let dirs = [a.clone(), dir.path().join("missing"), b.clone()];
        let (templates, faults) = load(&dirs);
        let texts: Vec<&str> = templates.iter().map(|t| t.text.as_str()).collect();
        assert_eq!(texts, ["one", "three"]);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].why.contains("no file"));
        // What others may write is not believed.
        let open = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(a.join("x-@{res}.service"), open).unwrap();
        let (templates, faults) = load(std::slice::from_ref(&a));
        assert!(templates.is_empty());
        assert!(
            faults[0]
                .to_string()
                .contains("others may write it (mode 0666)")
        );
        std::fs::set_permissions(&b, std::fs::Permissions::from_mode(0o777)).unwrap();
        let (templates, faults) = load(&[b]);
        assert!(templates.is_empty() && faults[0].why.contains("0777"));
    }
}
