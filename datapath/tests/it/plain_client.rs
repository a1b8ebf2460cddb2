//! The smallest NBD client that writes, reads and flushes, one request at a time.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection in its transmission phase, without structured replies.
pub(crate) struct PlainClient {
    stream: UnixStream,
    cookie: u64,
}

impl PlainClient {
    /// Opens `export` at `socket`; the error is the number that the server refused with, or 0.
    pub(crate) fn open(socket: &Path, export: &str) -> Result<Self, u32> {
        let mut stream = UnixStream::connect(socket).map_err(|_| 0_u32)?;
        let mut hello = [0; 18];
        stream.read_exact(&mut hello).unwrap();
        assert_eq!(&hello[..16], b"NBDMAGICIHAVEOPT");
        stream.write_all(&3_u32.to_be_bytes()).unwrap();
        let mut go = Vec::new();
        go.extend_from_slice(&u32::try_from(export.len()).unwrap().to_be_bytes());
        go.extend_from_slice(export.as_bytes());
        go.extend_from_slice(&0_u16.to_be_bytes());
        stream.write_all(b"IHAVEOPT").unwrap();
        stream.write_all(&7_u32.to_be_bytes()).unwrap();
        stream
            .write_all(&u32::try_from(go.len()).unwrap().to_be_bytes())
            .unwrap();
        stream.write_all(&go).unwrap();
        loop {
            let mut reply = [0; 20];
            stream.read_exact(&mut reply).map_err(|_| 0_u32)?;
            let number = |at: usize| u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
            let mut body = vec![0; usize::try_from(number(16)).unwrap()];
            stream.read_exact(&mut body).unwrap();
            match number(12) {
                1 => return Ok(Self { stream, cookie: 0 }),
                error if error & 0x8000_0000 != 0 => return Err(error),
                _ => {}
            }
        }
    }

    fn request(
        &mut self,
        command: u16,
        flags: u16,
        offset: u64,
        len: u32,
        data: &[u8],
    ) -> std::io::Result<u32> {
        self.cookie += 1;
        let mut head = Vec::with_capacity(28 + data.len());
        head.extend_from_slice(&0x2560_9513_u32.to_be_bytes());
        head.extend_from_slice(&flags.to_be_bytes());
        head.extend_from_slice(&command.to_be_bytes());
        head.extend_from_slice(&self.cookie.to_be_bytes());
        head.extend_from_slice(&offset.to_be_bytes());
        head.extend_from_slice(&len.to_be_bytes());
        head.extend_from_slice(data);
        self.stream.write_all(&head)?;
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply)?;
        assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes());
        assert_eq!(reply[8..], self.cookie.to_be_bytes());
        Ok(u32::from_be_bytes(reply[4..8].try_into().unwrap()))
    }

    /// Writes; the answer is NBD's error number, 0 if it went well.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> std::io::Result<u32> {
        self.request(1, 0, offset, u32::try_from(data.len()).unwrap(), data)
    }

    /// Flushes.
    pub(crate) fn flush(&mut self) -> std::io::Result<u32> {
        self.request(3, 0, 0, 0, &[])
    }

    /// Reads.
    pub(crate) fn read(&mut self, offset: u64, len: u32) -> Vec<u8> {
        assert_eq!(self.request(0, 0, offset, len, &[]).unwrap(), 0);
        let mut data = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut data).unwrap();
        data
    }
}
