//! Which wire version a node speaks. A daemon speaks the present one; the others are there so that tests can run old, present
//! and later nodes against each other.

use crate::hello::{
    FEATURE_COMPACT, FEATURE_EPOCH_MARKS, FEATURE_OVERLAY, FEATURE_WATCH, FEATURES,
};
use crate::limits::{BATCH_ENTRIES_MAX, FRAME_LEN_MAX};
use crate::wire::{
    BELOW_EPOCHS, BRIEF, ENTRIES, HELLO, LINKS, LISTS, MARKS_EPOCHS, NEWS, PRINTS, PUSH, UNSERVED,
    WATCH,
};
use crate::{Body, DecodeError, Message, decode, encode};
use mars_meta_model::FEATURE_LEVEL;

/// Type of the frame that only [`Dialect::Later`] sends.
const KIND_LATER: u8 = 200;
/// Ability that only [`Dialect::Later`] has.
const FEATURE_LATER: u64 = 1 << 40;
/// An extension of entries that only [`Dialect::Later`] writes: kind, length, content.
const EXTENSION_LATER: [u8; 4] = [200, 2, 7, 7];
/// An entry of version 2, behind its length: nobody can read it.
const ENTRY_LATER: [u8; 6] = [4, 0, 2, 0, 0, 0];

/// A wire version, by what it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// Before short digests, observations of links and compact comparisons: it knows none of the types 9, 10, 14, 15,
    /// 19, 20 and 25 to 27, and tells no feature level.
    First,
    /// Before watches: it knows none of the types 19, 20 and 25 to 27, and tells no feature level.
    Former,
    /// All that this program knows.
    #[default]
    Present,
    /// A version that does not exist yet: it appends fields to greetings and bodies, sends frames of a type and entries of a
    /// version that nobody knows, gives entries an unknown extension, and speaks wire version 2, too.
    Later,
}

impl Dialect {
    /// The abilities that a node of this version tells in its greeting.
    #[must_use]
    pub const fn features(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Former => FEATURE_OVERLAY | FEATURE_COMPACT,
            Self::Present => FEATURES,
            Self::Later => FEATURES | FEATURE_LATER,
        }
    }

    /// The feature level that it tells the cluster; `None`: it knows of none.
    #[must_use]
    pub const fn level(self) -> Option<u16> {
        match self {
            Self::First | Self::Former => None,
            Self::Present => Some(FEATURE_LEVEL),
            Self::Later => Some(FEATURE_LEVEL + 1),
        }
    }

    /// The newest wire version that it speaks.
    #[must_use]
    pub const fn wire_max(self) -> u16 {
        match self {
            Self::Later => crate::WIRE_VERSION + 1,
            _ => crate::WIRE_VERSION,
        }
    }

    const fn knows(self, kind: u8) -> bool {
        let features = self.features();
        match kind {
            LINKS | BRIEF => features & FEATURE_OVERLAY != 0,
            PRINTS | LISTS => features & FEATURE_COMPACT != 0,
            MARKS_EPOCHS | BELOW_EPOCHS => features & FEATURE_EPOCH_MARKS != 0,
            WATCH | NEWS | UNSERVED => features & FEATURE_WATCH != 0,
            _ => true,
        }
    }

    /// The frames of a message: type and body. One, but for [`Dialect::Later`].
    #[must_use]
    pub fn encode(self, message: &Message) -> Vec<(u8, Vec<u8>)> {
        if let (Self::First | Self::Former, Body::Clock(wall, _)) = (self, &message.body) {
            let body = Body::Clock(*wall, None);
            return vec![encode(&Message { body, ..*message })];
        }
        if self != Self::Later {
            return vec![encode(message)];
        }
        let mut message = message.clone();
        if let Body::Push(entries, _) | Body::Entries(entries, _) = &mut message.body {
            for entry in entries.iter_mut().filter(|entry| entry.ext.is_empty()) {
                entry.ext = Box::from(EXTENSION_LATER);
            }
        }
        let (kind, mut body) = encode(&message);
        let unreadable = match &message.body {
            Body::Push(entries, _) | Body::Entries(entries, _) => entries.len() < BATCH_ENTRIES_MAX,
            _ => false,
        };
        match kind {
            HELLO => add_field(&mut body),
            PUSH | ENTRIES if unreadable => add_entry(&mut body),
            _ if body.len() < FRAME_LEN_MAX => body.push(0xaa),
            _ => {}
        }
        // The greeting comes first.
        if kind == HELLO {
            return vec![(kind, body)];
        }
        vec![(KIND_LATER, vec![9; 40]), (kind, body)]
    }

    /// The body of the datagram of a message: there is no room for more than one frame.
    #[must_use]
    pub fn encode_datagram(self, message: &Message) -> Option<(u8, Vec<u8>)> {
        self.encode(message).pop()
    }

    /// Reads a frame; `None` for a type that this version does not know, which is to be skipped.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(self, kind: u8, body: &[u8]) -> Result<Option<Message>, DecodeError> {
        if self.knows(kind) {
            decode(kind, body)
        } else {
            Ok(None)
        }
    }
}

/// Length of version and clock reading in front of a body.
const HEAD: usize = 9;

/// One more field in the map of a greeting.
fn add_field(body: &mut Vec<u8>) {
    // A map of at most 15 fields has their number in the low half of its first byte.
    if let Some(first) = body
        .get_mut(HEAD)
        .filter(|first| (0x80..0x8f).contains(*first))
    {
        *first += 1;
        body.extend_from_slice(b"\xa5later\xa3yes");
    }
}

/// One more entry in a list of them.
fn add_entry(body: &mut Vec<u8>) {
    if let Some(count) = body.get_mut(HEAD..HEAD + 2) {
        let more = u16::from_le_bytes([count[0], count[1]]).saturating_add(1);
        count.copy_from_slice(&more.to_le_bytes());
        body.extend_from_slice(&ENTRY_LATER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hello, Want, WatchRequest};
    use mars_lamport::Timestamp;
    use mars_meta_model::Scope;
    use mars_meta_model::testing::entry;

    fn message(body: Body) -> Message {
        Message {
            stamp: Timestamp::from_nanos(5),
            body,
        }
    }

    #[test]
    fn what_a_later_version_adds_is_left_out() {
        let hello = Hello {
            wire_min: 1,
            wire_max: 2,
            features: u64::MAX,
            cluster: "c".into(),
            host: "h".into(),
            node: "n".into(),
            boot: 1,
            wall: 2,
        };
        let one = entry("a", Some("1"), 1, 1);
        let mut extended = one.clone();
        extended.ext = Box::from(EXTENSION_LATER);
        let want = vec![Want {
            scope: Scope::Global,
            hashes: vec![1],
        }];
        for (body, read) in [
            (Body::Hello(hello.clone()), Body::Hello(hello)),
            (Body::Want(want.clone()), Body::Want(want)),
            (Body::Push(vec![one], 0), Body::Push(vec![extended], 1)),
        ] {
            let frames = Dialect::Later.encode(&message(body));
            let mut found = frames.iter().filter_map(|(kind, body)| {
                let read = Dialect::Present.decode(*kind, body);
                read.expect("nothing that ends the connection")
            });
            assert_eq!(found.next(), Some(message(read)));
            assert_eq!(found.next(), None);
        }
    }

    #[test]
    fn older_versions_skip_what_they_do_not_know() {
        let watch = message(Body::Watch(WatchRequest {
            lease_s: 1,
            scopes: vec![],
        }));
        let bye = message(Body::Bye("b".into()));
        for (dialect, knows) in [
            (Dialect::First, false),
            (Dialect::Former, false),
            (Dialect::Present, true),
            (Dialect::Later, true),
        ] {
            let (kind, body) = encode(&watch);
            let read = dialect.decode(kind, &body);
            assert_eq!(read, Ok(knows.then(|| watch.clone())), "{dialect:?}");
            let (kind, body) = encode(&bye);
            assert_eq!(dialect.decode(kind, &body), Ok(Some(bye.clone())));
            assert_eq!(dialect.knows(9), dialect != Dialect::First);
        }
    }
}
