//! Messages between metadata daemons.

use mars_gossip_proto::limits::FRAME_LEN_MAX;
use mars_gossip_proto::{Body, Message, News, decode, encode};
use mars_meta_model::collect::Mark;

/// Type of the message that travels as a datagram.
const BRIEF: u8 = 10;

/// What came in, without the count of entries that could not be read: it is not sent on.
fn settled(message: Message) -> Message {
    let body = match message.body {
        Body::Push(entries, _) => Body::Push(entries, 0),
        Body::Entries(entries, _) => Body::Entries(entries, 0),
        Body::News(news) => Body::News(News { skipped: 0, ..news }),
        other => other,
    };
    Message { body, ..message }
}

fn frame(kind: u8, body: &[u8]) -> bool {
    let Ok(Some(message)) = decode(kind, body) else {
        return false;
    };
    let message = settled(message);
    let (again, bytes) = encode(&message);
    assert_eq!(again, kind, "the type stays");
    assert!(bytes.len() <= FRAME_LEN_MAX, "{} bytes", bytes.len());
    assert_eq!(decode(again, &bytes), Ok(Some(message)));
    true
}

/// A frame of the gossip stream: the first byte is its type.
pub fn gossip_frame(data: &[u8]) -> bool {
    data.split_first()
        .is_some_and(|(kind, body)| frame(*kind, body))
}

/// The body of the datagram.
pub fn datagram_brief(data: &[u8]) -> bool {
    frame(BRIEF, data)
}

/// A mark of the collection, as on disk and in a context.
pub fn mark(data: &[u8]) -> bool {
    let Ok(mark) = Mark::decode(data) else {
        return false;
    };
    let mut again = Vec::new();
    mark.encode(&mut again);
    assert_eq!(Mark::decode(&again).ok(), Some(mark));
    true
}
