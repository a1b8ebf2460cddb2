//! Frames on a stream: type, flags, length, body. Raw bytes may follow where the plane says so.

use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};

use crate::connection::Keep;
use crate::limits::{FRAME_FIRST_ALLOC, FRAME_HEADER};

/// One message as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is; a type unknown to the reader can simply be left out.
    pub kind: u8,
    /// Meaning depends on the type; 0 where it says nothing.
    pub flags: u8,
    /// Content.
    pub body: Bytes,
}

/// Nothing more can be written to this stream; whether the last frame arrived is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendFrameError {
    /// Nothing was written: the length does not fit its field.
    #[error("a body of {0} bytes does not fit a frame")]
    TooLong(usize),
    /// The peer does not want more of this stream, with its code.
    #[error("the peer stopped reading the stream (code {0})")]
    Stopped(u64),
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Lost(#[from] ConnectionError),
    /// We have finished or reset the stream before.
    #[error("the stream is already closed on our side")]
    Closed,
}

impl From<WriteError> for SendFrameError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Stopped(code.into_inner()),
            WriteError::ConnectionLost(e) => Self::Lost(e),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Closed,
        }
    }
}

/// No frame could be read; the stream is of no more use, except after `InsideFrame`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFrameError {
    /// The header announces more than this receiver takes. No memory was set aside for it.
    #[error("frame of type {kind} announces {len} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Type of the frame.
        kind: u8,
        /// Announced length.
        len: u32,
        /// Limit of this receiver.
        limit: u32,
    },
    /// The stream ended in the midst of a frame.
    #[error("the stream ended inside a frame: {have} of {need} bytes")]
    Truncated {
        /// Bytes of the frame that came, header included.
        have: usize,
        /// Bytes needed, as far as known.
        need: usize,
    },
    /// Raw bytes were asked for in the midst of a frame; read the frame first.
    #[error("raw bytes asked for inside a frame")]
    InsideFrame,
    /// The peer gave the stream up, with its code.
    #[error("the peer reset the stream (code {0})")]
    Reset(u64),
    /// The connection is gone.
    #[error("connection lost: {0}")]
    Lost(#[from] ConnectionError),
    /// We have stopped the stream before, or all was read.
    #[error("the stream is already closed on our side")]
    Closed,
}

impl From<ReadError> for ReadFrameError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset(code.into_inner()),
            ReadError::ConnectionLost(e) => Self::Lost(e),
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => Self::Closed,
        }
    }
}

/// Writing half of a stream. Dropping it finishes the stream; the connection lives at least as
/// long as its streams.
#[derive(Debug)]
pub struct FrameSender {
    stream: SendStream,
    _keep: Keep,
}

impl FrameSender {
    pub(crate) const fn new(stream: SendStream, keep: Keep) -> Self {
        Self {
            stream,
            _keep: keep,
        }
    }

    /// Writes one frame; waits for the peer's flow control. When dropped before it is done, a part
    /// of the frame may be written: reset the stream then.
    ///
    /// # Errors
    /// See [`SendFrameError`].
    pub async fn send(&mut self, kind: u8, flags: u8, body: Bytes) -> Result<(), SendFrameError> {
        let len = u32::try_from(body.len()).map_err(|_| SendFrameError::TooLong(body.len()))?;
        let mut head = BytesMut::with_capacity(FRAME_HEADER);
        head.extend_from_slice(&[kind, flags]);
        head.extend_from_slice(&len.to_le_bytes());
        Ok(self
            .stream
            .write_all_chunks(&mut [head.freeze(), body])
            .await?)
    }

    /// Writes bytes without a frame.
    ///
    /// # Errors
    /// See [`SendFrameError`]; a part may be written.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), SendFrameError> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Writes a shared buffer without a frame and without copying.
    ///
    /// # Errors
    /// See [`SendFrameError`]; a part may be written.
    pub async fn write_chunk(&mut self, bytes: Bytes) -> Result<(), SendFrameError> {
        Ok(self.stream.write_chunk(bytes).await?)
    }

    /// Says that nothing follows. What was written is still delivered.
    ///
    /// # Errors
    /// When the stream is closed already.
    pub fn finish(&mut self) -> Result<(), SendFrameError> {
        self.stream.finish().map_err(|_| SendFrameError::Closed)
    }

    /// Waits until the peer has acknowledged all up to the end (`None`), or wants no more (its
    /// code).
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn stopped(&self) -> Result<Option<u64>, SendFrameError> {
        match self.stream.stopped().await {
            Ok(code) => Ok(code.map(VarInt::into_inner)),
            Err(StoppedError::ConnectionLost(e)) => Err(SendFrameError::Lost(e)),
            Err(StoppedError::ZeroRttRejected) => Err(SendFrameError::Closed),
        }
    }

    /// Gives the stream up; what is not delivered yet is thrown away.
    pub fn reset(&mut self, code: u32) {
        // Already closed is as good.
        let _closed = self.stream.reset(VarInt::from_u32(code));
    }

    /// Streams of higher priority are sent first; the default is 0.
    pub fn set_priority(&self, priority: i32) {
        // Without effect on a closed stream.
        let _closed = self.stream.set_priority(priority);
    }
}

/// Reading half of a stream. Dropping it tells the peer to stop.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: RecvStream,
    limit: u32,
    head: [u8; FRAME_HEADER],
    have: usize,
    body: BytesMut,
    _keep: Keep,
}

impl FrameReceiver {
    pub(crate) fn new(stream: RecvStream, limit: u32, keep: Keep) -> Self {
        let (head, body) = ([0; FRAME_HEADER], BytesMut::new());
        Self {
            stream,
            limit,
            head,
            have: 0,
            body,
            _keep: keep,
        }
    }

    /// The largest body taken, bytes.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Changes the largest body taken, for example behind the first frame.
    pub const fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// The next frame, whatever its type; `None` when the peer finished the stream between two
    /// frames. Cancel safe: when dropped before it is done, the next call goes on.
    ///
    /// # Errors
    /// See [`ReadFrameError`].
    pub async fn read_frame(&mut self) -> Result<Option<Frame>, ReadFrameError> {
        while self.have < FRAME_HEADER {
            let rest = self.head.get_mut(self.have..).unwrap_or_default();
            match self.stream.read(rest).await? {
                Some(n) => self.have += n,
                None if self.have == 0 => return Ok(None),
                None => {
                    return Err(ReadFrameError::Truncated {
                        have: self.have,
                        need: FRAME_HEADER,
                    });
                }
            }
        }
        let [kind, flags, len @ ..] = self.head;
        let len = u32::from_le_bytes(len);
        if len > self.limit {
            return Err(ReadFrameError::TooLarge {
                kind,
                len,
                limit: self.limit,
            });
        }
        let body = self
            .read_body(usize::try_from(len).unwrap_or(usize::MAX))
            .await?;
        self.have = 0;
        Ok(Some(Frame { kind, flags, body }))
    }

    /// Memory grows with what has come, not with what was announced.
    async fn read_body(&mut self, len: usize) -> Result<Bytes, ReadFrameError> {
        while self.body.len() < len {
            let want = len - self.body.len();
            let Some(chunk) = self.stream.read_chunk(want, true).await? else {
                return Err(ReadFrameError::Truncated {
                    have: FRAME_HEADER + self.body.len(),
                    need: FRAME_HEADER.saturating_add(len),
                });
            };
            if self.body.is_empty() && chunk.bytes.len() == len {
                return Ok(chunk.bytes);
            }
            if self.body.is_empty() {
                self.body.reserve(len.min(FRAME_FIRST_ALLOC));
            }
            self.body.extend_from_slice(&chunk.bytes);
        }
        Ok(std::mem::take(&mut self.body).freeze())
    }

    /// Some bytes without a frame, at most `max`; `None` when the peer finished. Cancel safe.
    ///
    /// # Errors
    /// `InsideFrame` if a frame was begun; else see [`ReadFrameError`].
    pub async fn read_chunk(&mut self, max: usize) -> Result<Option<Bytes>, ReadFrameError> {
        if self.have != 0 {
            return Err(ReadFrameError::InsideFrame);
        }
        Ok(self
            .stream
            .read_chunk(max, true)
            .await?
            .map(|chunk| chunk.bytes))
    }

    /// Tells the peer that we want no more of this stream.
    pub fn stop(&mut self, code: u32) {
        // Already closed is as good.
        let _closed = self.stream.stop(VarInt::from_u32(code));
    }
}
