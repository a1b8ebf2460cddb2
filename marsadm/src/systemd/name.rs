//! Names of systemd units: the strict grammar, and the escaping of other texts into it.

use crate::limits::UNIT_NAME_MAX;
use std::fmt;

/// What names of units end in.
pub(crate) const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// The name of a unit: letters, digits and `:-_.\@`, with a suffix that systemd knows. Never a path, never an option.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitName(String);

impl UnitName {
    /// A name out of a text.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = |rule: &str| {
            Err(format!(
                "'{}' is no name of a unit: {rule}",
                mars_meta_model::escaped(text)
            ))
        };
        if text.len() > UNIT_NAME_MAX {
            return Err(format!(
                "a name of a unit has at most {UNIT_NAME_MAX} bytes, not {}",
                text.len()
            ));
        }
        let Some((stem, suffix)) = text.rsplit_once('.') else {
            return bad("it has no suffix such as .service");
        };
        if suffix == "script" {
            return bad("scripts are not run; write a unit of Type=oneshot that calls the script");
        }
        if !SUFFIXES.contains(&suffix) {
            return bad(&format!("systemd has no units of type .{suffix}"));
        }
        if stem.is_empty() || stem.starts_with(['-', '.']) {
            return bad("it begins with - or . or has nothing before its suffix");
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if let Some(c) = stem.chars().find(|c| !allowed(*c)) {
            return bad(&format!(
                "it contains '{}'",
                mars_meta_model::escaped(&c.to_string())
            ));
        }
        if stem.contains("..") {
            return bad("it contains ..");
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it belongs to a template unit of systemd's own (`foo@.service`), which cannot be started.
    #[must_use]
    pub fn is_systemd_template(&self) -> bool {
        self.0.contains("@.")
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text as `systemd-escape` has it: `/` becomes `-`, and what names may not contain becomes `\xNN`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if i == 0 => out.push_str("\\x2e"),
            b':' | b'_' | b'.' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// A path as `systemd-escape --path` has it: without slashes at both ends and without doubled ones; the root is `-`.
///
/// # Errors
/// If a part of it is `..`, which no unit has.
pub fn escape_path(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(format!(
            "'{}' has a part ..",
            mars_meta_model::escaped(text)
        ));
    }
    if parts.is_empty() {
        return Ok("-".to_owned());
    }
    Ok(escape(&parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_grammar_is_that_of_systemd_and_stricter() {
        for good in [
            "mars-r.service",
            "mars-my\\x2ddata.mount",
            "foo@bar.service",
            "a:b_c.target",
        ] {
            assert!(UnitName::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}.service", "a".repeat(250));
        for (bad, why) in [
            ("", "no suffix"),
            ("x", "no suffix"),
            (".service", "nothing before"),
            ("-x.service", "begins with"),
            ("--force.service", "begins with"),
            (".x.service", "begins with"),
            ("a/b.service", "'/'"),
            ("../b.service", "begins with"),
            ("a..b.service", ".."),
            ("a b.service", "' '"),
            ("a\nb.service", "'\\n'"),
            ("a%i.service", "'%'"),
            ("a*.service", "'*'"),
            ("ä.service", "'ä'"),
            ("a.conf", "no units of type"),
            ("a.script", "scripts are not run"),
            ("a.service ", "no units of type"),
            (&long, "at most 255"),
        ] {
            let error = UnitName::parse(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(
            UnitName::parse("foo@.service")
                .unwrap()
                .is_systemd_template()
        );
    }

    #[test]
    fn escaping_is_that_of_systemd() {
        for (text, plain, path) in [
            ("my-data", "my\\x2ddata", "my\\x2ddata"),
            ("/mnt/my data", "-mnt-my\\x20data", "mnt-my\\x20data"),
            (".hidden", "\\x2ehidden", "\\x2ehidden"),
            ("a.b:c_d", "a.b:c_d", "a.b:c_d"),
            ("//a//b/", "--a--b-", "a-b"),
            ("/", "-", "-"),
            ("é", "\\xc3\\xa9", "\\xc3\\xa9"),
        ] {
            assert_eq!(escape(text), plain, "{text}");
            assert_eq!(escape_path(text).unwrap(), path, "{text}");
        }
        assert!(escape_path("/a/../b").is_err());
    }

    #[test]
    fn escaping_agrees_with_the_tool() {
        let Ok(output) = std::process::Command::new("systemd-escape")
            .arg("--version")
            .output()
        else {
            println!("SKIPPED: systemd-escape is not installed");
            return;
        };
        assert!(output.status.success());
        for text in ["my-data", "a b", "x.y", "mnt/a-b", "%i", "A_b:c"] {
            let run = |args: &[&str]| {
                let mut command = std::process::Command::new("systemd-escape");
                let output = command.args(args).arg("--").arg(text).output().unwrap();
                String::from_utf8(output.stdout)
                    .unwrap()
                    .trim_end()
                    .to_owned()
            };
            assert_eq!(escape(text), run(&[]), "{text}");
            assert_eq!(escape_path(text).unwrap(), run(&["--path"]), "{text}");
        }
    }

    proptest! {
        #[test]
        fn escaped_texts_are_names(text in ".{1,40}") {
            let name = format!("mars-{}.service", escape(&text));
            prop_assume!(name.len() <= UNIT_NAME_MAX && !escape(&text).contains(".."));
            prop_assert!(UnitName::parse(&name).is_ok(), "{name}");
        }
    }
}
