//! Names of macros, for the completion of shells.

use super::library::TEMPLATES;

/// The primitive macros of the original (`docs/macros.md`).
const PRIMITIVES: &str = "\
    actual-primary alive-age alive-lag alive-timestamp all-err-msg all-global-err-msg all-global-inf-msg \
    all-global-msg all-global-wrn-msg all-guests all-inf-msg all-members all-msg all-pretty-err-msg \
    all-pretty-global-err-msg all-pretty-global-inf-msg all-pretty-global-msg all-pretty-global-wrn-msg \
    all-pretty-inf-msg all-pretty-msg all-pretty-wrn-msg all-resources all-wrn-msg cluster-members cluster-peers \
    configured-peers count-all-guests count-all-members count-all-resources count-cluster-members \
    count-cluster-peers count-configured-peers count-guest-members count-guest-peers count-my-guests \
    count-my-members count-my-resources count-resource-members count-resource-peers deletable-size \
    device-amount-rate device-completion-age device-completion-stamp device-error device-nrflying device-opened \
    device-ops-rate device-present device-rate device-size disabled-log-digests \
    disabled-net-digests disk-error disk-present \
    disk-size enabled-log-compressions \
    enabled-net-compressions errno-text features-version fetch-age fetch-almost-reached \
    fetch-amount-rate fetch-lag fetch-logcount fetch-lognr fetch-ops-rate fetch-percent fetch-permille fetch-pos \
    fetch-rate fetch-reached fetch-remain fetch-rest fetch-size fetch-threshold-reached fetch-timestamp \
    fetch-vector get-device get-disk get-log-status get-primary get-resource-err get-resource-err-count \
    get-resource-fat get-resource-fat-count get-resource-wrn get-resource-wrn-count global-sync-limit-value \
    guest-peers implemented-compressions implemented-digests implemented-features is-alive is-attach is-consistent \
    is-emergency is-fetch is-guest is-member is-orphan is-primary is-replay is-secondary is-split-brain is-sync \
    known-device-fstype known-device-mounted known-device-mountflags known-device-mountpoint my-guests my-members \
    my-resources nr-attach nr-fetch nr-primary nr-replay nr-secondary nr-sync occupied-size potential-features \
    present-device present-disk real-time replay-age replay-almost-reached replay-amount-rate replay-basenr \
    replay-code replay-lag replay-logcount replay-lognr replay-ops-rate replay-percent replay-permille replay-pos \
    replay-rate replay-reached replay-remain replay-rest replay-size replay-threshold-reached replay-timestamp \
    replay-vector resource-members resource-peers resource-possible-size resource-size rest-space summary-vector \
    sync-almost-reached sync-amount-rate sync-ops-rate sync-percent sync-permille sync-pos sync-rate sync-reached \
    sync-remain sync-rest sync-size sync-threshold-reached sync-vector syncpos-pos syncpos-size systemd-unit \
    the-err-msg the-global-err-msg the-global-inf-msg the-global-msg the-global-wrn-msg the-inf-msg the-msg \
    the-pretty-err-msg the-pretty-global-err-msg the-pretty-global-inf-msg the-pretty-global-msg \
    the-pretty-global-wrn-msg the-pretty-inf-msg the-pretty-msg the-pretty-wrn-msg the-wrn-msg time todo-attach \
    todo-fetch todo-primary todo-replay todo-secondary todo-sync total-space tree tree-version usable-compressions \
    usable-digests usable-features used-log-compression used-log-digest used-net-compression used-net-digest uuid \
    work-age work-almost-reached work-lag work-logcount work-lognr work-percent work-permille work-pos \
    work-reached work-rest work-size work-threshold-reached work-timestamp work-vector writeback-rest";

/// The macros that have a text, and with `primitive` those that have none too.
pub(crate) fn macro_names(primitive: bool) -> impl Iterator<Item = &'static str> {
    let primitives = PRIMITIVES.split_whitespace().filter(move |_| primitive);
    TEMPLATES.iter().map(|(name, _)| *name).chain(primitives)
}
