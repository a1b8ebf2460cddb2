//! A small NBD client that can have several requests under way.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

const READ: u16 = 0;
const WRITE: u16 = 1;
const FLUSH: u16 = 3;

/// A connection in its transmission phase, with simple replies.
pub(crate) struct Client {
    stream: UnixStream,
    cookie: u64,
}

impl Client {
    /// Opens `export` at `socket`.
    pub(crate) fn open(socket: &Path, export: &str) -> Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut hello = [0; 18];
        stream.read_exact(&mut hello)?;
        assert_eq!(&hello[..16], b"NBDMAGICIHAVEOPT");
        let len = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
        let mut out = 3_u32.to_be_bytes().to_vec();
        out.extend_from_slice(b"IHAVEOPT");
        out.extend_from_slice(&7_u32.to_be_bytes());
        out.extend_from_slice(&len(export.len() + 6));
        out.extend_from_slice(&len(export.len()));
        out.extend_from_slice(export.as_bytes());
        out.extend_from_slice(&0_u16.to_be_bytes());
        stream.write_all(&out)?;
        loop {
            let mut reply = [0; 20];
            stream.read_exact(&mut reply)?;
            let number = |at: usize| u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
            let mut body = vec![0; usize::try_from(number(16)).unwrap()];
            stream.read_exact(&mut body)?;
            match number(12) {
                1 => return Ok(Self { stream, cookie: 0 }),
                error if error & 0x8000_0000 != 0 => {
                    let text = String::from_utf8_lossy(&body).into_owned();
                    return Err(Error::other(format!("refused ({error:#x}): {text}")));
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, command: u16, offset: u64, len: usize, data: &[u8]) -> Result<u64> {
        self.cookie += 1;
        let mut head = Vec::with_capacity(28 + data.len());
        head.extend_from_slice(&0x2560_9513_u32.to_be_bytes());
        head.extend_from_slice(&0_u16.to_be_bytes());
        head.extend_from_slice(&command.to_be_bytes());
        head.extend_from_slice(&self.cookie.to_be_bytes());
        head.extend_from_slice(&offset.to_be_bytes());
        head.extend_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
        head.extend_from_slice(data);
        self.stream.write_all(&head)?;
        Ok(self.cookie)
    }

    /// Sends a write and does not wait for its reply.
    pub(crate) fn send_write(&mut self, offset: u64, data: &[u8]) -> Result<u64> {
        self.send(WRITE, offset, data.len(), data)
    }

    /// The cookie of the next request that is answered; an answer that is an error number is an error.
    pub(crate) fn reply(&mut self) -> Result<u64> {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply)?;
        assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes());
        match u32::from_be_bytes(reply[4..8].try_into().unwrap()) {
            0 => Ok(u64::from_be_bytes(reply[8..].try_into().unwrap())),
            error => Err(Error::other(format!(
                "the device answers with error {error}"
            ))),
        }
    }

    fn only(&mut self, cookie: u64) -> Result<()> {
        match self.reply()? {
            answered if answered == cookie => Ok(()),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Writes and waits.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let cookie = self.send_write(offset, data)?;
        self.only(cookie)
    }

    /// Flushes. No other request may be under way.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let cookie = self.send(FLUSH, 0, 0, &[])?;
        self.only(cookie)
    }

    /// Reads. No other request may be under way.
    pub(crate) fn read(&mut self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let cookie = self.send(READ, offset, len, &[])?;
        self.only(cookie)?;
        let mut data = vec![0; len];
        self.stream.read_exact(&mut data)?;
        Ok(data)
    }
}
