//! A small client of the NBD protocol over a Unix socket: fixed newstyle, one request at a time.
//!
//! Source: the protocol description of the NetworkBlockDevice project (`doc/proto.md`).

use std::io::{Error, ErrorKind, Result};
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::UnixStream;

const SERVER_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// Fixed newstyle, and no zeroes behind the greeting.
const CLIENT_FLAGS: u32 = 3;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_ERROR: u32 = 1 << 31;
/// Longest answer to an option that is read.
const OPTION_REPLY_MAX: u32 = 4096;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;

/// An open device.
pub(super) struct NbdClient {
    stream: BufStream<UnixStream>,
    size: u64,
    next: u64,
}

fn bad(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, what.into())
}

impl NbdClient {
    /// Opens the device `name` of the server at `socket`.
    pub(super) async fn open(socket: &Path, name: &str) -> Result<Self> {
        let mut io = BufStream::new(UnixStream::connect(socket).await?);
        if io.read_u64().await? != SERVER_MAGIC || io.read_u64().await? != OPTION_MAGIC {
            return Err(bad("this is no NBD server of the newstyle protocol"));
        }
        let _flags = io.read_u16().await?;
        io.write_u32(CLIENT_FLAGS).await?;
        let name_len = u32::try_from(name.len()).map_err(|_| bad("the name is too long"))?;
        io.write_u64(OPTION_MAGIC).await?;
        io.write_u32(OPTION_GO).await?;
        io.write_u32(4 + name_len + 2).await?;
        io.write_u32(name_len).await?;
        io.write_all(name.as_bytes()).await?;
        io.write_u16(0).await?;
        io.flush().await?;
        let mut size = None;
        loop {
            if io.read_u64().await? != OPTION_REPLY_MAGIC || io.read_u32().await? != OPTION_GO {
                return Err(bad("the server answers something else than was asked"));
            }
            let kind = io.read_u32().await?;
            let len = io.read_u32().await?;
            if len > OPTION_REPLY_MAX {
                return Err(bad("the server's answer is too long"));
            }
            let mut data = vec![0; usize::try_from(len).unwrap_or(0)];
            io.read_exact(&mut data).await?;
            match kind {
                REPLY_ACK => break,
                REPLY_INFO => {
                    // Information 0 is the export: size and flags.
                    if let [0, 0, bytes @ .., _, _] = &data[..]
                        && let Ok(bytes) = bytes.try_into()
                    {
                        size = Some(u64::from_be_bytes(bytes));
                    }
                }
                kind if kind & REPLY_ERROR != 0 => {
                    let text = String::from_utf8_lossy(&data).into_owned();
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("the server does not open device {name}: {text}"),
                    ));
                }
                _ => {}
            }
        }
        Ok(Self {
            stream: io,
            size: size.ok_or_else(|| bad("the server does not tell the size"))?,
            next: 0,
        })
    }

    /// Size of the device in bytes.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Writes `data` at `offset`; returns when the server has acknowledged it.
    pub(super) async fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let len = u32::try_from(data.len()).map_err(|_| bad("the request is too long"))?;
        self.request(WRITE, offset, len).await?;
        self.stream.write_all(data).await?;
        self.reply().await
    }

    /// Reads at `offset` into `data`.
    pub(super) async fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
        let len = u32::try_from(data.len()).map_err(|_| bad("the request is too long"))?;
        self.request(READ, offset, len).await?;
        self.reply().await?;
        self.stream.read_exact(data).await?;
        Ok(())
    }

    /// Returns when all that was acknowledged is on stable storage.
    pub(super) async fn flush(&mut self) -> Result<()> {
        self.request(FLUSH, 0, 0).await?;
        self.reply().await
    }

    /// Closes the device.
    pub(super) async fn close(mut self) -> Result<()> {
        self.request(DISCONNECT, 0, 0).await?;
        self.stream.flush().await
    }

    async fn request(&mut self, kind: u16, offset: u64, len: u32) -> Result<()> {
        self.next += 1;
        self.stream.write_u32(REQUEST_MAGIC).await?;
        self.stream.write_u16(0).await?;
        self.stream.write_u16(kind).await?;
        self.stream.write_u64(self.next).await?;
        self.stream.write_u64(offset).await?;
        self.stream.write_u32(len).await
    }

    async fn reply(&mut self) -> Result<()> {
        self.stream.flush().await?;
        if self.stream.read_u32().await? != REPLY_MAGIC {
            return Err(bad("the server's answer is no answer"));
        }
        let error = self.stream.read_u32().await?;
        if self.stream.read_u64().await? != self.next {
            return Err(bad("the server answers another request"));
        }
        match i32::try_from(error) {
            Ok(0) => Ok(()),
            Ok(code) => Err(Error::from_raw_os_error(code)),
            Err(_) => Err(bad(format!("the server reports error {error}"))),
        }
    }
}
