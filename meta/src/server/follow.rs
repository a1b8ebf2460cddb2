//! One resource that a client follows, though this node is no member of it.

use crate::server::watch::Out;
use crate::server::{Follow, FollowEvent};
use mars_meta_api::Response;

/// Reports until the connection or the resource ends.
pub(super) async fn run(mut news: Box<dyn Follow>, out: Out) {
    loop {
        let sent = match news.next().await {
            FollowEvent::Entries(entries) => out.entries(&entries).await,
            FollowEvent::Synced => out.send(Response::WatchSynced).await,
            FollowEvent::Lagged => out.send(Response::WatchLagged).await,
            FollowEvent::Ended(error) => {
                out.send(Response::Error(error)).await;
                return;
            }
        };
        if !sent {
            return;
        }
    }
}
