//! A sign of life on request: whoever writes `actual-HOST/alive-request` gets `actual-OWN/alive-answer` of every other node.
//!
//! Both are volatile and reach all nodes by way of each other. An answer is stamped behind all requests that it answers, so
//! who asked needs to know no more than the stamp of the request. So many nodes answer that the pace depends on their number.

use crate::limits::{ANSWER_INTERVAL_MIN, ANSWER_INTERVAL_NODE};
use mars_lamport::Timestamp;
use mars_meta::{Change, FeedEvent, Meta};
use mars_meta_model::collect::Position;
use mars_meta_model::{Entry, Key, Value, View as _, roster};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What was asked, and when it may be answered.
#[derive(Debug)]
struct Answers {
    host: String,
    /// Where the newest request seen stands: after a repair of the clock, the stamps are lower ones.
    seen: Position,
    /// Whether one is to be answered.
    open: bool,
    /// Not before then.
    rest: Instant,
}

impl Answers {
    fn new(host: String, now: Instant) -> Self {
        Self {
            host,
            seen: Position::ZERO,
            open: false,
            rest: now,
        }
    }

    /// Looks at an entry that has come.
    fn look(&mut self, entry: &Entry) {
        let asker = entry.key.as_str().strip_prefix("actual-");
        let asker = asker.and_then(|rest| rest.strip_suffix("/alive-request"));
        let asks = asker.is_some_and(|asker| asker != self.host) && !entry.is_tombstone();
        let at = Position::of(entry);
        if asks && at > self.seen {
            (self.seen, self.open) = (at, true);
        }
    }

    /// When to answer, if at all.
    fn due(&self) -> Option<Instant> {
        self.open.then_some(self.rest)
    }

    /// The answer, of a cluster of so many nodes.
    fn answer(&mut self, now: Instant, wall: Timestamp, nodes: usize) -> Option<Change> {
        self.open = false;
        self.rest = now + interval(nodes);
        let key = Key::parse(&format!("actual-{}/alive-answer", self.host)).ok()?;
        Some((key, Some(Value::text(&wall.to_string()).ok()?)))
    }
}

fn interval(nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    ANSWER_INTERVAL_NODE
        .saturating_mul(nodes)
        .max(ANSWER_INTERVAL_MIN)
}

/// Answers until `stopped` says so.
pub(crate) async fn follow(meta: Meta, host: String, mut stopped: watch::Receiver<bool>) {
    let mut feed = meta.subscribe_all();
    let mut answers = Answers::new(host, Instant::now());
    loop {
        let due = answers.due();
        let at = due.unwrap_or_else(Instant::now);
        let event = tokio::select! {
            event = feed.next() => Some(event),
            () = sleep_until(at), if due.is_some() => None,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match event {
            Some(None) => return,
            Some(Some(FeedEvent::Applied(batch))) => {
                batch.entries.iter().for_each(|entry| answers.look(entry));
            }
            Some(Some(FeedEvent::Lagged)) => meta.with_table(|table| {
                table.scan("actual-").for_each(|entry| answers.look(entry));
            }),
            None => {
                let nodes = meta.with_table(|table| roster(table).len());
                let wall = Timestamp::from_nanos(meta.clock().0);
                let answer = answers.answer(Instant::now(), wall, nodes);
                // A store that fails is reported by whoever else writes into it.
                if let Some(answer) = answer
                    && meta.apply(vec![answer], false).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_meta_model::testing::entry;

    #[test]
    fn each_request_is_answered_once_and_not_too_often() {
        let now = Instant::now();
        let mut answers = Answers::new("b".to_owned(), now);
        answers.look(&entry("actual-a/rest-space", Some("1"), 5, 1));
        answers.look(&entry("actual-b/alive-request", Some("1"), 5, 1));
        answers.look(&entry("actual-c/alive-request", None, 5, 1));
        assert_eq!(answers.due(), None, "nobody else asks");
        let asked = entry("actual-a/alive-request", Some("1"), 6, 1);
        answers.look(&asked);
        assert_eq!(answers.due(), Some(now), "at once");
        let wall = Timestamp::from_parts(7, 0);
        let (key, value) = answers.answer(now, wall, 3).unwrap();
        assert_eq!(key.as_str(), "actual-b/alive-answer");
        assert_eq!(value.unwrap().as_bytes(), b"7.000000000");
        // It may come again, over another node.
        answers.look(&asked);
        assert_eq!(answers.due(), None);
        answers.look(&entry("actual-c/alive-request", Some("1"), 8, 1));
        assert_eq!(answers.due(), Some(now + ANSWER_INTERVAL_MIN));
        // A new epoch has set all clocks back.
        answers.answer(now, wall, 3).unwrap();
        let mut later = entry("actual-a/alive-request", Some("2"), 2, 1);
        answers.look(&later);
        assert_eq!(answers.due(), None);
        later.epoch = 1;
        answers.look(&later);
        assert!(answers.due().is_some());
        assert_eq!(interval(1000), ANSWER_INTERVAL_NODE * 1000);
    }
}
