//! Developer commands: `cargo xtask verify` (reads only), `cargo xtask fix` (writes), `cargo xtask demo` (shows all at work),
//! `cargo xtask man` (writes the manual pages), `cargo xtask install` (puts all into its places), `cargo xtask sim` and `bench-gossip` (many nodes in virtual time).

#![forbid(unsafe_code)]

mod imports;
mod install;
mod licences;
mod tidy;

use serde_json::Value;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What a check found: nothing, or one line per finding.
type Findings = Vec<String>;

fn say(text: &str) {
    // A closed stderr is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let findings = match args.first().map(String::as_str) {
        Some("verify") => verify(),
        Some("fix") => fix(),
        Some("demo") => demo(&args[1..]),
        Some("man") => man(&args[1..]),
        Some("install") => install::install(&args[1..]),
        Some("gcmodel") => gcmodel(&args[1..]),
        Some("fuzz") => fuzz(&args[1..]),
        Some("sim") => simulate("sim", &args[1..]),
        Some("bench-gossip") => simulate("bench", &args[1..]),
        _ => vec![
            "usage: cargo xtask verify | fix | demo [OPTIONS OF marsadm sandbox demo] | man DIR | install [--debug] DESTDIR \
             | sim [--nodes N] [--seed S] [--count C] | bench-gossip WHAT [OPTIONS] \
             | gcmodel [--seeds FROM COUNT] | fuzz --target NAME|all [--seconds S] [--seed N]"
                .to_owned(),
        ],
    };
    for finding in &findings {
        say(&format!("xtask: {finding}"));
    }
    if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Writes the manual pages into a folder, which is made.
fn man(args: &[String]) -> Findings {
    let [dir] = args else {
        return vec!["usage: cargo xtask man DIR".to_owned()];
    };
    // The own folder is not that of the program that is run.
    let dir = match std::path::absolute(dir) {
        Ok(dir) => dir,
        Err(error) => return vec![format!("{dir}: {error}")],
    };
    if let Err(error) = std::fs::create_dir_all(&dir) {
        return vec![format!("{} cannot be made: {error}", dir.display())];
    }
    let words = [
        "run", "-q", "-p", "marsadm", "--bin", "marsadm", "--", "man", "--dir",
    ];
    run("manual pages", cargo().args(words).arg(dir))
}

/// The workspace's root, two folders above this package.
fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).map(PathBuf::from).unwrap_or(own)
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end; its failure is a finding.
fn run(name: &str, command: &mut Command) -> Findings {
    say(&format!("xtask: {name}"));
    match command.status() {
        Ok(status) if status.success() => Findings::new(),
        Ok(status) => vec![format!("{name} failed ({status})")],
        Err(error) => vec![format!("{name} did not start: {error}")],
    }
}

/// What `cargo metadata` says, or why it says nothing.
fn metadata(args: &[&str]) -> Result<Value, String> {
    let output = cargo()
        .args(["metadata", "--format-version", "1"])
        .args(args)
        .output()
        .map_err(|error| format!("cargo metadata did not start: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("cargo metadata failed: {text}"));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn verify() -> Findings {
    let mut findings = run(
        "cargo fmt --check",
        cargo().args(["fmt", "--all", "--check"]),
    );
    say("xtask: tidy");
    findings.extend(tidy::check(&root()));
    say("xtask: import table");
    findings.extend(match metadata(&["--no-deps"]) {
        Ok(metadata) => imports::check(&metadata),
        Err(error) => vec![error],
    });
    say("xtask: licences");
    findings.extend(licences::check());
    findings.extend(run(
        "cargo clippy",
        cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    ));
    findings.extend(run(
        "cargo doc",
        cargo()
            .args(["doc", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    ));
    if findings.is_empty() {
        say("xtask: all is well");
    }
    findings
}

fn fix() -> Findings {
    let mut findings = run(
        "cargo clippy --fix",
        cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--fix",
            "--allow-dirty",
            "--allow-staged",
        ]),
    );
    findings.extend(run("cargo fmt", cargo().args(["fmt", "--all"])));
    findings
}

/// Plays many histories of tombstone collection.
fn gcmodel(args: &[String]) -> Findings {
    let seeds = match args {
        [] => "0,10000".to_owned(),
        [flag, from, count] if flag == "--seeds" => format!("{from},{count}"),
        _ => return vec!["usage: cargo xtask gcmodel [--seeds FROM COUNT]".to_owned()],
    };
    let mut command = cargo();
    command.args(["test", "-p", "mars-meta-model", "--test", "it", "--"]);
    command.args(["long_campaign", "--ignored", "--nocapture"]);
    run("histories of collection", command.env("GC_SEEDS", seeds))
}

/// Mutated inputs for decoders.
fn fuzz(args: &[String]) -> Findings {
    let package = ["run", "--quiet", "--package", "mars-fuzz", "--"];
    run("mars-fuzz", cargo().args(package).args(args))
}

/// A program of the simulator, with what follows as its arguments.
fn simulate(program: &str, args: &[String]) -> Findings {
    let package = [
        "run",
        "--quiet",
        // Thousands of handshakes: unoptimised, a cluster of 1,000 nodes takes hours.
        "--profile",
        "sim",
        "--package",
        "mars-sim",
        "--bin",
        program,
        "--",
    ];
    run(
        &format!("mars-sim {program}"),
        cargo().args(package).args(args),
    )
}

/// Where cargo builds.
fn target_directory() -> Result<PathBuf, String> {
    let metadata = metadata(&["--no-deps"])?;
    let target = metadata["target_directory"].as_str().map(PathBuf::from);
    target.ok_or_else(|| "cargo metadata names no target directory".to_owned())
}

fn demo(args: &[String]) -> Findings {
    let findings = run(
        "cargo build",
        cargo().args(["build", "--package", "marsadm", "--bins"]),
    );
    if !findings.is_empty() {
        return findings;
    }
    let target = match target_directory() {
        Ok(target) => target,
        Err(error) => return vec![error],
    };
    let program = target.join("debug/marsadm");
    let mut command = Command::new(&program);
    command.args(["sandbox", "demo"]);
    // The project's own sources are a tree that is always there.
    if !args
        .iter()
        .any(|arg| arg == "--tree" || arg.starts_with("--tree="))
    {
        command.arg("--tree").arg(root());
    }
    say(&format!("xtask: {} sandbox demo", program.display()));
    run("the demonstration", command.args(args))
}
