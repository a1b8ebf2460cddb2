//! What all steps of the demonstration share: its folder, its output, commands on nodes, and the record of checks.

use crate::context::{Ctx, Options};
use crate::error::{Error, Kind, Result};
use crate::sandbox::place::Place;
use crate::size::human;
use crate::ui::Ui;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The resource of the demonstration.
pub(super) const RESOURCE: &str = "mydata";
/// Longest wait for anything.
pub(super) const LIMIT: Duration = Duration::from_secs(120);
/// How often is looked where there is nothing to wait on.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How many steps there are.
const STEPS: usize = 9;

/// The demonstration's surroundings.
#[derive(Debug)]
pub(super) struct Stage {
    ui: Ui,
    opts: Options,
    own: PathBuf,
    begin: Instant,
    step: usize,
    step_begin: Instant,
    checks: Vec<String>,
    bytes: u64,
    keys: usize,
    /// Folder of the sandbox.
    pub(super) nodes: PathBuf,
    /// Folder for everything else.
    pub(super) work: PathBuf,
}

/// What a command said.
#[derive(Debug)]
pub(super) struct Said {
    /// Its exit code.
    pub(super) code: Option<i32>,
    /// Its data.
    pub(super) out: String,
    /// Its messages.
    pub(super) err: String,
}

/// An expectation that did not hold.
pub(super) fn wrong(check: &str, expected: impl AsRef<str>, found: impl AsRef<str>) -> Error {
    let (expected, found) = (expected.as_ref(), found.as_ref());
    Error::new(
        Kind::Negative,
        format!("check failed: {check}\n  expected: {expected}\n  found:    {found}"),
    )
}

/// A failure of the system.
pub(super) fn io(what: &str) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::internal(format!("{what}: {error}"))
}

/// Seconds with one digit.
pub(super) fn secs(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl Stage {
    /// A stage in `dir`, from now.
    pub(super) fn new(ctx: &Ctx, dir: &Path) -> Result<Self> {
        Ok(Self {
            ui: ctx.ui.clone(),
            opts: ctx.opts.clone(),
            own: std::env::current_exe().map_err(io("the own program is not found"))?,
            begin: Instant::now(),
            step: 0,
            step_begin: Instant::now(),
            checks: Vec::new(),
            bytes: 0,
            keys: 0,
            nodes: dir.join("nodes"),
            work: dir.join("work"),
        })
    }

    /// The own program.
    pub(super) fn program(&self) -> Command {
        let mut command = Command::new(&self.own);
        command.env_remove("MARS_SOCKET").env_remove("MARS_LOG");
        command
    }

    /// Begins the next step.
    pub(super) fn begin(&mut self, title: &str) {
        self.step += 1;
        self.step_begin = Instant::now();
        let since = secs(self.begin.elapsed());
        self.ui
            .line(&format!("[{}/{STEPS}] {title}  (at {since})", self.step));
    }

    /// Ends the step.
    pub(super) fn end(&self) {
        self.say(&format!("done in {}", secs(self.step_begin.elapsed())));
    }

    /// A result.
    pub(super) fn say(&self, text: &str) {
        for line in text.lines() {
            self.ui.line(&format!("      {line}"));
        }
    }

    /// What goes on.
    pub(super) fn progress(&self, text: &str) {
        self.ui.note(&format!("      .. {text}"));
    }

    /// A check held.
    pub(super) fn ok(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.say(&format!("ok: {text}"));
        self.checks.push(format!("{}. {text}", self.step));
    }

    /// Counts compared bytes.
    pub(super) const fn compared(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Counts compared keys.
    pub(super) const fn compared_keys(&mut self, keys: usize) {
        self.keys += keys;
    }

    /// The last words, if all went well.
    pub(super) fn summary(&self, kept: Option<&Path>) {
        self.ui.line("");
        self.ui.line("What was checked (step. check):");
        for check in &self.checks {
            self.ui.line(&format!("  {check}"));
        }
        self.ui.line("");
        if let Some(dir) = kept {
            self.ui.line(&format!("Kept: {}", dir.display()));
        }
        self.ui.line(&format!(
            "DEMO PASSED: {} checks in {} steps held; {} bytes ({}) and {} keys were compared; {}",
            self.checks.len(),
            self.step,
            self.bytes,
            human(self.bytes),
            self.keys,
            secs(self.begin.elapsed())
        ));
    }

    /// The last words, if not.
    pub(super) fn failure(&self, dir: &Path) {
        self.ui.line("");
        self.ui.line(&format!(
            "DEMO FAILED in step {} of {STEPS}, after {} checks that held; {}. Kept: {} (logs of the daemons: {}/HOST/*.log)",
            self.step,
            self.checks.len(),
            secs(self.begin.elapsed()),
            dir.display(),
            self.nodes.display(),
        ));
    }

    /// Runs `marsadm ARGS` on a node and gives what it said, however it ended.
    pub(super) fn ask(&self, host: &str, args: &[&str]) -> Result<Said> {
        let limit = LIMIT.as_secs().to_string();
        let output = self
            .program()
            .args(["sandbox", "exec", "--dir"])
            .arg(&self.nodes)
            .args([host, "--"])
            .args(args)
            .args(["--timeout", &limit])
            .stdin(Stdio::null())
            .output()
            .map_err(io("marsadm cannot be run"))?;
        Ok(Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned(),
            err: String::from_utf8_lossy(&output.stderr)
                .trim_end()
                .to_owned(),
        })
    }

    /// Runs `marsadm ARGS` on a node, which must succeed, and gives its data.
    pub(super) fn on(&self, host: &str, args: &[&str]) -> Result<String> {
        self.progress(&format!("{host}$ marsadm {}", args.join(" ")));
        let said = self.ask(host, args)?;
        if said.code == Some(0) {
            return Ok(said.out);
        }
        Err(wrong(
            &format!("marsadm {} on {host}", args.join(" ")),
            "exit code 0",
            format!("{:?}: {}", said.code, said.err),
        ))
    }

    /// Runs a sandbox command, which must succeed.
    pub(super) fn sandbox(&self, args: &[&str]) -> Result<String> {
        self.progress(&format!("$ marsadm sandbox {}", args.join(" ")));
        let output = self
            .program()
            .arg("sandbox")
            .args(args)
            .arg("--dir")
            .arg(&self.nodes)
            .stdin(Stdio::null())
            .output()
            .map_err(io("marsadm cannot be run"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(wrong(
            &format!("marsadm sandbox {}", args.join(" ")),
            "success",
            String::from_utf8_lossy(&output.stderr).trim_end(),
        ))
    }

    /// Shows what `view` says on a node.
    pub(super) fn view(&self, host: &str) -> Result<()> {
        let text = self.on(host, &["view", "all"])?;
        for line in text.lines() {
            self.say(&format!("| {line}"));
        }
        Ok(())
    }

    /// Looks again and again until `look` finds something.
    pub(super) fn wait<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let begin = Instant::now();
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if begin.elapsed() >= LIMIT {
                return Err(wrong(
                    what,
                    format!("within {} s", LIMIT.as_secs()),
                    "not so",
                ));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// The sandbox.
    pub(super) fn place(&self) -> Result<Place> {
        Place::open(&self.nodes)
    }

    /// Runs requests of the local API on a node.
    pub(super) fn api<T>(
        &self,
        host: &str,
        work: impl AsyncFnOnce(&Ctx) -> Result<T>,
    ) -> Result<T> {
        let options = Options {
            socket: self.place()?.node(host)?.socket.clone(),
            timeout: LIMIT,
            ..self.opts.clone()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io("the runtime did not start"))?;
        runtime.block_on(async { work(&Ctx::new(self.ui.clone(), options)).await })
    }
}
