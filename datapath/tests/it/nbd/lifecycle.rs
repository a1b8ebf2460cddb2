//! Sockets, shutdown, and requests that take their time.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use bytes::Bytes;
use mars_datapath::block::{BlockError, BlockFuture, BlockTarget, DeviceInfo, Exports};
use mars_datapath::nbd::testing::{MemTarget, StaticExports};
use mars_datapath::nbd::wire::cmd;
use mars_datapath::nbd::{BindError, NbdServer};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::raw::{Answer, Raw};
use super::server::TestServer;

const ESHUTDOWN: u32 = 108;

/// Where reads panic, fail, or return too little.
const PANICS: u64 = 1 << 16;
const FAILS: u64 = 2 << 16;
const SHORT: u64 = 3 << 16;

/// A device whose flushes wait for the test, and that misbehaves at some places.
struct Slow {
    memory: MemTarget,
    started: Semaphore,
    allowed: Semaphore,
}

impl Slow {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: MemTarget::new(DeviceInfo::new("slow", 1 << 20)),
            started: Semaphore::new(0),
            allowed: Semaphore::new(0),
        })
    }

    /// Waits until one more flush is in flight.
    fn await_flush(&self, runtime: &Runtime) {
        runtime.block_on(self.started.acquire()).unwrap().forget();
    }
}

impl BlockTarget for Slow {
    fn info(&self) -> DeviceInfo {
        self.memory.info()
    }

    fn read(&self, offset: u64, len: u32) -> BlockFuture<'_, Bytes> {
        match offset {
            PANICS => Box::pin(async { panic!("a device that panics (expected in this test)") }),
            FAILS => Box::pin(async { Err(BlockError::Io("sector 7 is gone".to_owned())) }),
            SHORT => self.memory.read(offset, len - 1),
            _ => self.memory.read(offset, len),
        }
    }

    fn write(&self, offset: u64, data: Bytes, fua: bool) -> BlockFuture<'_, ()> {
        self.memory.write(offset, data, fua)
    }

    fn flush(&self) -> BlockFuture<'_, ()> {
        Box::pin(async {
            self.started.add_permits(1);
            self.allowed.acquire().await.unwrap().forget();
            self.memory.flush().await
        })
    }

    fn write_zeroes(&self, offset: u64, len: u64, fua: bool, keep: bool) -> BlockFuture<'_, ()> {
        self.memory.write_zeroes(offset, len, fua, keep)
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> BlockFuture<'_, ()> {
        self.memory.trim(offset, len, fua)
    }
}

fn slow() -> (TestServer, Arc<Slow>) {
    let target = Slow::new();
    let server = TestServer::start(vec![Arc::clone(&target) as Arc<dyn BlockTarget>]);
    (server, target)
}

fn exports() -> Arc<dyn Exports> {
    let memory = MemTarget::new(DeviceInfo::new("disk", 4096));
    Arc::new(StaticExports::new().with(Arc::new(memory)))
}

#[test]
fn replies_overtake_slow_requests() {
    let (server, target) = slow();
    let mut raw = Raw::attach(&server, "slow", true);
    let flush = raw.request(cmd::FLUSH, 0, 0, 0);
    assert_eq!(raw.write(0, 0, &[3; 8]), 0);
    assert_eq!(raw.read(0, 8), [3; 8]);
    target.allowed.add_permits(1);
    assert_eq!(raw.take_error(flush), 0);
}

#[test]
fn requests_beyond_the_limit_wait_on_the_socket() {
    let (server, target) = slow();
    let mut raw = Raw::attach(&server, "slow", true);
    for _ in 0..130 {
        raw.request(cmd::FLUSH, 0, 0, 0);
    }
    for _ in 0..128 {
        target.await_flush(&server.runtime);
    }
    assert_eq!(target.started.available_permits(), 0);
    target.allowed.add_permits(130);
    for _ in 0..130 {
        assert_eq!(raw.take_error(u64::from(cmd::FLUSH) << 56), 0);
    }
    assert_eq!(target.memory.flushes(), 130);
}

#[test]
fn disconnect_finishes_what_is_in_flight() {
    let (server, target) = slow();
    let mut raw = Raw::attach(&server, "slow", true);
    let flush = raw.request(cmd::FLUSH, 0, 0, 0);
    raw.request(cmd::DISC, 0, 0, 0);
    target.await_flush(&server.runtime);
    target.allowed.add_permits(1);
    assert_eq!(raw.take_error(flush), 0);
    raw.expect_close();
}

#[test]
fn shutdown_finishes_what_is_in_flight_and_refuses_the_rest() {
    let (mut server, target) = slow();
    let mut raw = Raw::attach(&server, "slow", true);
    let flush = raw.request(cmd::FLUSH, 0, 0, 0);
    target.await_flush(&server.runtime);
    server.closer.close();
    // What the server reads before it has seen the signal is still carried out.
    while raw.error_of(cmd::WRITE, 0, 0, 512) != ESHUTDOWN {}
    assert_eq!(raw.error_of(cmd::READ, 0, 1 << 19, 512), ESHUTDOWN);
    target.allowed.add_permits(1);
    assert_eq!(raw.take_error(flush), 0);
    raw.expect_close();
    server.stop();
    assert_eq!(server.exports.open_count(), 0);
    assert!(!server.path().exists(), "socket file is left behind");
}

#[test]
fn shutdown_does_not_wait_for_idle_clients() {
    let (mut server, _) = TestServer::with_memory();
    let idle = Raw::attach(&server, "disk", true);
    let shy = Raw::greet(&server);
    server.stop();
    idle.expect_close();
    shy.expect_close();
}

#[test]
fn owner_drops_connections_of_one_device() {
    let one = Arc::new(MemTarget::new(DeviceInfo::new("one", 4096)));
    let two = Arc::new(MemTarget::new(DeviceInfo::new("two", 4096)));
    let server = TestServer::start(vec![one, two]);
    let first = Raw::attach(&server, "one", true);
    let mut second = Raw::attach(&server, "two", true);
    assert_eq!(server.exports.open_count(), 2);
    server.exports.close("one");
    first.expect_close();
    assert_eq!(second.read(0, 4), [0; 4]);
    assert_eq!(server.exports.open_count(), 1);
}

#[test]
fn device_stays_open_until_its_last_request_is_done() {
    let (mut server, target) = slow();
    let mut raw = Raw::attach(&server, "slow", true);
    raw.request(cmd::FLUSH, 0, 0, 0);
    target.await_flush(&server.runtime);
    drop(raw);
    assert_eq!(server.exports.open_count(), 1);
    target.allowed.add_permits(1);
    server.stop();
    assert_eq!(server.exports.open_count(), 0);
    assert_eq!(target.memory.flushes(), 1);
}

#[test]
fn failing_device_fails_requests_not_connections() {
    let (server, _) = slow();
    for structured in [false, true] {
        let mut raw = Raw::attach(&server, "slow", structured);
        for place in [PANICS, FAILS, SHORT] {
            assert_eq!(raw.error_of(cmd::READ, 0, place, 512), 5);
        }
        raw.request(cmd::READ, 0, FAILS, 512);
        if let Answer::Chunk { data, .. } = raw.answer() {
            assert_eq!(&data[6..], b"input/output error: sector 7 is gone");
        }
        assert_eq!(raw.read(0, 4), [0; 4]);
    }
}

#[test]
fn socket_file_has_the_mode_asked_for() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let dir = TempDir::new().unwrap();
    for mode in [0o600, 0o660] {
        let path = dir.path().join(mode.to_string());
        let server = NbdServer::bind_unix(&path, mode, exports()).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            mode
        );
        drop(server);
        assert!(!path.exists());
    }
}

#[test]
fn live_socket_is_never_taken() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("foreign");
    let _foreign = UnixListener::bind(&path).unwrap();
    let error = NbdServer::bind_unix(&path, 0o600, exports()).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    UnixStream::connect(&path).unwrap();

    let path = dir.path().join("own");
    let _own = NbdServer::bind_unix(&path, 0o600, exports()).unwrap();
    let error = NbdServer::bind_unix(&path, 0o600, exports()).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    UnixStream::connect(&path).unwrap();
}

#[test]
fn stale_socket_is_replaced() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sock");
    // Bound but never listening: the same as left behind, even while a child process of another
    // test still holds a copy of the descriptor.
    let stale = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&stale, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    drop(stale);
    assert!(path.exists());
    let _server = NbdServer::bind_unix(&path, 0o600, exports()).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn ordinary_file_is_not_touched() {
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sock");
    fs::write(&path, "precious").unwrap();
    let error = NbdServer::bind_unix(&path, 0o600, exports()).unwrap_err();
    assert!(matches!(error, BindError::NotASocket(_)), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let long = dir.path().join("x".repeat(120));
    let error = NbdServer::bind_unix(&long, 0o600, exports()).unwrap_err();
    assert!(matches!(error, BindError::PathTooLong(_)), "{error}");
}

#[test]
fn tcp_is_for_this_host_only() {
    let runtime = Runtime::new().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:10809"] {
        let address: SocketAddr = address.parse().unwrap();
        let bound = runtime.block_on(NbdServer::bind_tcp(address, exports()));
        let error = bound.unwrap_err();
        assert!(matches!(error, BindError::NotLoopback(_)), "{error}");
        assert!(error.to_string().contains("127.0.0.1"));
    }
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let server = runtime
        .block_on(NbdServer::bind_tcp(address, exports()))
        .unwrap();
    assert!(server.local_addr().unwrap().port() > 0);
}
