//! Encodings against bytes written down by hand.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits = text.replace(char::is_whitespace, "");
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(pair).collect()
}

#[test]
fn greeting_bytes() {
    let expected = [b"NBDMAGICIHAVEOPT".as_slice(), &[0, 3]].concat();
    assert_eq!(greeting().as_slice(), expected);
}

#[test]
fn option_head_bytes() {
    let bytes = hex("4948415645 4f5054 00000007 0000000a");
    let head = OptionHead::decode(&bytes.clone().try_into().unwrap());
    assert_eq!(
        head,
        Some(OptionHead {
            option: opt::GO,
            len: 10
        })
    );
    let mut wrong = bytes;
    wrong[7] ^= 1;
    assert_eq!(OptionHead::decode(&wrong.try_into().unwrap()), None);
}

#[test]
fn option_reply_bytes() {
    let mut out = Vec::new();
    put_option_reply(&mut out, opt::LIST, rep::ERR_POLICY, b"no");
    let expected = hex("0003e889045565a9 00000003 80000002 00000002 6e6f");
    assert_eq!(out, expected);
}

#[test]
fn request_bytes() {
    let bytes = hex("25609513 0001 0001 0102030405060708 0000000000001000 00000200");
    let expected = RequestHead {
        flags: flag::FUA,
        command: cmd::WRITE,
        cookie: 0x0102_0304_0506_0708,
        offset: 4096,
        len: 512,
    };
    assert_eq!(
        RequestHead::decode(&bytes.clone().try_into().unwrap()),
        Some(expected)
    );
    let mut wrong = bytes;
    wrong[0] ^= 1;
    assert_eq!(RequestHead::decode(&wrong.try_into().unwrap()), None);
}

#[test]
fn simple_reply_bytes() {
    let reply = simple_reply(0x0102_0304_0506_0708, Errno::NoSpc.code());
    assert_eq!(reply.as_slice(), hex("67446698 0000001c 0102030405060708"));
}

#[test]
fn structured_read_bytes() {
    let head = data_chunk(0x0102_0304_0506_0708, 0x1000, 512);
    let expected = hex("668e33ef 0001 0001 0102030405060708 00000208 0000000000001000");
    assert_eq!(head.as_slice(), expected);
    let empty = none_chunk(9);
    let expected = hex("668e33ef 0001 0000 0000000000000009 00000000");
    assert_eq!(empty.as_slice(), expected);
}

#[test]
fn error_chunk_bytes() {
    let (head, rest) = error_chunk(9, Errno::Inval, "bad");
    let expected = hex("668e33ef 0001 8001 0000000000000009 00000009");
    assert_eq!(head.as_slice(), expected);
    assert_eq!(rest, hex("00000016 0003 626164"));
}

#[test]
fn error_text_is_cut_at_a_character() {
    let text = "\u{20ac}".repeat(MAX_ERROR_TEXT);
    let (head, rest) = error_chunk(9, Errno::Io, &text);
    let sent = std::str::from_utf8(&rest[6..]).unwrap();
    assert_eq!(sent.len(), MAX_ERROR_TEXT / 3 * 3);
    let len = u32::try_from(rest.len()).unwrap();
    assert_eq!(head.as_slice()[16..20], len.to_be_bytes());
}

#[test]
fn status_chunk_bytes() {
    let (head, rest) = status_chunk(9, &[(4096, 0), (512, STATE_HOLE | STATE_ZERO)]);
    let expected = hex("668e33ef 0001 0005 0000000000000009 00000014");
    assert_eq!(head.as_slice(), expected);
    assert_eq!(rest, hex("00000001 00001000 00000000 00000200 00000003"));
}

#[test]
fn error_numbers() {
    let all = [
        Errno::Perm,
        Errno::Io,
        Errno::Inval,
        Errno::NoSpc,
        Errno::Shutdown,
    ];
    assert_eq!(all.map(Errno::code), [1, 5, 22, 28, 108]);
}

#[test]
fn parser_refuses_what_is_not_there() {
    let mut parser = Parser::new(&[1, 2, 3]);
    assert_eq!(parser.u32(), None);
    assert_eq!(parser.u16(), Some(0x0102));
    assert_eq!(parser.bytes(2), None);
    assert_eq!(parser.bytes(1), Some([3].as_slice()));
    assert!(parser.is_empty());
}

/// The bytes of the example in `docs/spec/nbd.md`.
#[test]
fn worked_example_of_the_specification() {
    let cookie = 0x0102_0304_0506_0708;
    let request = hex("25609513 0000 0000 0102030405060708 0000000000001000 00000200");
    let expected = RequestHead {
        flags: 0,
        command: cmd::READ,
        cookie,
        offset: 4096,
        len: 512,
    };
    assert_eq!(
        RequestHead::decode(&request.try_into().unwrap()),
        Some(expected)
    );
    let simple = hex("67446698 00000000 0102030405060708");
    assert_eq!(simple_reply(cookie, 0).as_slice(), simple);
    let data = hex("668e33ef 0001 0001 0102030405060708 00000208 0000000000001000");
    assert_eq!(data_chunk(cookie, 4096, 512).as_slice(), data);
    let (head, rest) = error_chunk(cookie, Errno::Inval, "bad");
    let error = hex("668e33ef 0001 8001 0102030405060708 00000009 00000016 0003 626164");
    assert_eq!([head.as_slice(), &rest].concat(), error);
}
