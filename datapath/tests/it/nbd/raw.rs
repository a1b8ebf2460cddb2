//! A client that sends exactly what a test wants sent.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use mars_datapath::nbd::wire::{
    CHUNK_MAGIC, GREETING_LEN, OPTION_MAGIC, OPTION_REPLY_MAGIC, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC,
    greeting, opt, rep,
};

use super::server::TestServer;

/// A connection in any phase.
pub(super) struct Raw {
    pub(super) stream: UnixStream,
    pub(super) structured: bool,
}

/// A reply in the transmission phase.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Simple {
        cookie: u64,
        error: u32,
    },
    Chunk {
        cookie: u64,
        flags: u16,
        kind: u16,
        data: Vec<u8>,
    },
}

impl Raw {
    /// Connects and exchanges the greeting.
    pub(super) fn greet(server: &TestServer) -> Self {
        let mut raw = Self {
            stream: server.connect(),
            structured: false,
        };
        assert_eq!(raw.take(GREETING_LEN), greeting());
        raw.put(&3_u32.to_be_bytes());
        raw
    }

    /// Connects and chooses `export` by `GO`.
    pub(super) fn attach(server: &TestServer, export: &str, structured: bool) -> Self {
        let mut raw = Self::greet(server);
        raw.structured = structured;
        if structured {
            assert_eq!(raw.option(opt::STRUCTURED_REPLY, &[]), [(rep::ACK, vec![])]);
            let data = meta_data(export, &["base:allocation"]);
            let replies = raw.option(opt::SET_META_CONTEXT, &data);
            assert_eq!(replies.len(), 2, "{replies:?}");
        }
        let replies = raw.option(opt::GO, &go_data(export, &[3]));
        assert_eq!(replies.last().unwrap().0, rep::ACK, "{replies:?}");
        raw
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(super) fn take_u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    pub(super) fn take_u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub(super) fn take_u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    /// Asserts that the server closes without a further byte.
    pub(super) fn expect_close(mut self) {
        let mut rest = Vec::new();
        // The server may close with our bytes unread, which resets the connection.
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert_eq!(rest, [0; 0]);
    }

    pub(super) fn put_option(&mut self, option: u32, data: &[u8]) {
        self.put(&OPTION_MAGIC.to_be_bytes());
        self.put(&option.to_be_bytes());
        self.put(&u32::try_from(data.len()).unwrap().to_be_bytes());
        self.put(data);
    }

    /// Sends an option and takes its replies, up to the last one.
    pub(super) fn option(&mut self, option: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.put_option(option, data);
        let mut replies = Vec::new();
        loop {
            assert_eq!(self.take_u64(), OPTION_REPLY_MAGIC);
            assert_eq!(self.take_u32(), option);
            let kind = self.take_u32();
            let len = self.take_u32();
            replies.push((kind, self.take(usize::try_from(len).unwrap())));
            if kind == rep::ACK || kind >= rep::ERR_UNSUP {
                return replies;
            }
        }
    }

    /// Sends the head of a request; the cookie is made of command and offset.
    pub(super) fn request(&mut self, command: u16, flags: u16, offset: u64, len: u32) -> u64 {
        let cookie = u64::from(command) << 56 ^ offset;
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&command.to_be_bytes());
        bytes.extend_from_slice(&cookie.to_be_bytes());
        bytes.extend_from_slice(&offset.to_be_bytes());
        bytes.extend_from_slice(&len.to_be_bytes());
        self.put(&bytes);
        cookie
    }

    pub(super) fn answer(&mut self) -> Answer {
        match self.take_u32() {
            SIMPLE_REPLY_MAGIC => {
                let error = self.take_u32();
                let cookie = self.take_u64();
                Answer::Simple { cookie, error }
            }
            CHUNK_MAGIC => {
                let flags = self.take_u16();
                let kind = self.take_u16();
                let cookie = self.take_u64();
                let len = self.take_u32();
                let data = self.take(usize::try_from(len).unwrap());
                Answer::Chunk {
                    cookie,
                    flags,
                    kind,
                    data,
                }
            }
            magic => panic!("reply with magic {magic:#x}"),
        }
    }

    /// Sends a request and returns the error number of its answer.
    pub(super) fn error_of(&mut self, command: u16, flags: u16, offset: u64, len: u32) -> u32 {
        let sent = self.request(command, flags, offset, len);
        if command == 1 {
            self.put(&vec![0xee; usize::try_from(len).unwrap()]);
        }
        self.take_error(sent)
    }

    /// Takes an answer without content, returns its error number.
    pub(super) fn take_error(&mut self, sent: u64) -> u32 {
        match self.answer() {
            Answer::Simple { cookie, error } => {
                assert_eq!(cookie, sent);
                error
            }
            Answer::Chunk {
                cookie,
                flags,
                kind,
                data,
            } => {
                assert_eq!((cookie, flags), (sent, 1));
                if kind == 0 {
                    assert_eq!(data, [0; 0]);
                    return 0;
                }
                assert_eq!(kind, 0x8001);
                let text_len = u16::from_be_bytes(data[4..6].try_into().unwrap());
                assert_eq!(usize::from(text_len), data.len() - 6);
                assert!(text_len > 0, "an error without a text");
                u32::from_be_bytes(data[..4].try_into().unwrap())
            }
        }
    }

    /// Reads and returns the data.
    pub(super) fn read(&mut self, offset: u64, len: u32) -> Vec<u8> {
        let sent = self.request(0, 0, offset, len);
        let count = usize::try_from(len).unwrap();
        match self.answer() {
            Answer::Simple { cookie, error } => {
                assert!(!self.structured, "simple reply to a structured read");
                assert_eq!((cookie, error), (sent, 0));
                self.take(count)
            }
            Answer::Chunk {
                cookie,
                flags,
                kind,
                data,
            } => {
                assert_eq!((cookie, flags, kind), (sent, 1, 1));
                assert_eq!(data[..8], offset.to_be_bytes());
                assert_eq!(data.len(), count + 8);
                data[8..].to_vec()
            }
        }
    }

    /// Writes and returns the error number.
    pub(super) fn write(&mut self, flags: u16, offset: u64, data: &[u8]) -> u32 {
        let sent = self.request(1, flags, offset, u32::try_from(data.len()).unwrap());
        self.put(data);
        self.take_error(sent)
    }
}

/// Data of `GO` and `INFO`.
pub(super) fn go_data(export: &str, wants: &[u16]) -> Vec<u8> {
    let mut data = u32::try_from(export.len()).unwrap().to_be_bytes().to_vec();
    data.extend_from_slice(export.as_bytes());
    data.extend_from_slice(&u16::try_from(wants.len()).unwrap().to_be_bytes());
    for want in wants {
        data.extend_from_slice(&want.to_be_bytes());
    }
    data
}

/// Data of `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
pub(super) fn meta_data(export: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = u32::try_from(export.len()).unwrap().to_be_bytes().to_vec();
    data.extend_from_slice(export.as_bytes());
    data.extend_from_slice(&u32::try_from(queries.len()).unwrap().to_be_bytes());
    for query in queries {
        data.extend_from_slice(&u32::try_from(query.len()).unwrap().to_be_bytes());
        data.extend_from_slice(query.as_bytes());
    }
    data
}
