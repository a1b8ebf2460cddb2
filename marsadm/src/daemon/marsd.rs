//! The metadata daemon: from the configuration file to the library.

use super::Shutdown;
use crate::config::{Config, ConfigError};
use mars_gossip::RunError;

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
    mars_gossip::run(config, shutdown).await?;
    Ok(())
}
