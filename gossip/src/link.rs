//! One connection: greetings, then messages in both directions.

use crate::limits::{HELLO_TIMEOUT, SILENT_AFTER, SILENT_LOOK};
use bytes::Bytes;
use mars_gossip_net::{CloseCode, Connection, FrameReceiver, FrameSender};
use mars_gossip_proto::limits::{FRAME_LEN_MAX, WINDOW};
use mars_gossip_proto::{Body, Dialect, Ending, Hello, Message};
use mars_lamport::Timestamp;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// Starts a task. In a simulation it notes the task, so that a crash ends it.
pub type Spawner = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// A connection on which greetings were exchanged.
#[derive(Debug)]
pub(crate) struct Greeted {
    /// Who the peer is.
    pub(crate) host: String,
    /// Its greeting.
    pub(crate) hello: Hello,
    pub(crate) connection: Connection,
    dialect: Dialect,
    sender: FrameSender,
    receiver: FrameReceiver,
}

/// What a link reports to the driver, besides messages.
#[derive(Debug)]
pub(crate) enum LinkReport {
    /// A message left.
    Sent,
    /// The connection is of no more use.
    Down(String, Ending),
}

/// What the end of a connection says about the peer.
fn ending(connection: &Connection) -> Ending {
    let code = connection.close_reason();
    match code.and_then(|error| CloseCode::of_peer(&error)) {
        Some(CloseCode::Shutdown) => Ending::Farewell,
        Some(CloseCode::Done | CloseCode::Duplicate | CloseCode::NotAllowed | CloseCode::Busy) => {
            Ending::Orderly
        }
        _ => Ending::Lost,
    }
}

/// Whether the peer closed since its roster does not name this node.
pub(crate) fn is_refused(connection: &Connection) -> bool {
    let error = connection.close_reason();
    error.and_then(|error| CloseCode::of_peer(&error)) == Some(CloseCode::NotAllowed)
}

/// Sends a message that may get lost.
pub(crate) fn send_datagram(connection: &Connection, dialect: Dialect, message: &Message) {
    let Some((kind, body)) = dialect.encode_datagram(message) else {
        return;
    };
    let mut bytes = Vec::with_capacity(body.len() + 1);
    bytes.push(kind);
    bytes.extend_from_slice(&body);
    if let Err(error) = connection.send_datagram(Bytes::from(bytes)) {
        // The next one does its work, or the connection is gone.
        tracing::trace!(%error, "a datagram was not sent");
    }
}

fn limit() -> u32 {
    u32::try_from(FRAME_LEN_MAX).unwrap_or(u32::MAX)
}

/// Exchanges greetings; the one who dialled opens the stream. An error is a text, and whether the peer closed since its
/// roster does not name this node.
pub(crate) async fn greet(
    connection: Connection,
    (ours, dialect): (&Hello, Dialect),
    stamp: Timestamp,
) -> Result<Greeted, (String, bool)> {
    let certified = connection.peer().map(|peer| (peer.name.clone(), peer.node));
    let (name, node) = certified.ok_or(("the peer showed no certificate".to_owned(), false))?;
    let exchange = async {
        let (mut sender, mut receiver) = if connection.is_outgoing() {
            connection.open_bi(limit()).await
        } else {
            connection.accept_bi(limit()).await
        }
        .map_err(|error| error.to_string())?;
        let body = Body::Hello(ours.clone());
        send(&mut sender, dialect, &Message { stamp, body }).await?;
        match receive(&mut receiver, dialect).await? {
            None => Err("the peer closed without a greeting".to_owned()),
            Some(Message {
                body: Body::Hello(hello),
                ..
            }) => Ok((hello, sender, receiver)),
            Some(_) => Err("the peer's first message is no greeting".to_owned()),
        }
    };
    let greeted = timeout(HELLO_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err("no greeting in time".to_owned()));
    let checked = greeted.and_then(|(hello, sender, receiver)| {
        hello
            .check(ours, &name)
            .map_err(|error| error.to_string())?;
        if hello.node != node.to_string() {
            return Err("its greeting and its certificate name different nodes".to_owned());
        }
        Ok((hello, sender, receiver))
    });
    match checked {
        Ok((hello, sender, receiver)) => Ok(Greeted {
            host: name,
            hello,
            connection,
            dialect,
            sender,
            receiver,
        }),
        Err(reason) => {
            let refused = is_refused(&connection);
            connection.close(CloseCode::Protocol, &reason);
            Err((reason, refused))
        }
    }
}

async fn send(sender: &mut FrameSender, dialect: Dialect, message: &Message) -> Result<(), String> {
    for (kind, body) in dialect.encode(message) {
        let sent = sender.send(kind, 0, Bytes::from(body)).await;
        sent.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The next message that is understood.
async fn receive(
    receiver: &mut FrameReceiver,
    dialect: Dialect,
) -> Result<Option<Message>, String> {
    loop {
        let frame = receiver.read_frame().await;
        let Some(frame) = frame.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        match dialect.decode(frame.kind, &frame.body) {
            Ok(Some(message)) => return Ok(Some(message)),
            // Of a later version.
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Where a link's reports and messages go. Each is marked with the link, so that those of a link that was replaced
/// are known as such.
pub(crate) struct LinkIo {
    pub(crate) number: u64,
    pub(crate) host: String,
    pub(crate) reports: mpsc::Sender<(String, u64, LinkReport)>,
    pub(crate) messages: mpsc::Sender<(String, u64, Message)>,
}

/// Starts the two tasks of a link; returns where its messages are to be put. There is room for all that the core
/// hands out before a message is reported as sent.
pub(crate) fn start(
    spawner: &Spawner,
    greeted: Greeted,
    io: LinkIo,
) -> (mpsc::Sender<Message>, Connection) {
    let room = usize::try_from(WINDOW).unwrap_or(1) + 1;
    let (out, queue) = mpsc::channel(room);
    let LinkIo {
        number,
        host,
        reports,
        messages,
    } = io;
    let connection = greeted.connection.clone();
    let dialect = greeted.dialect;
    spawner(Box::pin(write_messages(
        (greeted.sender, dialect),
        queue,
        greeted.connection.clone(),
        (host.clone(), number, reports.clone()),
    )));
    spawner(Box::pin(read_datagrams(
        (greeted.connection.clone(), dialect),
        (host.clone(), number),
        messages.clone(),
    )));
    spawner(Box::pin(async move {
        let silent = silence(&greeted.connection);
        let receiver = (greeted.receiver, dialect);
        let reason = tokio::select! {
            reason = read_messages(receiver, &host, number, &messages) => reason,
            reason = silent => reason,
        };
        let reason = match greeted.connection.close_reason() {
            Some(error) => error.to_string(),
            None => reason,
        };
        let ending = ending(&greeted.connection);
        greeted.connection.close(CloseCode::Protocol, &reason);
        // The driver may be gone.
        let down = LinkReport::Down(reason, ending);
        let _ = reports.send((host, number, down)).await;
    }));
    (out, connection)
}

/// Waits until nothing at all has come from the peer for [`SILENT_AFTER`], not even an acknowledgement. QUIC's own idle
/// timer begins anew with what this side sends; that is up to a digest's interval after the last packet of a peer that
/// died.
async fn silence(connection: &Connection) -> String {
    let packets = || connection.stats().udp_rx.datagrams;
    let mut look = Silence::new(packets(), Instant::now());
    loop {
        sleep(SILENT_LOOK).await;
        if let Some(age) = look.at(packets(), Instant::now()) {
            return format!("nothing came from it for {} s", age.as_secs());
        }
    }
}

/// How long nothing has come.
struct Silence {
    packets: u64,
    /// Nothing has come since then, or only just after.
    since: Instant,
    looked: Instant,
}

impl Silence {
    const fn new(packets: u64, now: Instant) -> Self {
        Self {
            packets,
            since: now,
            looked: now,
        }
    }

    /// The silence, if it is too long now.
    fn at(&mut self, packets: u64, now: Instant) -> Option<Duration> {
        if packets != self.packets {
            // Between the last look and now.
            (self.packets, self.since) = (packets, self.looked);
        }
        self.looked = now;
        let age = now.duration_since(self.since);
        (age >= SILENT_AFTER).then_some(age)
    }
}

async fn write_messages(
    (mut sender, dialect): (FrameSender, Dialect),
    mut queue: mpsc::Receiver<Message>,
    connection: Connection,
    (host, number, reports): (String, u64, mpsc::Sender<(String, u64, LinkReport)>),
) {
    while let Some(message) = queue.recv().await {
        if let Err(reason) = send(&mut sender, dialect, &message).await {
            // The reading task notices and reports.
            connection.close(CloseCode::Protocol, &reason);
            return;
        }
        let report = (host.clone(), number, LinkReport::Sent);
        if reports.send(report).await.is_err() {
            return;
        }
    }
}

/// Hands datagrams on as long as there is room: they may get lost.
async fn read_datagrams(
    (connection, dialect): (Connection, Dialect),
    (host, number): (String, u64),
    messages: mpsc::Sender<(String, u64, Message)>,
) {
    while let Ok(bytes) = connection.read_datagram().await {
        let Some((kind, body)) = bytes.split_first() else {
            continue;
        };
        match dialect.decode(*kind, body) {
            Ok(Some(message)) => {
                let sent = messages.try_send((host.clone(), number, message));
                if matches!(sent, Err(mpsc::error::TrySendError::Closed(_))) {
                    return;
                }
            }
            // Of a later version.
            Ok(None) => {}
            Err(error) => {
                connection.close(CloseCode::Protocol, &error.to_string());
                return;
            }
        }
    }
}

async fn read_messages(
    (mut receiver, dialect): (FrameReceiver, Dialect),
    host: &str,
    number: u64,
    messages: &mpsc::Sender<(String, u64, Message)>,
) -> String {
    loop {
        match receive(&mut receiver, dialect).await {
            Ok(Some(message)) => {
                let sent = messages.send((host.to_owned(), number, message)).await;
                if sent.is_err() {
                    return "the daemon stops".to_owned();
                }
            }
            Ok(None) => return "the peer ended the stream".to_owned(),
            Err(reason) => return reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_silent_25_to_30_s_after_its_last_packet() {
        let begin = Instant::now();
        let at = |secs: u64| begin + Duration::from_secs(secs);
        for last in 1..=10 {
            // It sends every second until it dies.
            let mut silence = Silence::new(0, begin);
            let mut noticed = None;
            for look in (5..60).step_by(5) {
                let found = silence.at(last.min(look), at(look));
                noticed = noticed.or(found.map(|_| look));
            }
            let after = noticed.unwrap() - last;
            assert!((25..=30).contains(&after), "{after} s after second {last}");
        }
        // Who goes on is never silent.
        let mut silence = Silence::new(0, begin);
        assert!((1..100).all(|n| silence.at(n, at(5 * n)).is_none()));
    }
}
