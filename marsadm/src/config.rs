//! The configuration file of both daemons (TOML).

use mars_meta_model::check_host_name;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

/// Where the file is looked for unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/mars/mars.toml";

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path} cannot be read: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("configuration file {0} is too large to be one")]
    TooLarge(PathBuf),
    /// The file breaks a rule of its syntax, or has an unknown or wrong field.
    #[error("configuration file {path}: {error}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        error: Box<toml::de::Error>,
    },
    /// A field has an impossible value.
    #[error("configuration: {0}")]
    Value(String),
}

/// The configuration. Every field has a default, so that an empty file will do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Name of this node, for good; by default that of the machine (`uname -n`).
    pub host: String,
    /// Folder of store, keys and data plane state.
    pub state_dir: PathBuf,
    /// Unix socket of the local API.
    pub socket: PathBuf,
    /// The metadata daemon.
    pub meta: Meta,
    /// The data plane.
    pub data: Data,
    /// Logging.
    pub log: Log,
}

/// Section `[meta]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Meta {
    /// Where other nodes are listened to.
    pub listen: SocketAddr,
    /// Address that other nodes are told; left out: `listen`, with the address of the default route where that
    /// is unspecified.
    pub advertise: Option<SocketAddr>,
    /// How many seconds a received stamp may be ahead of the system clock.
    pub max_ahead_secs: u64,
}

/// Section `[data]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Where other nodes are listened to.
    pub listen: SocketAddr,
    /// Address that other nodes are told; left out: `listen`, with the address of the default route where that
    /// is unspecified.
    pub advertise: Option<SocketAddr>,
    /// Folder of the transaction logs; empty: `log` in the state folder.
    pub log_dir: PathBuf,
    /// Unix socket of the NBD server.
    pub nbd_socket: PathBuf,
    /// TCP address of a second NBD server, loopback only.
    pub nbd_tcp: Option<SocketAddr>,
    /// Length in MiB after which a log segment is closed and the next one begun.
    pub segment_mib: u32,
    /// Whether the log is written with io_uring where the kernel has it.
    pub io_uring: bool,
}

/// Section `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Levels as `RUST_LOG` has them, for example `info,mars_gossip=debug`.
    pub level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            state_dir: "/var/lib/mars".into(),
            socket: "/run/mars/marsd.sock".into(),
            meta: Meta::default(),
            data: Data::default(),
            log: Log::default(),
        }
    }
}

/// Default port of the metadata daemon.
pub const META_PORT: u16 = 7900;
/// Default port of the data plane.
pub const DATA_PORT: u16 = 7901;

impl Default for Meta {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], META_PORT)),
            advertise: None,
            max_ahead_secs: mars_lamport::DEFAULT_MAX_AHEAD / 1_000_000_000,
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], DATA_PORT)),
            advertise: None,
            log_dir: PathBuf::new(),
            nbd_socket: "/run/mars/nbd.sock".into(),
            nbd_tcp: None,
            segment_mib: 256,
            io_uring: true,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
        }
    }
}

impl Config {
    /// Reads the file; without one at the default place, everything has its default.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let place = path.unwrap_or(Path::new(DEFAULT_PATH));
        let read_error = |error| ConfigError::Read {
            path: place.to_owned(),
            error,
        };
        match std::fs::metadata(place) {
            Ok(meta) if meta.len() > crate::limits::SMALL_FILE_MAX => {
                Err(ConfigError::TooLarge(place.to_owned()))
            }
            Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Self::default().checked()
            }
            _ => Self::parse(&std::fs::read_to_string(place).map_err(read_error)?, place),
        }
    }

    /// Takes the text of a file; `place` is for messages only.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &str, place: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Parse {
            path: place.to_owned(),
            error: Box::new(error),
        })?;
        config.checked()
    }

    /// The address at which other nodes reach the metadata daemon.
    ///
    /// # Errors
    /// If none is configured and this machine has no default route.
    pub fn meta_advertise(&self) -> Result<SocketAddr, ConfigError> {
        advertised("meta", self.meta.advertise, self.meta.listen)
    }

    /// The address at which other nodes reach the data plane.
    ///
    /// # Errors
    /// As [`Config::meta_advertise`].
    pub fn data_advertise(&self) -> Result<SocketAddr, ConfigError> {
        advertised("data", self.data.advertise, self.data.listen)
    }

    fn checked(mut self) -> Result<Self, ConfigError> {
        check_host_name(&self.host).map_err(|error| {
            ConfigError::Value(format!("{error}; set `host` to a name without dots"))
        })?;
        if self.data.log_dir.as_os_str().is_empty() {
            self.data.log_dir = self.state_dir.join("log");
        }
        for (name, path) in [
            ("state_dir", &self.state_dir),
            ("socket", &self.socket),
            ("data.log_dir", &self.data.log_dir),
            ("data.nbd_socket", &self.data.nbd_socket),
        ] {
            if !path.is_absolute() {
                return Err(ConfigError::Value(format!(
                    "{name} = '{}' is no absolute path",
                    path.display()
                )));
            }
        }
        for (name, advertise) in [
            ("meta.advertise", self.meta.advertise),
            ("data.advertise", self.data.advertise),
        ] {
            if let Some(addr) = advertise.filter(|a| a.ip().is_unspecified() || a.port() == 0) {
                return Err(ConfigError::Value(format!(
                    "{name}: {addr} is no address that other nodes can reach"
                )));
            }
        }
        if self.data.segment_mib == 0 || self.data.segment_mib > 65_536 {
            return Err(ConfigError::Value(
                "data.segment_mib must be 1 to 65536".to_owned(),
            ));
        }
        if self.meta.max_ahead_secs == 0 || self.meta.max_ahead_secs > 86_400 {
            return Err(ConfigError::Value(
                "meta.max_ahead_secs must be 1 to 86400".to_owned(),
            ));
        }
        Ok(self)
    }
}

fn advertised(
    section: &str,
    configured: Option<SocketAddr>,
    listen: SocketAddr,
) -> Result<SocketAddr, ConfigError> {
    if let Some(addr) = configured {
        return Ok(addr);
    }
    if !listen.ip().is_unspecified() {
        return Ok(listen);
    }
    // Connecting a datagram socket sends nothing; it tells which own address the default route leaves by.
    let route = || {
        let socket = UdpSocket::bind((listen.ip(), 0))?;
        let far: IpAddr = if listen.is_ipv4() {
            Ipv4Addr::new(192, 0, 2, 1).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()
        };
        socket.connect((far, 9))?;
        socket.local_addr()
    };
    match route() {
        Ok(own) => Ok(SocketAddr::new(own.ip(), listen.port())),
        Err(error) => Err(ConfigError::Value(format!(
            "no address of this machine is known that other nodes can reach ({error}): set {section}.advertise"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/mars/mars.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_almost_empty_file_has_the_documented_defaults() {
        let config = parse("host = 'hosta'").unwrap();
        assert_eq!(config.state_dir, Path::new("/var/lib/mars"));
        assert_eq!(config.data.log_dir, Path::new("/var/lib/mars/log"));
        assert_eq!(config.socket, Path::new("/run/mars/marsd.sock"));
        assert_eq!(config.meta.max_ahead_secs, 60);
        assert_eq!(config.log.level, "info");
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let error = parse("host = 'hosta'\n[meta]\nlisten_on = 'x'\n").unwrap_err();
        for word in [
            "/etc/mars/mars.toml",
            "line 3",
            "listen_on",
            "max_ahead_secs",
        ] {
            assert!(error.contains(word), "{word} is missing in: {error}");
        }
        assert!(parse("host = 'a.b'").unwrap_err().contains("without dots"));
        assert!(
            parse("host = 'a'\nsocket = 'x'")
                .unwrap_err()
                .contains("absolute")
        );
        let addr = "host = 'a'\n[data]\nadvertise = '0.0.0.0:1'";
        assert!(parse(addr).unwrap_err().contains("data.advertise"));
        assert!(parse("host = 'a'\n[meta]\nmax_ahead_secs = 0").is_err());
    }

    #[test]
    fn what_is_listened_to_is_advertised_unless_told_otherwise() {
        let config =
            parse("host = 'a'\n[meta]\nlisten = '127.0.0.1:5'\n[data]\nadvertise = '192.0.2.7:9'");
        let config = config.unwrap();
        assert_eq!(
            config.meta_advertise().unwrap(),
            "127.0.0.1:5".parse().unwrap()
        );
        assert_eq!(
            config.data_advertise().unwrap(),
            "192.0.2.7:9".parse().unwrap()
        );
    }

    #[test]
    fn a_missing_file_that_was_asked_for_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = Config::load(Some(&dir.path().join("none.toml"))).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }));
    }
}
