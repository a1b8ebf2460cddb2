//! Greeting and frames.

use crate::ToServer;
use crate::limits::FRAME_LEN_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// First bytes of both directions: name and version of the protocol.
pub const GREETING: [u8; 8] = *b"MARSAPI\x01";

/// Why a message could not be read or written. The connection is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// Longer than [`FRAME_LEN_MAX`].
    #[error("a frame of {0} bytes is too long (at most {FRAME_LEN_MAX})")]
    TooLong(usize),
    /// No message of this protocol.
    #[error("a message was not understood: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    /// A message could not be encoded.
    #[error("a message could not be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Appends one message to `out` as a frame: length as `u32` little endian, then the MessagePack map.
///
/// # Errors
/// [`FrameError::TooLong`] or [`FrameError::Encode`]; `out` is as before.
pub fn encode_frame<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let encoded = message.serialize(&mut rmp_serde::Serializer::new(&mut *out).with_struct_map());
    let body = out.len() - start - 4;
    let len = u32::try_from(body).ok().filter(|_| body <= FRAME_LEN_MAX);
    match (encoded, len, out.get_mut(start..start + 4)) {
        (Ok(()), Some(len), Some(place)) => {
            place.copy_from_slice(&len.to_le_bytes());
            Ok(())
        }
        (encoded, _, _) => {
            out.truncate(start);
            encoded?;
            Err(FrameError::TooLong(body))
        }
    }
}

/// Writes one message as a frame.
///
/// # Errors
/// [`FrameError`]; a message that is too long was not sent at all.
pub async fn write_frame<T: Serialize + Sync>(
    io: &mut (impl AsyncWrite + Unpin + Send),
    message: &T,
) -> Result<(), FrameError> {
    let mut frame = Vec::new();
    encode_frame(message, &mut frame)?;
    io.write_all(&frame).await?;
    io.flush().await?;
    Ok(())
}

/// Reads one message; `None` if the other side closed between two messages.
///
/// # Errors
/// [`FrameError`].
pub async fn read_frame<T: DeserializeOwned>(
    io: &mut (impl AsyncRead + Unpin + Send),
) -> Result<Option<T>, FrameError> {
    match read_body(io).await? {
        None => Ok(None),
        Some(body) => Ok(Some(rmp_serde::from_slice(&body)?)),
    }
}

/// Reads the body of one frame without decoding it; `None` if the other side closed between two frames.
///
/// # Errors
/// [`FrameError`].
pub async fn read_body(
    io: &mut (impl AsyncRead + Unpin + Send),
) -> Result<Option<Vec<u8>>, FrameError> {
    let mut len = [0; 4];
    match io.read(&mut len[..1]).await? {
        0 => return Ok(None),
        _ => io.read_exact(&mut len[1..]).await?,
    };
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > FRAME_LEN_MAX {
        return Err(FrameError::TooLong(len));
    }
    let mut body = vec![0; len];
    io.read_exact(&mut body).await?;
    Ok(Some(body))
}

/// Decodes a request; `Err` gives the number of one that is not understood, if even that can be read.
///
/// # Errors
/// The request's number (0 if none was found) and the reason.
pub fn decode_request(body: &[u8]) -> Result<ToServer, (u64, rmp_serde::decode::Error)> {
    #[derive(Deserialize)]
    struct Number {
        id: u64,
    }

    rmp_serde::from_slice(body).map_err(|error| {
        let number = rmp_serde::from_slice::<Number>(body);
        (number.map_or(0, |number| number.id), error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bin, FromServer, Op, Request, Response};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    async fn framed<T: Serialize + Sync>(message: &T) -> String {
        let mut out = Vec::new();
        write_frame(&mut out, message).await.unwrap();
        hex(&out)
    }

    #[tokio::test]
    async fn golden_frames() {
        let get = ToServer {
            id: 1,
            request: Request::Get {
                key: "uuid".to_owned(),
            },
        };
        assert_eq!(
            framed(&get).await,
            "1c00000082a2696401a77265717565737481a347657481a36b6579a475756964"
        );
        let apply = ToServer {
            id: 2,
            request: Request::Apply {
                ops: vec![Op::Set {
                    key: "a".to_owned(),
                    value: Bin(b"1".to_vec()),
                }],
                forced: false,
                insist: false,
            },
        };
        assert_eq!(
            framed(&apply).await,
            "3700000082a2696402a77265717565737481a54170706c7982a36f70739181a353657482a36b6579a161\
             a576616c7565c40131a6666f72636564c2"
        );
        let insisted = ToServer {
            id: 3,
            request: Request::Apply {
                ops: vec![Op::Delete {
                    key: "a".to_owned(),
                }],
                forced: false,
                insist: true,
            },
        };
        assert_eq!(
            framed(&insisted).await,
            "3900000082a2696403a77265717565737481a54170706c7983a36f70739181a644656c65746581a36b65\
             79a161a6666f72636564c2a6696e73697374c3"
        );
        let applied = FromServer {
            id: 2,
            response: Response::Applied { stamp: 256 },
        };
        assert_eq!(
            framed(&applied).await,
            "2100000082a2696402a8726573706f6e736581a74170706c69656481a57374616d70cd0100"
        );
    }

    #[test]
    fn the_number_of_an_unknown_request_is_found() {
        let mut bytes = rmp_serde::to_vec_named(&ToServer {
            id: 300,
            request: Request::Clock,
        })
        .unwrap();
        assert!(decode_request(&bytes).is_ok());
        let at = bytes.windows(5).position(|w| w == b"Clock").unwrap();
        bytes[at] = b'X';
        assert_eq!(decode_request(&bytes).unwrap_err().0, 300);
        assert_eq!(decode_request(b"\xc1").unwrap_err().0, 0);
    }
}
