//! Serves memory on a Unix socket, or on TCP of this host, until interrupted.
//!
//! `nbd_mem SOCKET_PATH|IP:PORT SIZE_IN_BYTES [NAME]`, then for instance
//! `nbdinfo nbd+unix:///NAME?socket=SOCKET_PATH`.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use mars_datapath::block::{DeviceInfo, closing_pair};
use mars_datapath::nbd::NbdServer;
use mars_datapath::nbd::testing::{MemTarget, StaticExports};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: nbd_mem SOCKET_PATH|IP:PORT SIZE_IN_BYTES [NAME]";
    let (Some(place), Some(size)) = (args.next(), args.next()) else {
        return Err(usage.into());
    };
    let info = DeviceInfo::new(&args.next().unwrap_or_default(), size.parse()?);
    let exports = Arc::new(StaticExports::new().with(Arc::new(MemTarget::new(info))));
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
