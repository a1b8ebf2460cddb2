//! A process ends by itself only when its disk fails, and no task of it panics.

use super::{Broken, Invariant};
use crate::world::World;

#[derive(Debug, Default)]
pub(super) struct Alive;

impl Invariant for Alive {
    fn name(&self) -> &'static str {
        "alive"
    }

    fn always(&mut self, world: &World) -> Result<(), Broken> {
        for node in world.nodes.iter().filter(|node| node.is_up()) {
            if let Some(words) = node.panicked() {
                return Err(format!("{} panicked: {words}", node.host));
            }
            let failed = node.store().is_some_and(|store| store.poisoned().is_some());
            if let Some(words) = node.ended().filter(|_| !failed) {
                return Err(format!("the driver of {} ended: {words}", node.host));
            }
        }
        Ok(())
    }
}
