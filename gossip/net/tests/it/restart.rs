//! What peers see when a process dies without a word and comes back.

use std::sync::Arc;
use std::time::Duration;

use mars_gossip_net::{AllowMembers, Alpn, Endpoint, EndpointConfig, Identity};

use crate::common::{cluster, connect, loopback, member, soon};

fn settings(identity: Identity) -> EndpointConfig {
    let mut config = EndpointConfig::metadata(identity, loopback(), Arc::new(AllowMembers));
    // Far longer than the test's patience: only a reset ends the connection within it.
    config.idle_timeout = Duration::from_secs(600);
    config.keep_alive = Some(Duration::from_millis(50));
    config
}

#[test]
fn a_process_that_was_killed_and_came_back_ends_the_old_connections() {
    let tmp = tempfile::tempdir().unwrap();
    let ca = cluster();
    member(&ca, "host-b", 0xb).save(tmp.path()).unwrap();
    let b_identity = || Identity::load(tmp.path()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first_life = tokio::runtime::Runtime::new().unwrap();
    let b = first_life.block_on(async { Endpoint::bind(settings(b_identity())).unwrap() });
    let addr = b.local_addr().unwrap();
    let a = runtime.block_on(async { Endpoint::bind(settings(member(&ca, "host-a", 0xa))) });
    let a = a.unwrap();
    let (dialled, accepted) = runtime.block_on(connect(&a, &b));
    // Nothing runs any more that could say goodbye.
    first_life.shutdown_background();
    drop((accepted, b));
    let reason = runtime.block_on(async {
        let again = soon(async {
            loop {
                let mut config = settings(b_identity());
                config.listen = addr;
                // The dead one's socket is closed in the background.
                match Endpoint::bind(config) {
                    Ok(again) => return again,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        let reason = soon(dialled.closed()).await;
        let key = again.identity().unwrap().key_hash();
        let dialling = a.connect(addr, Alpn::Gossip, Some(key));
        soon(dialling).await.unwrap();
        reason
    });
    assert_eq!(reason, quinn::ConnectionError::Reset);
}
