//! Clocks that go wrong, stamps of the future, and the epochs that mend them.

use super::*;

/// How far the future is: longer than any history.
const FAR: u64 = 1_000_000;
/// How far ahead an announcement may be: more than the clocks of nodes differ that are right.
const BOUND: u64 = 100;
/// So many epochs are begun in a history, at most.
const EPOCHS_MAX: u16 = 5;

impl World {
    pub(super) fn trouble_with_clocks(&mut self, node: usize) {
        self.troubled = true;
        match self.rng.below(100) {
            0..40 if self.nodes[node].up => {
                // Nothing of the drift bound here: as if all clocks had been wrong when it was written.
                let state = &mut self.nodes[node].state;
                state.last = state.last.max(self.now) + 1 + self.rng.below(FAR);
                self.found.poisoned += 1;
                self.say(|| format!("{node} takes a stamp of the future"));
                self.user_write(node);
            }
            40..55 => {
                let who = self.rng.next();
                for (node, held) in self.nodes.iter_mut().enumerate() {
                    held.wrong = if who >> node & 1 == 1 { FAR } else { 0 };
                }
                self.say(|| format!("system clocks go wrong: {who:b}"));
            }
            55..75 => {
                for node in &mut self.nodes {
                    node.wrong = 0;
                }
                self.say(|| "system clocks are right".to_owned());
            }
            75..100 if self.nodes[node].up => self.begin_epoch(node),
            _ => {}
        }
    }

    /// No stamp lies in the future any more.
    pub(super) fn calm_clocks(&mut self) {
        if self.troubled {
            for node in &mut self.nodes {
                node.wrong = 0;
            }
            self.now += 2 * FAR;
        }
    }

    pub(super) fn begin_epoch(&mut self, node: usize) {
        let next = self.epoch(node) + 1;
        if next > EPOCHS_MAX {
            return;
        }
        self.found.epochs += 1;
        self.nodes[node].state.last = 0;
        let key = epoch_key(next).unwrap();
        self.write(node, key.as_str(), Some(format!("h{node}")));
    }

    /// Whether an entry is of an epoch that this node is in, or enters by it: by an announcement that its own system clock
    /// does not find in the future. Those before it, if they were begun at a wrong time, are skipped.
    pub(super) fn enters(&mut self, node: usize, entry: &Entry) -> bool {
        let epoch = self.epoch(node);
        if entry.epoch <= epoch {
            return true;
        }
        let Some(next) = announced_epoch(entry) else {
            return false;
        };
        let newest = Timestamp::from_nanos(self.wall(node) + BOUND);
        if entry.stamp > newest {
            self.found.early += 1;
            return false;
        }
        let table = self.table(node);
        let held = |epoch| Some(table.entry(&epoch_key(epoch)?)?.stamp);
        let may = epoch_may_be_entered(held, (epoch, next), entry.stamp, newest);
        if may {
            self.found.skipped += u32::from(next > epoch + 1);
            self.nodes[node].state.last = 0;
        }
        may
    }

    /// Whether a node that learns a mark keeps to what is in it; its clock takes notice of the floor.
    pub(super) fn may_learn(&mut self, node: usize, mark: &Mark) -> bool {
        let (epoch, wall) = (self.epoch(node), self.wall(node));
        if mark.epoch() > epoch {
            self.found.ahead += 1;
            return self.rules == Rules::LearnsAhead;
        }
        let floor = mark.floor;
        if self.position(epoch, 0).epoch != floor.epoch {
            return true;
        }
        let state = &mut self.nodes[node].state;
        let known = floor.stamp.as_nanos() <= wall;
        if known {
            state.last = state.last.max(floor.stamp.as_nanos());
        }
        known
    }
}
