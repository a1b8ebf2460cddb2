//! `sandbox demo`: all that the system promises, shown once from the beginning to the end.

mod compare;
mod image;
mod legacy;
mod stage;
pub(super) mod sweep;
mod writer;

use super::control::{self, call};
use super::nbd_client::{NbdClient, Request};
use super::node::PROGRAMS;
use crate::context::Ctx;
use crate::error::{Error, Result};
use crate::size::{human, parse_size};
use stage::{RESOURCE, Stage, io, secs, wrong};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sweep::Cluster;
use writer::{Model, SECTOR, Writer};

/// Smallest and largest size of the device in bytes.
const SIZE_MIN: u64 = 64 << 20;
const SIZE_MAX: u64 = 4 << 30;
/// Requests in flight while the image is written, and the size of each.
const IMAGE_WINDOW: usize = 4;
const IMAGE_PIECE: usize = 1 << 20;
/// How long random writing goes on in a step.
const WRITE_TIME: Duration = Duration::from_secs(3);
/// No write may take longer while a node is cut off: far above what a busy machine needs, far below any timeout of
/// a connection.
const STALL_LIMIT: Duration = Duration::from_secs(5);
const BEFORE_CUT: &str = "userspace/demo-before-cut";
const DURING_CUT: &str = "userspace/demo-during-cut";

/// Show all at work on a cluster of three nodes on this machine, and check it: replication of a real file system,
/// a node cut off while writing goes on, a handover, a crash of the primary, import of a legacy tree.
///
/// Takes about a minute and needs no root. Ends with 0 only if every check held. The folder is removed at the end,
/// unless a check failed.
///
/// Example: marsadm sandbox demo
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Size of the device
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    size: String,
    /// Folder whose files make the file system that is replicated
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Replicate a made-up image instead of a file system
    #[arg(long)]
    own_image: bool,
    /// Leave the folder with disks and logs
    #[arg(long)]
    keep: bool,
    /// Seed of all random writes; default: another one each time
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Runs the command.
pub(super) async fn run(ctx: &Ctx, dir: Option<PathBuf>, args: Args) -> Result<()> {
    let size = parse_size(&args.size)?;
    if !(SIZE_MIN..=SIZE_MAX).contains(&size) {
        return Err(Error::usage(format!(
            "--size {}: not from 64M to 4G",
            args.size
        )));
    }
    let random = uuid::Uuid::new_v4().simple().to_string();
    let dir =
        dir.unwrap_or_else(|| std::env::temp_dir().join(format!("mars-demo-{}", &random[..8])));
    let seed = args
        .seed
        .unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 16);
    sweep::make(&dir)?;
    let dir = std::fs::canonicalize(&dir).map_err(io("the folder cannot be used"))?;
    let mut stage = Stage::new(ctx, &dir)?;
    ctx.ui.line(&format!(
        "MARS demonstration: three nodes in {}, seed {seed}",
        dir.display()
    ));
    // Blocking work throughout, in a thread of its own.
    let show = tokio::task::spawn_blocking(move || {
        if args.keep {
            sweep::keep(&dir);
        }
        let result = perform(&mut stage, &dir, size, &args, seed);
        match &result {
            Ok(()) => stage.summary(args.keep.then_some(&*dir)),
            Err(_) => stage.failure(&dir),
        }
        result
    });
    show.await
        .map_err(|error| Error::internal(format!("the demonstration broke off: {error}")))?
}

/// All steps; the folder is kept if one fails.
fn perform(stage: &mut Stage, dir: &Path, size: u64, args: &Args, seed: u64) -> Result<()> {
    stage.begin(&format!(
        "Start three nodes with a resource of {}",
        human(size)
    ));
    let cluster = Cluster::start(stage.program(), dir, size).inspect_err(|_| sweep::keep(dir))?;
    let result = steps(stage, &cluster, size, args, seed);
    if result.is_err() {
        sweep::keep(dir);
    }
    cluster.finish()?;
    result?;
    if !args.keep && dir.exists() {
        return Err(wrong(
            "the folder is removed",
            "nothing left",
            dir.to_string_lossy(),
        ));
    }
    Ok(())
}

fn steps(stage: &mut Stage, cluster: &Cluster, size: u64, args: &Args, seed: u64) -> Result<()> {
    stage.view("hosta")?;
    stage.ok("three nodes know each other, three replicas are up to date");
    stage.end();
    let len = usize::try_from(size).map_err(|_| Error::usage("--size is too large for here"))?;

    stage.begin("Write a real directory tree in a file system through the device");
    let image = image::make(stage, args.tree.as_deref(), args.own_image, len / 2, seed)?;
    let mut model = Model::new(len, len / 2..len, seed);
    write_image(stage, &image.bytes)?;
    model.bytes[..image.bytes.len()].copy_from_slice(&image.bytes);
    stage.end();

    stage.begin("Compare all replicas");
    compare::replicas(stage, &model, "hosta")?;
    image::check_disks(stage, &image)?;
    stage.view("hostc")?;
    stage.end();

    stage.begin("Cut hostc off while writing goes on");
    let model = cut_off(stage, model)?;
    stage.end();

    stage.begin("Hand the primary role over to hostb");
    let model = hand_over(stage, model)?;
    stage.end();

    stage.begin("Kill both programs of the primary in the middle of writing, and start them again");
    let model = crash(stage, model)?;
    stage.end();

    stage.begin("Import a legacy tree and read it back");
    legacy::import(stage)?;
    stage.end();

    stage.begin("Compare all replicas at the end");
    compare::replicas(stage, &model, "hostb")?;
    image::check_disks(stage, &image)?;
    stage.view("hostc")?;
    stage.end();

    stage.begin("Stop");
    down(stage, cluster)?;
    stage.end();
    Ok(())
}

fn device(stage: &Stage, host: &str) -> Result<NbdClient> {
    writer::open(&stage.place()?.node(host)?.nbd_socket)
}

fn write_image(stage: &mut Stage, image: &[u8]) -> Result<()> {
    let mut client = device(stage, "hosta")?;
    let begin = Instant::now();
    let (mut at, mut data) = (0_u64, 0_usize);
    for piece in image.chunks(IMAGE_PIECE) {
        let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let request = if piece.iter().all(|byte| *byte == 0) {
            Request::Zero(at, len)
        } else {
            data += piece.len();
            Request::Write(at, piece)
        };
        client
            .send(request)
            .and_then(|()| client.drain(IMAGE_WINDOW))
            .map_err(io("the image cannot be written"))?;
        at += u64::from(len);
    }
    client.flush().map_err(io("the image cannot be flushed"))?;
    stage.ok(format!(
        "{at} bytes were written and flushed, {data} of them in data and the rest as zeroes, in {}",
        secs(begin.elapsed())
    ));
    Ok(())
}

/// Lets time pass until the writer has done something for long enough.
fn let_write(stage: &Stage, writer: &Writer) -> Result<()> {
    let (begin, before) = (Instant::now(), writer.counters.flushes());
    stage.wait("the writer writes and flushes", || {
        let long = begin.elapsed() >= WRITE_TIME && writer.counters.flushes() > before + 1;
        Ok(long.then_some(()))
    })
}

fn cut_off(stage: &mut Stage, model: Model) -> Result<Model> {
    stage.on("hosta", &["set-link", "old", BEFORE_CUT])?;
    wait_key(stage, "hostc", BEFORE_CUT, Some("old"))?;
    stage.sandbox(&["cut", "hostc"])?;
    let writer = Writer::start(model, device(stage, "hosta")?);
    stage.on("hosta", &["set-link", "new", DURING_CUT])?;
    stage.on("hosta", &["delete-file", BEFORE_CUT])?;
    let_write(stage, &writer)?;
    let there = (
        stage.ask("hostc", &["get-link", BEFORE_CUT])?,
        stage.ask("hostc", &["get-link", DURING_CUT])?,
    );
    if (there.0.out.as_str(), there.1.code) != ("old", Some(3)) {
        return Err(wrong(
            "hostc is cut off and answers from what it has",
            "the old key, not the new one",
            format!("{there:?}"),
        ));
    }
    stage.ok("hostc is cut off: it still shows the deleted key and not the new one");
    stage.view("hosta")?;
    let (writes, bytes) = (writer.counters.writes(), writer.counters.written());
    let (write, flush) = writer.counters.slowest();
    if write > STALL_LIMIT {
        return Err(wrong(
            "writing does not stall while hostc is cut off",
            format!("no write longer than {}", secs(STALL_LIMIT)),
            secs(write),
        ));
    }
    stage.ok(format!(
        "hosta wrote on: {writes} writes with {bytes} bytes; slowest write {write:.1?}, slowest flush {flush:.1?}"
    ));
    stage.sandbox(&["heal", "hostc"])?;
    let begin = Instant::now();
    wait_key(stage, "hostc", DURING_CUT, Some("new"))?;
    wait_key(stage, "hostc", BEFORE_CUT, None)?;
    stage.ok(format!(
        "{} after the cut hostc has the new key and the deletion",
        secs(begin.elapsed())
    ));
    let model = writer.pause()?;
    compare::replicas(stage, &model, "hosta")?;
    stage.view("hostc")?;
    Ok(model)
}

/// Waits until a node shows a key with that value, or its deletion.
fn wait_key(stage: &Stage, host: &str, key: &str, value: Option<&str>) -> Result<()> {
    stage.wait(
        &format!("{key} on {host} becomes {}", value.unwrap_or("deleted")),
        || {
            let said = stage.ask(host, &["get-link", key])?;
            let fits = match value {
                Some(value) => said.code == Some(0) && said.out == value,
                None => said.code == Some(3) && said.err.contains("was deleted"),
            };
            Ok(fits.then_some(()))
        },
    )
}

fn hand_over(stage: &mut Stage, mut model: Model) -> Result<Model> {
    // The writer has closed the device; hostb shall know it.
    let open_count = format!("resource-{RESOURCE}/actual-hosta/open-count");
    stage.wait("hostb sees the device of hosta closed", || {
        let said = stage.ask("hostb", &["get-link", &open_count])?;
        Ok((said.out == "0").then_some(()))
    })?;
    let begin = Instant::now();
    stage.on("hostb", &["primary", RESOURCE])?;
    stage.ok(format!("hostb is primary after {}", secs(begin.elapsed())));
    let mut client = device(stage, "hostb")?;
    let size = client.size();
    model.verify(
        &mut client,
        "hostb's device shows what was written on hosta",
    )?;
    stage.compared(size);
    stage.ok(format!(
        "the device of hostb shows all that was written on hosta: {size} bytes read"
    ));
    if device(stage, "hosta").is_ok() {
        return Err(wrong(
            "hosta's device is gone",
            "no such export",
            "it is there",
        ));
    }
    stage.view("hostb")?;
    let writer = Writer::start(model, client);
    let_write(stage, &writer)?;
    let (writes, bytes) = (writer.counters.writes(), writer.counters.written());
    let model = writer.pause()?;
    stage.ok(format!("hostb writes: {writes} writes with {bytes} bytes"));
    Ok(model)
}

fn crash(stage: &mut Stage, model: Model) -> Result<Model> {
    let writer = Writer::start(model, device(stage, "hostb")?);
    let_write(stage, &writer)?;
    stage.sandbox(&["kill", "hostb"])?;
    let mut model = writer.lost()?;
    let (unknown, bytes) = model.unknown();
    stage.say(&format!(
        "killed: {} acknowledged writes after the last flush, {unknown} writes with {bytes} bytes under way",
        model.unflushed
    ));
    stage.view("hosta")?;
    let begin = Instant::now();
    stage.sandbox(&["start", "hostb"])?;
    let mut client = stage.wait("the device of hostb comes back by itself", || {
        Ok(device(stage, "hostb").ok())
    })?;
    stage.ok(format!(
        "the device of hostb is back without a command, {} after the start",
        secs(begin.elapsed())
    ));
    let size = client.size();
    let new = model.verify(&mut client, "the device of hostb after the crash")?;
    stage.compared(size);
    stage.ok(format!(
        "every acknowledged write is there, flushed or not: {size} bytes read; of the {} sectors under way {new} are new, the others old",
        bytes / SECTOR
    ));
    let writer = Writer::start(model, client);
    let_write(stage, &writer)?;
    let model = writer.pause()?;
    compare::replicas(stage, &model, "hostb")?;
    stage.view("hosta")?;
    Ok(model)
}

/// Stops the sandbox; none of its processes may be left.
fn down(stage: &mut Stage, cluster: &Cluster) -> Result<()> {
    let place = stage.place()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("the runtime did not start"))?;
    let status = runtime.block_on(call(&place.control, &control::Request::Status))?;
    let mut pids = Vec::new();
    for (program, state) in status.nodes.iter().flat_map(|node| &node.programs) {
        match state.strip_prefix("pid ") {
            Some(pid) => pids.push(pid.to_owned()),
            None => return Err(wrong(&format!("{program} runs"), "a process", state)),
        }
    }
    stage.sandbox(&["down", "--keep"])?;
    cluster.wait_ended()?;
    let ours = |pid: &&String| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // The system cuts names at 15 bytes.
        PROGRAMS
            .iter()
            .any(|program| program.starts_with(name.trim_end()) && !name.is_empty())
    };
    let left: Vec<&String> = pids.iter().filter(ours).collect();
    if !left.is_empty() {
        return Err(wrong("no process is left", "none", format!("{left:?}")));
    }
    stage.ok(format!(
        "the sandbox ended; none of its {} programs is left",
        pids.len()
    ));
    Ok(())
}
