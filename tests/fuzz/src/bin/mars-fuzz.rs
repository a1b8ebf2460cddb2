//! `mars-fuzz --target NAME|all [--seconds S] [--seed N]`: long campaigns. `mars-fuzz --write-corpus`: the corpus anew.

#![forbid(unsafe_code)]

use mars_fuzz::{Campaign, TARGETS, Target, committed, target, write_corpus};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn say(text: &str) {
    // A closed stdout is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
}

struct Wanted {
    targets: Vec<&'static Target>,
    seconds: u64,
    seed: u64,
}

fn wanted(args: &[String]) -> Result<Wanted, String> {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut wanted = Wanted {
        targets: Vec::new(),
        seconds: 60,
        seed: clock.as_secs(),
    };
    for two in args.chunks(2) {
        let [flag, value] = two else {
            return Err(format!("{} needs a value", two.concat()));
        };
        let number = || {
            value
                .parse::<u64>()
                .map_err(|error| format!("{flag} {value}: {error}"))
        };
        match flag.as_str() {
            "--target" if value == "all" => wanted.targets.extend(TARGETS),
            "--target" => wanted.targets.push(target(value).ok_or_else(|| {
                let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                format!("there is no target {value}; there are: {}", names.join(" "))
            })?),
            "--seconds" => wanted.seconds = number()?,
            "--seed" => wanted.seed = number()?,
            _ => return Err(format!("{flag} is not known")),
        }
    }
    if wanted.targets.is_empty() {
        return Err("usage: --target NAME|all [--seconds S] [--seed N]".to_owned());
    }
    Ok(wanted)
}

/// Runs one campaign; whether all promises were kept.
fn run(target: &Target, wanted: &Wanted) -> Result<bool, String> {
    let files =
        committed(target.name).map_err(|error| format!("corpus of {}: {error}", target.name))?;
    let corpus: Vec<Vec<u8>> = files.into_iter().map(|(_, bytes)| bytes).collect();
    let time = Duration::from_secs(wanted.seconds);
    let tally = Campaign::Time(time).run(target, &corpus, wanted.seed);
    say(&format!(
        "{}: seed {}, {} execs, {} accepted, at most {} bytes of memory",
        target.name, wanted.seed, tally.execs, tally.accepted, tally.peak
    ));
    let Some(crash) = tally.crash else {
        return Ok(true);
    };
    let digest = blake3::hash(&crash.input).to_hex();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("crashes");
    let path = dir.join(format!("{}-{}", target.name, &digest[..16]));
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&path, &crash.input))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    say(&format!(
        "{}: {}\n  input saved as {}",
        target.name,
        crash.reason,
        path.display()
    ));
    Ok(false)
}

fn all(args: &[String]) -> Result<bool, String> {
    if args.first().is_some_and(|word| word == "--write-corpus") {
        for target in TARGETS {
            let count =
                write_corpus(target.name).map_err(|error| format!("{}: {error}", target.name))?;
            say(&format!("{}: {count} files", target.name));
        }
        return Ok(true);
    }
    let wanted = wanted(args)?;
    let mut good = true;
    for target in &wanted.targets {
        good &= run(target, &wanted)?;
    }
    Ok(good)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match all(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("mars-fuzz: {error}"));
            ExitCode::from(2)
        }
    }
}
