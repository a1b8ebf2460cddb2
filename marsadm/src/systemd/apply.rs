//! One pass: which units there shall be, bringing the folder and systemd in line with it, starting and stopping.

use super::activate::activate;
use super::engine::{
    Fault, Generated, Template, Unit, generate, is_keyword, keyword_units, with_escaped_resource,
};
use super::install::{self, Installed, file_text, is_installable, obstacle};
use super::name::UnitName;
use super::settings::Settings;
use super::systemctl::{Ended, Systemctl};
use super::wish::{UnitWish, wish};
use super::{folder, lookup};
use crate::context::{Changes, Ctx};
use crate::error::{Error, Kind, Result};
use crate::limits::{POLL_INTERVAL, SYSTEMCTL_TIMEOUT};
use crate::snapshot::{Body, Item, Snapshot, take};
use std::collections::{BTreeMap, BTreeSet};

/// For which resources units are started or stopped, beside generating all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// For none.
    Generate,
    /// For these.
    Of(BTreeSet<String>),
    /// For all.
    All,
}

/// What a pass is to do.
#[derive(Clone, Debug)]
pub struct Pass {
    /// What is started and stopped.
    pub activity: Activity,
    /// Remove also what nobody said is not wanted any more.
    pub force: bool,
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Units that were written, because they are new or changed.
    pub written: Vec<String>,
    /// Units that were removed.
    pub removed: Vec<String>,
    /// Units that were started or stopped: resource, verb, unit, exit status.
    pub actions: Vec<(String, &'static str, String, i32)>,
    /// What went wrong.
    pub problems: Vec<String>,
    /// Resources that have to be looked at again.
    pub failed: BTreeSet<String>,
}

/// The set of units after keys or templates changed, where there are any; starts and stops nothing. What goes wrong is
/// said and is no failure of the command that changed the keys.
pub async fn regenerate(ctx: &Ctx) {
    let settings = &ctx.systemd;
    if !settings.enabled || ctx.opts.dry_run || ctx.opts.acting.is_some() {
        return;
    }
    let (templates, faults) = folder::load(&settings.template_dirs);
    let none = install::installed(&settings.target).is_ok_and(|units| units.is_empty());
    if templates.is_empty() && faults.is_empty() && none {
        return;
    }
    let work = Pass {
        activity: Activity::Generate,
        force: false,
    };
    match pass(ctx, &work).await {
        Ok(report) => report.lines().iter().for_each(|line| ctx.ui.note(line)),
        Err(error) => ctx.ui.note(&format!(
            "warning: systemd units were not generated: {error}"
        )),
    }
}

/// The units that two keywords or names stand for on this host.
///
/// # Errors
/// The rule that a name breaks, or that no template has the keyword.
pub async fn resolve(
    ctx: &Ctx,
    resource: &str,
    start: &str,
    stop: &str,
) -> Result<(UnitName, UnitName)> {
    let settings = &ctx.systemd;
    let bad = |why: String| {
        Error::usage(why).hint("a name such as app-mydata.service, or the keyword of a template")
    };
    if !is_keyword(start) {
        let name = |text: &str| UnitName::parse(&with_escaped_resource(text, resource));
        return Ok((name(start).map_err(bad)?, name(stop).map_err(bad)?));
    }
    let (templates, faults) = folder::load(&settings.template_dirs);
    faults
        .iter()
        .for_each(|fault| ctx.ui.note(&format!("warning: {fault}")));
    let snapshot = take(ctx).await?;
    lookup::with_lookup(&snapshot, &settings.macro_dirs, |lookup| {
        keyword_units(&templates, resource, start, stop, lookup)
    })
    .map_err(Error::internal)?
    .map_err(|why| {
        let dirs: Vec<String> = settings
            .template_dirs
            .iter()
            .map(|d| d.display().to_string())
            .collect();
        Error::not_found(why).hint(format!("folders of templates: {}", dirs.join(" ")))
    })
}

/// Whether the templates of this host make the units of a resource out of its values, once the changes are written.
/// With `--force` nobody asks.
///
/// # Errors
/// No template for a unit, one that may not be made here, or a value that is missing or may not stand where a template
/// has it.
pub async fn check_templates(
    ctx: &Ctx,
    resource: &str,
    units: &(UnitName, UnitName),
    changes: &Changes,
) -> Result<()> {
    let settings = &ctx.systemd;
    if !settings.enabled || ctx.opts.acting.is_some() || ctx.opts.force {
        return Ok(());
    }
    let (templates, _) = folder::load(&settings.template_dirs);
    let mut snapshot = take(ctx).await?;
    for (key, value) in changes {
        if let Some(value) = value {
            let item = Item {
                stamp: snapshot.header.wall,
                body: Body::Key(value.as_bytes().to_vec()),
                extra: serde_json::Map::new(),
            };
            snapshot.items.insert(key.as_str().to_owned(), item);
        }
    }
    let wanted = BTreeMap::from([(resource.to_owned(), units.clone())]);
    let made = lookup::with_lookup(&snapshot, &settings.macro_dirs, |lookup| {
        generate(&templates, &wanted, lookup)
    });
    let mut made = made.map_err(Error::internal)?;
    hold_back(settings, &mut made);
    let own = |fault: &Fault| fault.resource.as_deref() == Some(resource);
    match made.faults.into_iter().find(own) {
        None => Ok(()),
        Some(fault) => {
            let next = format!("{}; --force writes the names all the same", fault.next);
            Err(Error::refused(fault.reason()).hint(next))
        }
    }
}

/// One pass. With `--dry-run` it only says what it would do.
///
/// # Errors
/// The state cannot be read, or the target folder cannot be used: nothing was changed. What goes wrong with single
/// units is told in the report.
pub async fn pass(ctx: &Ctx, wanted: &Pass) -> Result<Report> {
    let settings = &ctx.systemd;
    let host = ctx.local_host().await?.to_owned();
    let snapshot = take(ctx).await?;
    let table = ctx.table(&["directory/", "resource-"]).await?;
    let wishes = wish(&table, &host);
    let (templates, mut faults) = folder::load(&settings.template_dirs);
    let complete = faults.is_empty();
    let mut generated = generated(settings, &snapshot, &templates, &wishes)?;
    let own = |error: std::io::Error| target_error(settings, &error);
    let before = install::installed(&settings.target).map_err(own)?;
    hold_back(settings, &mut generated);
    let mut report = Report::default();
    for (name, wish) in &wishes {
        if let Some(why) = &wish.bad {
            let hint = format!("marsadm set-systemd-unit {name} UNIT");
            report
                .problems
                .push(format!("resource {name}: {why}; next: {hint}"));
        }
    }
    faults.append(&mut generated.faults);
    report
        .failed
        .extend(faults.iter().filter_map(|f| f.resource.clone()));
    let removable: Vec<&UnitName> = before
        .iter()
        .filter(|(name, unit)| {
            !generated.units.contains_key(*name)
                && complete
                && (is_unwanted(unit, &wishes, &faults) || wanted.force && faults.is_empty())
        })
        .map(|(name, _)| name)
        .collect();
    report.problems.extend(faults.iter().map(Fault::to_string));
    if !generated.units.is_empty() || !removable.is_empty() {
        let plan = Plan {
            ctx,
            settings,
            systemctl: settings.systemctl(),
            before: &before,
        };
        plan.bring_in_line(&generated.units, &removable, &mut report)
            .await?;
    }
    activate(
        ctx,
        &host,
        &wanted.activity,
        &wishes,
        &generated,
        &mut report,
    )
    .await?;
    Ok(report)
}

fn target_error(settings: &Settings, error: &std::io::Error) -> Error {
    let why = format!(
        "the folder of units {} cannot be used: {error}",
        settings.target.display()
    );
    Error::new(Kind::Denied, why).hint("run it as root, or set SYSTEMD_TARGET_DIR")
}

fn generated(
    settings: &Settings,
    snapshot: &Snapshot,
    templates: &[Template],
    wishes: &BTreeMap<String, UnitWish>,
) -> Result<Generated> {
    let wanted: BTreeMap<String, (UnitName, UnitName)> = wishes
        .iter()
        .filter_map(|(name, wish)| Some((name.clone(), wish.units.clone()?)))
        .collect();
    if templates.is_empty() && wanted.is_empty() {
        return Ok(Generated::default());
    }
    lookup::with_lookup(snapshot, &settings.macro_dirs, |lookup| {
        generate(templates, &wanted, lookup)
    })
    .map_err(Error::internal)
}

/// Takes out what would hide or replace units of others.
fn hold_back(settings: &Settings, generated: &mut Generated) {
    let Generated { units, faults } = generated;
    units.retain(|name, unit| {
        let Some(why) = obstacle(name, &settings.target, &settings.system_dirs) else {
            return true;
        };
        faults.push(Fault {
            template: Some(unit.template.clone()),
            line: 0,
            unit: Some(name.to_string()),
            resource: unit.resource.clone(),
            why,
            next: "give the unit another name".to_owned(),
        });
        false
    });
    // What is named by a value must be there, also after this.
    generated.hold_strays();
}

/// Whether somebody said that a unit is not wanted any more: silence is not enough.
fn is_unwanted(unit: &Installed, wishes: &BTreeMap<String, UnitWish>, faults: &[Fault]) -> bool {
    let resource = unit.resource.as_deref();
    let is_about =
        |fault: &Fault| fault.resource.is_none() || fault.resource.as_deref() == resource;
    match resource.map(|name| wishes.get(name)) {
        None => !faults.iter().any(|fault| fault.resource.is_none()),
        Some(Some(wish)) if wish.gone => true,
        Some(Some(wish)) => wish.units.is_some() && !faults.iter().any(is_about),
        Some(None) => false,
    }
}

struct Plan<'a> {
    ctx: &'a Ctx,
    settings: &'a Settings,
    systemctl: Systemctl,
    before: &'a BTreeMap<UnitName, Installed>,
}

impl Plan<'_> {
    async fn bring_in_line(
        &self,
        units: &BTreeMap<UnitName, Unit>,
        removable: &[&UnitName],
        report: &mut Report,
    ) -> Result<()> {
        let target = &self.settings.target;
        let fresh: Vec<(&UnitName, &Unit, String)> = units
            .iter()
            .map(|(name, unit)| (name, unit, file_text(name, unit, target)))
            .filter(|(name, _, text)| self.before.get(*name).is_none_or(|old| old.text != *text))
            .collect();
        if fresh.is_empty() && removable.is_empty() {
            return Ok(());
        }
        if self.ctx.opts.dry_run {
            let ui = &self.ctx.ui;
            fresh.iter().for_each(|(name, ..)| {
                ui.note(&format!(
                    "would write: {}",
                    target.join(name.as_str()).display()
                ));
            });
            removable.iter().for_each(|name| {
                ui.note(&format!("would stop and remove: {name}"));
            });
            return Ok(());
        }
        let _lock = self.lock().await?;
        for name in removable {
            self.remove(name, report).await;
        }
        for (name, _, text) in &fresh {
            match install::write(target, name, text) {
                Ok(()) => report.written.push(name.to_string()),
                Err(error) => report
                    .problems
                    .push(format!("unit {name} cannot be written: {error}")),
            }
        }
        self.simple(&["daemon-reload"], report).await;
        for (name, unit, text) in &fresh {
            let is_new = !self.before.contains_key(*name);
            if is_new && is_installable(text) && !unit.markers.contains("ALWAYS_DISABLED") {
                self.simple(&["enable", "--runtime", "--", name.as_str()], report)
                    .await;
            }
            if unit.markers.contains("ALWAYS_START") {
                self.simple(&["start", "--no-block", "--", name.as_str()], report)
                    .await;
            }
        }
        Ok(())
    }

    async fn lock(&self) -> Result<std::fs::File> {
        loop {
            let held = install::lock(&self.settings.target);
            match held.map_err(|error| target_error(self.settings, &error))? {
                Some(file) => return Ok(file),
                None => {
                    let what = "another pass over the units did not end";
                    let pause = tokio::time::sleep(POLL_INTERVAL);
                    self.ctx.bounded(what, pause).await?;
                }
            }
        }
    }

    /// A unit that does not stop keeps its file: without it systemd would know nothing of what runs.
    async fn remove(&self, name: &UnitName, report: &mut Report) {
        let old = self.before.get(name);
        let is_startable = !name.is_systemd_template();
        if is_startable && !old.is_some_and(|old| old.has_marker("KEEP_RUNNING")) {
            let limit = self.settings.unit_timeout;
            let ended = self.systemctl.unit("stop", name.as_str(), limit).await;
            if ended.status != 0 {
                report.problems.push(problem("stop", name.as_str(), &ended));
                return;
            }
        }
        if old.is_some_and(Installed::is_installable) {
            self.simple(&["disable", "--runtime", "--", name.as_str()], report)
                .await;
        }
        match install::remove(&self.settings.target, name) {
            Ok(()) => report.removed.push(name.to_string()),
            Err(error) => report
                .problems
                .push(format!("unit {name} cannot be removed: {error}")),
        }
    }

    async fn simple(&self, args: &[&str], report: &mut Report) {
        let ended = self.systemctl.call(args, SYSTEMCTL_TIMEOUT).await;
        if ended.status != 0 {
            let unit = args.last().filter(|_| args.len() > 1).unwrap_or(&"");
            report.problems.push(problem(args[0], unit, &ended));
        }
    }
}

pub(super) fn problem(verb: &str, unit: &str, ended: &Ended) -> String {
    let about = if unit.is_empty() {
        verb.to_owned()
    } else {
        format!("{verb} {unit}")
    };
    format!(
        "systemctl {about} failed with status {} ({}); next: systemctl status {unit}",
        ended.status, ended.said
    )
}
