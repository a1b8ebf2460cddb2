//! The supervisor of a sandbox: owns the relay and the daemons, and takes requests.

use super::control::{Answer, NodeStatus, Request, read_line};
use super::node::{Addresses, Processes, write_config};
use super::place::Place;
use super::relay::Relay;
use crate::daemon::stop;
use crate::error::{Error, Result};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};

/// How often the supervisor looks whether its folder is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

struct Node {
    addrs: Addresses,
    cut: Arc<AtomicBool>,
    processes: Processes,
}

/// The supervisor; all that it owns ends with it.
pub(super) struct Supervisor {
    place: Place,
    listener: UnixListener,
    nodes: Vec<Node>,
    _relays: [Relay; 2],
}

/// Runs the supervisor as a process of its own.
pub(super) async fn process(dir: &Path) -> Result<()> {
    // A session of its own, so that closing the terminal does not end the sandbox. Fails harmlessly for a group leader.
    let _ = rustix::process::setsid();
    let place = Place::open(dir)?;
    let stop = stop::reasons(false)
        .map_err(|error| Error::internal(format!("signals cannot be received: {error}")))?;
    Supervisor::new(place).await?.run(stop).await
}

/// An address that nobody else will take: on a loopback network of this sandbox's own.
fn own_address(network: (u8, u8), index: usize) -> Result<SocketAddr> {
    let last = u8::try_from(index + 1).unwrap_or(u8::MAX);
    let ip = Ipv4Addr::new(127, network.0, network.1, last);
    UdpSocket::bind((ip, 0))
        .and_then(|socket| socket.local_addr())
        .map_err(|error| Error::internal(format!("no loopback socket at {ip}: {error}")))
}

impl Supervisor {
    /// Opens sockets and writes the nodes' configuration; starts no node yet.
    pub(super) async fn new(place: Place) -> Result<Self> {
        let random = uuid::Uuid::new_v4().into_bytes();
        // 127.0.x.y is what others use; 127.1.x.y and up is free.
        let network = (random[0] | 1, random[1]);
        let mut reals = Vec::new();
        for i in 0..place.nodes.len() {
            let cut = Arc::new(AtomicBool::new(false));
            let meta = own_address(network, i)?;
            let data = own_address((network.0, network.1 ^ 0x80), i)?;
            reals.push((meta, data, cut));
        }
        let ports = |pick: fn(&(SocketAddr, SocketAddr, Arc<AtomicBool>)) -> SocketAddr| {
            let list = reals.iter().map(|real| (pick(real), Arc::clone(&real.2)));
            list.collect::<Vec<_>>()
        };
        let meta = Relay::start(&ports(|real| real.0)).await?;
        let data = Relay::start(&ports(|real| real.1)).await?;
        let mut nodes = Vec::new();
        for (i, (real, node)) in reals.iter().zip(&place.nodes).enumerate() {
            let addrs = Addresses {
                meta: real.0,
                meta_public: meta.public(i)?,
                data: real.1,
                data_public: data.public(i)?,
            };
            write_config(node, &addrs)?;
            nodes.push(Node {
                addrs,
                cut: Arc::clone(&real.2),
                processes: Processes::none(),
            });
        }
        let listener = UnixListener::bind(&place.control).map_err(|error| {
            Error::refused(format!(
                "the control socket {} cannot be made: {error}",
                place.control.display()
            ))
            .hint("a supervisor of this sandbox may be running: marsadm sandbox down")
        })?;
        Ok(Self {
            place,
            listener,
            nodes,
            _relays: [meta, data],
        })
    }

    /// Serves requests until `down`, `stop`, or the folder is gone; then ends all processes.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        tokio::pin!(stop);
        let mut last_word = None;
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                _ = look.tick() => {
                    if self.place.exists() {
                        continue;
                    }
                    break;
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => continue,
                },
            };
            if let Some(stream) = self.serve(stream).await {
                last_word = Some(stream);
                break;
            }
        }
        for node in &mut self.nodes {
            node.processes.stop().await;
        }
        if !self.place.exists() {
            // Nobody can ask for it any more.
            self.place.remove_sockets()?;
        }
        // Whoever sees the socket gone may remove the folder.
        let _ = std::fs::remove_file(&self.place.control);
        if let Some(mut stream) = last_word {
            answer(&mut stream, &Answer::default()).await;
        }
        Ok(())
    }

    /// Serves one request; gives the stream back if the sandbox shall end.
    async fn serve(&mut self, mut stream: UnixStream) -> Option<UnixStream> {
        let read = tokio::time::timeout(REQUEST_TIMEOUT, read_line(&mut stream));
        let request = match read.await {
            Ok(Ok(line)) => serde_json::from_slice::<Request>(&line),
            _ => return None,
        };
        let reply = match request {
            Ok(Request::Down) => return Some(stream),
            Ok(request) => self.handle(request).await,
            Err(error) => Answer {
                error: Some(format!("the request was not understood: {error}")),
                nodes: Vec::new(),
            },
        };
        answer(&mut stream, &reply).await;
        None
    }

    async fn handle(&mut self, request: Request) -> Answer {
        let result = match request {
            Request::Cut { node } => self.set_cut(&node, true),
            Request::Heal { node } => self.set_cut(&node, false),
            Request::Kill { node } => match self.index(&node) {
                Ok(i) => {
                    self.nodes[i].processes.kill().await;
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Request::Start { node } => self.index(&node).and_then(|i| {
                let place = &self.place.nodes[i];
                self.nodes[i].processes.start(place, &self.place.programs)
            }),
            Request::Status | Request::Down => Ok(()),
        };
        Answer {
            error: result.err().map(|error| error.why),
            nodes: self.status(),
        }
    }

    fn index(&self, name: &str) -> Result<usize> {
        let node = self.place.node(name)?;
        let found = self.place.nodes.iter().position(|n| n.name == node.name);
        found.ok_or_else(|| Error::internal("a node without a place"))
    }

    fn set_cut(&self, name: &str, cut: bool) -> Result<()> {
        let i = self.index(name)?;
        self.nodes[i].cut.store(cut, Ordering::Relaxed);
        Ok(())
    }

    fn status(&mut self) -> Vec<NodeStatus> {
        self.place
            .nodes
            .iter()
            .zip(&mut self.nodes)
            .map(|(place, node)| NodeStatus {
                name: place.name.clone(),
                meta_addr: node.addrs.meta_public.to_string(),
                data_addr: node.addrs.data_public.to_string(),
                cut: node.cut.load(Ordering::Relaxed),
                programs: node.processes.status(),
            })
            .collect()
    }
}

async fn answer(stream: &mut UnixStream, answer: &Answer) {
    if let Ok(mut line) = serde_json::to_vec(answer) {
        line.push(b'\n');
        // Who asked may be gone.
        let _ = stream.write_all(&line).await;
    }
}
