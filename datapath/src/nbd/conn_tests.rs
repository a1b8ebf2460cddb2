use tokio::io::{DuplexStream, duplex, split};
use tokio::time::Instant;

use super::super::testing::{MemTarget, StaticExports};
use super::*;
use crate::block::{Closer, closing_pair};

/// Serves one client over a pipe of `capacity` bytes. Time is paused: it jumps when all wait.
fn start(
    capacity: usize,
) -> (
    DuplexStream,
    Arc<StaticExports>,
    Closer,
    tokio::task::JoinHandle<Result<(), ConnError>>,
) {
    let disk = MemTarget::new(DeviceInfo::new("disk", 1 << 20));
    let exports = Arc::new(StaticExports::new().with(Arc::new(disk)));
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
    let mut bytes = super::super::wire::REQUEST_MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0; 20]);
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
    tokio::time::sleep(HANDSHAKE_TIMEOUT * 1000).await;
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
    tokio::time::sleep(LINGER * 10).await;
    assert!(!serving.is_finished());
    closer.close();
    serving.await.unwrap().unwrap();
    assert_eq!(exports.open_count(), 0);
}
