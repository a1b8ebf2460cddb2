//! `view`, `view-MACRO`, and the macros' sources.

use super::options::Line;
use super::{Answer, failed, is_id_list, is_list, missing, no_name, resources};
use crate::error::Error;
use crate::macros::facts::{Facts, Part};
use crate::macros::library::{Library, is_name};
use crate::macros::machine::{Machine, NO_MACRO, Stop};
use crate::macros::macro_names;
use crate::macros::number::{seconds, truncate};
use crate::shown::shown;
use crate::suggest;

struct View<'a, 'b> {
    answer: &'b mut Answer,
    facts: &'b Facts<'a>,
    library: Library,
    line: &'b Line,
    command: String,
    name: &'b str,
    args: &'b [String],
}

/// Evaluates macro `name` for what the first argument names: nothing, a resource, a list, a pattern, or `all`.
pub(super) fn view(
    answer: &mut Answer,
    facts: &Facts<'_>,
    library: Library,
    line: &Line,
    name: &str,
    args: &[String],
) {
    let which = args.first().map(String::as_str).unwrap_or_default();
    // An empty word before others only says that they are arguments of the macro. Alone, it is a script's unset variable.
    let unset = which.is_empty() && args.len() == 1;
    if unset || !which.is_empty() && !is_id_list(which) {
        let command = line.words.first().map_or("view", String::as_str);
        answer.refuse(command, no_name(command, which));
        return;
    }
    let command = line.words.first().cloned().unwrap_or_default();
    let mut view = View {
        answer,
        facts,
        library,
        line,
        command,
        name,
        args: args.get(1..).unwrap_or_default(),
    };
    match which {
        "" => view.one(""),
        "all" => view.all(),
        list if is_list(list) => {
            for name in resources(facts, list) {
                view.headed(&name);
            }
        }
        res => view.one(res),
    }
    if line.options.ignore_deleted >= 2 || name == "default" {
        view.dead_peers();
    }
}

impl View<'_, '_> {
    fn all(&mut self) {
        self.part("header");
        let all = self.facts.all_here();
        if all.is_empty() {
            self.answer.note("marsadm: this host has no resource");
        }
        for res in all {
            self.headed(&res);
        }
        self.part("global");
        self.part("footer");
    }

    /// The macro of the whole list, if there is one.
    fn part(&mut self, part: &str) {
        let name = format!("{}-{part}", self.name);
        if let Some(text) = self.library.source(&name) {
            self.print(&name, &text, "", &[]);
        }
    }

    /// A resource of a list, with the line above it.
    fn headed(&mut self, res: &str) {
        if let Some(error) = self.absent(res) {
            self.answer.listed += 1;
            failed(self.answer, &self.command, res, error);
            return;
        }
        let title = title(self.facts, &mut self.library, res);
        self.answer.line(&title);
        self.answer.listed += 1;
        self.one(res);
    }

    /// Why nothing can be said of a resource, if the macro is about one.
    fn absent(&self, res: &str) -> Option<Error> {
        let concerns = !res.is_empty() && !self.name.contains("global");
        missing(self.facts, res).filter(|_| concerns)
    }

    fn one(&mut self, res: &str) {
        if let Some(error) = self.absent(res) {
            failed(self.answer, &self.command, res, error);
            return;
        }
        if self.name == "default" && !res.is_empty() {
            self.split_brain(res);
        }
        let given = self.line.macro_text.clone();
        let text = given.map(|text| crate::macros::parse::strip(&text, true));
        let text = text.or_else(|| self.library.source(self.name));
        if text.is_none() && !is_name(self.name) {
            // Inside a text it would be no call at all but a part of the text.
            let why = format!("{NO_MACRO}{}`", shown(self.name));
            let error = Error::usage(why).hint("docs/macros.md has the names of the macros");
            failed(self.answer, &self.command, res, error);
            return;
        }
        // As in the original, a primitive macro gets the first argument only.
        let text = text.unwrap_or_else(|| format!("%primitive-{}{{%{{1}}}}", self.name));
        let args = self.args.to_vec();
        self.print(self.name, &text, res, &args);
    }

    fn print(&mut self, name: &str, text: &str, res: &str, args: &[String]) {
        match self.evaluate(name, text, res, args) {
            Ok(text) if text.is_empty() && self.command == "show-errors" => {
                self.answer.line("no errors/warnings are reported.");
            }
            Ok(text) => self.answer.text(&text),
            Err(why) => {
                let hint = self.meant(&why).unwrap_or_else(|| {
                    format!(
                        "see marsadm prettyprint-{name}, and docs/macros.md for what macros may do"
                    )
                });
                failed(
                    self.answer,
                    &self.command,
                    res,
                    Error::usage(why).hint(hint),
                );
            }
        }
    }

    /// What an unknown macro was probably meant to be.
    fn meant(&self, why: &str) -> Option<String> {
        let wrong = why.strip_prefix(NO_MACRO)?.strip_suffix('`')?;
        let mut known: Vec<String> = macro_names(true).map(str::to_owned).collect();
        known.extend(self.library.own_names());
        let near = suggest::similar(wrong, &known);
        if near.is_empty() {
            return Some("docs/macros.md has the names of the macros".to_owned());
        }
        let near: Vec<String> = near
            .into_iter()
            .map(|name| {
                if wrong == self.name {
                    format!("view-{name}")
                } else {
                    format!("%{name}{{}}")
                }
            })
            .collect();
        let near = near.join(" or ");
        Some(format!(
            "did you mean {near}? docs/macros.md has the names of the macros"
        ))
    }

    fn evaluate(
        &mut self,
        name: &str,
        text: &str,
        res: &str,
        args: &[String],
    ) -> Result<String, String> {
        let mut machine = Machine::new(*self.facts, &mut self.library);
        let mut scope = machine.scope(name, res, args);
        let result = machine.run(text, &mut scope);
        for warning in std::mem::take(&mut machine.warnings) {
            self.answer.note(&format!("WARNING: {warning}"));
        }
        result.map_err(|stop| match stop {
            Stop::Die(why) => why,
            _ => "the macro did not end as it should".to_owned(),
        })
    }

    fn dead_peers(&mut self) {
        let all = self.facts.total_peers().into_iter();
        for host in all.filter(|host| !self.facts.is_deleted_peer(host)) {
            let age = self.facts.alive_age(&host);
            if age.is_none_or(|age| truncate(age) > self.line.options.window) {
                let age = age.map_or_else(|| seconds(""), |age| seconds(&age.to_string()));
                self.answer
                    .note(&format!("WARNING: no metadata of host `{host}` for {age}"));
            }
        }
    }

    fn split_brain(&mut self, res: &str) {
        if let Some(split) = self.facts.split(res) {
            self.answer.note(&format!("WARNING: {}", split.report(res)));
        }
    }
}

/// The line above a resource of a list.
pub(super) fn title(facts: &Facts<'_>, library: &mut Library, res: &str) -> String {
    let member = facts.takes_part(res, &facts.opts.host, Part::Member);
    let word = if member { "resource" } else { "guest" };
    let text = library.source("default-resource").unwrap_or_default();
    let mut machine = Machine::new(*facts, library);
    let mut scope = machine.scope("default-resource", res, &[]);
    let title = machine.run(&text, &mut scope);
    let title = title.unwrap_or_else(|_| res.to_owned());
    format!(
        "--------- {word} {}",
        title.strip_suffix('\n').unwrap_or(&title)
    )
}

/// Prints the source of a complex macro.
pub(super) fn source(answer: &mut Answer, mut library: Library, name: &str) {
    match library.source(name) {
        Some(text) => answer.text(&text),
        None => {
            let error = Error::not_found(format!("there is no source of macro '{}'", shown(name)));
            let mut known: Vec<String> = macro_names(false).map(str::to_owned).collect();
            known.extend(library.own_names());
            let near = suggest::similar(name, &known);
            let hint = if near.is_empty() {
                "docs/macros.md names the macros; primitive ones have no source".to_owned()
            } else {
                format!(
                    "did you mean prettyprint-{}?",
                    near.join(" or prettyprint-")
                )
            };
            let error = error.hint(hint);
            let command = format!("prettyprint-{name}");
            answer.refuse(&command, error.about(&command));
        }
    }
}
