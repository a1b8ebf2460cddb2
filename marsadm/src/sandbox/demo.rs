//! `sandbox demo`: what MARS promises, shown on three nodes of this machine and checked.

use super::control::{Request, call};
use super::image::{self, Shadow};
use super::nbd_client::NbdClient;
use super::place::{NodePlace, Place};
use super::supervisor::Supervisor;
use super::up::{self, RESOURCE};
use crate::commands as c;
use crate::context::{Ctx, Options};
use crate::daemon::stop;
use crate::error::{Error, Kind, Result};
use crate::limits::POLL_INTERVAL;
use crate::size::human;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SIZE: u64 = 256 << 20;
/// Where the packed directory tree ends; what is behind it gets overwritten by the steps.
const IMAGE_SIZE: u64 = 192 << 20;
const STEPS: usize = 10;
/// How long after a change the view shows it.
const SHOW_AFTER: Duration = Duration::from_secs(3);
/// How long one step may take.
const STEP_LIMIT: Duration = Duration::from_secs(180);

/// Show what MARS does, on three nodes of this machine, and check it. Takes about a minute.
///
/// Example: marsadm sandbox demo
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Directory tree to be put on the device; left out: one of the system's own
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
}

/// Runs the command.
pub(super) async fn run(ctx: &Ctx, dir: &Path, args: &Args) -> Result<()> {
    let place = Place::create(dir, 3)?;
    let stop = stop::reasons(false)
        .map_err(|error| Error::internal(format!("signals cannot be received: {error}")))?;
    let supervisor = Supervisor::new(place.clone()).await?;
    let mut demo = Demo {
        ctx,
        place: &place,
        shadow: Shadow::create(&place.dir.join("expected.img"), SIZE)?,
        step: 0,
        started: Instant::now(),
    };
    let steps = demo.steps(args.tree.as_deref());
    let result = up::in_foreground(supervisor, steps, stop).await;
    if demo.step == STEPS && result.is_ok() {
        demo.shadow.remove();
        place.remove()?;
        ctx.ui.line(&format!(
            "all {STEPS} steps held, in {} s",
            demo.started.elapsed().as_secs()
        ));
        return Ok(());
    }
    let error = match result {
        Err(error) => error,
        Ok(()) => Error::new(Kind::Negative, "interrupted"),
    };
    Err(error.hint(format!(
        "logs and disks are in {0}; marsadm sandbox down --dir {0} removes them",
        place.dir.display()
    )))
}

struct Demo<'a> {
    ctx: &'a Ctx,
    place: &'a Place,
    shadow: Shadow,
    step: usize,
    started: Instant,
}

fn io(what: &str) -> impl FnOnce(std::io::Error) -> Error {
    let what = what.to_owned();
    move |error| Error::new(Kind::Negative, format!("{what}: {error}"))
}

impl Demo<'_> {
    /// Announces a step.
    fn say(&mut self, text: &str) {
        self.step += 1;
        self.ctx.ui.line(&format!(
            "[{:2}/{STEPS}] {:3} s  {text}",
            self.step,
            self.started.elapsed().as_secs()
        ));
    }

    fn node(&self, name: &str) -> Result<&NodePlace> {
        self.place.node(name)
    }

    fn on(&self, name: &str) -> Result<Ctx> {
        Ok(Ctx::new(
            self.ctx.ui.clone(),
            Options {
                socket: self.node(name)?.socket.clone(),
                timeout: STEP_LIMIT,
                ..self.ctx.opts.clone()
            },
        ))
    }

    async fn tell(&self, request: Request) -> Result<()> {
        call(&self.place.control, &request).await.map(drop)
    }

    async fn wait(&self, node: &str, condition: &str) -> Result<()> {
        let args = c::wait_resource::Args {
            resource: RESOURCE.to_owned(),
            condition: condition.to_owned(),
        };
        c::wait_resource::run(&self.on(node)?, &args).await
    }

    async fn view(&self, node: &str) -> Result<()> {
        let args = c::view::Args {
            resource: RESOURCE.to_owned(),
        };
        c::view::run(&self.on(node)?, &args).await
    }

    async fn open(&self, node: &str) -> Result<NbdClient> {
        let device = NbdClient::open(&self.node(node)?.nbd_socket, RESOURCE).await;
        let device = device.map_err(io(&format!("the device on {node} does not open")))?;
        if device.size() == SIZE {
            return Ok(device);
        }
        Err(Error::new(
            Kind::Negative,
            format!("the device has {} bytes", device.size()),
        ))
    }

    async fn steps(&mut self, tree: Option<&Path>) -> Result<()> {
        self.say("start three nodes, create a resource of 256 MiB with a replica on each");
        up::steps(self.ctx, self.place, Some(SIZE)).await?;

        self.say("pack a directory tree into a filesystem image");
        let source = self.place.dir.join("hosta").join("tree.img");
        let what = image::make(&source, IMAGE_SIZE, tree).await?;
        self.ctx.ui.line(&format!("        {what}"));

        self.say("write it to the device on hosta");
        let mut device = self.open("hosta").await?;
        let copied = self.shadow.copy_in(&source, &mut device).await?;
        device.flush().await.map_err(io("flush"))?;
        self.wait("hosta", "is-uptodate").await?;
        self.ctx.ui.line(&format!(
            "        {} written, all replicas have them",
            human(copied)
        ));

        self.say("cut hostc off and go on writing");
        self.tell(Request::Cut {
            node: "hostc".to_owned(),
        })
        .await?;
        self.overwrite(&mut device, 1, 400).await?;
        // Observations travel once a second: show where the replicas really are.
        tokio::time::sleep(SHOW_AFTER).await;
        self.view("hosta").await?;

        self.say("heal the cut while writing; hostc catches up");
        self.tell(Request::Heal {
            node: "hostc".to_owned(),
        })
        .await?;
        self.overwrite(&mut device, 2, 400).await?;
        device.flush().await.map_err(io("flush"))?;
        device.close().await.map_err(io("close"))?;
        self.wait("hosta", "is-uptodate").await?;
        self.view("hostc").await?;

        self.say("hand over to hostb and read everything back there");
        let args = c::primary::Args {
            resource: RESOURCE.to_owned(),
            ignore_sync: false,
        };
        c::primary::run(&self.on("hostb")?, &args).await?;
        let mut device = self.open("hostb").await?;
        self.shadow
            .compare(&mut device, "hostb after the handover")
            .await?;

        self.say(
            "kill the primary without warning (kill -9 of both its daemons) and start it again",
        );
        self.overwrite(&mut device, 3, 200).await?;
        device.flush().await.map_err(io("flush"))?;
        self.tell(Request::Kill {
            node: "hostb".to_owned(),
        })
        .await?;
        drop(device);
        up::start_node(self.ctx, self.place, self.node("hostb")?).await?;
        self.wait_device("hostb").await?;

        self.say("all that was flushed is there; the replicas follow");
        let mut device = self.open("hostb").await?;
        self.shadow
            .compare(&mut device, "hostb after the crash")
            .await?;
        device.close().await.map_err(io("close"))?;
        self.wait("hostb", "is-uptodate").await?;
        self.view("hostb").await?;

        self.say("import the keys of a legacy tree on hosta, read them on hostc");
        self.import().await?;

        self.say("compare the disks of all replicas, byte by byte");
        self.compare_disks().await
    }

    /// Overwrites pseudo-random places behind the image with pseudo-random blocks.
    async fn overwrite(&mut self, device: &mut NbdClient, seed: u64, count: u64) -> Result<()> {
        for i in 0..count {
            let noise = blake3::hash(&[seed.to_le_bytes(), i.to_le_bytes()].concat());
            let [a, b, ..] = *noise.as_bytes();
            let block = 4096 * (1 + u64::from(a) % 16);
            let places = (SIZE - IMAGE_SIZE - block) / 4096;
            let place = (u64::from(b) * 65_521 + i * 127) % places;
            let mut data = vec![0; usize::try_from(block).unwrap_or(4096)];
            blake3::Hasher::new_keyed(noise.as_bytes())
                .finalize_xof()
                .fill(&mut data);
            let offset = IMAGE_SIZE + place * 4096;
            device.write(offset, &data).await.map_err(io("write"))?;
            self.shadow.write(offset, &data)?;
        }
        Ok(())
    }

    /// Waits until the device is there and opens: the role comes back by itself.
    async fn wait_device(&self, node: &str) -> Result<()> {
        let limit = Instant::now() + STEP_LIMIT;
        loop {
            match self.open(node).await {
                Ok(device) => return device.close().await.map_err(io("close")),
                Err(error) if Instant::now() > limit => return Err(error),
                Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    async fn import(&self) -> Result<()> {
        let tree = self.place.dir.join("hosta").join("legacy");
        let make = || {
            std::fs::create_dir_all(tree.join("userspace"))?;
            std::os::unix::fs::symlink("from the old cluster", tree.join("userspace/legacy-note"))
        };
        make().map_err(io("the legacy tree"))?;
        let args = c::import_tree::Args {
            dir: tree,
            json: false,
        };
        c::import_tree::run(&self.on("hosta")?, &args).await?;
        let key = crate::context::key("userspace/legacy-note")?;
        let hostc = self.on("hostc")?;
        let value = hostc
            .wait_for(&["userspace/"], |table| {
                use crate::wait::Step;
                use mars_meta_model::View as _;
                match table.entry(&key).and_then(|entry| entry.text()) {
                    Some(text) => Step::Ready(text.to_owned()),
                    None => Step::Waiting("for the imported key".to_owned()),
                }
            })
            .await?;
        self.ctx.ui.line(&format!("        hostc reads '{value}'"));
        Ok(())
    }

    /// The primary writes back behind its acknowledgements, so its disk may need a moment.
    async fn compare_disks(&mut self) -> Result<()> {
        let wanted = self.shadow.digest()?;
        let limit = Instant::now() + Duration::from_secs(60);
        for node in &self.place.nodes {
            loop {
                let digest = image::digest(&node.disk(RESOURCE))?;
                if digest == wanted {
                    self.ctx.ui.line(&format!("        {} {digest}", node.name));
                    break;
                }
                if Instant::now() > limit {
                    return Err(Error::new(
                        Kind::Negative,
                        format!(
                            "the disk of {} differs: {digest}, wanted {wanted}",
                            node.name
                        ),
                    ));
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        image::check(&self.node("hostc")?.disk(RESOURCE), &self.ctx.ui).await
    }
}
