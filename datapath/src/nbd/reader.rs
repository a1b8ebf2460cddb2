//! Takes requests and payloads off a socket.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::conn::ConnError;
use super::limits::PAYLOAD_ALIGN;
use super::wire::{REQUEST_LEN, RequestHead};

/// Reads heads of requests; may be cancelled without losing bytes.
#[derive(Default)]
pub(super) struct HeadReader {
    bytes: [u8; REQUEST_LEN],
    filled: usize,
}

impl HeadReader {
    /// The next head, or `None` at the end of the stream.
    pub(super) async fn next<R>(&mut self, reader: &mut R) -> Result<Option<RequestHead>, ConnError>
    where
        R: AsyncRead + Unpin,
    {
        while self.filled < REQUEST_LEN {
            let count = reader.read(&mut self.bytes[self.filled..]).await?;
            if count == 0 {
                if self.filled == 0 {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.filled += count;
        }
        self.filled = 0;
        let head = RequestHead::decode(&self.bytes).ok_or(ConnError::BadMagic)?;
        Ok(Some(head))
    }
}

/// Reads exactly `len` bytes into a buffer of their own.
pub(super) async fn read_payload<R>(reader: &mut R, len: usize) -> io::Result<Bytes>
where
    R: AsyncRead + Unpin,
{
    let mut buffer = payload_buffer(len);
    let mut limited = reader.take(u64::try_from(len).unwrap_or(u64::MAX));
    while buffer.len() < len {
        if limited.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.freeze())
}

/// An empty buffer for `len` bytes, aligned if it is long enough for that to matter.
fn payload_buffer(len: usize) -> BytesMut {
    if len < PAYLOAD_ALIGN {
        return BytesMut::with_capacity(len);
    }
    let mut buffer = BytesMut::with_capacity(len + PAYLOAD_ALIGN);
    let pad = buffer.as_ptr().align_offset(PAYLOAD_ALIGN);
    if pad < PAYLOAD_ALIGN {
        buffer.resize(pad, 0);
        buffer.advance(pad);
    }
    buffer
}

/// Reads and forgets `len` bytes.
pub(super) async fn drain<R>(reader: &mut R, len: u32) -> io::Result<()>
where
    R: AsyncRead + Unpin,
{
    let mut limited = reader.take(u64::from(len));
    let drained = tokio::io::copy(&mut limited, &mut tokio::io::sink()).await?;
    if drained < u64::from(len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// A length on the wire as a length in memory.
pub(super) fn to_usize(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::super::wire::REQUEST_MAGIC;
    use super::*;

    #[tokio::test]
    async fn long_payloads_are_aligned_and_exact() {
        for len in [1, 4095, 4096, 4097, 1 << 20] {
            let bytes = (0..=255_u8).cycle().take(len + 3).collect::<Vec<_>>();
            let mut reader = bytes.as_slice();
            let payload = read_payload(&mut reader, len).await.unwrap();
            assert_eq!(payload, bytes[..len]);
            assert_eq!(reader.len(), 3);
            if len >= PAYLOAD_ALIGN {
                assert_eq!(payload.as_ptr().align_offset(PAYLOAD_ALIGN), 0);
            }
        }
    }

    #[tokio::test]
    async fn short_payload_is_an_error() {
        let mut reader = [0_u8; 9].as_slice();
        let error = read_payload(&mut reader, 10).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn heads_survive_cancellation() {
        let mut bytes = REQUEST_MAGIC.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 22]);
        bytes.extend_from_slice(&512_u16.to_be_bytes());
        let (mut client, mut server) = duplex(4096);
        let mut heads = HeadReader::default();
        for byte in &bytes[..27] {
            client.write_all(&[*byte]).await.unwrap();
            tokio::select! {
                biased;
                head = heads.next(&mut server) => panic!("too early: {head:?}"),
                () = std::future::ready(()) => {}
            }
        }
        client.write_all(&bytes[27..]).await.unwrap();
        let head = heads.next(&mut server).await.unwrap().unwrap();
        assert_eq!((head.command, head.len), (0, 512));
        drop(client);
        assert!(heads.next(&mut server).await.unwrap().is_none());
    }
}
