//! `top` on a terminal of its own, which `script` of util-linux makes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A shell on a terminal that starts `top` and notes its process, its end and the settings of the terminal around it.
fn start(dir: &Path) -> Option<Child> {
    let at = |name: &str| dir.join(name).display().to_string();
    let text = format!(
        "stty -g > {before}; {top} --socket {none} top < /dev/tty & echo $! > {pid}; wait $!; echo $? > {code}; \
         stty -g > {after}",
        before = at("before"),
        top = env!("CARGO_BIN_EXE_marsadm"),
        none = at("no.sock"),
        pid = at("pid"),
        code = at("code"),
        after = at("after"),
    );
    std::fs::write(dir.join("run.sh"), text).unwrap();
    Command::new("script")
        .arg("-qefc")
        .arg(format!("sh {}", at("run.sh")))
        .arg(at("seen"))
        .env("TERM", "xterm")
        .env_remove("MARS_OUTPUT")
        // Open as long as it runs: its end would be a key.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
}

#[test]
fn a_signal_gives_the_terminal_back() {
    for signal in ["TERM", "INT", "HUP"] {
        let dir = tempfile::tempdir().unwrap();
        let Some(mut child) = start(dir.path()) else {
            println!("SKIPPED: there is no program script");
            return;
        };
        let seen = dir.path().join("seen");
        until("the whole screen", || read(&seen).contains(ENTERED));
        let pid = read(&dir.path().join("pid")).trim().to_owned();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success(), "{signal}");
        until("its end", || !read(&dir.path().join("after")).is_empty());
        let _ = child.wait();
        let (code, text) = (read(&dir.path().join("code")), read(&seen));
        assert_ne!(code.trim(), "0", "{signal}");
        let (_, behind) = text
            .split_once(LEFT)
            .unwrap_or_else(|| panic!("{signal}: {text:?}"));
        assert!(
            behind.contains(&format!("interrupted by SIG{signal}")),
            "{behind:?}"
        );
        let settings = ["before", "after"].map(|name| read(&dir.path().join(name)));
        assert_eq!(settings[0], settings[1], "{signal}");
    }
}
