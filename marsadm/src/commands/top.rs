//! `top`: the status, live, on the whole screen.

use super::status::snapshot_of;
use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::explain::explain;
use crate::following::Following;
use crate::limits::{FOLLOW_WAIT_MAX, TOP_FRAMES_MAX, TOP_POLL, TOP_WATCH_WAIT, TOP_WATCHES_MAX};
use crate::signals::interrupted;
use crate::snapshot::{Origin, Snapshot, take_with};
use crate::status::{Wanted, judge};
use crate::top::{Act, Mode, Press, Screen, View, draw, frame_text};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::time::{Duration, Instant};

/// Show the status on the whole screen, anew every --interval seconds. Keys: ? tells them.
///
/// Resources elsewhere, which this node has no part in, are watched at a member while they are shown, 8 at most: name some
/// with the filter (/). Of the others there are summaries.
///
/// --batch prints frames as text instead, for files and scripts; it ends with the first one that is not taken. Works with --snapshot and --tree too. NO_COLOR is
/// respected.
///
/// Example: marsadm top --batch -n 1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Print frames as text and end
    #[arg(long)]
    pub batch: bool,
    /// Frames of --batch
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, requires = "batch",
          value_parser = clap::value_parser!(u32).range(1..=TOP_FRAMES_MAX))]
    pub frames: u32,
    /// Seconds between two questions
    #[arg(long, value_name = "SECS", default_value_t = 2,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// Seconds that may be at risk; else the resource's key defaults/rpo-target, else 10
    #[arg(long, value_name = "SECS")]
    pub target: Option<u64>,
}

/// Size of a frame of `--batch`.
const BATCH_SIZE: (u16, u16) = (100, 40);

/// Runs the command.
///
/// # Errors
/// If there is no terminal, or with `--batch` no state; if a signal ended it, with the terminal as it was.
pub async fn run(ctx: &Ctx, args: &Args) -> Result<()> {
    let work = async {
        if args.batch {
            return batch(ctx, args).await;
        }
        if !ctx.ui.is_interactive() {
            return Err(Error::usage("there is no terminal to show it on")
                .hint("marsadm top --batch -n 1 prints one frame as text"));
        }
        full_screen(ctx, args).await
    };
    work.await.map_err(|error| error.about("top"))
}

fn wanted(ctx: &Ctx, args: &Args) -> Wanted {
    Wanted {
        target: args.target,
        window: Some(ctx.opts.window.as_secs()),
        ..Wanted::default()
    }
}

/// What this node knows, and what members tell of resources elsewhere.
async fn known(ctx: &Ctx, following: &Following) -> Result<Snapshot> {
    let told = following.tables();
    if told.is_empty() || !matches!(ctx.opts.origin, Origin::Live) {
        return snapshot_of(ctx).await;
    }
    take_with(ctx, told).await
}

/// Asks anew; with a connection of its own, so that a daemon that was started again is found.
async fn ask(
    ctx: &Ctx,
    args: &Args,
    screen: &Screen,
    following: &mut Following,
    wait: Duration,
) -> Result<View> {
    let fresh = Ctx::new(ctx.ui.clone(), ctx.opts.clone());
    let mut snapshot = known(&fresh, following).await?;
    let wanted = wanted(ctx, args);
    let mut status = judge(&snapshot, &wanted);
    let names = screen.watched(&status, TOP_WATCHES_MAX);
    if matches!(ctx.opts.origin, Origin::Live) && following.set(&names) {
        following.ready(wait).await;
        snapshot = known(&fresh, following).await?;
        status = judge(&snapshot, &wanted);
    }
    let chosen = screen.chosen(&status).map(|res| res.name.clone());
    let explanation = chosen
        .filter(|_| screen.mode == Mode::Explain)
        .and_then(|name| explain(&snapshot, &wanted, &name, None).ok());
    Ok(View {
        status: Some(status),
        trouble: None,
        explanation,
    })
}

async fn batch(ctx: &Ctx, args: &Args) -> Result<()> {
    let screen = Screen::default();
    let mut following = Following::new(&ctx.opts.socket);
    let wait = FOLLOW_WAIT_MAX.min(ctx.opts.timeout / 2);
    for frame in 0..args.frames {
        if frame > 0 {
            tokio::time::sleep(Duration::from_secs(args.interval)).await;
        }
        let view = ask(ctx, args, &screen, &mut following, wait).await?;
        if let Some(status) = view.status.as_ref().filter(|_| ctx.ui.is_structured()) {
            ctx.ui.stream("Status", status)?;
        } else {
            if frame > 0 {
                ctx.ui.line("");
            }
            let (width, height) = BATCH_SIZE;
            let text = frame_text(&screen, &view, width, height).map_err(Error::internal)?;
            ctx.ui.line(text.trim_end());
            ctx.ui.lost().map_or(Ok(()), Err)?;
        }
        if ctx.ui.is_unread() {
            // Nobody reads the frames that would follow.
            return Ok(());
        }
    }
    Ok(())
}

async fn full_screen(ctx: &Ctx, args: &Args) -> Result<()> {
    let io = |error: std::io::Error| Error::internal(format!("the terminal failed: {error}"));
    // Caught before the terminal is changed: whoever ends it by a signal gets the terminal back.
    let interrupted = interrupted();
    let mut terminal = ratatui::try_init().map_err(io)?;
    let result = tokio::select! {
        result = follow(ctx, args, &mut terminal) => result,
        error = interrupted => Err(error),
    };
    let restored = ratatui::try_restore().map_err(io);
    result.and(restored)
}

async fn follow(ctx: &Ctx, args: &Args, terminal: &mut ratatui::DefaultTerminal) -> Result<()> {
    let io = |error: std::io::Error| Error::internal(format!("the terminal failed: {error}"));
    let (mut screen, mut view) = (Screen::default(), View::default());
    let mut last_good = Instant::now();
    // The watches end with it.
    let mut following = Following::new(&ctx.opts.socket);
    loop {
        match ask(ctx, args, &screen, &mut following, TOP_WATCH_WAIT).await {
            Ok(fresh) => {
                view = fresh;
                last_good = Instant::now();
            }
            Err(error) => view.trouble = Some((error.to_string(), last_good.elapsed().as_secs())),
        }
        let next = Instant::now() + Duration::from_secs(args.interval);
        loop {
            let colour = ctx.ui.has_colors();
            terminal
                .draw(|frame| draw(frame, &screen, &view, colour))
                .map_err(io)?;
            let act = match key().await.map_err(io)? {
                Some(press) => screen.press(press, view.status.as_ref()),
                None => Act::Draw,
            };
            match act {
                Act::Quit => return Ok(()),
                Act::Refresh => break,
                Act::Draw if Instant::now() >= next => break,
                Act::Draw => {}
            }
        }
    }
}

/// The next key, if one comes soon. Waits on a thread of its own, so that the connection goes on.
async fn key() -> std::io::Result<Option<Press>> {
    let waited = tokio::task::spawn_blocking(|| {
        if event::poll(TOP_POLL)? {
            event::read().map(Some)
        } else {
            Ok(None)
        }
    });
    let event = waited.await.map_err(std::io::Error::other)??;
    let Some(Event::Key(key)) = event else {
        return Ok(None);
    };
    if key.kind == KeyEventKind::Release {
        return Ok(None);
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Ok(match key.code {
        KeyCode::Char('c' | 'd') if control => Some(Press::Char('q')),
        KeyCode::Char(c) => Some(Press::Char(c)),
        KeyCode::Enter => Some(Press::Enter),
        KeyCode::Esc => Some(Press::Escape),
        KeyCode::Backspace => Some(Press::Backspace),
        KeyCode::Up => Some(Press::Up),
        KeyCode::Down => Some(Press::Down),
        _ => None,
    })
}
