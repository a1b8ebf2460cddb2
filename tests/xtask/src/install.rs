//! Puts all that belongs on a machine into its places: programs, manual pages, completion scripts, units.

use crate::{Findings, cargo, root, run};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const USAGE: &str = "usage: cargo xtask install [--debug] DESTDIR (\"/\" for this machine)";
const PROGRAMS: [&str; 3] = ["marsadm", "marsd", "mars-datapath"];
/// Shell, and where its scripts are looked for.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/marsadm"),
    ("zsh", "usr/share/zsh/vendor-completions/_marsadm"),
    ("fish", "usr/share/fish/vendor_completions.d/marsadm.fish"),
];

/// Builds the programs and installs everything below a folder. Templates of units are examples and go to the
/// documentation: what is in `/usr/lib/marsadm` would be in effect.
pub(crate) fn install(args: &[String]) -> Findings {
    let (debug, dest) = match args {
        [dest] => (false, dest),
        [flag, dest] if flag == "--debug" => (true, dest),
        _ => return vec![USAGE.to_owned()],
    };
    let mut build = cargo();
    build.args(["build", "-q", "-p", "marsadm", "--bins"]);
    if !debug {
        build.arg("--release");
    }
    let findings = run("build", &mut build);
    if !findings.is_empty() {
        return findings;
    }
    let built = crate::target_directory()
        .map(|target| target.join(if debug { "debug" } else { "release" }));
    let done = built.and_then(|built| {
        let dest = std::path::absolute(dest).map_err(|error| format!("{dest}: {error}"))?;
        place(&built, &dest).map_err(|error| error.to_string())
    });
    done.err().into_iter().collect()
}

fn place(built: &Path, dest: &Path) -> io::Result<()> {
    for program in PROGRAMS {
        copy(
            &built.join(program),
            &dest.join("usr/bin").join(program),
            0o755,
        )?;
    }
    let marsadm = built.join("marsadm");
    let pages = dest.join("usr/share/man/man1");
    fs::create_dir_all(&pages)?;
    output(Command::new(&marsadm).args(["man", "--dir"]).arg(&pages))?;
    for (shell, path) in COMPLETIONS {
        let script = output(Command::new(&marsadm).args(["completion", shell]))?;
        write(&dest.join(path), &script, 0o644)?;
    }
    let units = root().join("dist/systemd");
    copy_all(&units, &dest.join("usr/lib/systemd/system"))?;
    copy_all(
        &units.join("templates"),
        &dest.join("usr/share/doc/marsadm/systemd-templates"),
    )?;
    copy_all(
        &root().join("dist/examples"),
        &dest.join("usr/share/doc/marsadm/examples"),
    )
}

/// What a command prints.
fn output(command: &mut Command) -> io::Result<Vec<u8>> {
    let output = command.output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("{command:?} failed: {text}")));
    }
    Ok(output.stdout)
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            copy(&entry.path(), &to.join(entry.file_name()), 0o644)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", from.display()));
    write(to, &fs::read(from).map_err(named)?, mode)
}

/// Writes beside the place and renames: a program that runs is not overwritten.
fn write(to: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", to.display()));
    let mut fresh = to.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(named)?;
    }
    fs::write(&fresh, bytes).map_err(named)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).map_err(named)?;
    fs::rename(&fresh, to).map_err(named)
}
