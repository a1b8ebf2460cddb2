//! Frames, raw bytes and datagrams between two members.

use bytes::Bytes;
use mars_gossip_net::{CloseCode, DatagramError, Frame, ReadFrameError, limits};

use crate::common::{pair, soon};

fn body(len: usize) -> Bytes {
    (0..len)
        .map(|i| u8::try_from(i % 251).unwrap())
        .collect::<Vec<u8>>()
        .into()
}

#[tokio::test]
async fn frames_of_all_sizes_and_unknown_types_arrive_in_order() {
    let p = pair().await;
    let sizes = [0, 1, 1_000, 65_536, 700_000, 0];
    let send = async {
        let (mut tx, _rx) = p.dialled.open_bi(10).await.unwrap();
        for (kind, size) in (200..).zip(sizes) {
            tx.send(kind, 7, body(size)).await.unwrap();
        }
        tx.finish().unwrap();
        assert_eq!(tx.stopped().await, Ok(None));
    };
    let receive = async {
        let (_tx, mut rx) = p.accepted.accept_bi(1 << 20).await.unwrap();
        for (kind, size) in (200..).zip(sizes) {
            let expected = Frame {
                kind,
                flags: 7,
                body: body(size),
            };
            assert!(
                rx.read_frame().await.unwrap().unwrap() == expected,
                "size {size}"
            );
        }
        assert_eq!(rx.read_frame().await, Ok(None));
    };
    soon(async { tokio::join!(send, receive) }).await;
}

/// The worked example of docs/spec/identity.md.
#[tokio::test]
async fn a_frame_lies_on_the_stream_as_specified() {
    let p = pair().await;
    let mut tx = p.dialled.open_uni().await.unwrap();
    tx.send(5, 1, Bytes::from_static(b"body")).await.unwrap();
    tx.finish().unwrap();
    let mut rx = soon(p.accepted.accept_uni(0)).await.unwrap();
    let mut raw = Vec::new();
    while let Some(chunk) = soon(rx.read_chunk(100)).await.unwrap() {
        raw.extend_from_slice(&chunk);
    }
    let hex: Vec<String> = raw.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex.join(" "), "05 01 04 00 00 00 62 6f 64 79");
    assert!(include_str!("../../../../docs/spec/identity.md").contains(&hex.join(" ")));
}

#[tokio::test]
async fn too_large_a_frame_is_refused_by_its_header_alone() {
    let p = pair().await;
    let mut tx = p.dialled.open_uni().await.unwrap();
    // The header announces 4 GiB; nothing follows.
    tx.write_all(&[9, 0, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
    let mut rx = soon(p.accepted.accept_uni(1_000)).await.unwrap();
    let expected = ReadFrameError::TooLarge {
        kind: 9,
        len: u32::MAX,
        limit: 1_000,
    };
    assert_eq!(soon(rx.read_frame()).await, Err(expected.clone()));
    assert_eq!(soon(rx.read_frame()).await, Err(expected));
}

#[tokio::test]
async fn the_limit_itself_passes_and_one_more_does_not() {
    let p = pair().await;
    let mut tx = p.dialled.open_uni().await.unwrap();
    tx.send(1, 0, body(1_000)).await.unwrap();
    tx.send(1, 0, body(1_001)).await.unwrap();
    let mut rx = soon(p.accepted.accept_uni(1_000)).await.unwrap();
    assert_eq!(
        soon(rx.read_frame()).await.unwrap().unwrap().body.len(),
        1_000
    );
    let error = soon(rx.read_frame()).await.unwrap_err();
    assert_eq!(
        error,
        ReadFrameError::TooLarge {
            kind: 1,
            len: 1_001,
            limit: 1_000
        }
    );
}

#[tokio::test]
async fn an_end_inside_a_frame_is_told_from_an_end_between_frames() {
    let p = pair().await;
    for (bytes, expected) in [
        (
            &b"\x01\x00\x05"[..],
            ReadFrameError::Truncated { have: 3, need: 6 },
        ),
        (
            &b"\x01\x00\x05\0\0\0abc"[..],
            ReadFrameError::Truncated { have: 9, need: 11 },
        ),
    ] {
        let mut tx = p.dialled.open_uni().await.unwrap();
        tx.write_all(bytes).await.unwrap();
        tx.finish().unwrap();
        let mut rx = soon(p.accepted.accept_uni(1_000)).await.unwrap();
        assert_eq!(soon(rx.read_frame()).await, Err(expected));
    }
}

#[tokio::test]
async fn reading_can_be_dropped_and_goes_on_later() {
    let p = pair().await;
    let mut tx = p.dialled.open_uni().await.unwrap();
    let bytes = [&[5, 1, 4, 0, 0, 0][..], b"body"].concat();
    tx.write_all(&bytes[..1]).await.unwrap();
    let mut rx = soon(p.accepted.accept_uni(1_000)).await.unwrap();
    for byte in &bytes[1..] {
        // Reads what is there, then is dropped by the other branch.
        tokio::select! {
            biased;
            frame = rx.read_frame() => panic!("not complete: {frame:?}"),
            () = tokio::task::yield_now() => {}
        }
        tx.write_all(&[*byte]).await.unwrap();
        // A round trip, so that the byte is there when the next read begins.
        p.dialled.send_datagram(Bytes::from_static(b"x")).unwrap();
        soon(p.accepted.read_datagram()).await.unwrap();
    }
    let frame = soon(rx.read_frame()).await.unwrap().unwrap();
    assert_eq!(
        frame,
        Frame {
            kind: 5,
            flags: 1,
            body: Bytes::from_static(b"body")
        }
    );
}

#[tokio::test]
async fn raw_bytes_follow_a_frame() {
    let p = pair().await;
    let mut tx = p.dialled.open_uni().await.unwrap();
    tx.send(1, 0, Bytes::from_static(b"then 9")).await.unwrap();
    tx.write_chunk(Bytes::from_static(b"raw bytes"))
        .await
        .unwrap();
    tx.finish().unwrap();
    let mut rx = soon(p.accepted.accept_uni(1_000)).await.unwrap();
    assert_eq!(soon(rx.read_frame()).await.unwrap().unwrap().body, "then 9");
    let mut raw = Vec::new();
    while let Some(chunk) = soon(rx.read_chunk(4)).await.unwrap() {
        assert!(chunk.len() <= 4);
        raw.extend_from_slice(&chunk);
    }
    assert_eq!(raw, b"raw bytes");
}

#[tokio::test]
async fn datagrams_pass_up_to_their_limit() {
    let p = pair().await;
    p.dialled.send_datagram(body(limits::MAX_DATAGRAM)).unwrap();
    assert_eq!(
        soon(p.accepted.read_datagram()).await.unwrap(),
        body(limits::MAX_DATAGRAM)
    );
    let too_long = p.dialled.send_datagram(body(limits::MAX_DATAGRAM + 1));
    assert_eq!(
        too_long,
        Err(DatagramError::TooLarge(limits::MAX_DATAGRAM + 1))
    );
}

#[tokio::test]
async fn close_tells_code_and_reason() {
    let p = pair().await;
    p.dialled.close(CloseCode::Duplicate, "use the other one");
    let error = soon(p.accepted.closed()).await;
    assert_eq!(CloseCode::of_peer(&error), Some(CloseCode::Duplicate));
    assert!(error.to_string().contains("use the other one"));
    assert!(p.a.connections().iter().all(|c| c.close_reason().is_some()));
    drop((p.dialled, p.accepted));
    assert!(p.a.connections().is_empty() && p.b.connections().is_empty());
}

#[tokio::test]
async fn both_ends_export_the_same_key_material() {
    let p = pair().await;
    let (a, b) = (&p.dialled, &p.accepted);
    let key = a.export_keying_material(b"EXPORTER-test", b"x").unwrap();
    assert_eq!(
        key,
        b.export_keying_material(b"EXPORTER-test", b"x").unwrap()
    );
    assert_ne!(
        key,
        b.export_keying_material(b"EXPORTER-test", b"y").unwrap()
    );
}
