//! The data plane: from the configuration file to the library.

use super::Shutdown;
use crate::config::Config;
use mars_datapath::RunError;

/// Serves until `shutdown`.
///
/// # Errors
/// [`RunError`] if it cannot start.
pub async fn serve(config: Config, shutdown: Shutdown) -> Result<(), RunError> {
    let config = mars_datapath::Config {
        host: config.host,
        socket: config.socket,
        state_dir: config.state_dir,
        listen: config.data.listen,
        log_dir: config.data.log_dir,
        nbd_socket: config.data.nbd_socket,
        nbd_tcp: config.data.nbd_tcp,
        segment_len: u64::from(config.data.segment_mib) << 20,
        without_io_uring: !config.data.io_uring,
    };
    mars_datapath::run(config, shutdown).await
}
