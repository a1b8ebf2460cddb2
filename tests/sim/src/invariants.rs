//! What must hold, one file per rule.
//!
//! A rule looks at every event, at the world after every step, at the world that was mended (it is asked until it
//! agrees or the time is over), and at a quiet minute at the end.

mod alive;
mod bounded_queues;
mod drift_bound;
mod equal_maps;
mod idle_traffic;
mod no_loss;
mod no_resurrection;
mod owners;
mod removed_stays_out;
mod scopes;
mod stamps;

use crate::journal::Event;
use crate::world::World;
use mars_meta_model::{Entry, Scope, scope_includes, scope_of};
use std::time::Duration;

pub use idle_traffic::{PER_NEIGHBOUR, PER_NODE};

/// A rule that is broken, in words.
pub type Broken = String;

/// A quiet time at the end.
#[derive(Clone, Debug)]
pub struct Quiet {
    /// How long.
    pub time: Duration,
    /// Bytes that each node sent meanwhile.
    pub sent: Vec<u64>,
}

/// One rule. Each method may find it broken.
pub trait Invariant: std::fmt::Debug {
    /// Its name: that of its file.
    fn name(&self) -> &'static str;

    /// Looks at an event. The world is already further.
    ///
    /// # Errors
    /// The rule is broken.
    fn event(&mut self, _world: &World, _event: &Event) -> Result<(), Broken> {
        Ok(())
    }

    /// Looks at the world at any moment.
    ///
    /// # Errors
    /// The rule is broken.
    fn always(&mut self, _world: &World) -> Result<(), Broken> {
        Ok(())
    }

    /// Looks at the world when all is mended.
    ///
    /// # Errors
    /// The rule is broken, or not fulfilled yet.
    fn settled(&mut self, _world: &World) -> Result<(), Broken> {
        Ok(())
    }

    /// Looks back at a time in which nobody wrote anything.
    ///
    /// # Errors
    /// The rule is broken.
    fn quiet(&mut self, _world: &World, _quiet: &Quiet) -> Result<(), Broken> {
        Ok(())
    }
}

/// The rules of a history.
#[derive(Debug)]
pub struct Rules(Vec<Box<dyn Invariant>>);

impl Rules {
    /// All rules, or the one of this name.
    ///
    /// # Panics
    /// If there is no rule of this name.
    #[must_use]
    pub fn new(only: Option<&str>) -> Self {
        let mut rules: Vec<Box<dyn Invariant>> = vec![
            Box::<alive::Alive>::default(),
            Box::<stamps::Stamps>::default(),
            Box::<no_resurrection::NoResurrection>::default(),
            Box::<no_loss::NoLoss>::default(),
            Box::<drift_bound::DriftBound>::default(),
            Box::<owners::Owners>::default(),
            Box::<removed_stays_out::RemovedStaysOut>::default(),
            Box::<scopes::Scopes>::default(),
            Box::<bounded_queues::BoundedQueues>::default(),
            Box::<equal_maps::EqualMaps>::default(),
            Box::<idle_traffic::IdleTraffic>::default(),
        ];
        if let Some(only) = only {
            rules.retain(|rule| rule.name() == only);
            assert!(!rules.is_empty(), "there is no rule {only}");
        }
        Self(rules)
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|rule| rule.name()).collect()
    }

    fn all(
        &mut self,
        mut ask: impl FnMut(&mut dyn Invariant) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        for rule in &mut self.0 {
            let name = rule.name();
            ask(&mut **rule).map_err(|broken| format!("{name}: {broken}"))?;
        }
        Ok(())
    }

    /// Looks at all events since the last time, and at the world as it is.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn step(&mut self, world: &World) -> Result<(), Broken> {
        for event in world.journal.take() {
            self.all(|rule| rule.event(world, &event))?;
        }
        self.all(|rule| rule.always(world))
    }

    /// Looks at the mended world.
    ///
    /// # Errors
    /// The first rule that is broken or not fulfilled yet.
    pub fn settled(&mut self, world: &World) -> Result<(), Broken> {
        self.all(|rule| rule.settled(world))
    }

    /// Looks back at a quiet time.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn quiet(&mut self, world: &World, quiet: &Quiet) -> Result<(), Broken> {
        self.all(|rule| rule.quiet(world, quiet))
    }
}

/// Whether a host is to have an entry, by what is promised.
fn concerns(world: &World, entry: &Entry, host: &str) -> bool {
    let scope: Scope = scope_of(&entry.key);
    scope_includes(&world.promised, &scope, host)
}

fn show(entry: Option<&Entry>) -> String {
    match entry {
        None => "nothing".to_owned(),
        Some(entry) => format!("{:?} of {} by {}", entry.cell, entry.stamp, entry.origin.0),
    }
}
