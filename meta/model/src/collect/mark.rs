//! The mark of one scope: floor and slots, and how they change.

use super::check::Check;
use super::{Position, Voters};
use crate::NodeId;
use std::collections::BTreeMap;

/// Most slots of a mark; a scope with more voters is not collected.
pub(crate) const SLOTS_MAX: usize = 6000;

/// What is known of one node in one scope: its claim, and its vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// The node has accepted nothing at or below this since it made the claim, and will write nothing there.
    pub level: Position,
    /// Where its clock stood when it made the claim: it has not written anything above.
    pub stamp: Position,
    /// Its process life: keeps two claims apart whose stamps are equal by misfortune.
    pub boot: u64,
    /// Check over all claims that it knew of when it knew one of every voter; 0: no vote.
    pub vote: u64,
    /// Where its clock stood when it voted.
    pub voted: Position,
}

impl Slot {
    const fn rank(&self) -> (Position, u64, Position) {
        (self.stamp, self.boot, self.voted)
    }
}

/// Who acts, and when: identity, process life, and a stamp that was never used before.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Own identity.
    pub node: NodeId,
    /// Own process life.
    pub boot: u64,
    /// A fresh stamp of the own clock, and the own epoch.
    pub stamp: Position,
}

/// What learning has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    /// The floor has risen: what lies at or below it is to be purged.
    pub floor_rose: bool,
    /// A slot is newer now.
    pub slots: bool,
}

/// Floor and slots of one scope.
///
/// # Invariants
/// * the floor never falls; slots below it are left out;
/// * a foreign slot says that the own store includes what that node held at its claim: it is only taken from a node
///   whose store was equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Up to here everything is decided: what is absent was deleted.
    pub floor: Position,
    /// Slots by node.
    pub slots: BTreeMap<NodeId, Slot>,
}

impl Mark {
    /// Check over everything in it.
    #[must_use]
    pub fn check(&self) -> u64 {
        let mut check = Check::new().position(self.floor);
        for (node, slot) in &self.slots {
            check = claim(check, *node, slot)
                .word(slot.vote)
                .position(slot.voted);
        }
        check.finish()
    }

    /// The greatest epoch in it. A node that has not entered that epoch yet learns nothing from it: it would write below the
    /// floor, or claim in the name of a life that knew more.
    #[must_use]
    pub fn epoch(&self) -> u16 {
        let slots = self.slots.values();
        let epochs = slots.flat_map(|slot| [slot.level.epoch, slot.stamp.epoch, slot.voted.epoch]);
        epochs.fold(self.floor.epoch, u16::max)
    }

    /// The own level, zero if there is no claim.
    #[must_use]
    pub fn level(&self, node: NodeId) -> Position {
        self.slots.get(&node).map_or(Position::ZERO, |s| s.level)
    }

    /// Claims `level` if that is news; whether it was. A level that the fresh stamp does not exceed is not claimed: own
    /// writes might still come below it.
    pub fn claim(&mut self, own: &Own, level: Position) -> bool {
        let news = level > self.floor && level > self.level(own.node) && level < own.stamp;
        if news {
            self.renew(own, level);
        }
        news
    }

    /// Whether accepting an entry that stands here ends the claim of `node`.
    #[must_use]
    pub fn accepted_ends(&self, node: NodeId, stamp: Position) -> bool {
        let level = self.level(node);
        level > Position::ZERO && stamp <= level
    }

    /// Takes notice of an entry that was accepted from elsewhere. At or below the own level it ends the claim, and a new
    /// one of the same level is made; whether that was so.
    pub fn accepted(&mut self, own: &Own, stamp: Position) -> bool {
        let level = self.level(own.node);
        let ends = self.accepted_ends(own.node, stamp);
        if ends {
            self.renew(own, level);
        }
        ends
    }

    /// Gives up the own claim, until the next one.
    pub fn disclaim(&mut self, node: NodeId) {
        self.slots.remove(&node);
    }

    fn renew(&mut self, own: &Own, level: Position) {
        let last = self.slots.get(&own.node).copied().unwrap_or_default();
        let slot = Slot {
            level,
            stamp: own.stamp.max(last.stamp.next()),
            boot: own.boot,
            ..Slot::default()
        };
        self.slots.insert(own.node, slot);
    }

    /// Takes over what a node knows whose store was found equal under its floor, which must not be below the own one; nor may
    /// its [`Mark::epoch`] be one that this node has not entered.
    pub fn learn(&mut self, own: &Own, theirs: &Self) -> Learnt {
        let mut learnt = Learnt {
            floor_rose: theirs.floor > self.floor,
            slots: false,
        };
        let mut reclaim = None;
        for (node, slot) in &theirs.slots {
            let held = self.slots.get(node).copied().unwrap_or_default();
            if slot.rank() <= held.rank() {
                continue;
            }
            learnt.slots = true;
            self.slots.insert(*node, *slot);
            if *node == own.node {
                // A claim or vote of a life that this store does not remember. If its clock was wrong, own writes might
                // still come below that level: then it is taken back.
                let level = held.level.max(slot.level);
                reclaim = Some(if level < own.stamp { level } else { held.level });
            }
        }
        if let Some(level) = reclaim {
            self.renew(own, level);
        }
        self.raise(theirs.floor);
        learnt
    }

    /// Raises the floor; slots that lie behind it have nothing to say any more.
    fn raise(&mut self, floor: Position) {
        self.floor = self.floor.max(floor);
        let floor = self.floor;
        self.slots.retain(|_, slot| slot.level >= floor);
    }

    /// Check over members, voters and their claims; `None` if a voter's claim is missing.
    #[must_use]
    pub fn tally(&self, voters: &Voters) -> Option<u64> {
        let mut check = Check::new();
        for node in &voters.members {
            check = check.node(*node);
        }
        check = check.word(0);
        for node in &voters.voting {
            let slot = self.slots.get(node)?;
            if slot.level <= self.floor {
                return None;
            }
            check = claim(check, *node, slot);
        }
        // Zero is kept for "no vote".
        Some(check.finish().max(1))
    }

    /// Votes if there is something new to vote on; whether it did.
    pub fn vote(&mut self, own: &Own, voters: &Voters) -> bool {
        let Some(tally) = self
            .tally(voters)
            .filter(|_| voters.voting.contains(&own.node))
        else {
            return false;
        };
        let Some(slot) = self
            .slots
            .get_mut(&own.node)
            .filter(|slot| slot.vote != tally)
        else {
            return false;
        };
        slot.vote = tally;
        slot.voted = own.stamp.max(slot.voted.next());
        true
    }

    /// Up to when everything is known here that any voter has written: the oldest of their claims.
    #[must_use]
    pub fn reach(&self, own: NodeId, voters: &Voters) -> Position {
        let others = voters.voting.iter().filter(|node| **node != own);
        let stamps = others.map(|node| self.slots.get(node).map_or(self.floor, |slot| slot.stamp));
        stamps.min().unwrap_or(Position::MAX)
    }

    /// Raises the floor if all voters have voted for what is known here; returns the new floor. It never rises above
    /// `reach`: up to there this node knows who the members are; and not at all before that covers the time at which this
    /// node became one itself.
    pub fn cut(&mut self, own: &Own, voters: &Voters, reach: Position) -> Option<Position> {
        if !voters.voting.contains(&own.node) || !voters.is_majority() {
            return None;
        }
        if voters
            .since
            .get(&own.node)
            .is_some_and(|since| *since > reach)
        {
            // Others may have become members before this node did, unknown to it.
            return None;
        }
        let tally = self.tally(voters)?;
        let mut lowest: Option<Position> = None;
        for node in &voters.voting {
            let slot = self.slots.get(node).filter(|slot| slot.vote == tally)?;
            lowest = Some(lowest.map_or(slot.level, |low| low.min(slot.level)));
        }
        let floor = lowest
            .map(|low| low.min(reach))
            .filter(|floor| *floor > self.floor)?;
        self.raise(floor);
        Some(floor)
    }
}

fn claim(check: Check, node: NodeId, slot: &Slot) -> Check {
    check
        .node(node)
        .position(slot.level)
        .position(slot.stamp)
        .word(slot.boot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_lamport::Timestamp;

    /// A model history (seed 5864, members come and go): two nodes that had become members without knowing of each other
    /// cut alone, one of them with nothing in its store, and contradicted each other for ever.
    #[test]
    fn a_new_member_does_not_cut_before_it_knows_who_else_became_one() {
        let at = |ns| Position::new(0, Timestamp::from_nanos(ns));
        let own = Own {
            node: NodeId(4),
            boot: 1,
            stamp: at(15_510),
        };
        let mut voters = Voters {
            members: [own.node].into(),
            voting: [own.node].into(),
            ..Voters::default()
        };
        voters.since.insert(own.node, at(15_215));
        let mut mark = Mark::default();
        assert!(mark.claim(&own, at(14_000)) && mark.vote(&own, &voters));
        assert_eq!(mark.clone().cut(&own, &voters, at(15_214)), None);
        assert_eq!(mark.cut(&own, &voters, at(15_215)), Some(at(14_000)));
    }
}
