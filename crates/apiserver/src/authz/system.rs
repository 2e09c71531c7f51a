//! The system's own parts, for whom there is always a place.

use super::bootstrap;
use crate::auth::{MASTERS, NODES, User};

/// Users of the system's own components that are not service accounts.
const COMPONENTS: [&str; 4] =
    ["system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", "system:apiserver"];
const OWN_ACCOUNTS: &str = "system:serviceaccount:kube-system:";

/// Whether a user is an administrator or a part of the system, for whom there is always a place. Says nothing of what
/// they may do.
pub(crate) fn is_system(user: &User) -> bool {
    user.is_in(MASTERS)
        || user.is_in(NODES)
        || COMPONENTS.contains(&user.name.as_str())
        || user.name.strip_prefix(OWN_ACCOUNTS).is_some_and(bootstrap::is_controller)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_part_of_the_system_and_other_accounts_are_not() {
        let user = |name: &str| User::new(name, &[]);
        assert!(is_system(&user("system:serviceaccount:kube-system:replicaset-controller")));
        assert!(!is_system(&user("system:serviceaccount:kube-system:default")));
        assert!(!is_system(&user("system:serviceaccount:default:replicaset-controller")));
        assert!(is_system(&user("system:kube-scheduler")) && !is_system(&user("joe")));
    }
}
