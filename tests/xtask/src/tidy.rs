//! Rules about files that no other tool checks.

use crate::Findings;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file in lines.
const LINES_MAX: usize = 700;
/// The only folder with code that the compiler cannot check.
const UNSAFE_FOLDER: &str = "datapath/io/";
/// The only file that knows how texts from elsewhere are escaped for people.
const ESCAPES: &str = "meta/model/src/shown.rs";
/// Where values are formatted for programmers, and no text of people or of other nodes is among them: hashes of names in the
/// code, quoting in a configuration file, reports of the demonstration, the name of a variant, times.
const FOR_PROGRAMMERS: &[&str] = &[
    "marsadm/src/events/cursor.rs",
    "meta/api/src/message.rs",
    "marsadm/src/sandbox/",
    "gossip/net/src/dial.rs",
    "gossip/net/src/join/",
];
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
            findings.extend(check_escapes(&name, &text));
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

/// Messages show texts as [`ESCAPES`] does, and in no other way; in particular not as Rust prints them for programmers.
fn check_escapes(name: &str, text: &str) -> Findings {
    let product = name.contains("/src/") && !name.starts_with("tests/") && name != ESCAPES;
    let exempt = FOR_PROGRAMMERS.iter().any(|place| name.starts_with(place));
    if !product || exempt || name.ends_with("tests.rs") || name.contains("/tests/") {
        return Findings::new();
    }
    let mut findings = Findings::new();
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let programmers = ["assert", "panic!", "unreachable!", "write!(f, "];
    for (number, line) in (1..).zip(code.lines()) {
        let line = line.split("//").next().unwrap_or_default();
        let debug = line.contains(":?}") && !programmers.iter().any(|word| line.contains(word));
        if debug || line.contains(".escape_debug(") || line.contains(".escape_default(") {
            findings.push(format!(
                "{name}:{number}: messages show texts by mars_meta_model::shown"
            ));
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
    fn messages_have_one_way_to_escape() {
        let found = |name: &str, text: &str| check_escapes(name, text).len();
        assert_eq!(found("a/src/a.rs", "let _ = format!(\"{x:?}\");"), 1);
        assert_eq!(found("a/src/a.rs", "#[error(\"{0:?} is bad\")]"), 1);
        assert_eq!(found("a/src/a.rs", "x.escape_debug()"), 1);
        assert_eq!(found("a/src/a.rs", "assert!(a, \"{x:?}\"); // {y:?}"), 0);
        let test = "#[cfg(test)]\nmod tests { format!(\"{x:?}\"); }";
        assert_eq!(found("a/src/a.rs", test), 0);
        assert_eq!(found("a/tests/it/a.rs", "format!(\"{x:?}\")"), 0);
        assert_eq!(found("gossip/net/src/dial.rs", "format!(\"{x:?}\")"), 0);
    }

    #[test]
    fn words_have_ends() {
        assert!(has_word("use sled::Db", "sled::"));
        assert!(!has_word("use unsled::Db", "sled::"));
        assert!(!has_word("mars-sb-XXXX", "XXX"));
    }
}
