//! The only place that prints: data to stdout, all else to stderr.

use crate::error::Error;
use crate::shown::shown;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

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

fn text(bytes: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// Where output goes. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Ui {
    verbose: bool,
    terminal: bool,
    data_terminal: bool,
    capture: Option<Captured>,
}

impl Ui {
    /// Output of the process.
    #[must_use]
    pub fn process(verbose: bool) -> Self {
        Self {
            verbose,
            terminal: std::io::stderr().is_terminal(),
            data_terminal: std::io::stdout().is_terminal(),
            capture: None,
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

    /// Whether data may be coloured: it goes to a terminal, and the environment variable `NO_COLOR` is not set or
    /// empty.
    #[must_use]
    pub fn colour(&self) -> bool {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        self.data_terminal && !refused
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
            capture: Some(capture.clone()),
        };
        (ui, capture)
    }

    /// A line of data.
    pub fn line(&self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Data as it is, and a newline.
    pub fn bytes(&self, bytes: &[u8]) {
        let mut line = bytes.to_vec();
        line.push(b'\n');
        self.write(true, &line);
    }

    /// A message that is always shown.
    pub fn note(&self, text: &str) {
        self.write(false, format!("{text}\n").as_bytes());
    }

    /// A message for those who watch: shown on a terminal and with `--verbose`.
    pub fn progress(&self, text: &str) {
        if self.terminal || self.verbose {
            self.note(text);
        }
    }

    /// A message for `--verbose`.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            self.note(text);
        }
    }

    /// A failure with its next step.
    pub fn error(&self, program: &str, error: &Error) {
        self.note(&format!("{program}: {error}"));
        if let Some(hint) = &error.hint {
            self.note(&format!("  next: {hint}"));
        }
    }

    fn write(&self, data: bool, bytes: &[u8]) {
        // A reader that went away (`marsadm view | head`) is no failure of the command.
        let _ = match &self.capture {
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
    }
}
