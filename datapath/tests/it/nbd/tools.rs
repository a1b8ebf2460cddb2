//! Other people's clients: libnbd, qemu, fio.

use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;

use mars_datapath::block::{DeviceInfo, closing_pair};
use mars_datapath::nbd::NbdServer;
use mars_datapath::nbd::testing::{MemTarget, StaticExports};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::server::{SIZE, TestServer};

/// Runs a tool; `None` (with a message) if it is not installed.
fn run(tool: &str, args: &[&str]) -> Option<Output> {
    match Command::new(tool).args(args).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: {tool} is not installed");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

/// Runs a tool that must succeed; `None` if it is not installed.
fn succeed(tool: &str, args: &[&str]) -> Option<String> {
    let output = run(tool, args)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{tool} {args:?}\n{stdout}\n{stderr}"
    );
    Some(stdout)
}

/// Bytes of a simple generator, a new block of 4 KiB each, every fourth one zero.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let zero = (bytes.len() / 4096) % 4 == 3;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = if zero { 0 } else { state };
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes
}

#[test]
fn nbdinfo_sees_what_we_offer() {
    let (server, _) = TestServer::with_memory();
    let Some(json) = succeed("nbdinfo", &["--json", &server.uri("disk")]) else {
        return;
    };
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["protocol"], "newstyle-fixed");
    assert_eq!(json["structured"], true);
    let export = &json["exports"][0];
    assert_eq!(export["export-name"], "disk");
    assert_eq!(export["export-size"], SIZE);
    for able in [
        "can_df",
        "can_fast_zero",
        "can_flush",
        "can_fua",
        "can_multi_conn",
        "can_trim",
        "can_zero",
    ] {
        assert_eq!(export[able], true, "{able}");
    }
    assert_eq!(export["is_read_only"], false);
    assert_eq!(export["is_rotational"], false);
    assert_eq!(export["block_size_preferred"], 4096);
    assert_eq!(export["block_size_maximum"], 32 << 20);
    assert_eq!(export["contexts"][0], "base:allocation");
}

#[test]
fn nbdinfo_lists_and_maps() {
    let (server, target) = TestServer::with_memory();
    target.bytes()[1 << 20..2 << 20].fill(7);
    let Some(list) = succeed("nbdinfo", &["--list", "--json", &server.uri("")]) else {
        return;
    };
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["exports"][0]["export-name"], "disk");
    let map = succeed("nbdinfo", &["--map", "--json", &server.uri("disk")]).unwrap();
    let map: Value = serde_json::from_str(&map).unwrap();
    let found = map.as_array().unwrap();
    let found = found.iter().map(|e| {
        (
            e["offset"].as_u64(),
            e["length"].as_u64(),
            e["type"].as_u64(),
        )
    });
    let expected = [
        (0, 1 << 20, 3),
        (1 << 20, 1 << 20, 0),
        (2 << 20, SIZE - (2 << 20), 3),
    ];
    let expected = expected.map(|(o, l, t)| (Some(o), Some(l), Some(t)));
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[test]
fn nbdinfo_shows_a_read_only_export() {
    let mut info = DeviceInfo::new("frozen", 1 << 20);
    info.read_only = true;
    info.min_block = 512;
    let (server, _) = TestServer::with_device(info);
    let Some(json) = succeed("nbdinfo", &["--json", &server.uri("frozen")]) else {
        return;
    };
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["exports"][0]["is_read_only"], true);
    assert_eq!(json["exports"][0]["block_size_minimum"], 512);
    assert_eq!(json["exports"][0]["can_trim"], false);
}

#[test]
fn nbdcopy_goes_both_ways_over_several_connections() {
    let (server, target) = TestServer::with_memory();
    let bytes = pattern(usize::try_from(SIZE).unwrap());
    let from = server.folder().join("from");
    let to = server.folder().join("to");
    fs::write(&from, &bytes).unwrap();
    let uri = server.uri("disk");
    let args = ["--connections=4", "--flush", from.to_str().unwrap(), &uri];
    if succeed("nbdcopy", &args).is_none() {
        return;
    }
    assert!(*target.bytes() == bytes, "device differs from the file");
    assert!(target.flushes() > 0);
    succeed("nbdcopy", &["--connections=4", &uri, to.to_str().unwrap()]);
    assert!(
        fs::read(&to).unwrap() == bytes,
        "file differs from the device"
    );
    // One request after the other, no block status.
    let script = ["--no-extents", "--synchronous", &uri, to.to_str().unwrap()];
    succeed("nbdcopy", &script);
    assert!(
        fs::read(&to).unwrap() == bytes,
        "file differs from the device"
    );
}

#[test]
fn nbdcopy_from_device_to_device() {
    let (one, source) = TestServer::with_memory();
    let (two, sink) = TestServer::with_memory();
    source
        .bytes()
        .copy_from_slice(&pattern(usize::try_from(SIZE).unwrap()));
    sink.bytes().fill(0xff);
    if succeed("nbdcopy", &[&one.uri("disk"), &two.uri("disk")]).is_some() {
        assert!(*source.bytes() == *sink.bytes(), "devices differ");
    }
}

#[test]
fn qemu_io_writes_zeroes_discards_and_reads() {
    let (server, target) = TestServer::with_memory();
    let uri = server.uri("disk");
    let commands = [
        "write -P 0x5a 1M 3M",
        "write -f -P 0x11 4096 4096",
        "flush",
        "write -z 2M 1M",
        "write -z -u 8M 1M",
        "discard 3M 64k",
        "read -P 0x5a 1M 1M",
        "read -P 0 2M 1M",
        "read -P 0x11 4096 4096",
        "read -P 0x5a 3200k 800k",
        "aio_write -P 1 16M 1M",
        "aio_write -P 2 17M 1M",
        "aio_flush",
        "read -P 2 17M 1M",
    ];
    let mut args = vec!["-f", "raw"];
    commands
        .iter()
        .for_each(|command| args.extend(["-c", command]));
    args.push(&uri);
    let Some(output) = succeed("qemu-io", &args) else {
        return;
    };
    assert!(!output.contains("failed"), "{output}");
    let bytes = target.bytes();
    assert!(bytes[1 << 20..2 << 20].iter().all(|byte| *byte == 0x5a));
    assert!(bytes[2 << 20..3 << 20].iter().all(|byte| *byte == 0));
    drop(bytes);
    assert!(target.flushes() > 0);
    assert!(target.forced() > 0, "FUA did not arrive");
}

#[test]
fn qemu_io_is_told_of_a_range_beyond_the_end() {
    let (server, _) = TestServer::with_memory();
    let uri = server.uri("disk");
    let Some(output) = run("qemu-io", &["-f", "raw", "-c", "read 64M 4k", &uri]) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = text + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("failed"), "{text}");
}

fn fio(jobs: &str, server: &TestServer) -> Option<String> {
    let uri = format!("--uri={}", server.uri("disk"));
    let folder = format!("--aux-path={}", server.folder().display());
    let mut args = vec!["--name=job", "--ioengine=nbd", "--thread", &uri, &folder];
    args.extend(jobs.split_whitespace());
    succeed("fio", &args)
}

#[test]
fn fio_verifies_random_writes() {
    let (server, _) = TestServer::with_memory();
    let job = "--rw=randwrite --bs=4k --iodepth=32 --size=16M --randseed=1 --verify=crc32c \
               --verify_fatal=1 --verify_state_save=0";
    let Some(output) = fio(job, &server) else {
        return;
    };
    assert!(output.contains("err= 0"), "{output}");
}

#[test]
fn fio_verifies_mixed_sizes_over_several_connections() {
    let (server, target) = TestServer::with_memory();
    let job = "--rw=randrw --bsrange=512-256k --bs_unaligned=0 --iodepth=16 --numjobs=4 \
               --offset_increment=8M --size=8M --fsync=4 --randseed=2 --verify=crc32c \
               --verify_fatal=1 --verify_state_save=0 --group_reporting";
    let Some(output) = fio(job, &server) else {
        return;
    };
    assert!(output.contains("err= 0"), "{output}");
    assert!(target.flushes() > 0);
}

#[test]
fn clients_reach_tcp_on_this_host() {
    let memory = Arc::new(MemTarget::new(DeviceInfo::new("disk", SIZE)));
    let exports = Arc::new(StaticExports::new().with(memory));
    let runtime = Runtime::new().unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let server = runtime
        .block_on(NbdServer::bind_tcp(address, exports))
        .unwrap();
    let uri = format!("nbd://{}/disk", server.local_addr().unwrap());
    let (closer, closing) = closing_pair();
    let serving = runtime.spawn(server.serve(closing));
    if let Some(size) = succeed("nbdinfo", &["--size", &uri]) {
        assert_eq!(size.trim(), SIZE.to_string());
    }
    if let Some(output) = succeed(
        "qemu-io",
        &[
            "-f",
            "raw",
            "-c",
            "write -P 4 0 3M",
            "-c",
            "read -P 4 0 3M",
            &uri,
        ],
    ) {
        assert!(!output.contains("failed"), "{output}");
    }
    closer.close();
    runtime.block_on(serving).unwrap();
}
