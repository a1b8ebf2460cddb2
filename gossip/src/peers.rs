//! The driver's part that has to do with peers: whom to be connected with, links up and down, events.

use crate::driver::Link;
use crate::limits::{FORGED_MAX, LIVES_SOON};
use crate::link::{Greeted, LinkIo, LinkReport, is_refused, start};
use crate::session::Fresh;
use crate::status::Lost;
use crate::{Backend, Driver};
use mars_gossip_net::{CloseCode, Connection, Utc};
use mars_gossip_proto::{Ending, Event};
use mars_meta_model::collect::Position;
use mars_meta_model::{
    Key, NodeId, NodeRecord, NodeState, Scope, current_epoch, node_record, removed_key, roster,
    roster_key, scope_of,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::time::Instant;

impl<B: Backend> Driver<B> {
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Synced { peer } => {
                tracing::debug!(%peer, "all that is shared is equal");
                self.status.update(&peer, |status| status.synced = true);
                self.status.set_synced();
            }
            Event::Diverged { peer } => {
                tracing::debug!(%peer, "contents differ; comparing");
                self.status.update(&peer, |status| status.synced = false);
            }
            Event::Contradiction { peer, key } if scope_of(&key) == Scope::Global => {
                tracing::warn!(%peer, %key,
                    "the peer refuses an entry as deleted long ago, and this node holds it: tombstones of what belongs to the whole cluster stay until you decide here. `marsadm set-link --force VALUE /mars/KEY` keeps it everywhere, `marsadm delete-file --force /mars/KEY` deletes it");
            }
            Event::Contradiction { peer, key } => {
                tracing::warn!(%peer, %key,
                    "the peer refuses an entry as deleted long ago, and this node holds it: whoever became a member later gives way (versions before that do not: there, `marsadm set-link --force VALUE /mars/KEY` keeps it, `marsadm delete-file --force /mars/KEY` deletes it)");
            }
            Event::EpochBegan => self.status.forget_refused_stamps(),
            Event::Refused { peer, key, stamp } => {
                let mut count = 0;
                self.status.update(&peer, |status| {
                    status.refused += 1;
                    status.refuse_stamp(stamp);
                    count = status.refused;
                });
                if count.is_power_of_two() {
                    tracing::warn!(%peer, %key, %stamp, count,
                        "entries are refused: stamps too far ahead, or of an epoch that was not announced; compare the \
                         system clocks of both nodes");
                }
                self.doubt_clock(&peer);
            }
            Event::Denied { peer, key, why } => {
                let mut count = 0;
                self.status.update(&peer, |status| {
                    status.denied += 1;
                    status.denied_last = Some(format!("{key}: {why}"));
                    count = status.denied;
                });
                if count.is_power_of_two() {
                    tracing::warn!(%peer, %key, %why, count, "entries that break a rule of trust are refused");
                }
            }
            Event::Forged { peer, key, at } => {
                tracing::error!(%peer, %key, %at, "a foreign entry for what is this node's own: it is overwritten");
                self.overwrite(key, at);
            }
            Event::Outdated { peer, key, at } => {
                tracing::warn!(%peer, %key, %at,
                    "the peer passes on a line of the roster that a removal has overtaken: the present one is written again");
                self.overwrite(key, at);
            }
            Event::Forced {
                peer,
                relayed,
                origin,
                keys,
                count,
            } => {
                self.status.update(&peer, |status| status.forced += count);
                let now = Instant::now();
                self.overrides
                    .note(now, &peer, relayed, origin, (keys, count));
            }
            Event::Skipped { peer, count } => {
                tracing::warn!(%peer, count, "entries of a later version were left out: upgrade this node");
            }
            Event::TopologyChanged => self.refresh_targets(),
            Event::Unneeded { peer } => {
                tracing::debug!(%peer, "no neighbour any more");
                self.drop_link(
                    &peer,
                    CloseCode::Done,
                    "no neighbours any more",
                    Ending::Orderly,
                );
            }
            Event::Bye { peer, reason } => tracing::info!(%peer, reason, "the peer ends"),
        }
    }

    /// Tells of overrides in the log, where it is time.
    pub(crate) fn tell_overrides(&mut self) {
        while let Some(told) = self.overrides.poll(Instant::now()) {
            let name = |id: NodeId| {
                let known = self.members.iter().find(|(_, member)| **member == id);
                known.map_or_else(|| id.to_string(), |(host, _)| host.clone())
            };
            let origin = match told.origin {
                Some(NodeId::IMPORTED) => "an import".to_owned(),
                Some(id) => name(id),
                None => "several".to_owned(),
            };
            let (grave, count, peer) = (told.is_grave(), told.count, told.peer);
            let more = count.saturating_sub(u64::try_from(told.keys.len()).unwrap_or(count));
            let keys: Vec<&str> = told.keys.iter().map(Key::as_str).collect();
            if told.relayed {
                tracing::warn!(%peer, origin, ?keys, more, count,
                    "the peer passes on what an administrator wrote in another owner's name: nothing proves who it was");
            } else if grave {
                tracing::warn!(%peer, origin, ?keys, more, count,
                    "an administrator wrote who belongs to the cluster, in another owner's name");
            } else {
                tracing::info!(%peer, origin, ?keys, more, count, "an administrator wrote in another owner's name");
            }
        }
    }

    /// Whether the roster as this node has it names this node.
    fn look_at_own_line(&mut self) {
        let Some(identity) = self.endpoint.identity() else {
            return;
        };
        let (own, key) = (identity.key_hash(), &self.hello.host);
        let (node, boot) = (&self.hello.node, self.hello.boot);
        let lost = self.backend.with_view(|view| {
            let line = node_record(view, key);
            if let Some(mark) = removed_key(own.as_bytes()).and_then(|key| view.entry(&key)) {
                let who = roster(view)
                    .into_iter()
                    .find(|(_, record)| record.id == mark.origin);
                let who = who.map_or_else(|| format!("node {}", mark.origin), |(host, _)| host);
                let at = Utc(mark.stamp.secs());
                return Some(Lost {
                    reason: format!("{who} removed it at {at}"),
                    leaving: mark.origin.to_string() == *node && mark.boot == boot,
                });
            }
            let line = line?;
            let certain = |reason| Lost {
                reason,
                leaving: false,
            };
            if line.key_hash != *own.as_bytes() {
                return Some(certain(format!("its name belongs to node {} now", line.id)));
            }
            (line.state == NodeState::Left).then(|| certain("the roster says so".to_owned()))
        });
        self.status.set_lost(lost);
    }

    /// Says once that this node is out of the cluster, and once that it is in it again.
    pub(crate) fn tell_standing(&mut self) {
        let (now, wall) = (Instant::now(), self.backend.clock().0);
        let out = self.status.exclusion((now, wall));
        if out.is_some() == self.told_out {
            return;
        }
        self.told_out = out.is_some();
        match out {
            Some(out) => tracing::error!(
                host = self.hello.host,
                reason = out.reason,
                "this node is no longer in the cluster: shared keys are not written here; marsadm leave-cluster --force, \
                 then join again with a new token"
            ),
            None => tracing::warn!(
                host = self.hello.host,
                "this node is in the cluster after all"
            ),
        }
    }

    /// Says once that this node is alone in its epoch, and once that it no longer is.
    pub(crate) fn tell_apart(&mut self) {
        let own = self.backend.with_view(|view| current_epoch(view));
        let apart = self.status.apart(own, Instant::now());
        if apart.is_some() == self.told_apart {
            return;
        }
        self.told_apart = apart.is_some();
        match apart {
            Some((own, theirs)) => tracing::error!(
                own,
                theirs,
                "none of the connected nodes is in this node's epoch of the cluster's clock: shared keys are not written here"
            ),
            None => tracing::warn!("this node shares its epoch of the cluster's clock again"),
        }
    }

    /// Notes the process of a host that connects; says so if there are two of them.
    fn note_body(&mut self, host: &str, boot: u64, addr: SocketAddr) {
        let twice = self.bodies.connected(host, boot, addr, Instant::now());
        let mut news = false;
        self.status.update(host, |status| {
            news = twice.is_some() && status.twice != twice;
            status.twice.clone_from(&twice);
        });
        if let Some(addrs) = twice.filter(|_| news) {
            tracing::error!(
                peer = host,
                addrs,
                "two processes say that they are this host, with the same key: a copy of its state folder runs elsewhere; \
                 stop one of them, remove its state folder, and join it under another name"
            );
        }
    }

    /// Says who came to an end, of all that the roster named as active before.
    fn tell_removed(&mut self) {
        let known = self.backend.with_view(|view| roster(view));
        let active = |record: &NodeRecord| record.state == NodeState::Active;
        let now: BTreeMap<String, NodeId> = known
            .iter()
            .filter(|(_, record)| active(record))
            .map(|(host, record)| (host.clone(), record.id))
            .collect();
        for (host, id) in &self.members {
            if now.get(host) == Some(id) {
                continue;
            }
            let since = self.backend.with_view(|view| {
                let key = roster_key(host)?;
                Some(view.entry(&key)?.stamp)
            });
            let since = since.map_or_else(String::new, |stamp| stamp.to_string());
            let bearer = now.get(host).map(ToString::to_string);
            tracing::warn!(host, %id, since, bearer, "a node is no longer in the cluster");
        }
        self.members = now;
    }

    /// What is held of the key is to be written anew.
    fn overwrite(&mut self, key: Key, at: Position) {
        if self.forged.len() < FORGED_MAX || self.forged.contains_key(&key) {
            let held = self.forged.entry(key).or_default();
            *held = (*held).max(at);
        }
    }

    /// Reads from the core whom to be connected with, and drops who left.
    pub(crate) fn refresh_targets(&mut self) {
        self.look_at_own_line();
        self.tell_removed();
        let mut neighbours = self.core.neighbours();
        let own: Vec<String> = neighbours.iter().map(|n| n.host.clone()).collect();
        let watched = self.core.watch_sources().into_iter();
        neighbours.extend(watched.filter(|source| !own.contains(&source.host)));
        let wanted = |host: &str| neighbours.iter().any(|n| n.host == host);
        let others: Vec<String> = self.core.others().map(str::to_owned).collect();
        let named = |host: &str| others.binary_search_by(|o| o.as_str().cmp(host)).is_ok();
        self.dials.retain(wanted);
        self.status.retain(named);
        self.bodies.retain(named);
        for host in &others {
            self.status.know(host);
            let neighbour = own.contains(host);
            let tried = wanted(host);
            self.status.update(host, |status| {
                status.neighbour = neighbour;
                if !tried {
                    // Nobody tries any more.
                    status.error = None;
                }
            });
        }
        for neighbour in &neighbours {
            let record = &neighbour.record;
            let first = self.hello.node < record.id.to_string();
            let news = self
                .dials
                .want(&neighbour.host, &record.meta, record.key_hash, first);
            let link = self.links.get(&neighbour.host);
            if link.is_some_and(|link| link.node != record.id.to_string()) {
                let reason = "your name belongs to another node now";
                self.drop_link(
                    &neighbour.host,
                    CloseCode::NotAllowed,
                    reason,
                    Ending::Orderly,
                );
                continue;
            }
            let moved = link.is_some_and(|link| {
                let addr = link.connection.remote_addr();
                link.connection.is_outgoing() && !self.dials.is_current(&neighbour.host, addr)
            });
            if news && moved {
                let reason = "the address has changed";
                self.drop_link(&neighbour.host, CloseCode::Done, reason, Ending::Orderly);
            }
        }
        let gone: Vec<String> = self.links.keys().filter(|h| !named(h)).cloned().collect();
        for host in gone {
            let reason = "your node left our roster";
            self.drop_link(&host, CloseCode::NotAllowed, reason, Ending::Orderly);
        }
        self.endpoint.enforce_policy();
    }

    /// Lets others reckon who lives from what is known now, if that is something else than before.
    pub(crate) fn look_up_lives(&mut self) {
        let version = self.core.lives_version();
        if self.lives_seen == Some(version) {
            return;
        }
        let now = Instant::now();
        if now < *self.lives_due.get_or_insert(now + LIVES_SOON) && self.lives_seen.is_some() {
            return;
        }
        self.lives_due = None;
        self.lives_seen = Some(version);
        self.status.set_lives(self.core.lives());
    }

    fn drop_link(&mut self, host: &str, code: CloseCode, reason: &str, ending: Ending) {
        if let Some(link) = self.links.remove(host) {
            link.connection.close(code, reason);
            self.with_core(|core, ctx| core.handle_disconnected(ctx, host, ending));
            self.status.update(host, |status| {
                status.connected = false;
                status.node = None;
                status.synced = false;
                status.error = Some(reason.to_owned());
                (status.offset_ns, status.offset_at) = (None, None);
                (status.epoch, status.refused_reading) = (None, None);
            });
        }
    }

    pub(crate) fn report(&mut self, host: &str, number: u64, report: LinkReport) {
        if self
            .links
            .get(host)
            .is_none_or(|link| link.number != number)
        {
            return;
        }
        match report {
            LinkReport::Sent => self.core.handle_sent(host),
            LinkReport::Down(reason, ending) => {
                tracing::info!(peer = host, reason, "connection lost");
                let link = self.links.get(host);
                let refuses = link.is_some_and(|link| is_refused(&link.connection));
                self.status.update(host, |status| status.refuses = refuses);
                self.drop_link(host, CloseCode::Done, &reason, ending);
                self.dials.ended(host);
            }
        }
    }

    pub(crate) fn fresh(&mut self, fresh: Fresh) {
        match fresh {
            Fresh::Greeted(greeted) => self.up(*greeted),
            Fresh::DialFailed {
                host,
                reason,
                refused,
            } => {
                self.dials.ended(&host);
                // Of a peer that does not answer nothing is known that is newer.
                if refused {
                    self.status.update(&host, |status| status.refuses = true);
                }
                if !self.links.contains_key(&host) {
                    tracing::debug!(peer = host, reason, "no connection");
                    self.status
                        .update(&host, |status| status.error = Some(reason));
                }
            }
        }
    }

    fn up(&mut self, greeted: Greeted) {
        let host = greeted.host.clone();
        self.dials.succeeded(&host);
        self.note_body(&host, greeted.hello.boot, greeted.connection.remote_addr());
        if let Some(held) = self.links.get(&host) {
            if !replaces(held, &greeted, &self.hello.node) {
                greeted.connection.close(CloseCode::Duplicate, "");
                return;
            }
            self.drop_link(&host, CloseCode::Duplicate, "", Ending::Orderly);
        }
        self.next_number += 1;
        let number = self.next_number;
        let hello = greeted.hello.clone();
        let (boot, node) = (hello.boot, hello.node.clone());
        let io = LinkIo {
            number,
            host: host.clone(),
            reports: self.reports.clone(),
            messages: self.messages.clone(),
        };
        let outgoing = greeted.connection.is_outgoing();
        let (out, connection) = start(&self.spawner, greeted, io);
        tracing::info!(peer = %host, addr = %connection.remote_addr(), outgoing, "connected");
        let link = Link {
            number,
            boot,
            node,
            connection,
            out,
        };
        self.links.insert(host.clone(), link);
        self.status.know(&host);
        let wall = self.backend.clock().0;
        self.status.update(&host, |status| {
            status.connected = true;
            status.node = Some(hello.node.clone());
            status.refuses = false;
            status.synced = false;
            status.error = None;
            status.heard_ns = Some(wall);
        });
        self.with_core(|core, ctx| core.handle_connected(ctx, &host, &hello));
    }
}

/// Whether a new connection takes the place of the one held. Of two that were dialled from both sides, both nodes
/// keep the one that the node with the smaller number dialled; otherwise the newer one is the better one.
fn replaces(held: &Link, new: &Greeted, own_node: &str) -> bool {
    if held.connection.close_reason().is_some() || held.boot != new.hello.boot {
        return true;
    }
    let first = own_node < new.hello.node.as_str();
    let right = |connection: &Connection| connection.is_outgoing() == first;
    !right(&held.connection) || right(&new.connection)
}
