//! The evaluator: an explicit environment, bounded work.

use super::facts::Facts;
use super::functions::Pattern;
use super::library::Library;
use super::parse::{Node, parse};
use super::{functions, primitives};
use crate::limits::{
    MACRO_ASKS_MAX, MACRO_COPIED_MAX, MACRO_DEPTH_MAX, MACRO_REGEXES_MAX, MACRO_STEPS_MAX,
    MACRO_TEXT_MAX,
};
use std::collections::BTreeMap;

/// How the failure begins that an unknown macro is; its name and a backquote follow.
pub(crate) const NO_MACRO: &str = "there is no macro `";

/// Why an evaluation does not go on. The text is what was produced so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It failed.
    Die(String),
    /// The next turn of the innermost loop.
    Next(String),
    /// The end of the innermost loop.
    Last(String),
    /// The end of the macro.
    Return(String),
    /// The end of the whole evaluation.
    Abort(String),
}

impl Stop {
    /// The same, with text that came before.
    fn after(self, before: String) -> Self {
        match self {
            Self::Die(why) => Self::Die(why),
            Self::Next(text) => Self::Next(before + &text),
            Self::Last(text) => Self::Last(before + &text),
            Self::Return(text) => Self::Return(before + &text),
            Self::Abort(text) => Self::Abort(before + &text),
        }
    }
}

/// A failure.
pub(crate) fn die<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Die(why.into()))
}

/// Variables, and the macros that are being evaluated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Variables by name.
    pub(crate) vars: BTreeMap<String, String>,
    /// Names of the macros, outermost first.
    pub(crate) stack: Vec<String>,
}

impl Scope {
    /// The value of a variable; empty if there is none.
    pub(crate) fn var(&self, name: &str) -> &str {
        self.vars.get(name).map(String::as_str).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.vars.iter().map(|(k, v)| k.len() + v.len() + 48).sum()
    }
}

/// One evaluation.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    /// The state that is asked.
    pub(crate) facts: Facts<'a>,
    /// Where macros are found.
    pub(crate) library: &'a mut Library,
    /// Warnings for stderr.
    pub(crate) warnings: Vec<String>,
    regexes: BTreeMap<(String, String), Pattern>,
    steps: u64,
    asks: u64,
    copied: usize,
    depth: usize,
}

/// Most warnings that are kept.
const WARNINGS_MAX: usize = 200;

impl<'a> Machine<'a> {
    /// A machine that has done nothing yet.
    pub(crate) fn new(facts: Facts<'a>, library: &'a mut Library) -> Self {
        Self {
            facts,
            library,
            warnings: Vec::new(),
            regexes: BTreeMap::new(),
            steps: 0,
            asks: 0,
            copied: 0,
            depth: 0,
        }
    }

    /// Keeps a warning.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.warnings.len() < WARNINGS_MAX && !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    /// Accounts for work, so that no macro can go on for ever.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Stop> {
        self.steps += 1;
        self.copied = self.copied.saturating_add(bytes);
        if self.steps > MACRO_STEPS_MAX {
            return die(format!("the macro took more than {MACRO_STEPS_MAX} steps"));
        }
        if bytes > MACRO_TEXT_MAX || self.copied > MACRO_COPIED_MAX {
            return die("the macro produces too much text");
        }
        Ok(())
    }

    /// Accounts for a question to the state.
    pub(crate) fn charge_ask(&mut self) -> Result<(), Stop> {
        self.asks += 1;
        if self.asks > MACRO_ASKS_MAX {
            return die(format!(
                "the macro asks the state more than {MACRO_ASKS_MAX} times"
            ));
        }
        Ok(())
    }

    /// A pattern, compiled, for use on a text of `bytes` bytes.
    pub(crate) fn regex(
        &mut self,
        pattern: &str,
        options: &str,
        bytes: usize,
    ) -> Result<Pattern, Stop> {
        self.charge(bytes)?;
        let key = (pattern.to_owned(), options.to_owned());
        if let Some(regex) = self.regexes.get(&key) {
            return Ok(regex.clone());
        }
        if self.regexes.len() >= MACRO_REGEXES_MAX {
            return die(format!(
                "the macro uses more than {MACRO_REGEXES_MAX} different patterns"
            ));
        }
        let regex = Pattern::new(pattern, options)?;
        self.regexes.insert(key, regex.clone());
        Ok(regex)
    }

    /// The variables with which the evaluation of a macro begins.
    pub(crate) fn scope(&self, name: &str, res: &str, args: &[String]) -> Scope {
        let (facts, opts) = (&self.facts, self.facts.opts);
        let mut scope = Scope::default();
        let host = &opts.host;
        let ip = opts.ip.clone();
        let ip = ip.or_else(|| facts.get(&format!("ips/ip-{host}")));
        let flag = |on: bool| u8::from(on).to_string();
        for (key, value) in [
            ("cmd", name.to_owned()),
            ("res", res.to_owned()),
            ("resdir", format!("/mars/resource-{res}")),
            ("mars", "/mars".to_owned()),
            ("host", host.clone()),
            ("real_host", facts.snap.header.host.clone()),
            ("ip", ip.unwrap_or_default()),
            ("timeout", opts.timeout.to_string()),
            ("threshold", opts.threshold.to_string()),
            ("window", opts.window.to_string()),
            ("stuck-seconds", opts.stuck_seconds.to_string()),
            ("keep-backup-hours", opts.keep_backup_hours.to_string()),
            (
                "keep-backup-seconds",
                opts.keep_backup_hours.saturating_mul(3600).to_string(),
            ),
            ("force", opts.force.to_string()),
            ("dry-run", flag(opts.dry_run)),
            ("verbose", opts.verbose.to_string()),
            ("callstack", name.to_owned()),
        ] {
            scope.vars.insert(key.to_owned(), value);
        }
        scope.stack.push(name.to_owned());
        set_args(&mut scope, name, args);
        scope
    }

    /// Evaluates a whole macro text.
    pub(crate) fn run(&mut self, text: &str, scope: &mut Scope) -> Result<String, Stop> {
        match self.expand(text, scope) {
            Err(Stop::Next(text) | Stop::Last(text) | Stop::Return(text) | Stop::Abort(text)) => {
                Ok(text)
            }
            other => other,
        }
    }

    /// Evaluates a text.
    pub(crate) fn expand(&mut self, text: &str, scope: &mut Scope) -> Result<String, Stop> {
        self.charge(text.len())?;
        if !text.contains(['%', '\\']) {
            return Ok(text.to_owned());
        }
        if self.depth >= MACRO_DEPTH_MAX {
            return die(format!(
                "macros call each other more than {MACRO_DEPTH_MAX} levels deep"
            ));
        }
        let mut warnings = Vec::new();
        let nodes = parse(text, &mut |warning| warnings.push(warning)).map_err(Stop::Die)?;
        for warning in warnings {
            self.warn(warning);
        }
        self.depth += 1;
        let result = self.nodes(&nodes, scope);
        self.depth -= 1;
        result
    }

    fn nodes(&mut self, nodes: &[Node], scope: &mut Scope) -> Result<String, Stop> {
        let mut out = String::new();
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Call { name, args } => match self.call(name, args, scope) {
                    Ok(text) => {
                        self.charge(out.len().saturating_add(text.len()) / 8)?;
                        out.push_str(&text);
                    }
                    Err(stop) => return Err(stop.after(out)),
                },
            }
            if out.len() > MACRO_TEXT_MAX {
                return die("the macro produces too much text");
            }
        }
        Ok(out)
    }

    /// The value of argument `index`; empty if it is not given.
    pub(crate) fn arg(
        &mut self,
        args: &[String],
        index: usize,
        scope: &mut Scope,
    ) -> Result<String, Stop> {
        match args.get(index) {
            Some(text) => self.expand(text, scope),
            None => Ok(String::new()),
        }
    }

    /// The values of all arguments from `from` on.
    pub(crate) fn values(
        &mut self,
        args: &[String],
        from: usize,
        scope: &mut Scope,
    ) -> Result<Vec<String>, Stop> {
        let rest = args.get(from..).unwrap_or_default();
        rest.iter().map(|text| self.expand(text, scope)).collect()
    }

    /// Assigns a variable.
    pub(crate) fn assign(
        &mut self,
        scope: &mut Scope,
        name: String,
        value: String,
    ) -> Result<(), Stop> {
        self.charge(name.len().saturating_add(value.len()))?;
        if scope.bytes().saturating_add(value.len()) > MACRO_TEXT_MAX {
            return die("the variables hold too much text");
        }
        scope.vars.insert(name, value);
        Ok(())
    }

    /// A copy of a scope.
    pub(crate) fn copy(&mut self, scope: &Scope) -> Result<Scope, Stop> {
        self.charge(scope.bytes())?;
        Ok(scope.clone())
    }

    fn call(&mut self, name: &str, args: &[String], scope: &mut Scope) -> Result<String, Stop> {
        self.charge(0)?;
        let overridden = self.library.file(name).map_err(Stop::Die)?;
        if let Some(note) = self.library.take_note() {
            self.warn(note);
        }
        // The template itself may call the built-in macro of its name, or itself where there is none.
        let itself = scope.stack.last().map(String::as_str) == Some(name);
        if let Some(text) = overridden.as_ref().filter(|_| !itself) {
            return self.invoke(name, text, args, scope);
        }
        if let Some(result) = functions::call(self, name, args, scope) {
            return result;
        }
        let plain = primitives::plain_name(name);
        if plain == name
            && let Some(text) = self.library.built_in(name)
        {
            return self.invoke(name, &text, args, scope);
        }
        let values = self.values(args, 0, scope)?;
        match (primitives::call(self, plain, &values, scope), overridden) {
            (Some(result), _) => result,
            (None, Some(text)) => {
                let mut inner = self.copy(scope)?;
                self.enter(name, &text, &values, &mut inner)
            }
            (None, None) => die(format!("{NO_MACRO}{plain}`")),
        }
    }

    /// Evaluates macro `name` as if it stood where it is called, with arguments of its own.
    fn invoke(
        &mut self,
        name: &str,
        text: &str,
        args: &[String],
        scope: &mut Scope,
    ) -> Result<String, Stop> {
        let values = self.values(args, 0, scope)?;
        let mut inner = self.copy(scope)?;
        self.enter(name, text, &values, &mut inner)
    }

    /// Evaluates the text of macro `name` in `scope`, with arguments.
    pub(crate) fn enter(
        &mut self,
        name: &str,
        text: &str,
        values: &[String],
        scope: &mut Scope,
    ) -> Result<String, Stop> {
        set_args(scope, name, values);
        scope.stack.push(name.to_owned());
        scope
            .vars
            .insert("callstack".to_owned(), scope.stack.join(","));
        let result = self.expand(text, scope);
        scope.stack.pop();
        scope
            .vars
            .insert("callstack".to_owned(), scope.stack.join(","));
        match result {
            Err(Stop::Return(text)) => Ok(text),
            other => other,
        }
    }
}

fn set_args(scope: &mut Scope, name: &str, args: &[String]) {
    scope
        .vars
        .retain(|key, _| key.is_empty() || !key.bytes().all(|b| b.is_ascii_digit()));
    scope.vars.insert("0".to_owned(), name.to_owned());
    for (i, arg) in args.iter().enumerate() {
        scope.vars.insert((i + 1).to_string(), arg.clone());
    }
}
