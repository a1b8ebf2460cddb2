//! What the reader chose, and what keys do.

use crate::keys::natural;
use crate::status::{Elsewhere, Resource, Severity, Status};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Longest filter.
const FILTER_MAX: usize = 63;

/// By what resources are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Worst first.
    #[default]
    Severity,
    /// Most seconds at risk first.
    Risk,
    /// By name.
    Name,
}

impl Sort {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Severity => "severity",
            Self::Risk => "risk",
            Self::Name => "name",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Severity => Self::Risk,
            Self::Risk => Self::Name,
            Self::Name => Self::Severity,
        }
    }
}

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The resources.
    #[default]
    List,
    /// One resource with its replicas and problems.
    Detail,
    /// The causes of one resource's state.
    Explain,
    /// The keys.
    Help,
}

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// A letter or sign.
    Char(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// One up.
    Up,
    /// One down.
    Down,
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Show it.
    Draw,
    /// Ask anew, then show it.
    Refresh,
    /// End.
    Quit,
}

/// What the reader chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// What is shown.
    pub mode: Mode,
    /// The order.
    pub sort: Sort,
    /// Only resources whose name contains this.
    pub filter: String,
    /// Whether the filter is being typed.
    pub typing: bool,
    /// Only resources with problems.
    pub problems: bool,
    /// The chosen resource.
    pub chosen: Option<String>,
    /// Lines that are scrolled away in detail and explain.
    pub scrolled: usize,
}

impl Screen {
    /// The resources that are listed, in order.
    #[must_use]
    pub fn listed<'s>(&self, status: &'s Status) -> Vec<&'s Resource> {
        let mut list: Vec<&Resource> = status
            .resources
            .iter()
            .filter(|res| res.name.contains(&self.filter))
            .filter(|res| !self.problems || res.severity > Severity::Ok)
            .collect();
        match self.sort {
            Sort::Severity => {}
            Sort::Risk => list.sort_by_key(|res| Reverse(res.at_risk.urgency())),
            Sort::Name => list.sort_by_cached_key(|res| natural(&res.name)),
        }
        list
    }

    /// The resources elsewhere of which there are summaries only, as far as they are listed.
    #[must_use]
    pub fn summarized<'s>(&self, status: &'s Status) -> Vec<&'s Elsewhere> {
        let list = status.elsewhere.iter();
        list.filter(|res| res.name.contains(&self.filter))
            .filter(|res| !self.problems || !res.well)
            .collect()
    }

    /// The resources elsewhere that are to be watched: listed ones, at first those with trouble, no more than `most`. What is
    /// watched already stays as long as it is listed.
    #[must_use]
    pub fn watched(&self, status: &Status, most: usize) -> BTreeSet<String> {
        let outside = status.resources.iter().filter(|res| res.role == "outside");
        let told = outside.filter(|res| res.name.contains(&self.filter));
        let told = told.map(|res| res.name.clone());
        let mut others = status.elsewhere.clone();
        others.retain(|res| res.name.contains(&self.filter));
        others.sort_by_key(|res| res.well);
        let others = others.into_iter().map(|res| res.name);
        told.chain(others).take(most).collect()
    }

    /// The chosen resource; the first one if none is.
    #[must_use]
    pub fn chosen<'s>(&self, status: &'s Status) -> Option<&'s Resource> {
        let list = self.listed(status);
        let found = list
            .iter()
            .find(|res| Some(&res.name) == self.chosen.as_ref());
        found.or(list.first()).copied()
    }

    /// What a key does.
    pub fn press(&mut self, press: Press, status: Option<&Status>) -> Act {
        if self.typing {
            match press {
                Press::Enter => self.typing = false,
                Press::Escape => {
                    self.typing = false;
                    self.filter.clear();
                }
                Press::Backspace => {
                    self.filter.pop();
                }
                Press::Char(c) if !c.is_control() && self.filter.chars().count() < FILTER_MAX => {
                    self.filter.push(c);
                }
                _ => {}
            }
            return Act::Draw;
        }
        match press {
            Press::Char('q') => return Act::Quit,
            Press::Escape if self.mode == Mode::List => return Act::Quit,
            Press::Escape | Press::Backspace => self.open(Mode::List),
            Press::Enter => self.open(Mode::Detail),
            Press::Char('e') => {
                self.open(Mode::Explain);
                return Act::Refresh;
            }
            Press::Char('?' | 'h') => self.open(Mode::Help),
            Press::Char('s') => self.sort = self.sort.next(),
            Press::Char('x') => self.problems = !self.problems,
            Press::Char('/') => {
                self.open(Mode::List);
                self.typing = true;
            }
            Press::Char('r') => return Act::Refresh,
            Press::Up | Press::Char('k') => return self.go(false, status),
            Press::Down | Press::Char('j') => return self.go(true, status),
            Press::Char(_) => {}
        }
        Act::Draw
    }

    const fn open(&mut self, mode: Mode) {
        self.mode = mode;
        self.scrolled = 0;
    }

    fn go(&mut self, down: bool, status: Option<&Status>) -> Act {
        if self.mode != Mode::List {
            self.scrolled = if down {
                self.scrolled.saturating_add(1)
            } else {
                self.scrolled.saturating_sub(1)
            };
            return Act::Draw;
        }
        let Some(status) = status else {
            return Act::Draw;
        };
        let list = self.listed(status);
        let at = self
            .chosen(status)
            .and_then(|chosen| list.iter().position(|res| res.name == chosen.name));
        let next = match (at, down) {
            (None, _) => 0,
            (Some(at), true) => (at + 1).min(list.len().saturating_sub(1)),
            (Some(at), false) => at.saturating_sub(1),
        };
        self.chosen = list.get(next).map(|res| res.name.clone());
        Act::Draw
    }
}
