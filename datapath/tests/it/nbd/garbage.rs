//! Clients that do not keep to the protocol.

use mars_datapath::block::DeviceInfo;
use mars_datapath::nbd::wire::{OPTION_MAGIC, cmd, opt, rep};

use super::raw::{Raw, go_data};
use super::server::TestServer;

/// The server must still serve others.
fn still_serves(server: &TestServer) {
    assert_eq!(Raw::attach(server, "disk", true).read(0, 1), [0]);
}

#[test]
fn garbage_instead_of_a_handshake() {
    let (server, _) = TestServer::with_memory();
    let mut raw = Raw {
        stream: server.connect(),
        structured: false,
    };
    raw.take(18);
    raw.put(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    raw.expect_close();
    still_serves(&server);
}

#[test]
fn wrong_magic_of_an_option() {
    let (server, _) = TestServer::with_memory();
    let mut raw = Raw::greet(&server);
    raw.put(&[0x55; 16]);
    raw.expect_close();
    still_serves(&server);
}

#[test]
fn wrong_magic_of_a_request() {
    let (server, target) = TestServer::with_memory();
    let mut raw = Raw::attach(&server, "disk", false);
    raw.put(&[0x55; 28]);
    raw.expect_close();
    assert!(target.bytes().iter().all(|byte| *byte == 0));
    still_serves(&server);
}

#[test]
fn oversized_option_is_refused_and_the_handshake_goes_on() {
    let (server, _) = TestServer::with_memory();
    let mut raw = Raw::greet(&server);
    let replies = raw.option(opt::GO, &vec![0; 100_000]);
    assert_eq!(replies[0].0, rep::ERR_TOO_BIG);
    let replies = raw.option(77, &vec![0; 1 << 20]);
    assert_eq!(replies[0].0, rep::ERR_TOO_BIG);
    let replies = raw.option(opt::GO, &go_data("disk", &[]));
    assert_eq!(replies.last().unwrap().0, rep::ACK);
}

#[test]
fn boundless_option_closes() {
    let (server, _) = TestServer::with_memory();
    let mut raw = Raw::greet(&server);
    raw.put(&OPTION_MAGIC.to_be_bytes());
    raw.put(&opt::LIST.to_be_bytes());
    raw.put(&u32::MAX.to_be_bytes());
    raw.expect_close();
    still_serves(&server);
}

#[test]
fn unknown_option_and_unknown_export_leave_the_handshake_alive() {
    let (server, _) = TestServer::with_memory();
    let mut raw = Raw::greet(&server);
    assert_eq!(raw.option(opt::STARTTLS, &[])[0].0, rep::ERR_UNSUP);
    assert_eq!(raw.option(11, &[])[0].0, rep::ERR_UNSUP);
    let refused = raw.option(opt::GO, &go_data("none", &[]));
    assert_eq!(refused[0].0, rep::ERR_UNKNOWN);
    assert_eq!(refused[0].1, b"no export of the name 'none'");
    let replies = raw.option(opt::GO, &go_data("", &[]));
    assert_eq!(replies.last().unwrap().0, rep::ACK);
    assert_eq!(raw.read(0, 2), [0; 2]);
}

#[test]
fn abort_is_answered_and_closes() {
    let (server, _) = TestServer::with_memory();
    let mut raw = Raw::greet(&server);
    assert_eq!(raw.option(opt::ABORT, &[]), [(rep::ACK, vec![])]);
    raw.expect_close();
}

#[test]
fn old_clients_attach_by_name() {
    let (server, _) = TestServer::with_memory();
    let mut raw = Raw::greet(&server);
    raw.put_option(opt::EXPORT_NAME, b"disk");
    assert_eq!(raw.take_u64(), 64 << 20);
    assert_eq!(raw.take_u16() & 1, 1);
    assert_eq!(raw.read(0, 3), [0; 3]);
    let mut raw = Raw::greet(&server);
    raw.put_option(opt::EXPORT_NAME, b"none");
    raw.expect_close();
}

#[test]
fn client_that_leaves_in_the_middle_of_a_payload_changes_nothing() {
    let (mut server, target) = TestServer::with_memory();
    let mut raw = Raw::attach(&server, "disk", false);
    assert_eq!(raw.write(0, 0, &[1; 512]), 0);
    raw.request(cmd::WRITE, 0, 0, 4096);
    raw.put(&[2; 2048]);
    drop(raw);
    server.stop();
    assert_eq!(server.exports.open_count(), 0);
    assert_eq!(target.bytes()[..512], [1; 512]);
    assert_eq!(target.bytes()[512..4096], [0; 3584]);
}

#[test]
fn coarse_export_refuses_crooked_requests() {
    let mut info = DeviceInfo::new("disk", 1 << 20);
    info.min_block = 4096;
    let (server, _) = TestServer::with_device(info);
    let mut raw = Raw::attach(&server, "disk", true);
    assert_eq!(raw.error_of(cmd::READ, 0, 512, 512), 22);
    assert_eq!(raw.error_of(cmd::WRITE, 0, 0, 512), 22);
    assert_eq!(raw.read(4096, 4096), [0; 4096]);
}
