//! Requests and their replies, byte by byte.

use mars_datapath::block::DeviceInfo;
use mars_datapath::nbd::wire::{cmd, flag};

use super::raw::{Answer, Raw};
use super::server::{SIZE, TestServer};

const EPERM: u32 = 1;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;

/// Runs a test on a connection with simple and on one with structured replies.
fn both(test: impl Fn(&mut Raw)) {
    let (server, _) = TestServer::with_memory();
    for structured in [false, true] {
        test(&mut Raw::attach(&server, "disk", structured));
    }
}

#[test]
fn what_is_written_is_read() {
    both(|raw| {
        let data = (0..=255).cycle().take(70_000).collect::<Vec<u8>>();
        assert_eq!(raw.write(0, 12_345, &data), 0);
        assert_eq!(raw.read(12_345, 70_000), data);
        assert_eq!(raw.error_of(cmd::WRITE_ZEROES, 0, 12_345, 3), 0);
        assert_eq!(raw.read(12_344, 5), [0, 0, 0, 0, 3]);
    });
}

#[test]
fn largest_payload_passes_and_one_more_byte_is_refused() {
    both(|raw| {
        let data = vec![0xa5; 32 << 20];
        assert_eq!(raw.write(0, 1, &data), 0);
        assert!(raw.read(1, 32 << 20) == data);
        assert_eq!(raw.error_of(cmd::READ, 0, 0, (32 << 20) + 1), EINVAL);
        assert_eq!(raw.error_of(cmd::WRITE, 0, 0, (32 << 20) + 1), EINVAL);
        assert_eq!(raw.read(1, 1), [0xa5]);
    });
}

#[test]
fn ranges_beyond_the_end_are_refused_and_the_stream_stays_in_step() {
    both(|raw| {
        assert_eq!(raw.error_of(cmd::READ, 0, SIZE, 1), EINVAL);
        assert_eq!(raw.error_of(cmd::READ, 0, SIZE - 1, 2), EINVAL);
        assert_eq!(raw.error_of(cmd::WRITE, 0, SIZE - 1, 100_000), ENOSPC);
        assert_eq!(raw.error_of(cmd::WRITE, 0, u64::MAX - 1, 512), ENOSPC);
        assert_eq!(raw.error_of(cmd::READ, 0, u64::MAX, u32::MAX), EINVAL);
        assert_eq!(
            raw.error_of(cmd::WRITE_ZEROES, 0, u64::MAX - 511, 512),
            ENOSPC
        );
        assert_eq!(raw.error_of(cmd::WRITE_ZEROES, 0, 0, u32::MAX), ENOSPC);
        assert_eq!(raw.error_of(cmd::TRIM, 0, SIZE, 1), EINVAL);
        assert_eq!(raw.read(SIZE - 4, 4), [0; 4]);
    });
}

#[test]
fn empty_requests_do_no_harm() {
    both(|raw| {
        for command in [cmd::READ, cmd::WRITE, cmd::TRIM, cmd::WRITE_ZEROES] {
            assert_eq!(raw.error_of(command, 0, 0, 0), 0);
            assert_eq!(raw.error_of(command, 0, SIZE, 0), 0);
        }
        assert_eq!(raw.read(0, 4), [0; 4]);
    });
}

#[test]
fn zeroes_may_exceed_the_largest_payload() {
    both(|raw| {
        assert_eq!(raw.write(0, 40 << 20, &[9; 4096]), 0);
        let len = u32::try_from(SIZE).unwrap();
        assert_eq!(raw.error_of(cmd::WRITE_ZEROES, flag::NO_HOLE, 0, len), 0);
        assert_eq!(raw.read(40 << 20, 4096), [0; 4096]);
        assert_eq!(raw.error_of(cmd::WRITE_ZEROES, flag::FAST_ZERO, 0, len), 0);
    });
}

#[test]
fn fua_is_taken_on_every_command_and_reaches_the_device() {
    let (server, target) = TestServer::with_memory();
    let mut raw = Raw::attach(&server, "disk", true);
    assert_eq!(raw.error_of(cmd::WRITE, flag::FUA, 0, 512), 0);
    assert_eq!(raw.error_of(cmd::WRITE_ZEROES, flag::FUA, 0, 512), 0);
    assert_eq!(raw.error_of(cmd::TRIM, flag::FUA, 0, 512), 0);
    assert_eq!(target.forced(), 3);
    assert_eq!(raw.error_of(cmd::FLUSH, flag::FUA, 0, 0), 0);
    assert_eq!(target.flushes(), 1);
    raw.request(cmd::READ, flag::FUA | flag::DF, 0, 512);
    assert!(matches!(raw.answer(), Answer::Chunk { kind: 1, .. }));
    raw.request(cmd::BLOCK_STATUS, flag::FUA, 0, 512);
    assert!(matches!(raw.answer(), Answer::Chunk { kind: 5, .. }));
}

#[test]
fn unknown_commands_and_flags_are_refused() {
    both(|raw| {
        assert_eq!(raw.error_of(5, 0, 0, 512), EINVAL);
        assert_eq!(raw.error_of(99, 0, 0, 512), EINVAL);
        assert_eq!(raw.error_of(cmd::READ, 1 << 9, 0, 512), EINVAL);
        assert_eq!(raw.error_of(cmd::WRITE, 1 << 9, 0, 512), EINVAL);
        assert_eq!(raw.read(0, 1), [0]);
    });
}

#[test]
fn read_only_export_refuses_changes() {
    let mut info = DeviceInfo::new("frozen", 1 << 20);
    info.read_only = true;
    let (server, _) = TestServer::with_device(info);
    let mut raw = Raw::attach(&server, "frozen", true);
    assert_eq!(raw.error_of(cmd::WRITE, 0, 0, 4096), EPERM);
    assert_eq!(raw.error_of(cmd::WRITE_ZEROES, 0, 0, 4096), EPERM);
    assert_eq!(raw.error_of(cmd::TRIM, 0, 0, 4096), EPERM);
    assert_eq!(raw.error_of(cmd::FLUSH, 0, 0, 0), 0);
    assert_eq!(raw.read(0, 4), [0; 4]);
}

#[test]
fn block_status_tells_zeroes_from_data() {
    let (server, target) = TestServer::with_memory();
    target.bytes()[8192..12_288].fill(1);
    let mut raw = Raw::attach(&server, "disk", true);
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let cases: [(u16, Vec<u8>); 2] = [
        (0, words(&[1, 8192, 3, 4096, 0, 8192, 3])),
        (flag::REQ_ONE, words(&[1, 8192, 3])),
    ];
    for (flags, expected) in cases {
        let cookie = raw.request(cmd::BLOCK_STATUS, flags, 0, 20_480);
        let answer = Answer::Chunk {
            cookie,
            flags: 1,
            kind: 5,
            data: expected,
        };
        assert_eq!(raw.answer(), answer);
    }
}

#[test]
fn block_status_needs_its_context() {
    let (server, _) = TestServer::with_memory();
    let mut raw = Raw::attach(&server, "disk", false);
    assert_eq!(raw.error_of(cmd::BLOCK_STATUS, 0, 0, 4096), EINVAL);
}

#[test]
fn requests_are_pipelined() {
    let (server, _) = TestServer::with_memory();
    let mut raw = Raw::attach(&server, "disk", true);
    // More than may be in flight at once; replies are small enough for the socket.
    let mut expected = Vec::new();
    for at in 0..500_u32 {
        expected.push(raw.request(cmd::TRIM, 0, u64::from(at) * 4096, 4096));
    }
    let mut found = (0..500)
        .map(|_| match raw.answer() {
            Answer::Simple { cookie, error: 0 } => cookie,
            answer => panic!("{answer:?}"),
        })
        .collect::<Vec<_>>();
    found.sort_unstable();
    assert_eq!(found, expected);
}
