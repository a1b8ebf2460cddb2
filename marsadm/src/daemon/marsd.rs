//! The metadata daemon: from the configuration file to the library.

use super::Shutdown;
use super::notify::Supervisor;
use crate::config::{Config, ConfigError};
use mars_gossip::RunError;
use std::sync::Arc;

/// Why the metadata daemon ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum MarsdError {
    /// No address to advertise; nothing was started.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The daemon.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Serves until `shutdown`.
///
/// # Errors
/// [`MarsdError`].
pub async fn serve(config: Config, shutdown: Shutdown) -> Result<(), MarsdError> {
    let advertise = config.meta_advertise()?;
    let data_advertise = config.data_advertise()?;
    let config = mars_gossip::Config {
        advertise,
        data_advertise,
        max_ahead_ns: config.meta.max_ahead_secs.saturating_mul(1_000_000_000),
        ..mars_gossip::Config::new(
            &config.host,
            config.state_dir,
            config.socket,
            config.meta.listen,
        )
    };
    let supervisor = Arc::new(Supervisor::from_env());
    let (on_ready, on_works) = (Arc::clone(&supervisor), Arc::clone(&supervisor));
    let signs = mars_gossip::Signs {
        every: supervisor.interval(),
        ready: Box::new(move || on_ready.ready()),
        works: Box::new(move || on_works.works()),
    };
    let shutdown = async move {
        shutdown.await;
        supervisor.stopping();
    };
    mars_gossip::run_supervised(config, signs, shutdown).await?;
    Ok(())
}
