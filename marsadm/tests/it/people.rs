//! What people meet first: help, manual pages, completion.

use crate::World;
use crate::documents::all_commands;
use std::process::Stdio;

const PROGRAM: &str = env!("CARGO_BIN_EXE_marsadm");

#[test]
fn every_help_has_an_example() {
    fn walk(path: &[&str], command: &clap::Command, missing: &mut Vec<String>) {
        if command.is_hide_set() {
            return;
        }
        let whole = path.join(" ");
        if let Some(first) = path.first() {
            let help = command.clone().render_long_help().to_string();
            let own = |line: &str| {
                let example = line.trim().strip_prefix("Example: ");
                example.is_some_and(|e| format!("{e} ").contains(&format!("marsadm {first} ")))
            };
            if !help.lines().any(own) {
                missing.push(format!("marsadm {whole} --help has no example"));
            }
            if command.get_about().is_none() {
                missing.push(format!("marsadm {whole} says nothing of itself"));
            }
        }
        for sub in command.get_subcommands() {
            let mut path = path.to_vec();
            path.push(sub.get_name());
            walk(&path, sub, missing);
        }
    }
    let mut root = marsadm::cli::definition();
    root.build();
    let mut missing = Vec::new();
    walk(&[], &root, &mut missing);
    missing.retain(|line| !line.contains(" help "));
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    // The process shows the same.
    for line in ["meta --help", "meta import --help", "help meta import"] {
        let shown = std::process::Command::new(PROGRAM)
            .args(line.split(' '))
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("Example: marsadm meta "), "{line}: {shown}");
    }
}

#[test]
fn every_command_has_a_manual_page_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let status = std::process::Command::new(PROGRAM)
        .args(["man", "--dir"])
        .arg(dir.path())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    for (path, command) in all_commands() {
        if command.is_hide_set() {
            continue;
        }
        let page = dir.path().join(format!("marsadm-{}.1", path.join("-")));
        assert!(page.exists(), "no page {}", page.display());
    }
    assert!(dir.path().join("marsadm.1").exists());
}

/// What a shell offers; `None` if the shell is not installed.
async fn offers(w: &World, shell: &str, script: &str) -> Option<Vec<String>> {
    let folder = std::path::Path::new(PROGRAM).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = tokio::process::Command::new(shell)
        .args(["-c", script])
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("MARS_SOCKET", &w.double.socket)
        .env("HOME", w.dir.path())
        .env_remove("MARS_OUTPUT")
        .current_dir(w.dir.path())
        .stdin(Stdio::null())
        .output()
        .await;
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{shell}: {error}"),
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort();
    assert!(
        !lines.is_empty(),
        "{shell}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(lines)
}

fn with_names() -> World {
    let w = World::new(&["hosta", "hostb"]);
    w.double.put(&[
        ("directory/mydata/member-hosta", "storage"),
        ("directory/myweb/member-hostb", "storage"),
    ]);
    w
}

#[tokio::test]
async fn bash_completes_commands_resources_hosts_and_values() {
    let w = with_names();
    for (words, wanted) in [
        ("marsadm prim", vec!["primary"]),
        ("marsadm primary my", vec!["mydata", "myweb"]),
        ("marsadm up mydata,myw", vec!["mydata,myweb"]),
        ("marsadm wait-cluster host", vec!["hosta", "hostb"]),
        ("marsadm --output = nd", vec!["ndjson"]),
        ("marsadm --host = host", vec!["hosta", "hostb"]),
        ("marsadm completion z", vec!["zsh"]),
    ] {
        let count = words.split(' ').count() - 1;
        let script = format!(
            "source <(marsadm completion bash); complete -p marsadm >&2 || exit 1; \
             COMP_WORDS=({words}); COMP_CWORD={count}; _marsadm; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let Some(offered) = offers(&w, "bash", &script).await else {
            println!("skipped: bash is not installed");
            return;
        };
        assert_eq!(offered, wanted, "{words}");
    }
}

#[tokio::test]
async fn fish_completes_resources() {
    let w = with_names();
    let script = "marsadm completion fish | source; complete -C 'marsadm primary my'";
    match offers(&w, "fish", script).await {
        Some(offered) => assert_eq!(offered, ["mydata", "myweb"]),
        None => println!("skipped: fish is not installed"),
    }
}

#[tokio::test]
async fn zsh_completes_resources() {
    let w = with_names();
    // Outside of the line editor: with a stand-in for what takes the words.
    let script = "compdef() { :; }; compadd() { shift; print -l -- \"$@\"; }; \
                  source <(marsadm completion zsh); words=(marsadm primary my); CURRENT=3; _marsadm";
    match offers(&w, "zsh", script).await {
        Some(offered) => assert_eq!(offered, ["mydata", "myweb"]),
        None => println!("skipped: zsh is not installed"),
    }
}

#[tokio::test]
async fn completion_is_silent_without_a_daemon() {
    let w = World::new(&[]);
    std::fs::remove_file(&w.double.socket).unwrap();
    let seen = w.ok("complete-words bash -- primary m").await;
    assert_eq!(seen.stdout(), "");
    let seen = w.ok("complete-words bash -- up").await;
    assert!(seen.stdout().lines().any(|line| line == "up"));
}
