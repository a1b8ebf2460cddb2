//! Who may use the local API.

use std::sync::Arc;

/// Decides by the user id of the peer process; `true`: it may do everything, `false`: nothing.
pub type Access = Arc<dyn Fn(u32) -> bool + Send + Sync>;

/// The usual rule: root, the daemon's own user `own`, and `others`.
#[must_use]
pub fn allow_uids(own: u32, others: &[u32]) -> Access {
    let others = others.to_vec();
    Arc::new(move |uid| uid == 0 || uid == own || others.contains(&uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_own_user_and_those_named_may() {
        let access = allow_uids(100, &[200]);
        let may: Vec<u32> = [0, 1, 100, 200, 201]
            .into_iter()
            .filter(|u| access(*u))
            .collect();
        assert_eq!(may, [0, 100, 200]);
    }
}
