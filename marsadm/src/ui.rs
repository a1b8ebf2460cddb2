//! The only place that prints: data to stdout, all else to stderr.
//!
//! With `--output json` and `ndjson` stdout gets documents only: the command's own one
//! ([`Ui::document`], [`Ui::items`], [`Ui::stream`]), else what was recorded while it ran
//! ([`crate::output::Outcome`]). Text lines go to stdout with `--output table` only.

use crate::error::{Error, Result};
use crate::output::{
    Change, Document, Format, Outcome, ResourceOutcome, envelope, failure, to_value, value_text,
};
use crate::shown::shown;
use crate::terminal::{StatusLine, colors};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

tokio::task_local! {
    /// What every message of a task begins with, when several run at once.
    static LABEL: String;
}

/// What was printed, for tests.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// Data.
    pub out: Arc<Mutex<Vec<u8>>>,
    /// Messages.
    pub err: Arc<Mutex<Vec<u8>>>,
}

impl Captured {
    /// The data as text.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.out)
    }

    /// The messages as text.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.err)
    }
}

/// A line as [`shown`] has it, but tabs stay.
fn shown_line(line: &str) -> String {
    let parts: Vec<_> = line.split('\t').map(shown).collect();
    parts.join("\t")
}

fn text(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// What a command has done and handed out so far.
#[derive(Debug, Default)]
struct Record {
    outcome: Outcome,
    document: Option<Document>,
    streamed: bool,
    status: StatusLine,
    /// Why data did not reach stdout.
    lost: Option<String>,
    /// The reader of stdout went away.
    unread: bool,
    /// What to do about lost data of this command.
    when_lost: Option<String>,
}

/// Where output goes. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Ui {
    verbose: bool,
    terminal: bool,
    data_terminal: bool,
    format: Format,
    capture: Option<Captured>,
    record: Arc<Mutex<Record>>,
}

impl Ui {
    /// Output of the process, as text.
    #[must_use]
    pub fn process(verbose: bool) -> Self {
        Self {
            verbose,
            terminal: std::io::stderr().is_terminal(),
            data_terminal: std::io::stdout().is_terminal(),
            format: Format::Table,
            capture: None,
            record: Arc::default(),
        }
    }

    /// Output kept in memory, as if data went to a terminal.
    #[must_use]
    pub fn captured_terminal() -> (Self, Captured) {
        let (mut ui, capture) = Self::captured();
        ui.data_terminal = true;
        (ui, capture)
    }

    /// Whether somebody sits at a terminal: data goes there and keys come from there.
    #[must_use]
    pub fn is_interactive(&self) -> bool {
        self.data_terminal && self.capture.is_none() && std::io::stdin().is_terminal()
    }

    /// Whether data goes to a terminal.
    #[must_use]
    pub const fn data_terminal(&self) -> bool {
        self.data_terminal
    }

    /// Data from elsewhere, and a newline: as it is, but on a terminal as [`shown`] has it.
    pub fn value(&self, bytes: &[u8]) {
        if self.data_terminal {
            self.line(&shown(&String::from_utf8_lossy(bytes)));
        } else {
            self.bytes(bytes);
        }
    }

    /// Output kept in memory.
    #[must_use]
    pub fn captured() -> (Self, Captured) {
        let capture = Captured::default();
        let ui = Self {
            verbose: true,
            terminal: false,
            data_terminal: false,
            format: Format::Table,
            capture: Some(capture.clone()),
            record: Arc::default(),
        };
        (ui, capture)
    }

    /// The same in another form.
    #[must_use]
    pub const fn with_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The same, with or without the messages for those who watch. Output that is kept in memory has them always.
    #[must_use]
    pub const fn with_verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose || self.capture.is_some();
        self
    }

    /// In which form data go to stdout.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Whether programs read the output.
    #[must_use]
    pub const fn is_structured(&self) -> bool {
        self.format.is_structured()
    }

    /// Whether text on stdout may have colours: a terminal that knows them, and `NO_COLOR` is not set.
    #[must_use]
    pub fn has_colors(&self) -> bool {
        !self.is_structured() && self.capture.is_none() && colors(self.data_terminal)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of data, as text, or several; on a terminal as [`shown`] has them, as keys may have had a part in it.
    pub fn line(&self, text: &str) {
        if self.data_terminal && !self.is_structured() {
            let lines: Vec<String> = text.split('\n').map(shown_line).collect();
            self.bytes(lines.join("\n").as_bytes());
        } else {
            self.bytes(text.as_bytes());
        }
    }

    /// A line that has colours of this program's own, and whose values are as [`shown`] has them already.
    pub fn painted(&self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Data as they are, and a newline.
    pub fn bytes(&self, bytes: &[u8]) {
        if self.is_structured() {
            self.record().outcome.lines.push(value_text(bytes));
            return;
        }
        let mut line = bytes.to_vec();
        line.push(b'\n');
        self.write(true, &line);
    }

    /// The command's result for programs; a later one replaces it. Does nothing for people: they get lines.
    ///
    /// # Errors
    /// If the data have no JSON form.
    pub fn document(&self, kind: &'static str, data: &impl Serialize) -> Result<()> {
        if self.is_structured() {
            let data = to_value(data)?;
            self.record().document = Some(Document::One { kind, data });
        }
        Ok(())
    }

    /// The same for a report that is JSON text already.
    ///
    /// # Errors
    /// If the text is no JSON: a fault of this program.
    pub fn raw_document(&self, kind: &'static str, json: &str) -> Result<()> {
        if !self.is_structured() {
            return Ok(());
        }
        let data: Value = serde_json::from_str(json)
            .map_err(|error| Error::internal(format!("a report is no JSON: {error}")))?;
        self.document(kind, &data)
    }

    /// The same for a command whose result is a list: one document `KINDList` with all items, with `ndjson` one
    /// document per item.
    ///
    /// # Errors
    /// If the data have no JSON form.
    pub fn items<T: Serialize>(&self, kind: &'static str, items: &[T]) -> Result<()> {
        if self.is_structured() {
            let items = items.iter().map(to_value).collect::<Result<_>>()?;
            self.record().document = Some(Document::Items { kind, items });
        }
        Ok(())
    }

    /// A document of an endless command: one line, at once, in every form but the table.
    ///
    /// # Errors
    /// If the data have no JSON form, or stdout takes nothing any more.
    pub fn stream(&self, kind: &'static str, data: &impl Serialize) -> Result<()> {
        if self.is_structured() {
            let document = envelope(kind, "data", to_value(data)?);
            self.record().streamed = true;
            self.json(&document, false);
        }
        self.lost().map_or(Ok(()), Err)
    }

    /// A message that is always shown.
    pub fn note(&self, text: &str) {
        if self.is_structured() {
            self.record().outcome.notes.push(text.to_owned());
        }
        self.message(text);
    }

    /// A short line of progress for scripts of the original, which look for it on stdout; for other programs a note.
    pub fn token(&self, text: &str) {
        if self.is_structured() {
            self.note(text);
        } else {
            self.line(&shown(text));
        }
    }

    fn message(&self, text: &str) {
        self.message_after("", text);
    }

    /// A message behind a text of this program's own. Keys may have had a part in the message.
    fn message_after(&self, before: &str, text: &str) {
        let label = LABEL.try_with(Clone::clone).unwrap_or_default();
        let text = shown(text);
        self.write(false, format!("{label}{before}{text}\n").as_bytes());
    }

    /// A message for those who watch: on a terminal one line that is refreshed; with `--verbose` a line of its own.
    pub fn progress(&self, text: &str) {
        if self.verbose {
            self.message(text);
        } else if self.terminal && self.capture.is_none() {
            self.record().status.show(text);
        }
    }

    /// Whether [`Ui::progress`] shows nothing.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        !self.verbose && !self.terminal && self.capture.is_none()
    }

    /// A message on stderr that is no part of what programs get.
    pub fn aside(&self, text: &str) {
        self.message(text);
    }

    /// A message for `--verbose`.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            self.message(text);
        }
    }

    /// A failure with its next step.
    pub fn error(&self, program: &str, error: &Error) {
        let red = self.terminal && self.capture.is_none() && colors(true);
        let program = if red {
            format!("\x1b[1;31m{program}:\x1b[0m ")
        } else {
            format!("{program}: ")
        };
        self.message_after(&program, &error.to_string());
        if let Some(hint) = &error.hint {
            self.message(&format!("  next: {hint}"));
        }
    }

    /// Records changes that were written, or with `--dry-run` would be.
    pub fn changed(&self, changes: impl IntoIterator<Item = Change>) {
        self.record().outcome.changed.extend(changes);
    }

    /// Records the text of a wait that was not over at once.
    pub fn waited(&self, what: &str) {
        self.record().outcome.waited_for.push(what.to_owned());
    }

    /// Records how a resource fared.
    pub fn resource(&self, name: &str, failure: Option<&Error>) {
        let outcome = ResourceOutcome::new(name, failure);
        self.record().outcome.resources.push(outcome);
    }

    /// Runs a task whose messages begin with `label`.
    pub async fn labelled<T>(label: String, task: impl Future<Output = T>) -> T {
        LABEL.scope(label, task).await
    }

    /// Names the next step for the case that what is printed does not reach its reader.
    pub fn when_lost(&self, hint: &str) {
        self.record().when_lost = Some(hint.to_owned());
    }

    /// The failure that stdout did not take all data, if that is so; a reader that went away is none.
    #[must_use]
    pub fn lost(&self) -> Option<Error> {
        let record = self.record();
        let why = record.lost.as_ref()?;
        let hint = record.when_lost.clone().unwrap_or_else(|| {
            "make room where stdout goes, then ask again; what the command has changed stays changed"
                .to_owned()
        });
        Some(Error::internal(format!("stdout did not take the output: {why}")).hint(hint))
    }

    /// Whether the reader of stdout went away, which is no failure: nothing more needs to be printed.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.record().unread
    }

    /// Prints what the command handed out, and its failure. To be called once, at its end. Returns the exit code: the one
    /// given, but after lost data never 0.
    pub fn finish(&self, result: &Result<()>, dry_run: bool, exit_code: u8) -> u8 {
        self.record().status.clear();
        if let Err(error) = result {
            self.error("marsadm", error);
        }
        if dry_run {
            self.count_changes();
        }
        if self.is_structured() {
            self.finish_documents(result, dry_run, exit_code);
        }
        let Some(lost) = self.lost() else {
            return exit_code;
        };
        if result.as_ref().err() != Some(&lost) {
            self.error("marsadm", &lost);
        }
        if exit_code == 0 {
            lost.kind.exit_code()
        } else {
            exit_code
        }
    }

    /// Says how many keys a dry run would have changed, if it named several. For people: programs count them themselves.
    fn count_changes(&self) {
        let (keys, same) = {
            let record = self.record();
            let named = &record.outcome.changed;
            if named.len() < 2 || self.is_structured() {
                return;
            }
            let is_new = |change: &&Change| change.new != change.old;
            let new = named.iter().filter(is_new);
            let keys: BTreeSet<&str> = new.clone().map(|change| change.key.as_str()).collect();
            (keys.len(), named.len() - new.count())
        };
        let same = match same {
            0 => String::new(),
            same => format!(", {same} named above would stay as they are"),
        };
        self.message(&format!(
            "dry run: {keys} keys would change{same}; nothing was written"
        ));
    }

    fn finish_documents(&self, result: &Result<()>, dry_run: bool, exit_code: u8) {
        let (document, streamed) = {
            let mut record = self.record();
            let mut outcome = std::mem::take(&mut record.outcome);
            outcome.dry_run = dry_run;
            let own = record.document.take();
            let empty = outcome
                == Outcome {
                    dry_run,
                    ..Outcome::default()
                };
            let recorded = (!empty || result.is_ok())
                .then(|| to_value(&outcome).ok())
                .flatten()
                .map(|data| Document::One {
                    kind: "Outcome",
                    data,
                });
            (own.or(recorded), record.streamed)
        };
        match (result, self.format) {
            (Ok(()), _) if streamed => {}
            (Err(error), _) if streamed => self.json(&failure(error, exit_code, None), false),
            (Ok(()), Format::Ndjson) => self.lines_of(document),
            (Ok(()), _) => {
                if let Some(document) = document {
                    self.json(&document.whole(), true);
                }
            }
            (Err(error), Format::Ndjson) => {
                self.lines_of(document);
                self.json(&failure(error, exit_code, None), false);
            }
            (Err(error), _) => {
                let partial = document.map(Document::whole);
                self.json(&failure(error, exit_code, partial), true);
            }
        }
    }

    fn lines_of(&self, document: Option<Document>) {
        for one in document.into_iter().flat_map(Document::each) {
            self.json(&one, false);
        }
    }

    fn json(&self, document: &Value, pretty: bool) {
        // Values of JSON always have a text form.
        let text = if pretty {
            serde_json::to_string_pretty(document)
        } else {
            serde_json::to_string(document)
        };
        let mut text = text.unwrap_or_default();
        text.push('\n');
        self.write(true, text.as_bytes());
    }

    fn write(&self, data: bool, bytes: &[u8]) {
        if self.terminal {
            self.record().status.clear();
        }
        let written = match &self.capture {
            Some(capture) => {
                let sink = if data { &capture.out } else { &capture.err };
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .write_all(bytes)
            }
            None if data => {
                let mut out = std::io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            None => std::io::stderr().lock().write_all(bytes),
        };
        // A reader that went away (`marsadm view | head`) is no failure of the command.
        if let Err(error) = written
            && data
        {
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                self.record().unread = true;
            } else {
                self.record().lost.get_or_insert(error.to_string());
            }
        }
    }
}
