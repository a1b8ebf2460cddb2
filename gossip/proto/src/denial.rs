//! Entries that the door turns away: they stay at their sender, and are looked at again when that can help.

use crate::door::Verdict;
use crate::peer::{Peer, Why};
use crate::{Ctx, Event};
use mars_lamport::Timestamp;
use mars_meta_model::collect::Position;
use mars_meta_model::{Entry, current_epoch, is_volatile};
use std::cmp::Ordering;

/// Until when an entry that breaks a rule need not be looked at again. What could not be taken anyway cannot be out-voted
/// either: that is to be done as soon as others may take it.
pub(crate) fn until(ctx: &Ctx<'_>, max_ahead_ns: u64, entry: &Entry) -> Why {
    let newest = Timestamp::from_nanos(ctx.wall.saturating_add(max_ahead_ns));
    match entry.epoch.cmp(&current_epoch(ctx.view)) {
        Ordering::Greater => Why::Epoch,
        Ordering::Equal if entry.stamp > newest => Why::Stamp,
        Ordering::Equal | Ordering::Less => Why::Rule,
    }
}

/// Leaves an entry at its sender, and reports it.
pub(crate) fn deny(
    peer: &mut Peer,
    host: &str,
    entry: &Entry,
    (verdict, until): (Verdict, Why),
    events: &mut Vec<Event>,
) {
    let (why, overwrite) = match verdict {
        Verdict::Refuse(why) => (why, false),
        Verdict::Overwrite(why) => (why, true),
        Verdict::Outdated => {
            peer.refuse(entry, until);
            if until == Why::Rule {
                events.push(Event::Outdated {
                    peer: host.to_owned(),
                    key: entry.key.clone(),
                    at: Position::of(entry),
                });
            }
            return;
        }
        Verdict::Take => return,
    };
    peer.denied_count += 1;
    if !is_volatile(entry) {
        peer.refuse(entry, until);
    }
    let (key, at) = (entry.key.clone(), Position::of(entry));
    if overwrite && until == Why::Rule {
        events.push(Event::Forged {
            peer: host.to_owned(),
            key: key.clone(),
            at,
        });
    }
    events.push(Event::Denied {
        peer: host.to_owned(),
        key,
        why,
    });
}
