//! What is read of nodes that are no members yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mars_gossip_net::JoinToken;
use mars_gossip_net::join::reread;
use ring::digest;

/// The text of a token. The first byte says what the rest is: the text (even), or the bytes that the text is made of
/// (odd), which get their checksum first.
pub fn join_token(data: &[u8]) -> bool {
    let Some((how, rest)) = data.split_first() else {
        return false;
    };
    let text = if how % 2 == 0 {
        String::from_utf8_lossy(rest).into_owned()
    } else {
        sealed(rest)
    };
    let Ok(token) = text.parse::<JoinToken>() else {
        return false;
    };
    let again = token.to_text();
    let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    assert_eq!(*again, plain, "a token has one text");
    true
}

fn sealed(raw: &[u8]) -> String {
    let mut all = b"mars join token\x01".to_vec();
    all.extend_from_slice(raw);
    let sum = digest::digest(&digest::SHA256, &all);
    let whole = [raw, &sum.as_ref()[..4]].concat();
    format!("mars1.{}", URL_SAFE_NO_PAD.encode(whole))
}

/// A frame of the join exchange: the first byte is its type.
pub fn join_frame(data: &[u8]) -> bool {
    let Some((kind, body)) = data.split_first() else {
        return false;
    };
    let Some(again) = reread(*kind, body) else {
        return false;
    };
    assert_eq!(
        reread(*kind, &again),
        Some(again),
        "what was read is read again"
    );
    true
}
