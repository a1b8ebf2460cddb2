//! What the values of MARS' own keys look like, so that a slip of the finger does not stop a data plane.

use crate::error::{Error, Result};
use crate::error_code::Code;
use crate::keys::{parse_replay, parse_version_end};
use crate::limits::RESOURCE_SIZE_UNIT;
use mars_meta_model::{Durability, Key, NodeRecord, Value, check_host_name, classify};

/// Refuses a value that nobody who reads the key understands. Keys without a rule take anything.
///
/// # Errors
/// What is wrong with it.
pub fn check(key: &Key, value: &Value) -> Result<()> {
    if classify(key).0.durability == Durability::Liveness {
        return Err(bad(
            key,
            "is computed when it is read: nothing can be stored there",
        ));
    }
    let parts: Vec<&str> = key.parts().collect();
    let text = std::str::from_utf8(value.as_bytes()).unwrap_or("\u{fffd}");
    match wanted(&parts, text) {
        None => Ok(()),
        Some(rule) => Err(bad(key, &format!("takes {rule}, not '{text}'"))),
    }
}

fn bad(key: &Key, why: &str) -> Error {
    Error::of(Code::BadKey, format!("key {key} {why}"))
        .hint("--force --force writes it all the same, if you know who reads it")
}

/// What the key takes, if that is not `text`.
fn wanted(parts: &[&str], text: &str) -> Option<&'static str> {
    let (fits, rule) = match parts {
        ["roster", _] => (
            text.parse::<NodeRecord>().is_ok(),
            "the record of a node, as docs/spec/identity.md has it",
        ),
        ["directory", _, leaf] if leaf.starts_with("member-") => {
            (matches!(text, "storage" | "guest"), "storage or guest")
        }
        ["ips", leaf] if leaf.starts_with("ip-") => {
            (text.parse::<std::net::IpAddr>().is_ok(), "an IP address")
        }
        [resource, leaf] if resource.starts_with("resource-") => resource_leaf(leaf, text)?,
        [resource, dir, switch]
            if resource.starts_with("resource-")
                && dir.starts_with("todo-")
                && matches!(*switch, "attach" | "connect" | "sync" | "allow-replay") =>
        {
            (matches!(text, "0" | "1"), "0 or 1")
        }
        _ => return None,
    };
    (!fits).then_some(rule)
}

/// Whether the text fits, and what would.
fn resource_leaf(leaf: &str, text: &str) -> Option<(bool, &'static str)> {
    let number = text.parse::<u64>().ok();
    let (family, _) = leaf.split_once('-').unwrap_or((leaf, ""));
    Some(match family {
        "size" => (
            number.is_some_and(|size| size > 0 && size % RESOURCE_SIZE_UNIT == 0),
            "a number of bytes that is a multiple of 4096",
        ),
        "maxnr" | "syncstatus" | "actsize" => (number.is_some(), "a number"),
        "primary" => (
            text == "(none)" || check_host_name(text).is_ok(),
            "the name of a host, or (none)",
        ),
        "data" => (text.starts_with('/'), "the absolute path of a disk"),
        "replay" | "syncpos" => (
            parse_replay(text).is_some(),
            "a position as log-000000001-HOST,BYTES,BYTES",
        ),
        "version" => (
            parse_version_end(text).is_some(),
            "a version as DIGEST,log-000000001-HOST,BYTES:PREVIOUS",
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_nobody_understands_are_named() {
        let try_it =
            |key: &str, text: &str| check(&Key::parse(key).unwrap(), &Value::text(text).unwrap());
        for (key, good, bad) in [
            ("resource-r/todo-h/attach", "1", "yes"),
            ("resource-r/size", "8192", "8193"),
            ("resource-r/primary", "(none)", "a/b"),
            ("resource-r/data-h", "/dev/x", "dev/x"),
            ("resource-r/replay-h", "log-000000001-h,0,0", "log-1"),
            (
                "resource-r/version-000000001-h",
                "0,log-000000001-h,0:",
                "0",
            ),
            ("resource-r/syncstatus-h", "0", "-1"),
            ("directory/r/member-h", "guest", "friend"),
            ("ips/ip-h", "192.0.2.1", "h"),
        ] {
            assert_eq!(try_it(key, good), Ok(()), "{key}");
            let error = try_it(key, bad).unwrap_err();
            assert!(
                error.why.contains(key) && error.why.contains(bad),
                "{error}"
            );
        }
        assert_eq!(try_it("userspace/x", "anything"), Ok(()));
        assert_eq!(try_it("resource-r/todo-h/emergency-limit", "x"), Ok(()));
        assert!(try_it("actual-h/alive", "1").is_err());
        assert!(try_it("roster/h", "x").is_err());
    }
}
