//! Requests to the supervisor: one JSON line each way over its Unix socket.

use crate::error::{Error, Kind, Result};
use crate::limits::CONTROL_LINE_MAX;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// How long an answer may take: ending the daemons is the longest job.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Status,
    Cut { node: String },
    Heal { node: String },
    Kill { node: String },
    Start { node: String },
    Down,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) error: Option<String>,
    pub(super) nodes: Vec<NodeStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NodeStatus {
    pub(super) name: String,
    pub(super) meta_addr: String,
    pub(super) data_addr: String,
    pub(super) cut: bool,
    /// Program and process id, or how it ended.
    pub(super) programs: Vec<(String, String)>,
}

/// Sends one request and reads the answer.
pub(super) async fn call(control: &Path, request: &Request) -> Result<Answer> {
    let talk = async {
        let mut stream = UnixStream::connect(control).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let line = read_line(&mut stream).await?;
        Ok::<Answer, std::io::Error>(serde_json::from_slice(&line)?)
    };
    let unreachable = |why: String| {
        Error::new(
            Kind::Unreachable,
            format!(
                "the supervisor of the sandbox does not answer at {}: {why}",
                control.display()
            ),
        )
        .hint("marsadm sandbox down removes what is left of it; then start a new one")
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, talk)
        .await
        .map_err(|_| unreachable(format!("nothing within {} s", ANSWER_TIMEOUT.as_secs())))?
        .map_err(|error| unreachable(error.to_string()))?;
    match answer.error {
        Some(why) => Err(Error::refused(why)),
        None => Ok(answer),
    }
}

/// Reads one line of limited length.
pub(super) async fn read_line(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let limit = u64::try_from(CONTROL_LINE_MAX).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    BufReader::new(stream.take(limit))
        .read_until(b'\n', &mut line)
        .await?;
    Ok(line)
}
