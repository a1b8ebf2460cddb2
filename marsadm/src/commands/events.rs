//! `events`: what changes, line by line.

use crate::context::Ctx;
use crate::error::{Error, Kind, Result};
use crate::events::{Cursor, Event, EventType, Fact, Known, facts, gone, instance};
use crate::following::Following;
use crate::limits::{
    EVENTS_INTERVAL, EVENTS_PAUSE, EVENTS_PAUSE_FACTOR, FOLLOW_WAIT_MAX, POLL_INTERVAL,
};
use crate::output::Format;
use crate::snapshot::{Answers, assemble};
use crate::status::{Wanted, judge};
use crate::ui::Ui;
use crate::wall;
use mars_meta_api::{CallError, Client, Watch, WatchEvent};
use mars_meta_model::Table;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Print how nodes, roles and replicas are, as one JSON document per line; with --follow also how they change.
///
/// Every line has a cursor: with --cursor only what changed behind that line is printed; what changed to and fro meanwhile
/// is left out. Where that cannot be told, because the metadata daemon was started anew, because the cursor is of another
/// node, or because something is gone and so is its name, there is a line of type gap, and then a snapshot: everything as it is, in lines of type state.
///
/// The codes of health are those of marsadm status, all of them, when they begin and when they end: of each replica, of each
/// resource as a whole (no host), and of each node (no resource). It is looked at when something changes, and once a second.
/// The role of a replica whose host was not heard since the metadata daemon was started is unknown.
///
/// Of resources that this node has no part in, their members' summaries are told, which are up to a minute old. Those named
/// with --resource are watched at a member for as long as the command runs.
///
/// Example: marsadm events --follow
/// Example: marsadm events --follow --cursor "$(tail -n 1 events.log | jq -r .data.cursor)"
/// Example: marsadm events --follow --resource mydata,otherdata
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Go on until stopped
    #[arg(long, visible_alias = "watch")]
    pub follow: bool,
    /// Go on behind the line that had this cursor
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Resource, or a list with commas, that is told of in full, also of other hosts; 16 of those at most
    #[arg(long, value_name = "RES", value_delimiter = ',')]
    pub resource: Vec<String>,
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
        // Over a restart of the daemon too.
        let mut following = Following::new(&ctx.opts.socket);
        let mut resume = cursor;
        loop {
            match follow(ctx, args, &mut teller, &mut following, resume.take()).await {
                Ok(()) => break,
                Err(error)
                    if !args.follow
                        || teller.cursor.instance.is_empty()
                        || teller.ui.lost().is_some() =>
                {
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

/// What is known, and how it comes.
struct Source<'a> {
    ctx: &'a Ctx,
    client: Client,
    watch: Watch,
    table: Table,
    answers: Answers,
    following: &'a mut Following,
    named: &'a [String],
}

impl<'a> Source<'a> {
    async fn open(
        ctx: &'a Ctx,
        named: &'a [String],
        following: &'a mut Following,
    ) -> Result<Source<'a>> {
        let client = ctx.connect().await?;
        // The status looks at all keys.
        let watch = limited(ctx, client.watch(&[""])).await?;
        let mut source = Self {
            ctx,
            answers: limited(ctx, Answers::ask(&client)).await?,
            client,
            watch,
            table: Table::new(),
            following,
            named,
        };
        snapshot(ctx, &mut source.watch, &mut source.table).await?;
        source.watch_named()?;
        let wait = FOLLOW_WAIT_MAX.min(ctx.opts.timeout);
        for name in source.following.ready(wait).await {
            ctx.ui.note(&format!(
                "{name}: no member tells more than its summary now; it is asked again"
            ));
        }
        Ok(source)
    }

    /// Watches those of the named resources that this node has no part in.
    fn watch_named(&mut self) -> Result<()> {
        let mut wanted = BTreeSet::new();
        for name in self.named {
            let hosts = mars_meta_model::members(&self.table, name);
            if hosts.is_empty() && self.following.is_watched(name) {
                // It is gone, which is told.
                continue;
            }
            if hosts.is_empty() {
                let text = format!("resource {name} is not known to this host");
                return Err(Error::not_found(text).hint("marsadm status --all lists all"));
            }
            if !hosts.contains_key(&self.answers.node.host) {
                wanted.insert(name.clone());
            }
        }
        self.following.set(&wanted);
        Ok(())
    }

    fn facts(&self) -> BTreeMap<Fact, String> {
        let followed = self.following.tables();
        let wanted = Wanted {
            window: Some(self.ctx.opts.window.as_secs()),
            ..Wanted::default()
        };
        let snapshot = assemble(&self.table, &followed, &self.answers);
        facts(Known {
            host: &self.answers.node.host,
            table: &self.table,
            followed: &followed,
            peers: &self.answers.peers,
            status: &judge(&snapshot, &wanted),
        })
    }

    /// Waits until something may have changed; time itself changes things too.
    async fn change(&mut self, tick: &mut tokio::time::Interval) -> Result<()> {
        let mut elsewhere = self.following.changes();
        tokio::select! {
            event = self.watch.next() => match event? {
                WatchEvent::Entries(entries) => {
                    for entry in entries {
                        self.table.merge(entry);
                    }
                }
                WatchEvent::Synced => {}
                WatchEvent::Lagged => {
                    // The facts that were told are still known, so nothing is lost.
                    self.table = Table::new();
                    snapshot(self.ctx, &mut self.watch, &mut self.table).await?;
                }
            },
            _ = elsewhere.changed() => {}
            _ = tick.tick() => {
                self.answers = limited(self.ctx, Answers::ask(&self.client)).await?;
            }
        }
        Ok(())
    }
}

/// Tells events over one connection, until it ends or, without `--follow`, everything was told.
async fn follow(
    ctx: &Ctx,
    args: &Args,
    teller: &mut Teller,
    following: &mut Following,
    resume: Option<Cursor>,
) -> Result<()> {
    let now = limited(ctx, async {
        Ok::<_, Error>(instance(&ctx.opts.socket).await)
    })
    .await?;
    let now = now.unwrap_or_default();
    let mut source = Source::open(ctx, &args.resource, following).await?;
    let state = source.facts();
    let known = resume.filter(|cursor| !cursor.instance.is_empty());
    let lost = known.as_ref().and_then(|cursor| {
        if cursor.instance != now {
            return Some(
                "the cursor is not of this run of the metadata daemon here: it was started anew since, or the cursor is of \
                 another node; what changed before cannot be told",
            );
        }
        let nameless = "something is gone, and so is its name";
        let gone = gone(&source.table, &state);
        let named = state.keys().chain(&gone);
        cursor
            .blind
            .or_else(|| cursor.knows_others(named).then_some(nameless))
    });
    match known {
        Some(cursor) if lost.is_none() => {
            teller.cursor = cursor;
            teller.since(&source.table, state)?;
        }
        _ => {
            teller.cursor = Cursor::new("");
            if let Some(reason) = lost {
                teller.gap(reason)?;
            }
            teller.snapshot(&now, state)?;
        }
    }
    teller.mark(EventType::Synced, None)?;
    if !args.follow {
        return Ok(());
    }
    let mut tick = tokio::time::interval(EVENTS_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // What comes within a pause is looked at in one go.
    let (mut news, mut next) = (false, Instant::now());
    loop {
        tokio::select! {
            changed = source.change(&mut tick) => {
                changed?;
                news = true;
            }
            () = tokio::time::sleep_until(next), if news => {}
        }
        let begun = Instant::now();
        if begun < next {
            continue;
        }
        source.watch_named().or_else(|error| match error.kind {
            // It is gone, which is told.
            Kind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        teller.changes(source.facts())?;
        if ctx.ui.is_unread() {
            return Ok(());
        }
        news = false;
        next = begun + EVENTS_PAUSE.max(begun.elapsed() * EVENTS_PAUSE_FACTOR);
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
    fn snapshot(&mut self, instance: &str, state: BTreeMap<Fact, String>) -> Result<()> {
        for (fact, text) in &state {
            self.fact(EventType::State, fact, None, Some(text.clone()))?;
        }
        self.cursor = Cursor::new(instance);
        for (fact, text) in &state {
            self.cursor.tell(fact, Some(text));
        }
        self.told = state;
        Ok(())
    }

    /// What is not as the reader knows it.
    fn since(&mut self, table: &Table, state: BTreeMap<Fact, String>) -> Result<()> {
        let gone = gone(table, &state).into_iter();
        let gone = gone
            .filter(|fact| self.cursor.knows(fact))
            .map(|fact| (fact, None));
        let news = state
            .iter()
            .filter(|(fact, text)| !self.cursor.holds(fact, text));
        let news = news.map(|(fact, text)| (fact.clone(), Some(text.clone())));
        let changed: Vec<(Fact, Option<String>)> = news.chain(gone).collect();
        for (fact, to) in changed {
            self.cursor.tell(&fact, to.as_deref());
            self.fact(EventType::Change, &fact, None, to)?;
        }
        self.told = state;
        Ok(())
    }

    /// What changed since the last call.
    fn changes(&mut self, state: BTreeMap<Fact, String>) -> Result<()> {
        let facts: BTreeSet<Fact> = self.told.keys().chain(state.keys()).cloned().collect();
        for fact in facts {
            let (from, to) = (self.told.get(&fact).cloned(), state.get(&fact).cloned());
            if from != to {
                self.cursor.tell(&fact, to.as_deref());
                self.fact(EventType::Change, &fact, from, to)?;
            }
        }
        self.told = state;
        Ok(())
    }
}
