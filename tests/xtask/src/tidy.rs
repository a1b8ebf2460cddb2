//! Rules about files that no other tool checks.

use crate::Findings;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file in lines.
const LINES_MAX: usize = 700;
/// The only folder with code that the compiler cannot check.
const UNSAFE_FOLDER: &str = "datapath/io/";
/// Folders that are not looked into (`.git` may be a file).
const SKIPPED: &[&str] = &["target", ".git"];

/// Checks all files below `root`.
pub(crate) fn check(root: &Path) -> Findings {
    let mut files = Vec::new();
    let mut findings = Findings::new();
    collect(root, &mut files, &mut findings);
    files.sort();
    let mut sled = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file);
        let name = name.to_string_lossy().into_owned();
        let Ok(text) = fs::read_to_string(file) else {
            // Binary files: golden bytes and the like.
            continue;
        };
        findings.extend(check_text(&name, &text));
        if name.ends_with(".rs") {
            findings.extend(check_source(&name, &text));
            // The comparison with other engines uses them as they are.
            let peer = name.starts_with("tests/peers/");
            if !own(&name) && !peer && has_word(&text, "sled::") {
                sled.push(name);
            }
        }
    }
    if sled.len() > 1 {
        findings.push(format!(
            "sled is named in more than one file: {}",
            sled.join(", ")
        ));
    }
    findings
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>, findings: &mut Findings) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            findings.push(format!("{} cannot be read: {error}", dir.display()));
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&path, files, findings),
            Ok(kind) if kind.is_file() => files.push(path),
            _ => {}
        }
    }
}

/// Whether the file is this one, which names what it forbids.
fn own(name: &str) -> bool {
    name.ends_with("xtask/src/tidy.rs")
}

fn check_text(name: &str, text: &str) -> Findings {
    if own(name) || name == "Cargo.lock" {
        return Findings::new();
    }
    let mut findings = Findings::new();
    for (number, line) in (1..).zip(text.lines()) {
        for word in ["TODO", "XXX", "FIXME"] {
            if has_word(line, word) {
                findings.push(format!("{name}:{number}: {word}"));
            }
        }
        for path in ["/home/"] {
            if line.contains(path) {
                findings.push(format!("{name}:{number}: a path of one machine: {path}"));
            }
        }
    }
    findings
}

fn check_source(name: &str, text: &str) -> Findings {
    let mut findings = Findings::new();
    if !text.starts_with("//!") {
        findings.push(format!("{name}: does not begin with //!"));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.push(format!("{name}: {lines} lines, at most {LINES_MAX}"));
    }
    if !name.starts_with(UNSAFE_FOLDER) && !own(name) {
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            let forbidden = [
                "unsafe {",
                "unsafe fn",
                "unsafe impl",
                "unsafe extern",
                "unsafe trait",
                "unsafe(",
            ];
            if forbidden.iter().any(|word| has_word(code, word)) {
                findings.push(format!(
                    "{name}:{number}: unsafe outside of {UNSAFE_FOLDER}"
                ));
            }
        }
    }
    findings
}

/// Whether `word` occurs and no letter, digit or `_` stands before it, nor behind it if it ends in one.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let behind = text[at + word.len()..].chars().next();
        let open_end = word.chars().next_back().is_some_and(part);
        let begins = !before.is_some_and(part);
        let ends = !open_end || !behind.is_some_and(part);
        begins && ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_breach() {
        let found = |name: &str, text: &str| {
            let mut all = check_text(name, text);
            all.extend(check_source(name, text));
            all
        };
        assert!(found("a.rs", "//! x\nfn f() {}\n").is_empty());
        assert_eq!(found("a.rs", "fn f() {}\n").len(), 1);
        assert_eq!(found("a.rs", "//! x\n// TODO: later\n").len(), 1);
        assert!(found("a.rs", "//! x\nconst TODOS: u8 = 1; // todo\n").is_empty());
        assert_eq!(found("a.rs", "//! see /home/x\n").len(), 1);
        assert_eq!(found("a.rs", "//! x\nunsafe { f() }\n").len(), 1);
        assert!(found("a.rs", "//! x\n#![forbid(unsafe_code)] // no unsafe { }\n").is_empty());
        assert!(found("datapath/io/src/a.rs", "//! x\nunsafe { f() }\n").is_empty());
        assert_eq!(
            found("a.rs", &format!("//! x\n{}", "\n".repeat(700))).len(),
            1
        );
    }

    #[test]
    fn words_have_ends() {
        assert!(has_word("use sled::Db", "sled::"));
        assert!(!has_word("use unsled::Db", "sled::"));
        assert!(!has_word("mars-sb-XXXX", "XXX"));
    }
}
