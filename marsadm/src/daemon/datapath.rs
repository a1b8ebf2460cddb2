//! The data plane: from the configuration file to the library.

use super::Shutdown;
use super::notify::Supervisor;
use crate::config::Config;
use mars_datapath::RunError;
use std::sync::Arc;

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
    let supervisor = Arc::new(Supervisor::from_env());
    let (on_ready, on_works) = (Arc::clone(&supervisor), Arc::clone(&supervisor));
    let signs = mars_datapath::Signs {
        ready: Box::new(move || on_ready.ready()),
        works: Box::new(move |resources, connected| {
            on_works.works();
            let store = if connected {
                "marsd is connected"
            } else {
                "waiting for marsd; the last known state stays in force"
            };
            on_works.status(&format!("{resources} resources run; {store}"));
        }),
    };
    let shutdown = async move {
        shutdown.await;
        supervisor.stopping();
    };
    mars_datapath::run_supervised(config, signs, shutdown).await
}
