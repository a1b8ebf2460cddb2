//! Showing bytes that may be anything.

use mars_meta_model::escaped;
use std::fmt::Write as _;

/// Bytes as text for humans: control characters and the like escaped as [`mars_meta_model::shown`] has it, bytes that are no
/// UTF-8 as `\xNN`. Never holds a control character.
#[must_use]
pub fn show_bytes(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(&escaped(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing into a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_could_move_the_cursor_as_escapes() {
        assert_eq!(show_bytes(b"a\nb"), "a\\nb");
        assert_eq!(show_bytes(b"\x1b[2Jx"), "\\x1b[2Jx");
        assert_eq!(show_bytes(b"a\xffb\xc3"), "a\\xffb\\xc3");
        assert_eq!(show_bytes("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(show_bytes("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert_eq!(show_bytes(b"\x7f\xc2\x9b"), "\\x7f\\x9b");
    }
}
