//! The daemon's address, over the end of one membership and the begin of the next.

use crate::limits::{REBIND_LOOK, REBIND_TIMEOUT};
use mars_gossip_net::{BindError, Endpoint};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::{Instant, sleep};

/// Whether this process has had its address before.
#[derive(Debug, Default)]
pub(crate) struct Rebind(AtomicBool);

impl Rebind {
    /// Binds by `bind`. Connections that were closed live on for three probe timeouts (RFC 9000, section 10.2), on long
    /// distances for seconds, and hold the socket: if this process has had it, it is waited for.
    ///
    /// # Errors
    /// As `bind`; at once if somebody else has the address when the process begins.
    pub(crate) async fn bind(
        &self,
        bind: impl Fn() -> Result<Endpoint, BindError>,
    ) -> Result<Endpoint, BindError> {
        let end = Instant::now() + REBIND_TIMEOUT;
        loop {
            match bind() {
                Err(BindError::Socket { source, .. })
                    if source.kind() == ErrorKind::AddrInUse
                        && self.0.load(Ordering::Relaxed)
                        && Instant::now() < end => {}
                Ok(endpoint) => {
                    self.0.store(true, Ordering::Relaxed);
                    return Ok(endpoint);
                }
                other => return other,
            }
            sleep(REBIND_LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mars_gossip_net::EndpointConfig;
    use std::net::UdpSocket;

    #[tokio::test]
    async fn only_an_address_of_its_own_is_waited_for() {
        let held = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = held.local_addr().unwrap();
        let rebind = Rebind::default();
        let bind = || Endpoint::bind(EndpointConfig::joining(addr));
        let refused = rebind.bind(bind).await.err().unwrap();
        assert!(refused.to_string().contains("free?"), "{refused}");
        rebind.0.store(true, Ordering::Relaxed);
        let (bound, ()) = tokio::join!(rebind.bind(bind), async {
            sleep(REBIND_LOOK * 2).await;
            drop(held);
        });
        assert_eq!(bound.unwrap().local_addr().unwrap(), addr);
    }
}
