//! Frames of the local API, behind their length.

use mars_meta_api::{FromServer, Request, Response, decode_request, encode_frame};

/// What a client sends.
pub fn local_api_request(data: &[u8]) -> bool {
    let Ok(request) = decode_request(data) else {
        return false;
    };
    if let Request::Import { entries, .. }
    | Request::Restore { entries, .. }
    | Request::RestorePreview { entries } = &request.request
    {
        // Damaged entries are an error, which the daemon answers.
        let _ = entries.unpack();
    }
    let mut frame = Vec::new();
    if encode_frame(&request, &mut frame).is_ok() {
        assert_eq!(decode_request(&frame[4..]).ok(), Some(request));
    }
    true
}

/// What the daemon sends.
pub fn local_api_reply(data: &[u8]) -> bool {
    let Ok(reply) = rmp_serde::from_slice::<FromServer>(data) else {
        return false;
    };
    if let Response::WatchEntries(entries) | Response::List { entries, .. } = &reply.response {
        // Damaged entries end the call.
        let _ = entries.unpack();
    }
    let mut frame = Vec::new();
    if encode_frame(&reply, &mut frame).is_ok() {
        assert_eq!(
            rmp_serde::from_slice::<FromServer>(&frame[4..]).ok(),
            Some(reply)
        );
    }
    true
}
