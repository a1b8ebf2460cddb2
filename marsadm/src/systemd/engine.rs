//! From templates to units. Pure: templates and the units that resources want come in as values, variables and macros
//! over [`Lookup`].

use super::guard::{Chosen, Text};
use super::name::{UnitName, escape, escape_path};
use super::places::{DEPENDENCIES, Own};
use super::template::{Flaw, Piece, parse};
use crate::limits::{MACRO_REGEX_MAX, UNIT_TEMPLATE_MAX, UNITS_MAX};
use regex::{Regex, RegexBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What templates ask.
pub trait Lookup {
    /// From now on it is about `resource`; variables that were set before are gone.
    fn begin(&mut self, resource: Option<&str>);
    /// Sets a variable.
    fn bind(&mut self, name: &str, value: &str);
    /// The value of a variable.
    fn var(&mut self, name: &str) -> Option<String>;
    /// What the macro language makes of a text. Variables that it sets can be asked for afterwards.
    ///
    /// # Errors
    /// Why the evaluation failed.
    fn eval(&mut self, text: &str) -> Result<String, String>;
}

/// A template that is installed on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Name of the file: the name of the unit, or a pattern of it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// A unit that there shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Content.
    pub text: String,
    /// Name of the template.
    pub template: String,
    /// The resource that it is for; `None`: for none in particular.
    pub resource: Option<String>,
    /// Words of the template's lines `# WORD`.
    pub markers: BTreeSet<String>,
    /// Names of other units in it that values have a part in.
    pub chosen: Vec<Chosen>,
}

/// A unit that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The template, if one is to blame.
    pub template: Option<String>,
    /// Line of the template, counted from 1; 0: its name.
    pub line: usize,
    /// The unit.
    pub unit: Option<String>,
    /// The resource for which it is wanted.
    pub resource: Option<String>,
    /// The reason.
    pub why: String,
    /// What to do.
    pub next: String,
}

impl Fault {
    /// The reason with the unit and the template that it is about, for who knows the resource and names the next step.
    pub fn reason(&self) -> String {
        let unit = self.unit.as_ref().map(|unit| format!("unit {unit}: "));
        let template = self.template.as_ref().map(|template| match self.line {
            0 => format!("template {template}: "),
            line => format!("template {template}, line {line}: "),
        });
        let [unit, template] = [unit, template].map(Option::unwrap_or_default);
        format!("{unit}{template}{}", self.why)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(resource) = &self.resource {
            write!(f, "resource {resource}: ")?;
        }
        write!(f, "{}; next: {}", self.reason(), self.next)
    }
}

/// All units that there shall be, and what prevented others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// The units.
    pub units: BTreeMap<UnitName, Unit>,
    /// Reasons why the set is not complete.
    pub faults: Vec<Fault>,
}

impl Generated {
    /// Takes out each unit that names, by a value, a unit which is not in the set: values choose among the templates of
    /// this machine, and bring no unit of others to life or to its end.
    pub fn hold_strays(&mut self) {
        loop {
            let stray = self.units.iter().find_map(|(name, unit)| {
                let stray = unit.chosen.iter().find(|c| !self.has(c))?;
                Some((name.clone(), stray.clone()))
            });
            let Some((name, stray)) = stray else {
                return;
            };
            // Others may name this one.
            let Some(unit) = self.units.remove(&name) else {
                return;
            };
            self.faults.push(Fault {
                template: Some(unit.template),
                line: stray.line,
                unit: Some(name.to_string()),
                resource: unit.resource,
                why: format!(
                    "by a value, {}= would name '{}', which no template here makes",
                    stray.directive,
                    mars_meta_model::escaped(&stray.word)
                ),
                next: "install a template for it, mend the key that the value comes from, or write the name out in \
                       the template; see docs/systemd.md"
                    .to_owned(),
            });
        }
    }

    /// Whether what a value has a part in may be named: a unit of the set, or a device, which can only be waited for.
    fn has(&self, chosen: &Chosen) -> bool {
        let known =
            |name: &str| UnitName::parse(name).is_ok_and(|name| self.units.contains_key(&name));
        let word = chosen.word.as_str();
        if !DEPENDENCIES.contains(&chosen.directive.as_str()) {
            return true;
        }
        if word.starts_with('/') {
            let mut path = word.trim_end_matches('/');
            while !path.is_empty() {
                if escape_path(path).is_ok_and(|name| known(&format!("{name}.mount"))) {
                    return true;
                }
                path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            }
            return word.starts_with("/dev/") && chosen.directive != "RequiresMountsFor";
        }
        // An instance of one of systemd's own templates.
        let template = word.split_once('@').and_then(|(stem, rest)| {
            let (_, suffix) = rest.rsplit_once('.')?;
            Some(format!("{stem}@.{suffix}"))
        });
        known(word) || word.ends_with(".device") || template.is_some_and(|name| known(&name))
    }
}

/// Units of systemd itself, which no template replaces though its pattern may fit.
const PREDEFINED: [&str; 24] = [
    "basic.target",
    "default.target",
    "emergency.target",
    "final.target",
    "getty.target",
    "graphical.target",
    "halt.target",
    "local-fs-pre.target",
    "local-fs.target",
    "multi-user.target",
    "network-online.target",
    "network-pre.target",
    "network.target",
    "nss-lookup.target",
    "paths.target",
    "poweroff.target",
    "reboot.target",
    "remote-fs.target",
    "rescue.target",
    "shutdown.target",
    "sockets.target",
    "sysinit.target",
    "timers.target",
    "umount.target",
];

/// Whether a template is made into a unit without anybody asking for it.
fn is_static(name: &str) -> bool {
    !name.contains(['@', '^'])
}

/// All units that the templates without variables in their names stand for, and those that resources want: the pairs of
/// start and stop unit, and what they depend on.
pub fn generate(
    templates: &[Template],
    wanted: &BTreeMap<String, (UnitName, UnitName)>,
    lookup: &mut dyn Lookup,
) -> Generated {
    let mut engine = Engine {
        templates,
        lookup,
        out: Generated::default(),
    };
    engine.resource(None, &[]);
    for (resource, (start, stop)) in wanted {
        engine.resource(Some(resource), &[start, stop]);
    }
    engine.out.hold_strays();
    engine.out
}

/// The start and stop unit that the keywords `START` and `STOP` stand for: of the template that has a line
/// `# START_START`, and of the one that has a line `# STOP_STOP`, else the start unit.
///
/// # Errors
/// If no template has the line, or its name does not follow from the resource's.
pub fn keyword_units(
    templates: &[Template],
    resource: &str,
    start: &str,
    stop: &str,
    lookup: &mut dyn Lookup,
) -> Result<(UnitName, UnitName), String> {
    let mut find = |marker: &str| -> Result<Option<UnitName>, String> {
        let found = templates.iter().find(|t| markers(&t.text).contains(marker));
        let Some(template) = found else {
            return Ok(None);
        };
        lookup.begin(Some(resource));
        let pieces = parse(&template.name, true).map_err(|flaw| flaw.why)?;
        let mut name = String::new();
        for (_, piece) in &pieces {
            match piece {
                Piece::Any(any) => {
                    return Err(format!(
                        "the name of template {} does not follow from the resource: it has ^{{{any}}}",
                        template.name
                    ));
                }
                piece => name.push_str(&name_part(piece, lookup)?),
            }
        }
        UnitName::parse(&name).map(Some)
    };
    let Some(first) = find(&format!("{start}_START"))? else {
        return Err(format!("no template has a line '# {start}_START'"));
    };
    match find(&format!("{stop}_STOP"))? {
        Some(second) => Ok((first, second)),
        None if start == stop => Ok((first.clone(), first)),
        None => Err(format!("no template has a line '# {stop}_STOP'")),
    }
}

/// Words of the lines `# WORD`.
fn markers(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# "))
        .map(str::trim_end)
        .filter(|word| is_keyword(word))
        .map(str::to_owned)
        .collect()
}

/// Whether a text is a keyword: capital letters, digits and `_`.
pub(crate) fn is_keyword(word: &str) -> bool {
    let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    word.starts_with(|c: char| c.is_ascii_uppercase()) && word.chars().all(good)
}

/// What a piece of a name stands for.
fn name_part(piece: &Piece, lookup: &mut dyn Lookup) -> Result<String, String> {
    let mut var = |name: &str| {
        lookup
            .var(name)
            .ok_or_else(|| format!("variable {name} is not set"))
    };
    match piece {
        Piece::Text(text) => Ok(text.clone()),
        Piece::Var(name) => var(name),
        Piece::EscapedVar(name) => escape_path(&var(name)?),
        Piece::Escaped(inner) => {
            let mut text = String::new();
            for (_, piece) in inner {
                text.push_str(&name_part(piece, lookup)?);
            }
            escape_path(&text)
        }
        Piece::Eval(text) => lookup.eval(text).map(|text| text.trim().to_owned()),
        Piece::Any(name) => Err(format!("^{{{name}}} has no value here")),
    }
}

/// A template whose name may fit a unit of the resource at hand.
struct Candidate<'a> {
    template: &'a Template,
    pattern: Regex,
    /// Variables of the pattern's groups.
    any: Vec<String>,
}

struct Engine<'a> {
    templates: &'a [Template],
    lookup: &'a mut dyn Lookup,
    out: Generated,
}

impl<'a> Engine<'a> {
    fn fault(&mut self, resource: Option<&str>, unit: Option<&str>, why: String, next: &str) {
        self.out.faults.push(Fault {
            template: None,
            line: 0,
            unit: unit.map(str::to_owned),
            resource: resource.map(str::to_owned),
            why,
            next: next.to_owned(),
        });
    }

    fn flaw(&mut self, of: &Template, resource: Option<&str>, unit: Option<&str>, flaw: Flaw) {
        let fault = Fault {
            template: Some(of.name.clone()),
            line: flaw.line,
            unit: unit.map(str::to_owned),
            resource: resource.map(str::to_owned),
            why: flaw.why,
            next: "mend the template, or the key that the value comes from; see docs/systemd.md"
                .to_owned(),
        };
        if !self.out.faults.contains(&fault) {
            self.out.faults.push(fault);
        }
    }

    /// Makes the units of a resource, or with `None` those of no resource.
    fn resource(&mut self, resource: Option<&str>, roots: &[&UnitName]) {
        let candidates = self.candidates(resource);
        let mut queue: Vec<(String, bool)> = roots
            .iter()
            .map(|name| (name.as_str().to_owned(), true))
            .collect();
        if resource.is_none() {
            let statics = self.templates.iter().filter(|t| is_static(&t.name));
            queue.extend(statics.map(|t| (t.name.clone(), true)));
        }
        let mut seen = BTreeSet::new();
        while let Some((name, needed)) = queue.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            if PREDEFINED.contains(&name.as_str()) {
                if needed {
                    let why = "it belongs to systemd itself".to_owned();
                    self.fault(resource, Some(&name), why, "choose another unit");
                }
                continue;
            }
            let unit = match UnitName::parse(&name) {
                Ok(unit) => unit,
                Err(why) if needed => {
                    self.fault(resource, None, why, "rename the template or the unit");
                    continue;
                }
                // What a line names may be anything.
                Err(_) => continue,
            };
            let fitting = candidates
                .iter()
                .find_map(|c| Some((c.template, bindings(c, &name)?)));
            let Some((template, bound)) = fitting else {
                if needed {
                    let why = "no template is installed for it".to_owned();
                    let next = "install one (docs/systemd.md), or marsadm set-systemd-unit";
                    self.fault(resource, Some(&name), why, next);
                }
                continue;
            };
            // A unit whose name has nothing of the resource's belongs to none.
            let owner = resource.filter(|_| !is_static(&template.name));
            if owner.is_none() && resource.is_some() && self.out.units.contains_key(&unit) {
                continue;
            }
            match self.instance(template, &name, owner, &bound) {
                Ok((text, chosen)) => {
                    queue.extend(dependencies(&text).into_iter().map(|name| (name, false)));
                    self.add(unit, template, owner, (text, chosen));
                }
                Err(flaw) => self.flaw(template, resource, Some(&name), flaw),
            }
        }
    }

    fn add(
        &mut self,
        name: UnitName,
        template: &Template,
        owner: Option<&str>,
        (text, chosen): (String, Vec<Chosen>),
    ) {
        if self.out.units.len() >= UNITS_MAX {
            let why = format!("there are more than {UNITS_MAX} units");
            self.fault(owner, Some(name.as_str()), why, "use fewer templates");
            return;
        }
        if let Some(there) = self.out.units.get(&name)
            && there.text != text
        {
            let other = there.resource.clone().unwrap_or_default();
            let why = format!("it is made for resource {other} already, with another text");
            let next = "let the name of its template contain @escvar{res}";
            self.fault(owner, Some(name.as_str()), why, next);
            return;
        }
        self.out.units.entry(name).or_insert_with(|| Unit {
            text,
            template: template.name.clone(),
            resource: owner.map(str::to_owned),
            markers: markers(&template.text),
            chosen,
        });
    }

    /// Templates in the order in which they are tried: whole names, then names with variables, then with `^{}`.
    fn candidates(&mut self, resource: Option<&str>) -> Vec<Candidate<'a>> {
        let mut out = Vec::new();
        let templates = self.templates;
        for template in templates {
            if resource.is_none() && !is_static(&template.name) {
                continue;
            }
            self.lookup.begin(resource);
            match candidate(template, self.lookup) {
                Ok(Some(candidate)) => out.push(candidate),
                Ok(None) => {}
                Err(why) => self.flaw(template, resource, None, Flaw { line: 0, why }),
            }
        }
        out.sort_by_key(|c| (c.any.len(), !is_static(&c.template.name)));
        out
    }

    fn instance(
        &mut self,
        template: &Template,
        name: &str,
        resource: Option<&str>,
        bound: &[(String, String)],
    ) -> Result<(String, Vec<Chosen>), Flaw> {
        if template.text.len() > UNIT_TEMPLATE_MAX {
            let why = format!("it has more than {UNIT_TEMPLATE_MAX} bytes");
            return Err(Flaw { line: 0, why });
        }
        self.lookup.begin(resource);
        let host = self.lookup.var("host");
        let own = Own::of(resource, host.as_deref(), &template.text);
        self.lookup.bind("unit", name);
        for (var, value) in bound {
            self.lookup.bind(var, value);
        }
        let mut text = Text::of(own);
        for (line, piece) in parse(&template.text, false)? {
            let flaw = |why: String| Flaw { line, why };
            text.at(line);
            match piece {
                Piece::Text(plain) => text.literal(&plain).map_err(flaw)?,
                Piece::EscapedVar(_) | Piece::Escaped(_) => {
                    let value = name_part(&piece, self.lookup).map_err(flaw)?;
                    text.insert_escaped(&value).map_err(flaw)?;
                }
                piece => {
                    let value = name_part(&piece, self.lookup).map_err(flaw)?;
                    text.insert(&value).map_err(flaw)?;
                }
            }
        }
        text.finish().map_err(|why| {
            let line = template.text.lines().count();
            Flaw { line, why }
        })
    }
}

/// How the name of a template looks for the resource at hand; `None` if it asks for what there is not.
fn candidate<'a>(
    template: &'a Template,
    lookup: &mut dyn Lookup,
) -> Result<Option<Candidate<'a>>, String> {
    let pieces = parse(&template.name, true).map_err(|flaw| flaw.why)?;
    let (mut pattern, mut any) = (String::from("^"), Vec::new());
    for (_, piece) in pieces {
        match piece {
            Piece::Any(name) => {
                any.push(name);
                pattern.push_str("(.+)");
            }
            piece => match name_part(&piece, lookup) {
                Ok(text) => pattern.push_str(&regex::escape(&text)),
                Err(_) => return Ok(None),
            },
        }
    }
    pattern.push('$');
    let compiled = RegexBuilder::new(&pattern)
        .size_limit(MACRO_REGEX_MAX)
        .build();
    let pattern = compiled.map_err(|_| "its name is too long or has too many ^{}".to_owned())?;
    Ok(Some(Candidate {
        template,
        pattern,
        any,
    }))
}

/// The values of the pattern's variables if it fits.
fn bindings(candidate: &Candidate<'_>, name: &str) -> Option<Vec<(String, String)>> {
    let found = candidate.pattern.captures(name)?;
    let mut out: Vec<(String, String)> = Vec::new();
    for (i, var) in candidate.any.iter().enumerate() {
        let value = found.get(i + 1)?.as_str().to_owned();
        if out
            .iter()
            .any(|(known, other)| known == var && *other != value)
        {
            return None;
        }
        out.push((var.clone(), value));
    }
    Some(out)
}

/// Names of units that a unit's text speaks of.
fn dependencies(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut out = Vec::new();
    for line in joined.lines() {
        let line = match line.strip_prefix("# ") {
            Some(remark) if remark.starts_with("ALSO=") => remark,
            Some(_) => continue,
            None => line.trim_start(),
        };
        let Some((directive, words)) = line.split_once('=') else {
            continue;
        };
        let directive = directive.trim();
        if !DEPENDENCIES.contains(&directive) {
            continue;
        }
        for word in words.split_whitespace() {
            if word.starts_with('/') {
                let Ok(name) = escape_path(word) else {
                    continue;
                };
                let kind = if word.starts_with("/dev/") {
                    "device"
                } else {
                    "mount"
                };
                out.push(format!("{name}.{kind}"));
            } else {
                out.push(word.to_owned());
            }
        }
    }
    out
}

/// A name of a unit as an administrator writes it, with the resource's name in it escaped.
pub(crate) fn with_escaped_resource(name: &str, resource: &str) -> String {
    let escaped = escape(resource);
    if escaped == resource {
        name.to_owned()
    } else {
        name.replace(resource, &escaped)
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
