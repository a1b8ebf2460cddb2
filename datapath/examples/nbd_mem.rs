//! Serves memory or a file on a Unix socket, or on TCP of this host, until interrupted.
//!
//! `nbd_mem SOCKET_PATH|IP:PORT SIZE_IN_BYTES|FILE [NAME]`, then for instance
//! `nbdinfo nbd+unix:///NAME?socket=SOCKET_PATH`.

use std::error::Error;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use mars_datapath::block::{BlockError, BlockFuture, BlockTarget, DeviceInfo, closing_pair};
use mars_datapath::nbd::NbdServer;
use mars_datapath::nbd::testing::{MemTarget, StaticExports};

/// Zeroes written by one call.
const ZEROES: usize = 1 << 20;

/// A file of fixed size as a device.
struct FileTarget {
    info: DeviceInfo,
    file: Arc<File>,
}

impl FileTarget {
    fn open(name: &str, path: &str) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let mut info = DeviceInfo::new(name, file.metadata()?.len());
        info.fast_zero = false;
        Ok(Self {
            info,
            file: Arc::new(file),
        })
    }

    /// Runs a blocking operation, and a flush after it if `fua`.
    fn run<T: Send + 'static>(
        &self,
        fua: bool,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> BlockFuture<'static, T> {
        let file = Arc::clone(&self.file);
        let blocking = move || {
            let done = work(&file)?;
            if fua {
                file.sync_data()?;
            }
            Ok(done)
        };
        Box::pin(async move {
            tokio::task::spawn_blocking(blocking)
                .await
                .map_err(io::Error::other)
                .flatten()
                .map_err(|error| BlockError::Io(error.to_string()))
        })
    }
}

impl BlockTarget for FileTarget {
    fn info(&self) -> DeviceInfo {
        self.info.clone()
    }

    fn read(&self, offset: u64, len: u32) -> BlockFuture<'_, Bytes> {
        self.run(false, move |file| {
            let mut data = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            file.read_exact_at(&mut data, offset)?;
            Ok(data.into())
        })
    }

    fn write(&self, offset: u64, data: Bytes, fua: bool) -> BlockFuture<'_, ()> {
        self.run(fua, move |file| file.write_all_at(&data, offset))
    }

    fn flush(&self) -> BlockFuture<'_, ()> {
        self.run(true, |_| Ok(()))
    }

    fn write_zeroes(&self, offset: u64, len: u64, fua: bool, _: bool) -> BlockFuture<'_, ()> {
        self.run(fua, move |file| {
            let zeroes = vec![0; ZEROES];
            let end = offset + len;
            let mut at = offset;
            while at < end {
                let part = usize::try_from(end - at).unwrap_or(ZEROES).min(ZEROES);
                file.write_all_at(&zeroes[..part], at)?;
                at += u64::try_from(part).map_err(io::Error::other)?;
            }
            Ok(())
        })
    }

    fn trim(&self, _: u64, _: u64, _: bool) -> BlockFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: nbd_mem SOCKET_PATH|IP:PORT SIZE_IN_BYTES|FILE [NAME]";
    let (Some(place), Some(contents)) = (args.next(), args.next()) else {
        return Err(usage.into());
    };
    let name = args.next().unwrap_or_default();
    let target: Arc<dyn BlockTarget> = match contents.parse() {
        Ok(size) => Arc::new(MemTarget::new(DeviceInfo::new(&name, size))),
        Err(_) => Arc::new(FileTarget::open(&name, &contents)?),
    };
    let exports = Arc::new(StaticExports::new().with(target));
    let server = match place.parse::<SocketAddr>() {
        Ok(address) => NbdServer::bind_tcp(address, exports).await?,
        Err(_) => NbdServer::bind_unix(&place, 0o600, exports)?,
    };
    let (closer, closing) = closing_pair();
    let serving = tokio::spawn(server.serve(closing));
    tokio::signal::ctrl_c().await?;
    closer.close();
    serving.await?;
    Ok(())
}
