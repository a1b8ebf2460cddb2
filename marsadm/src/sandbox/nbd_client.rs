//! A small blocking NBD client: fixed newstyle handshake, simple replies, several requests in flight.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for anything that the server owes, so that no caller hangs.
const IO_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer to an option that is taken.
const OPTION_REPLY_MAX: usize = 64 << 10;
const GREETING: &[u8] = b"NBDMAGICIHAVEOPT";
const OPTION_MAGIC: &[u8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: [u8; 8] = 0x0003_e889_0455_65a9_u64.to_be_bytes();
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_ERROR: u32 = 1 << 31;
const INFO_EXPORT: [u8; 2] = [0, 0];
/// Fixed newstyle, no padding of zeroes.
const CLIENT_FLAGS: u32 = 3;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// A request. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request<'d> {
    /// Write the bytes at the offset.
    Write(u64, &'d [u8]),
    /// Write that many zeroes at the offset.
    Zero(u64, u32),
    /// Make durable what was acknowledged before.
    Flush,
}

/// A connection to one export. Dropping it closes the device.
#[derive(Debug)]
pub(super) struct NbdClient {
    stream: UnixStream,
    size: u64,
    cookie: u64,
    /// Data owed by the server with each reply, by cookie.
    in_flight: BTreeMap<u64, usize>,
}

fn broken(why: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.into())
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    bytes
        .get(at..at + N)
        .and_then(|part| part.try_into().ok())
        .ok_or_else(|| broken("the NBD server sent too little"))
}

fn length(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(|_| io::Error::new(ErrorKind::InvalidInput, "longer than 4 GiB"))
}

impl NbdClient {
    /// Opens `export` of the server at `socket`.
    ///
    /// # Errors
    /// No server, no such export (the server's words), or an answer that is not NBD; nothing stays open.
    pub(super) fn open(socket: &Path, export: &str) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        stream.set_write_timeout(Some(IO_TIMEOUT))?;
        let mut hello = [0; 18];
        stream.read_exact(&mut hello)?;
        if !hello.starts_with(GREETING) {
            return Err(broken("there is no NBD server of the newstyle kind"));
        }
        let name = length(export.len())?.to_be_bytes();
        let data = [&name, export.as_bytes(), &[0, 0]].concat();
        let go = [
            &CLIENT_FLAGS.to_be_bytes(),
            OPTION_MAGIC,
            &OPTION_GO.to_be_bytes(),
            &length(data.len())?.to_be_bytes(),
            &data,
        ];
        stream.write_all(&go.concat())?;
        let mut size = None;
        loop {
            let mut head = [0; 20];
            stream.read_exact(&mut head)?;
            if !head.starts_with(&OPTION_REPLY_MAGIC) {
                return Err(broken("the NBD server's answer to an option is damaged"));
            }
            let kind = u32::from_be_bytes(array(&head, 12)?);
            let len = usize::try_from(u32::from_be_bytes(array(&head, 16)?)).unwrap_or(usize::MAX);
            if len > OPTION_REPLY_MAX {
                return Err(broken("the NBD server's answer to an option is too long"));
            }
            let mut body = vec![0; len];
            stream.read_exact(&mut body)?;
            match kind {
                REPLY_ACK => break,
                REPLY_INFO if body.starts_with(&INFO_EXPORT) => {
                    size = Some(u64::from_be_bytes(array(&body, 2)?));
                }
                error if error & REPLY_ERROR != 0 => {
                    let words = String::from_utf8_lossy(&body).into_owned();
                    return Err(io::Error::other(format!(
                        "the NBD server refuses export '{export}': {words}"
                    )));
                }
                _ => {}
            }
        }
        let size = size.ok_or_else(|| broken("the NBD server named no size"))?;
        Ok(Self {
            stream,
            size,
            cookie: 0,
            in_flight: BTreeMap::new(),
        })
    }

    /// Size of the device in bytes.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// How many requests wait for their reply.
    #[cfg(test)]
    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The cookie that the reply to the next request will carry.
    pub(super) const fn next_cookie(&self) -> u64 {
        self.cookie + 1
    }

    /// Sends a request without waiting for its reply.
    ///
    /// # Errors
    /// The connection is of no more use; the request may or may not be carried out.
    pub(super) fn send(&mut self, request: Request<'_>) -> io::Result<()> {
        match request {
            Request::Write(offset, data) => self.raw(1, offset, length(data.len())?, data, 0),
            Request::Zero(offset, len) => self.raw(6, offset, len, &[], 0),
            Request::Flush => self.raw(3, 0, 0, &[], 0),
        }
    }

    fn raw(
        &mut self,
        command: u16,
        offset: u64,
        len: u32,
        data: &[u8],
        owed: usize,
    ) -> io::Result<()> {
        self.cookie += 1;
        let mut bytes = Vec::with_capacity(28 + data.len());
        bytes.extend_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&command.to_be_bytes());
        bytes.extend_from_slice(&self.cookie.to_be_bytes());
        bytes.extend_from_slice(&offset.to_be_bytes());
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(data);
        self.in_flight.insert(self.cookie, owed);
        self.stream.write_all(&bytes)
    }

    /// Waits for the next reply, in any order: its cookie and the bytes that were read.
    ///
    /// # Errors
    /// The server refused the request, or the connection is broken; in both cases it is of no more use here.
    pub(super) fn receive(&mut self) -> io::Result<(u64, Vec<u8>)> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        if u32::from_be_bytes(array(&head, 0)?) != SIMPLE_REPLY_MAGIC {
            return Err(broken("the NBD server's reply is damaged"));
        }
        let error = u32::from_be_bytes(array(&head, 4)?);
        let cookie = u64::from_be_bytes(array(&head, 8)?);
        let owed = self.in_flight.remove(&cookie);
        let owed = owed.ok_or_else(|| broken("the NBD server replies to what was not asked"))?;
        if error != 0 {
            return Err(io::Error::other(format!(
                "the NBD server answers with error {error}"
            )));
        }
        let mut data = vec![0; owed];
        self.stream.read_exact(&mut data)?;
        Ok((cookie, data))
    }

    /// Takes replies until at most `most` requests are in flight.
    ///
    /// # Errors
    /// As [`NbdClient::receive`].
    pub(super) fn drain(&mut self, most: usize) -> io::Result<()> {
        while self.in_flight.len() > most {
            self.receive()?;
        }
        Ok(())
    }

    /// Reads; other requests that are in flight are waited for first.
    ///
    /// # Errors
    /// As [`NbdClient::receive`].
    pub(super) fn read(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.drain(0)?;
        self.raw(0, offset, length(len)?, &[], len)?;
        Ok(self.receive()?.1)
    }

    /// Flushes and waits for it.
    ///
    /// # Errors
    /// As [`NbdClient::receive`].
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.drain(0)?;
        self.send(Request::Flush)?;
        self.drain(0)
    }
}

impl Drop for NbdClient {
    fn drop(&mut self) {
        // Says goodbye; a server that is gone needs none.
        let _ = self.raw(2, 0, 0, &[], 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_datapath::block::{DeviceInfo, closing_pair};
    use mars_datapath::nbd::NbdServer;
    use mars_datapath::nbd::testing::{MemTarget, StaticExports};
    use std::sync::Arc;

    const SIZE: usize = 4 << 20;

    /// Runs `work` with a server's socket, and gives what is on its device then.
    fn with_server(work: impl FnOnce(&Path) + Send + 'static) -> Arc<MemTarget> {
        let disk = Arc::new(MemTarget::new(DeviceInfo::new("disk", 4 << 20)));
        let exports = Arc::new(StaticExports::new().with(Arc::clone(&disk) as Arc<_>));
        let tmp = tempfile::tempdir().unwrap();
        let socket = tmp.path().join("nbd.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = NbdServer::bind_unix(&socket, 0o600, exports).unwrap();
            let (closer, closing) = closing_pair();
            let serving = tokio::spawn(server.serve(closing));
            tokio::task::spawn_blocking(move || work(&socket))
                .await
                .unwrap();
            closer.close();
            serving.await.unwrap();
        });
        disk
    }

    #[test]
    fn requests_in_flight_reach_the_device() {
        let disk = with_server(|socket| {
            let mut client = NbdClient::open(socket, "disk").unwrap();
            assert_eq!(client.size(), 4 << 20);
            for i in 0..16_u8 {
                let data = vec![i + 1; 64 << 10];
                client
                    .send(Request::Write(u64::from(i) * (64 << 10), &data))
                    .unwrap();
            }
            assert!(client.in_flight() > 1);
            client.drain(0).unwrap();
            client.send(Request::Zero(64 << 10, 512)).unwrap();
            client.flush().unwrap();
            let back = client.read((64 << 10) - 1, 514).unwrap();
            assert_eq!((back[0], back[1], back[513]), (1, 0, 2));
        });
        let bytes = disk.bytes();
        assert_eq!(bytes.len(), SIZE);
        assert_eq!(bytes[(1 << 20) - 1], 16);
        assert!(bytes[1 << 20..].iter().all(|byte| *byte == 0));
        assert_eq!(disk.flushes(), 1);
    }

    #[test]
    fn refusals_are_errors_with_words() {
        with_server(|socket| {
            let error = NbdClient::open(socket, "nosuch").unwrap_err();
            assert!(error.to_string().contains("'nosuch'"), "{error}");
            let mut client = NbdClient::open(socket, "disk").unwrap();
            let error = client.read(4 << 20, 512).unwrap_err();
            assert!(error.to_string().contains("error 22"), "{error}");
            assert!(NbdClient::open(&socket.with_file_name("none"), "disk").is_err());
        });
    }
}
