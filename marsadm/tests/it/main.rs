//! Tests of the command line against a metadata daemon in memory.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

mod cluster;
mod dead_plane;
mod documents;
mod double;
mod events;
mod full_disk;
mod golden;
mod golden_macros;
mod golden_tree;
mod logs;
mod meta;
mod options;
mod people;
mod raw;
mod reading;
mod resources;
mod roles;
mod schema;
mod silent;
mod supervised;
mod top;
mod units;
mod units_refused;
mod verbs;
mod views;
mod words;
mod writing;
mod wrong_input;

use double::Double;
use marsadm::cli::{Cli, legacy_args};
use marsadm::error::{Error, Kind};
use marsadm::ui::{Captured, Ui};

/// A node `hosta` with its daemon in a folder of its own.
struct World {
    double: Double,
    dir: tempfile::TempDir,
}

impl World {
    fn new(peers: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let double = Double::start(dir.path(), peers);
        Self { double, dir }
    }

    /// Runs a command line whose words are separated by blanks.
    async fn run(&self, line: &str) -> (Result<(), Error>, Captured) {
        let words: Vec<&str> = line.split(' ').collect();
        self.run_words(&words).await
    }

    async fn run_words(&self, words: &[&str]) -> (Result<(), Error>, Captured) {
        use clap::Parser as _;
        let mut args = vec![
            "marsadm".into(),
            "--socket".into(),
            self.double.socket.clone().into(),
        ];
        args.extend(words.iter().map(|word| (*word).into()));
        let cli = Cli::try_parse_from(legacy_args(args)).unwrap();
        let (ui, captured) = Ui::captured();
        (marsadm::run::run(&ui, cli).await, captured)
    }

    /// The same, as if data went to a terminal.
    async fn run_on_terminal(&self, words: &[&str]) -> (Result<(), Error>, Captured) {
        use clap::Parser as _;
        let (ui, captured) = Ui::captured_terminal();
        if words == ["show"] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let ctx = self.ctx(ui.clone(), marsadm::snapshot::Origin::Live);
            let answer = marsadm::macros::answer_from(&ctx, &words).await.unwrap();
            marsadm::macros::print(&ui, &answer);
            return (Ok(()), captured);
        }
        let mut args: Vec<std::ffi::OsString> = vec![
            "marsadm".into(),
            "--socket".into(),
            self.double.socket.clone().into(),
        ];
        args.extend(words.iter().map(|word| (*word).into()));
        let cli = Cli::try_parse_from(legacy_args(args)).unwrap();
        (marsadm::run::run(&ui, cli).await, captured)
    }

    /// What a reading command works with.
    fn ctx(&self, ui: Ui, origin: marsadm::snapshot::Origin) -> marsadm::context::Ctx {
        let options = marsadm::context::Options {
            socket: self.double.socket.clone(),
            timeout: std::time::Duration::from_secs(10),
            window: std::time::Duration::from_secs(60),
            force: false,
            dry_run: false,
            acting: None,
            parallel: 1,
            force_values: false,
            origin,
        };
        marsadm::context::Ctx::new(ui, options)
    }

    async fn ok(&self, line: &str) -> Captured {
        let (result, captured) = self.run(line).await;
        assert_eq!(result, Ok(()), "{line}: {}", captured.stderr());
        captured
    }

    async fn fails(&self, line: &str, kind: Kind, why: &str) -> Error {
        let (result, captured) = self.run(line).await;
        let error = result.expect_err(line);
        assert_eq!(error.kind, kind, "{line}: {error}");
        assert!(
            error.to_string().contains(why),
            "{line}: {error}; {}",
            captured.stderr()
        );
        // The thing at fault stands first: the command, or an option of it.
        let named = error.to_string();
        let command = line.split(' ').find(|w| !w.starts_with('-')).unwrap();
        let mut options = line.split([' ', '=']).filter(|w| w.starts_with("--"));
        assert!(
            named.starts_with(command) || options.any(|option| named.starts_with(option)),
            "{line}: {named}"
        );
        error
    }

    /// A disk of `bytes` bytes; returns its path.
    fn disk(&self, name: &str, bytes: u64) -> String {
        let path = self.dir.path().join(name);
        std::fs::File::create(&path)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        path.to_str().unwrap().to_owned()
    }
}
