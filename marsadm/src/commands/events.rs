//! `events`: what changes, line by line.

use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Cursor, Event, EventType, Fact, facts, instance};
use crate::limits::{EVENTS_PEERS_INTERVAL, POLL_INTERVAL};
use crate::output::Format;
use crate::ui::Ui;
use crate::wall;
use mars_meta_api::{CallError, Client, PeerInfo, Request, Response, Watch, WatchEvent};
use mars_meta_model::{Entry, Table};
use std::collections::BTreeMap;

/// Print how nodes, roles and replicas are, as one JSON document per line; with --follow also how they change.
///
/// Every line has a cursor: with --cursor only what came behind that line is printed. Changes may be told twice, but
/// none is left out; what changed to and fro meanwhile is one line. Where that cannot be kept, because the metadata
/// daemon was started anew, there is a line of type gap, and everything is told once more.
///
/// Example: marsadm events --follow
/// Example: marsadm events --follow --cursor "$(tail -n 1 events.log | jq -r .data.cursor)"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Go on until stopped
    #[arg(long, visible_alias = "watch")]
    pub follow: bool,
    /// Go on behind the line that had this cursor
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A wrong cursor; a daemon that does not answer when the command begins (later it is waited for).
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        let cursor = args.cursor.as_deref().map(Cursor::parse).transpose()?;
        // Lines of JSON are the only form; one document for all only if it ends and that was asked for.
        let whole = ctx.ui.format() == Format::Json && !args.follow;
        let mut teller = Teller {
            ui: ctx.ui.clone().with_format(Format::Ndjson),
            whole: whole.then(Vec::new),
            cursor: Cursor::default(),
            told: BTreeMap::new(),
        };
        let mut resume = cursor;
        loop {
            match follow(ctx, args, &mut teller, resume.take()).await {
                Ok(()) => break,
                Err(error) if !args.follow || teller.cursor.instance.is_empty() => {
                    return Err(error);
                }
                Err(error) => {
                    ctx.ui.detail(&format!("the daemon went away: {error}"));
                    tokio::time::sleep(POLL_INTERVAL).await;
                    while instance(&ctx.opts.socket).await.is_err() {
                        tokio::time::sleep(POLL_INTERVAL).await;
                    }
                    resume = Some(teller.cursor.clone());
                }
            }
        }
        match teller.whole {
            Some(events) => ctx.ui.items("Event", &events),
            None => Ok(()),
        }
    };
    work.await.map_err(|error: Error| error.about("events"))
}

/// Tells events over one connection, until it ends or, without `--follow`, everything was told.
async fn follow(ctx: &Ctx, args: &Args, teller: &mut Teller, resume: Option<Cursor>) -> Result<()> {
    let now = limited(ctx, async {
        Ok::<_, Error>(instance(&ctx.opts.socket).await)
    })
    .await?;
    let now = now.unwrap_or_default();
    let client = limited(ctx, Client::connect(&ctx.opts.socket)).await?;
    let prefixes = ["directory/", "resource-"];
    let mut watch = limited(ctx, client.watch(&prefixes)).await?;
    let mut table = Table::new();
    snapshot(ctx, &mut watch, &mut table).await?;
    let mut peers = peers(ctx, &client).await?;
    let state = facts(&table, &peers);
    let known = resume.filter(|cursor| !cursor.instance.is_empty());
    match known {
        Some(cursor) if cursor.instance == now => {
            teller.cursor = cursor;
            teller.since(&table, state)?;
        }
        other => {
            teller.cursor = Cursor::new("");
            if other.is_some() {
                teller.gap(
                    "the metadata daemon was started anew: what changed before cannot be told",
                )?;
            }
            teller.snapshot(state)?;
        }
    }
    teller.cursor.instance = now;
    table.iter().for_each(|entry| teller.cursor.see(entry));
    teller.mark(EventType::Synced, None)?;
    if !args.follow {
        return Ok(());
    }
    let mut tick = tokio::time::interval(EVENTS_PEERS_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut seen: Vec<Entry> = Vec::new();
        tokio::select! {
            event = watch.next() => match event? {
                WatchEvent::Entries(entries) => {
                    for entry in entries {
                        table.merge(entry.clone());
                        seen.push(entry);
                    }
                }
                WatchEvent::Synced => {}
                WatchEvent::Lagged => {
                    // The facts that were told are still known, so nothing is lost.
                    table = Table::new();
                    snapshot(ctx, &mut watch, &mut table).await?;
                    seen.extend(table.iter().cloned());
                }
            },
            _ = tick.tick() => peers = self::peers(ctx, &client).await?,
        }
        teller.changes(facts(&table, &peers), &seen)?;
    }
}

/// A single question, which `--timeout` bounds.
async fn limited<T, E>(
    ctx: &Ctx,
    work: impl Future<Output = std::result::Result<T, E>>,
) -> Result<T>
where
    Error: From<E>,
{
    match tokio::time::timeout(ctx.opts.timeout, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::new(
            Kind::Timeout,
            format!(
                "the metadata daemon did not answer within {} s",
                ctx.opts.timeout.as_secs()
            ),
        )
        .hint("look at the daemon's log")),
    }
}

async fn peers(ctx: &Ctx, client: &Client) -> Result<Vec<PeerInfo>> {
    match limited(ctx, client.call(Request::Peers)).await? {
        Response::Peers(peers) => Ok(peers),
        other => Err(crate::context::unexpected(&other)),
    }
}

/// Reads until the snapshot is complete.
async fn snapshot(ctx: &Ctx, watch: &mut Watch, table: &mut Table) -> Result<()> {
    limited(ctx, async {
        loop {
            match watch.next().await? {
                WatchEvent::Entries(entries) => {
                    for entry in entries {
                        table.merge(entry);
                    }
                }
                WatchEvent::Synced => return Ok::<(), CallError>(()),
                WatchEvent::Lagged => *table = Table::new(),
            }
        }
    })
    .await
}

/// What was told, and up to where.
struct Teller {
    ui: Ui,
    /// All events, if they are printed as one document at the end.
    whole: Option<Vec<Event>>,
    cursor: Cursor,
    told: BTreeMap<Fact, String>,
}

impl Teller {
    fn print(&mut self, event: Event) -> Result<()> {
        match &mut self.whole {
            Some(events) => events.push(event),
            None => self.ui.stream("Event", &event)?,
        }
        Ok(())
    }

    fn event(&self, r#type: EventType) -> Event {
        Event {
            r#type,
            subject: None,
            resource: None,
            host: None,
            from: None,
            to: None,
            reason: None,
            time: wall::now().to_string(),
            cursor: self.cursor.to_string(),
        }
    }

    fn mark(&mut self, r#type: EventType, reason: Option<&str>) -> Result<()> {
        let mut event = self.event(r#type);
        event.reason = reason.map(str::to_owned);
        self.print(event)
    }

    fn gap(&mut self, reason: &str) -> Result<()> {
        self.mark(EventType::Gap, Some(reason))
    }

    fn fact(
        &mut self,
        r#type: EventType,
        fact: &Fact,
        from: Option<String>,
        to: Option<String>,
    ) -> Result<()> {
        let event = Event {
            subject: Some(fact.subject),
            resource: fact.resource.clone(),
            host: fact.host.clone(),
            from,
            to,
            ..self.event(r#type)
        };
        self.print(event)
    }

    /// Everything as it is. The cursor of these lines leads to the beginning of the snapshot.
    fn snapshot(&mut self, state: BTreeMap<Fact, String>) -> Result<()> {
        for (fact, text) in &state {
            self.fact(EventType::State, fact, None, Some(text.clone()))?;
        }
        self.told = state;
        Ok(())
    }

    /// What may have changed behind the cursor: facts with a newer key, and all nodes, of which there are no keys.
    fn since(&mut self, table: &Table, state: BTreeMap<Fact, String>) -> Result<()> {
        let news: Vec<&str> = table
            .iter()
            .filter(|entry| self.cursor.is_news(entry))
            .map(|entry| entry.key.as_str())
            .collect();
        for (fact, text) in &state {
            if fact.resource.is_none() || news.iter().any(|key| fact.is_read_from(key)) {
                let from = self.told.get(fact).cloned();
                if from.as_ref() != Some(text) {
                    self.fact(EventType::Change, fact, from, Some(text.clone()))?;
                }
            }
        }
        // Of what is gone there is no fact; its tombstones tell.
        for entry in table.iter().filter(|entry| entry.is_tombstone()) {
            let parts: Vec<&str> = entry.key.parts().collect();
            if let ["directory", resource, member] = parts[..]
                && let Some(host) = member.strip_prefix("member-")
                && self.cursor.is_news(entry)
            {
                let fact = Fact {
                    subject: crate::events::Subject::Replica,
                    resource: Some(resource.to_owned()),
                    host: Some(host.to_owned()),
                };
                self.fact(EventType::Change, &fact, None, None)?;
            }
        }
        self.told = state;
        Ok(())
    }

    /// What changed since the last call. Only the last line's cursor includes what was seen.
    fn changes(&mut self, state: BTreeMap<Fact, String>, seen: &[Entry]) -> Result<()> {
        let facts: std::collections::BTreeSet<Fact> =
            self.told.keys().chain(state.keys()).cloned().collect();
        let changed: Vec<(Fact, Option<String>, Option<String>)> = facts
            .into_iter()
            .map(|fact| {
                let (from, to) = (self.told.get(&fact).cloned(), state.get(&fact).cloned());
                (fact, from, to)
            })
            .filter(|(_, from, to)| from != to)
            .collect();
        let mut behind = self.cursor.clone();
        seen.iter().for_each(|entry| behind.see(entry));
        let last = changed.len();
        for (at, (fact, from, to)) in changed.into_iter().enumerate() {
            if at + 1 == last {
                self.cursor = behind.clone();
            }
            self.fact(EventType::Change, &fact, from, to)?;
        }
        self.cursor = behind;
        self.told = state;
        Ok(())
    }
}
