//! A connection from handshake to end, over a pipe in memory.

use tokio::io::{DuplexStream, duplex, split};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};

use super::super::limits::MAX_PAYLOAD;
use super::super::testing::{MemTarget, StaticExports};
use super::super::wire::REQUEST_MAGIC;
use super::*;
use crate::block::{BlockFuture, BlockTarget, Closer, closing_pair};

/// The client's end, the exports, the server's shutdown, and the connection.
type Served = (
    DuplexStream,
    Arc<StaticExports>,
    Closer,
    JoinHandle<Result<(), ConnError>>,
);

/// Serves one client over a pipe of `capacity` bytes. Time is paused: it jumps when all wait.
fn start(capacity: usize) -> Served {
    start_with(
        capacity,
        Arc::new(MemTarget::new(DeviceInfo::new("disk", 1 << 20))),
    )
}

fn start_with(capacity: usize, disk: Arc<dyn BlockTarget>) -> Served {
    let exports = Arc::new(StaticExports::new().with(disk));
    let (client, server) = duplex(capacity);
    let (reader, writer) = split(server);
    let (closer, closing) = closing_pair();
    let serving = serve(reader, writer, Arc::clone(&exports) as Arc<_>, closing);
    (client, exports, closer, tokio::spawn(serving))
}

/// Bytes that attach to the only export by its old option.
fn attach() -> Vec<u8> {
    let option = [b"\0\0\0\x03IHAVEOPT".as_slice(), &[0, 0, 0, 1, 0, 0, 0, 4]];
    [option.concat(), b"disk".to_vec()].concat()
}

fn read_request(len: u32) -> Vec<u8> {
    request(cmd::READ, len)
}

fn request(command: u16, len: u32) -> Vec<u8> {
    let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::from(command).to_be_bytes());
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes
}

#[tokio::test(start_paused = true)]
async fn silent_client_is_dropped() {
    let (_client, exports, _closer, serving) = start(4096);
    let begin = Instant::now();
    let error = serving.await.unwrap().unwrap_err();
    assert!(matches!(error, ConnError::HandshakeTimeout), "{error}");
    assert_eq!(begin.elapsed().as_secs(), HANDSHAKE_TIMEOUT.as_secs());
    assert_eq!(exports.open_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn attached_client_may_be_idle_for_ever() {
    let (mut client, exports, closer, serving) = start(4096);
    client.write_all(&attach()).await.unwrap();
    let mut greeting = [0; 28];
    client.read_exact(&mut greeting).await.unwrap();
    sleep(HANDSHAKE_TIMEOUT * 1000).await;
    assert_eq!(exports.open_count(), 1);
    closer.close();
    serving.await.unwrap().unwrap();
    assert_eq!(exports.open_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn client_that_takes_no_replies_is_cut_off_at_the_end() {
    let (mut client, exports, closer, serving) = start(4096);
    client.write_all(&attach()).await.unwrap();
    let mut greeting = [0; 28];
    client.read_exact(&mut greeting).await.unwrap();
    client.write_all(&read_request(1 << 20)).await.unwrap();
    sleep(LINGER * 10).await;
    assert!(!serving.is_finished());
    closer.close();
    serving.await.unwrap().unwrap();
    assert_eq!(exports.open_count(), 0);
}

/// A device on which nothing is done before it is allowed.
struct Gate {
    started: Semaphore,
    allowed: Semaphore,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Semaphore::new(0),
            allowed: Semaphore::new(0),
        })
    }

    fn pass(&self) -> BlockFuture<'_, ()> {
        Box::pin(async {
            self.started.add_permits(1);
            self.allowed.acquire().await.unwrap().forget();
            Ok(())
        })
    }
}

impl BlockTarget for Gate {
    fn info(&self) -> DeviceInfo {
        DeviceInfo::new("disk", 1 << 40)
    }

    fn read(&self, _: u64, len: u32) -> BlockFuture<'_, Bytes> {
        Box::pin(async move {
            self.pass().await?;
            Ok(vec![0; to_usize(len)].into())
        })
    }

    fn write(&self, _: u64, _: Bytes, _: bool) -> BlockFuture<'_, ()> {
        self.pass()
    }

    fn flush(&self) -> BlockFuture<'_, ()> {
        self.pass()
    }

    fn write_zeroes(&self, _: u64, _: u64, _: bool, _: bool) -> BlockFuture<'_, ()> {
        self.pass()
    }

    fn trim(&self, _: u64, _: u64, _: bool) -> BlockFuture<'_, ()> {
        self.pass()
    }
}

/// Sends all requests, with payloads; says how many are started when everything stands still,
/// and again after one of them was allowed and answered.
async fn started_of(requests: Vec<u8>, reply_len: usize) -> (usize, usize) {
    let gate = Gate::new();
    let (client, _exports, _closer, serving) = start_with(4096, Arc::clone(&gate) as Arc<_>);
    let (mut replies, mut sender) = split(client);
    let sending = tokio::spawn(async move {
        sender.write_all(&attach()).await.unwrap();
        // Fails when the test ends before everything is read.
        let _ = sender.write_all(&requests).await;
    });
    replies.read_exact(&mut [0; 28]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let before = gate.started.available_permits();
    gate.allowed.add_permits(1);
    replies.read_exact(&mut vec![0; reply_len]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let after = gate.started.available_permits();
    serving.abort();
    sending.abort();
    (before, after)
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_limited() {
    let limit = to_usize(MAX_REQUESTS_IN_FLIGHT);
    let requests = request(cmd::FLUSH, 0).repeat(limit + 9);
    assert_eq!(started_of(requests, 16).await, (limit, limit + 1));
}

#[tokio::test(start_paused = true)]
async fn bytes_in_flight_are_limited() {
    let limit = to_usize(MAX_BYTES_IN_FLIGHT / MAX_PAYLOAD);
    let reads = read_request(MAX_PAYLOAD).repeat(limit + 2);
    let reply_len = 16 + to_usize(MAX_PAYLOAD);
    assert_eq!(started_of(reads, reply_len).await, (limit, limit + 1));

    let len = MAX_BYTES_IN_FLIGHT / 4;
    let write = [request(cmd::WRITE, len), vec![0; to_usize(len)]].concat();
    assert_eq!(started_of(write.repeat(6), 16).await, (4, 5));
}
