//! The joint: the native segment that stands between a history of the original and our own
//! (`docs/spec/take-over.md`).
//!
//! It holds nothing but a close mark, and its bytes are a function of resource and end of the old history alone. So
//! every replica that reached the same end has the same segment, and goes on from it without asking anybody.

use mars_lamport::Timestamp;

use crate::Name;
use crate::format::{
    BatchStart, Predecessor, Record, RecordBody, SegmentHeader, encode_batch, end_position,
};
use crate::limits::MIN_ALIGNMENT;
use crate::version::{Digest, LogEnd, LogName, VersionValue, chain_value};

/// The joint behind a history that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joint {
    /// Where the old history ended.
    pub before: LogEnd,
    /// Complete `version-*` value of that end.
    pub before_version: String,
    /// Name of the segment: the number behind the old end, and its writer.
    pub name: LogName,
    /// All bytes of the segment file.
    pub bytes: Vec<u8>,
    /// End of the segment.
    pub end: LogEnd,
}

/// Why there is no joint for a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JointError {
    /// The `version-*` value is not understood.
    #[error("'{0}' is no value of the version chain")]
    Version(String),
    /// The log number is the highest there can be.
    #[error("there is no log number behind {0}")]
    Number(u64),
    /// A field is out of range of the log format.
    #[error("the segment behind the old logs cannot be made: {0}")]
    Format(String),
}

/// Makes the joint behind the history that the complete value `version` stands for.
///
/// # Errors
/// [`JointError`].
pub fn joint(resource: &Name, version: &str) -> Result<Joint, JointError> {
    let value: VersionValue = version
        .parse()
        .map_err(|_| JointError::Version(version.to_owned()))?;
    let before = value.at.clone();
    let name = before.log.successor();
    let name = name.ok_or(JointError::Number(before.log.number))?;
    let number = name.number;
    let begin = name.clone().begin();
    // As good as random, and the same everywhere.
    let Digest(seed) = Digest::chain(&begin, version);
    let (low, _) = seed.split_at(8);
    let generation = u64::from_le_bytes(low.try_into().unwrap_or([1; 8]));
    let header = SegmentHeader {
        resource: resource.clone(),
        origin: name.origin.clone(),
        number,
        generation,
        created: Timestamp::ZERO,
        base_sequence: 1,
        alignment: MIN_ALIGNMENT,
        predecessor: Some(Predecessor {
            end: before.pos(),
            origin: before.log.origin.clone(),
            digest: value.digest,
        }),
    };
    let format = |error: &dyn std::fmt::Display| JointError::Format(error.to_string());
    let mut bytes = header.encode().map_err(|e| format(&e))?.into_vec();
    let start = BatchStart {
        generation,
        position: 0,
        base_sequence: 1,
        stamp: Timestamp::ZERO,
        alignment: MIN_ALIGNMENT,
    };
    let batch =
        encode_batch(&start, &[Record::mark(RecordBody::CloseMark)]).map_err(|e| format(&e))?;
    bytes.extend_from_slice(&batch.to_vec());
    let end = LogEnd {
        log: name.clone(),
        position: end_position(bytes.len() as u64),
    };
    Ok(Joint {
        before,
        before_version: version.to_owned(),
        name,
        bytes,
        end,
    })
}

impl Joint {
    /// Complete `version-*` value of the joint's end.
    #[must_use]
    pub fn version(&self) -> String {
        chain_value(&self.end, &self.before_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogPos;
    use crate::scan::{ScanEnd, Scanner};

    const OLD: &str = "80c26aa85c07c3009214b4b284d79d74,log-000000002-h1,1192:f25bdd602c88fad068297506918b097c,log-000000001-h1,596";

    #[test]
    fn it_is_a_closed_segment_behind_the_old_end() {
        let joint = joint(&"r".parse().unwrap(), OLD).unwrap();
        assert_eq!(joint.name.to_string(), "log-000000003-h1");
        let header = SegmentHeader::decode(&joint.bytes).unwrap();
        assert!(header.follows(LogPos::new(2, 1192)));
        let mut scanner = Scanner::new(&header, 0, 1 << 20);
        scanner.feed(&joint.bytes[crate::format::HEADER_LENGTH..]);
        let batch = scanner.next_batch().unwrap();
        assert!(batch.closes());
        assert!(matches!(scanner.end(), ScanEnd::Closed { .. }));
        assert_eq!(scanner.end().position(), joint.end.position);
        let version: VersionValue = joint.version().parse().unwrap();
        let (digest, at) = version.predecessor.unwrap();
        assert_eq!(at, joint.before);
        assert_eq!(digest, header.predecessor.unwrap().digest);
    }

    #[test]
    fn it_depends_on_the_whole_history_and_on_nothing_else() {
        let resource = "r".parse().unwrap();
        let one = joint(&resource, OLD).unwrap();
        assert_eq!(one, joint(&resource, OLD).unwrap());
        let other = OLD.replace("f25b", "f25c");
        assert_ne!(one.bytes, joint(&resource, &other).unwrap().bytes);
        assert!(joint(&resource, "rubbish").is_err());
        let last = format!("{},log-{}-h1,0:", "0".repeat(32), u64::MAX);
        assert_eq!(joint(&resource, &last), Err(JointError::Number(u64::MAX)));
    }

    #[test]
    fn the_example_of_the_specification() {
        let page = include_str!("../../../docs/spec/take-over.md");
        assert!(page.contains(OLD));
        let joint = joint(&"r".parse().unwrap(), OLD).unwrap();
        assert_eq!((joint.bytes.len(), joint.end.position), (4224, 128));
        let mut hex = String::new();
        for (i, row) in joint.bytes[4096..].chunks(16).enumerate() {
            let bytes: String = row.iter().map(|b| format!("{b:02x}")).collect();
            let line = format!("{:03x}  {bytes}", 4096 + 16 * i);
            hex.push_str(&line);
            hex.push('\n');
        }
        assert!(page.contains(&hex), "{hex}");
    }
}
