//! Where in a unit a value may stand, and which one: directives that are not named here take none.

use super::name::escape;

/// Directives and remarks whose words name other units.
pub(super) const DEPENDENCIES: [&str; 27] = [
    "Unit",
    "Service",
    "Sockets",
    "Requires",
    "Requisite",
    "Wants",
    "BindsTo",
    "PartOf",
    "Upholds",
    "Before",
    "After",
    "Conflicts",
    "OnFailure",
    "OnSuccess",
    "PropagatesStopTo",
    "StopPropagatedFrom",
    "JoinsNamespaceOf",
    "WantedBy",
    "RequiredBy",
    "Also",
    "RequiresMountsFor",
    "WantsMountsFor",
    "UpheldBy",
    "Alias",
    "PropagatesReloadTo",
    "ReloadPropagatedFrom",
    "ALSO",
];

/// Commands of a service; `ExecSearchPath=` and `ExecPaths=` are none.
const COMMANDS: [&str; 7] = [
    "ExecCondition",
    "ExecStartPre",
    "ExecStart",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
];

/// A device or a place in the file system that is mounted, waited for or worked in: none is read or executed.
const PLACES: [&str; 6] = [
    "What",
    "Where",
    "WorkingDirectory",
    "PathExists",
    "PathChanged",
    "PathModified",
];

/// A number, with a unit perhaps.
const AMOUNTS: [&str; 10] = [
    "TimeoutSec",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "RestartSec",
    "MemoryHigh",
    "MemoryMax",
    "TasksMax",
    "CPUQuota",
    "CPUWeight",
    "IOWeight",
];

/// What takes the names of the resource and of this host, and no other value.
const NAMED: [&str; 12] = [
    "Environment",
    "EnvironmentFile",
    "ReadWritePaths",
    "ReadOnlyPaths",
    "RuntimeDirectory",
    "StateDirectory",
    "CacheDirectory",
    "LogsDirectory",
    "PIDFile",
    "ListenStream",
    "ListenFIFO",
    "SyslogIdentifier",
];

/// Programs that run, or have run, what their arguments name.
const LAUNCHERS: &str = "ash at awk bash batch bun busctl busybox bwrap chpst chroot chrt csh dash dbus-send deno doas docker env eval \
    exec expect find fish flock gawk gdb git gosu ionice ip java ksh ltrace lua machinectl make mawk mksh nice \
    node nohup nsenter numactl parallel perl php pkexec podman prlimit pwsh python rbash rc-service ruby run-parts \
    runcon runuser script sed service setarch setpriv setsid sh socat ssh start-stop-daemon stdbuf strace su sudo \
    systemctl systemd-nspawn systemd-run taskset tclsh timeout toybox unshare valgrind virsh watch xargs yash zsh";

/// Bytes of values outside of free text and of names of units.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c)
}

/// What is known here without anybody's value: names and paths that may stand where other values may not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own {
    names: Vec<String>,
    paths: Vec<String>,
    /// The template, with the names in it.
    written: String,
}

impl Own {
    /// The names of a resource that this host takes part in and of this host, where they follow the grammar of names,
    /// the paths that follow from them, and the paths that the template writes out as an argument of a macro.
    pub(crate) fn of(resource: Option<&str>, host: Option<&str>, template: &str) -> Self {
        let mut own = Self {
            names: Vec::new(),
            paths: vec!["/mars".to_owned()],
            written: template.to_owned(),
        };
        if let Some(name) = resource.filter(|name| is_name(name)) {
            own.paths.push(format!("/dev/mars/{name}"));
            own.paths.push(format!("/mars/resource-{name}"));
        }
        for (var, name) in [("res", resource), ("host", host)] {
            let Some(name) = name.filter(|name| is_name(name)) else {
                continue;
            };
            for form in [format!("%{{{var}}}"), format!("@{{{var}}}")] {
                own.written = own.written.replace(&form, name);
            }
            own.names.push(name.to_owned());
        }
        own
    }

    fn is_name(&self, value: &str) -> bool {
        self.names.iter().any(|n| n == value || escape(n) == value)
    }

    fn is_path(&self, value: &str) -> bool {
        let written = || self.written.contains(&format!("{{{value}}}"));
        self.paths.iter().any(|path| path == value) || value.starts_with('/') && written()
    }
}

fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !text.is_empty() && !text.starts_with('-') && text.chars().all(good)
}

/// Whether a value may stand in a directive behind what is there `before` it. The value has passed the rules for all
/// places already, and has no blanks.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn check(own: &Own, directive: &str, before: &str, value: &str) -> Result<(), String> {
    let word = before
        .rsplit(char::is_whitespace)
        .next()
        .unwrap_or_default();
    let is = |list: &[&str]| list.contains(&directive);
    if is(&COMMANDS) {
        return in_command(own, directive, before, value);
    }
    if is(&DEPENDENCIES) && directive != "Alias" || directive == "Documentation" {
        return Ok(());
    }
    if is(&PLACES) {
        if value.is_empty() {
            return Err(format!("a value of {directive}= is empty"));
        }
        return as_path(own, directive, word, value);
    }
    if is(&AMOUNTS) {
        let unit = value.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_amount = unit.len() < value.len()
            && unit.len() <= 3
            && unit.chars().all(|c| c.is_ascii_alphabetic() || c == '%');
        if is_amount {
            return Ok(());
        }
        return Err(format!(
            "the value {} of {directive}= is no number",
            shown(value)
        ));
    }
    if is(&NAMED) {
        if own.is_name(value) {
            return below_a_folder(directive, word, value);
        }
        return Err(format!(
            "{directive}= takes the names of the resource and of this host, and no other value such as {}",
            shown(value)
        ));
    }
    Err(format!(
        "{directive}= takes no value: what arrives over the network names no file that is read or executed, no user \
         and no setting; write it out"
    ))
}

fn shown(value: &str) -> String {
    format!("'{}'", mars_meta_model::escaped(value))
}

/// A path of our own, or one name in a folder that is written out.
fn as_path(own: &Own, directive: &str, word: &str, value: &str) -> Result<(), String> {
    if own.is_name(value) || word.is_empty() && own.is_path(value) {
        return Ok(());
    }
    if value.contains('/') {
        return Err(format!(
            "the value {} would name a path in {directive}=: write its folder out, so that the value is one name in it",
            shown(value)
        ));
    }
    below_a_folder(directive, word, value)?;
    if !word.contains('/') && PLACES.contains(&directive) {
        return Err(format!(
            "the value {} would begin the path of {directive}=: write its folder out",
            shown(value)
        ));
    }
    Ok(())
}

/// In a path, a folder other than the root is written out before the value.
fn below_a_folder(directive: &str, word: &str, value: &str) -> Result<(), String> {
    if value.chars().all(|c| c == '.') {
        return Err(format!("the value {} is no name", shown(value)));
    }
    let Some((_, path)) = word.split_once('/') else {
        return Ok(());
    };
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    if folders
        .split('/')
        .all(|part| part.is_empty() || part == ".")
    {
        return Err(format!(
            "the value {} would name something in the root folder in {directive}=: write a folder out",
            shown(value)
        ));
    }
    Ok(())
}

fn in_command(own: &Own, directive: &str, before: &str, value: &str) -> Result<(), String> {
    let at = Command::read(before);
    let Some(program) = at.program() else {
        return Err(format!(
            "a value would choose the program of {directive}=: write it out"
        ));
    };
    if value.is_empty() {
        return Err(format!("a value of {directive}= is empty"));
    }
    if value.contains('\\') {
        return Err(format!(
            "the value {} contains '\\', which {directive}= would take for another character",
            shown(value)
        ));
    }
    if let Some(c) = value.chars().find(|c| !is_plain(*c)) {
        return Err(format!(
            "the value {} contains {}, and in {directive}= there are letters, digits and _./:@%+=,- only",
            shown(value),
            shown(&c.to_string())
        ));
    }
    if own.is_name(value) || at.word.is_empty() && own.is_path(value) {
        return Ok(());
    }
    if at.quote.is_some() {
        return Err(format!(
            "the value {} would stand within quotes in {directive}=, where a program may take it for a command",
            shown(value)
        ));
    }
    if LAUNCHERS.split(' ').any(|launcher| launcher == program) {
        return Err(format!(
            "the value {} would go to {program}, which runs what it is told: write the program of {directive}= out",
            shown(value)
        ));
    }
    let is_begin = at.word.chars().all(|c| c == '-');
    let is_odd = !at.word.is_empty() || value.starts_with(['-', '+', '@', '=', ',']);
    if is_begin && is_odd {
        return Err(format!(
            "the value {} would be an option of the program of {directive}=",
            shown(value)
        ));
    }
    as_path(own, directive, &at.word, value)
}

/// Where in a command a text ends.
#[derive(Debug, Default)]
struct Command {
    words: Vec<String>,
    /// The word that is begun.
    word: String,
    /// The quotes that are open.
    quote: Option<char>,
}

impl Command {
    /// Splits as systemd does: blanks, quotes, backslashes, and `;` between commands.
    fn read(text: &str) -> Self {
        let mut at = Self::default();
        let (mut raw, mut begun) = (String::new(), false);
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if at.quote.is_none() && c.is_whitespace() {
                let word = std::mem::take(&mut at.word);
                if std::mem::take(&mut begun) {
                    if raw == ";" {
                        at.words.clear();
                    } else {
                        at.words.push(word);
                    }
                }
                raw.clear();
                continue;
            }
            begun = true;
            raw.push(c);
            match c {
                '\\' => {
                    raw.extend(chars.next().inspect(|next| at.word.push(*next)));
                }
                c if at.quote == Some(c) => at.quote = None,
                '"' | '\'' if at.quote.is_none() => at.quote = Some(c),
                c => at.word.push(c),
            }
        }
        at
    }

    /// The name of the program without its folder, prefixes and version; `None` if it is what comes next.
    fn program(&self) -> Option<&str> {
        let first = self.words.first()?;
        let path = first.trim_start_matches(['@', '-', ':', '+', '!', '|']);
        if first.len() > path.len() && first[..first.len() - path.len()].contains('|') {
            // By way of the user's shell.
            return Some("sh");
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        Some(name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
