//! `sandbox up`: step by step to a cluster, each with a time limit.

use super::control::{Request, call};
use super::node::{DATA_PLANE, PROGRAMS};
use super::place::{NodePlace, Place};
use super::supervisor::Supervisor;
use crate::commands as c;
use crate::context::{Ctx, Options, unexpected};
use crate::daemon::stop;
use crate::error::{Error, Kind, Result};
use crate::limits::{LOG_TAIL_LINES, POLL_INTERVAL};
use crate::size::parse_size;
use mars_meta_api::{PeerInfo, Request as ApiRequest, Response};
use mars_meta_model::roster;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// The resource that `--size` makes.
pub(super) const RESOURCE: &str = "mydata";
/// How long the supervisor and each daemon may take to answer.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long joining and meeting may take.
const CLUSTER_LIMIT: Duration = Duration::from_secs(60);
/// How long the first sync may take.
const SYNC_LIMIT: Duration = Duration::from_secs(300);

/// Start a new sandbox: nodes hosta, hostb, ... in one cluster.
///
/// With --size: also a resource mydata with a replica on every node; prints the address of its device (NBD).
///
/// Example: marsadm sandbox up --nodes 3 --size 256M
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Number of nodes
    #[arg(long, default_value_t = 3, value_name = "N")]
    nodes: usize,
    /// Also create a resource of this size
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
    /// Stay in the foreground; the sandbox ends with this process
    #[arg(long)]
    foreground: bool,
    /// With --foreground: end when stdin is closed
    #[arg(long, requires = "foreground")]
    exit_with_stdin: bool,
}

/// Runs the command.
pub(super) async fn run(ctx: &Ctx, dir: &Path, args: &Args) -> Result<()> {
    let size = args.size.as_deref().map(parse_size).transpose()?;
    let place = Place::create(dir, args.nodes)?;
    if size.is_some() && !place.programs.join(DATA_PLANE).exists() {
        place.remove()?;
        return Err(Error::not_found(format!(
            "--size needs {DATA_PLANE}, which is not in {}",
            place.programs.display()
        ))
        .hint("build all programs (cargo build -p marsadm), or install them in one folder"));
    }
    let stop = stop::reasons(args.exit_with_stdin)
        .map_err(|error| Error::internal(format!("signals cannot be received: {error}")))?;
    if args.foreground {
        end_with_parent()?;
        let supervisor = Supervisor::new(place.clone()).await?;
        let steps = async {
            let result = steps(ctx, &place, size).await;
            if result.is_ok() {
                ctx.ui.note("the sandbox is up; it ends with this process");
                std::future::pending::<()>().await;
            }
            result
        };
        return in_foreground(supervisor, steps, stop).await;
    }
    spawn_supervisor(&place)?;
    let result = tokio::select! {
        result = steps(ctx, &place, size) => result,
        () = stop => Err(Error::new(Kind::Negative, "interrupted")),
    };
    if let Err(error) = result {
        // No process stays behind; the folder stays, for its logs.
        if let Err(second) = call(&place.control, &Request::Down).await {
            ctx.ui.note(&format!("ending the sandbox: {second}"));
        }
        let dir = place.dir.display();
        return Err(match error.hint {
            Some(_) => error,
            None => error.hint(format!(
                "all processes were ended; look at the logs in {dir}, then marsadm sandbox down --dir {dir}"
            )),
        });
    }
    ctx.ui.note(&format!(
        "the sandbox is up; next: marsadm sandbox exec hosta --dir {0} -- view; marsadm sandbox down --dir {0}",
        place.dir.display()
    ));
    Ok(())
}

/// Lets the kernel end this process when its parent dies, also without a word.
fn end_with_parent() -> Result<()> {
    let parent = rustix::process::getppid();
    let set = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    set.map_err(|error| {
        Error::new(
            Kind::Internal,
            format!("cannot be tied to the parent process: {error}"),
        )
    })?;
    if rustix::process::getppid() != parent {
        return Err(Error::new(
            Kind::Negative,
            "the parent process has ended already",
        ));
    }
    Ok(())
}

/// Runs supervisor and steps together; the steps' failure ends the supervisor, which ends all processes.
pub(super) async fn in_foreground(
    supervisor: Supervisor,
    steps: impl Future<Output = Result<()>>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let (failed, failure) = tokio::sync::oneshot::channel::<()>();
    let stop = async {
        tokio::select! {
            () = stop => {}
            _ = failure => {}
        }
    };
    let serve = supervisor.run(stop);
    tokio::pin!(serve, steps);
    tokio::select! {
        result = &mut serve => result,
        result = &mut steps => {
            drop(failed);
            serve.await?;
            result
        }
    }
}

fn spawn_supervisor(place: &Place) -> Result<()> {
    let spawn = || {
        let log = File::create(place.supervisor_log())?;
        std::process::Command::new(std::env::current_exe()?)
            .args(["sandbox", "supervise", "--dir"])
            .arg(&place.dir)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    };
    match spawn() {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::internal(format!(
            "the supervisor cannot be started: {error}"
        ))),
    }
}

/// From a supervisor that is about to start to a cluster.
pub(super) async fn steps(ctx: &Ctx, place: &Place, size: Option<u64>) -> Result<()> {
    let waiting = tokio::time::timeout(START_LIMIT, async {
        while call(&place.control, &Request::Status).await.is_err() {
            tokio::time::sleep(POLL_INTERVAL / 4).await;
        }
    });
    if waiting.await.is_err() {
        show_tail(ctx, &place.supervisor_log());
        return Err(Error::new(
            Kind::Timeout,
            "the supervisor of the sandbox did not start",
        ));
    }
    for node in &place.nodes {
        start_node(ctx, place, node).await?;
    }
    let Some((first, others)) = place.nodes.split_first() else {
        return Ok(());
    };
    let token = step(
        ctx,
        first,
        "create the cluster",
        START_LIMIT,
        async |node| {
            node.call(ApiRequest::CreateCluster).await?;
            let request = ApiRequest::JoinToken {
                ttl_secs: 600,
                uses: u32::try_from(others.len()).unwrap_or(1).max(1),
            };
            match node.call(request).await? {
                Response::Token(token) => Ok(token),
                other => Err(unexpected(&other)),
            }
        },
    )
    .await?;
    for node in others {
        step(ctx, node, "join the cluster", CLUSTER_LIMIT, async |node| {
            let request = ApiRequest::JoinCluster {
                addr: None,
                token: token.clone(),
            };
            node.call(request).await.map(drop)
        })
        .await?;
    }
    for node in &place.nodes {
        let text = "hear of all nodes";
        step(ctx, node, text, CLUSTER_LIMIT, async |node| {
            meet(node, place).await
        })
        .await?;
    }
    match size {
        Some(size) => resource(ctx, place, size).await,
        None => Ok(()),
    }
}

/// Waits until the node knows all others and has heard of each since it started.
async fn meet(node: &Ctx, place: &Place) -> Result<()> {
    loop {
        let known = roster(&node.table(&["roster/"]).await?);
        let peers = node.peers().await?;
        let own = &node.node().await?.host;
        let missing = |name: &str| {
            let heard =
                |peer: &PeerInfo| peer.host == name && (peer.connected || peer.heard_ns.is_some());
            !known.contains_key(name) || (name != own && !peers.iter().any(heard))
        };
        if !place.nodes.iter().any(|node| missing(&node.name)) {
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL / 4).await;
    }
}

/// Makes a resource with a replica on each node.
async fn resource(ctx: &Ctx, place: &Place, size: u64) -> Result<()> {
    for (i, node) in place.nodes.iter().enumerate() {
        let disk = node.disk(RESOURCE);
        File::create(&disk)
            .and_then(|file| file.set_len(size))
            .map_err(|error| Error::internal(format!("cannot make {}: {error}", disk.display())))?;
        if i == 0 {
            step(
                ctx,
                node,
                "create resource mydata",
                CLUSTER_LIMIT,
                async |node| {
                    let args = c::create_resource::Args {
                        resource: RESOURCE.to_owned(),
                        disk: disk.clone(),
                        devname: None,
                        size: None,
                    };
                    c::create_resource::run(node, &args).await
                },
            )
            .await?;
        } else {
            step(
                ctx,
                node,
                "join resource mydata",
                CLUSTER_LIMIT,
                async |node| {
                    let args = c::join_resource::Args {
                        resource: RESOURCE.to_owned(),
                        disk: disk.clone(),
                        devname: None,
                    };
                    join(node, &args).await
                },
            )
            .await?;
        }
    }
    let Some(first) = place.nodes.first() else {
        return Ok(());
    };
    for condition in ["is-device", "is-uptodate"] {
        let text = format!("wait-resource mydata {condition}");
        step(ctx, first, &text, SYNC_LIMIT, async |node| {
            let args = c::wait_resource::Args {
                resource: RESOURCE.to_owned(),
                condition: condition.to_owned(),
            };
            c::wait_resource::run(node, &args).await
        })
        .await?;
    }
    ctx.ui.line(&format!(
        "nbd+unix:///{RESOURCE}?socket={}",
        first.nbd_socket.display()
    ));
    Ok(())
}

/// `join-resource`, once the directory has arrived.
async fn join(node: &Ctx, args: &c::join_resource::Args) -> Result<()> {
    loop {
        match c::join_resource::run(node, args).await {
            Err(error) if error.kind == Kind::NotFound => tokio::time::sleep(POLL_INTERVAL).await,
            other => return other,
        }
    }
}

/// Starts a node and waits until its metadata daemon answers.
pub(super) async fn start_node(ctx: &Ctx, place: &Place, node: &NodePlace) -> Result<()> {
    let request = Request::Start {
        node: node.name.clone(),
    };
    let answer = call(&place.control, &request).await?;
    drop(answer);
    step(ctx, node, "start", START_LIMIT, async |api| {
        loop {
            match api.node().await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind != Kind::Unreachable => return Err(error),
                Err(error) => {
                    let status = call(&place.control, &Request::Status).await?;
                    ended(&status, &node.name).map_or(Ok(()), |why| Err(error.hint(why)))?;
                }
            }
            tokio::time::sleep(POLL_INTERVAL / 4).await;
        }
    })
    .await
}

/// Says so if a program of the node ended by itself.
fn ended(status: &super::control::Answer, name: &str) -> Option<String> {
    let node = status.nodes.iter().find(|node| node.name == name)?;
    let (program, state) = node
        .programs
        .iter()
        .find(|(_, state)| state.starts_with("ended"))?;
    Some(format!("{program} {state}: see its log"))
}

/// One step on one node, with a time limit; on failure the ends of the node's logs are shown.
async fn step<T>(
    ctx: &Ctx,
    node: &NodePlace,
    text: &str,
    limit: Duration,
    work: impl AsyncFnOnce(&Ctx) -> Result<T>,
) -> Result<T> {
    ctx.ui.note(&format!("{}: {text}", node.name));
    let api = Ctx::new(
        ctx.ui.clone(),
        Options {
            socket: node.socket.clone(),
            timeout: limit,
            ..ctx.opts.clone()
        },
    );
    let result = match tokio::time::timeout(limit + POLL_INTERVAL, work(&api)).await {
        Ok(result) => result,
        Err(_) => Err(Error::new(
            Kind::Timeout,
            format!("not done within {} s", limit.as_secs()),
        )),
    };
    result.map_err(|mut error| {
        for program in PROGRAMS {
            show_tail(ctx, &node.log(program));
        }
        error.why = format!("{} on {}: {error}", text, node.name);
        error.what.clear();
        error
    })
}

/// Shows the last lines of a log file, if there are any.
fn show_tail(ctx: &Ctx, file: &Path) {
    let Ok(text) = std::fs::read(file) else {
        return;
    };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return;
    }
    ctx.ui.note(&format!("last lines of {}:", file.display()));
    for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
        ctx.ui.note(&format!("  | {line}"));
    }
}
