//! Every bound of this crate, by name.

use std::time::Duration;

/// Messages received from all peers that wait for the core.
pub const INBOX_LEN: usize = 64;
/// Reports of tasks (connections up and down, messages sent, entries merged) that wait for the core.
pub const REPORTS_LEN: usize = 1024;
/// Batches handed to the store that wait for it.
pub const MERGES_LEN: usize = 64;
/// Time for the greetings on a new connection.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait after a dial that failed.
pub const DIAL_WAIT_MIN: Duration = Duration::from_millis(500);
/// Longest wait between two dials of a peer.
pub const DIAL_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the node with the greater number waits for the other one to dial.
pub const DIAL_COURTESY: Duration = Duration::from_millis(700);
/// A connection over which nothing has come for so long is given up, whatever this side sends; at most [`SILENT_LOOK`]
/// earlier, for it is not known more exactly when the last packet came.
pub const SILENT_AFTER: Duration = Duration::from_secs(30);
/// How often a connection is looked at for that.
pub const SILENT_LOOK: Duration = Duration::from_secs(5);
/// How long joining waits for the first complete exchange with a peer.
pub const JOIN_SYNC_TIMEOUT: Duration = Duration::from_secs(30);
/// How long joining waits beyond that until every neighbour is heard and equal, and of all others something is known. Nodes
/// that are dead cost a joiner this time.
pub const JOIN_SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often joining looks whether that is so.
pub const JOIN_SETTLE_LOOK: Duration = Duration::from_millis(50);
/// How long stopping waits for the peers to hear of it.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an address that this process had before is waited for.
pub const REBIND_TIMEOUT: Duration = Duration::from_secs(15);
/// How often that is tried.
pub const REBIND_LOOK: Duration = Duration::from_millis(50);
/// Longest life of a join token in seconds: 30 days.
pub const TOKEN_TTL_MAX_SECS: u64 = 30 * 24 * 3600;
/// Most nodes that one token may admit.
pub const TOKEN_USES_MAX: u32 = 10_000;
/// Tokens in force at the same time.
pub const TOKENS_MAX: usize = 1000;
/// Longest file of tokens in bytes.
pub const TOKENS_FILE_MAX: u64 = 4 << 20;
/// Joiners that are served at the same time.
pub const JOINS_MAX: usize = 32;
/// From the first override of an origin to its line in the log, which so tells of a whole command.
pub const FORCED_TELL_SOON: Duration = Duration::from_secs(1);
/// Least time between two lines in the log about overrides of the same origin and kind.
pub const FORCED_TELL_INTERVAL: Duration = Duration::from_secs(60);
/// Origins of overrides that are told apart in the log; those of further ones share a line.
pub const FORCED_ORIGINS_MAX: usize = 64;
/// Keys of which forged entries were seen that wait to be written anew; for further ones the next forgery counts.
pub const FORGED_MAX: usize = 1024;
/// How often the store's witness is written anew while nothing else happens.
pub const WITNESS_INTERVAL: Duration = Duration::from_secs(60);
/// How long local programs wait at most for a store that is being refilled, so that they do not act on old wishes.
pub const REFILL_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long nobody can be reached who has what a lost store held, before that is told as critical.
pub const NOBODY_AFTER: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody has.
pub const SOURCE_LOOK: Duration = Duration::from_millis(100);
/// Bytes that must be free beside those of a damaged store, for a new one to be filled.
pub const REFILL_SPARE_BYTES: u64 = 8 << 20;
/// How long an issuer that knows no other node waits, before it honours tokens from before its start: nodes that it has
/// forgotten call it within [`DIAL_WAIT_MAX`].
pub const TOKENS_ALONE_WAIT: Duration = Duration::from_secs(35);
/// How long a leaving node waits until the others have read so and cut it off.
pub const LEAVE_SPREAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for which a driver sleeps that has nothing to do.
pub const IDLE_MAX: Duration = Duration::from_secs(10);
/// How soon others can read that something has changed about who lives.
pub const LIVES_SOON: Duration = Duration::from_millis(200);
/// Shortest time between two signs of life on request.
pub const ANSWER_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The same for each node of the cluster: so that no node is told of more than 100 such signs a second.
pub const ANSWER_INTERVAL_NODE: Duration = Duration::from_millis(10);

/// From the start of a daemon to its first look at what its replicas are: the data plane tells its state anew.
pub const SUMMARY_SETTLE: Duration = Duration::from_secs(10);
/// From a change of a resource's keys to the look at the summary of the replica.
pub const SUMMARY_SOON: Duration = Duration::from_secs(2);
/// Least time between two writes of a replica's summary, whatever its state does.
pub const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);
/// How often the summaries are looked at when nothing changes.
pub const SUMMARY_LOOK: Duration = Duration::from_secs(30);

/// How soon the local API is asked again whether it answers, when the daemon starts.
pub const SIGN_RETRY: Duration = Duration::from_millis(50);
/// How long the driver may take for a turn before it counts as hanging. An idle one turns every [`IDLE_MAX`].
pub const SIGN_TURN_MAX: Duration = Duration::from_secs(30);

/// Marks of removal that a joiner is given along, the latest first: about 200 bytes each of a payload of 1 MiB.
pub(crate) const REMOVED_IN_PAYLOAD_MAX: usize = 1000;
/// How long neighbours refuse a node, or the roster speaks against it, before it counts as out of the cluster.
pub(crate) const EXCLUDED_AFTER: Duration = Duration::from_secs(5);

/// How long a node is alone in its epoch of the cluster's clock before it says so: an epoch spreads within seconds.
pub const EPOCH_APART_AFTER: Duration = Duration::from_secs(30);
/// A peer whose stamps are refused is asked for its clock at most that often; what it told before counts no more.
pub const CLOCK_ASK_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody is heard of for the first time, or has come or gone.
pub const HEARD_LOOK: Duration = Duration::from_secs(1);
/// Least time between two such notes.
pub const HEARD_SOON: Duration = Duration::from_secs(5);
/// How often it is written down when others were last heard of, while nothing changes.
pub const HEARD_INTERVAL: Duration = Duration::from_secs(60);
/// Nodes in that file: more than a cluster has.
pub const HEARD_NODES_MAX: usize = 16_384;
/// Longest such file in bytes.
pub const HEARD_FILE_MAX: u64 = 1 << 20;
/// How often this node's own lines are written again at most, if somebody else overwrites them.
pub const OWN_LINES_INTERVAL: Duration = Duration::from_secs(10);
/// Times that a process of a host comes back which another one had replaced, within [`TWICE_WINDOW`], beyond which the host
/// is there twice: a restart never brings an earlier process back.
pub const TWICE_RETURNS_MAX: usize = 2;
/// The time for that, and how long it is told afterwards.
pub const TWICE_WINDOW: Duration = Duration::from_secs(60);
/// Connections of one host that are remembered for that.
pub const TWICE_SEEN_MAX: usize = 32;
/// From when the store has failed until the daemon ends: the time for those whose writes were refused to hear so.
pub const FAILED_GRACE: Duration = Duration::from_millis(300);

// Else an idle daemon would be taken for a hanging one.
const _: () = assert!(2 * IDLE_MAX.as_secs() < SIGN_TURN_MAX.as_secs());

#[cfg(test)]
mod tests {
    use super::*;
    use mars_gossip_net::Windows;
    use mars_gossip_proto::limits::{BATCH_BYTES, WINDOW};

    /// What networking may take in a cluster of any size: eight ring neighbours, as many again that took this node for
    /// a substitute, and a dozen members of shared resources, all of them stuck with full buffers at once.
    #[test]
    fn the_buffers_of_28_connections_fit_into_32_mib() {
        let window = usize::try_from(WINDOW).unwrap();
        let transport = usize::try_from(Windows::METADATA.bytes()).unwrap();
        // In the transport, waiting to be written, and one message being read.
        let connection = transport + (window + 1) * BATCH_BYTES + BATCH_BYTES;
        let all = 28 * connection + INBOX_LEN * BATCH_BYTES;
        assert!(all <= 32 << 20, "{all}");
    }
}
