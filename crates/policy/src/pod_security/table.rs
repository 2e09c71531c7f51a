//! Which checks a level has, and since when. A check of the restricted level takes the place of the checks of the
//! baseline level that it is stricter than.

use super::checks::{
    apparmor, capabilities, escalation, host, probes, proc_mount, seccomp, selinux, sysctls, users, volumes,
};
use super::level::{Level, LevelVersion, Version};
use super::{Pod, Violation};

/// The minor version whose standards are the latest.
const LATEST: u32 = 35;

type Test = fn(&Pod<'_>) -> Option<Violation>;

struct Check {
    id: &'static str,
    /// The test, since which minor version.
    since: &'static [(u32, Test)],
    /// The check that this one takes the place of.
    replaces: &'static str,
}

const fn check(id: &'static str, since: &'static [(u32, Test)]) -> Check {
    Check { id, since, replaces: "" }
}

const fn stricter(id: &'static str, replaces: &'static str, since: &'static [(u32, Test)]) -> Check {
    Check { id, since, replaces }
}

/// In the order in which violations are told.
static BASELINE: [Check; 12] = [
    check("appArmorProfile", &[(0, apparmor::profile)]),
    check("capabilities_baseline", &[(0, capabilities::baseline)]),
    check("hostNamespaces", &[(0, host::namespaces)]),
    check("hostPathVolumes", &[(0, volumes::host_path)]),
    check("hostPorts", &[(0, host::ports)]),
    check("hostProbesAndHostLifecycle", &[(34, probes::hosts)]),
    check("privileged", &[(0, escalation::privileged)]),
    check("procMount", &[(0, proc_mount::default), (35, proc_mount::default_but_in_user_namespaces)]),
    check("seLinuxOptions", &[(0, selinux::options), (31, selinux::options_since_31)]),
    check("seccompProfile_baseline", &[(0, seccomp::annotations), (19, seccomp::baseline)]),
    check(
        "sysctls",
        &[(0, sysctls::safe), (27, sysctls::safe_since_27), (29, sysctls::safe_since_29), (32, sysctls::safe_since_32)],
    ),
    check("windowsHostProcess", &[(0, host::process)]),
];

static RESTRICTED: [Check; 7] = [
    check("allowPrivilegeEscalation", &[(8, escalation::allowed), (25, escalation::allowed_but_on_windows)]),
    stricter(
        "capabilities_restricted",
        "capabilities_baseline",
        &[(22, capabilities::restricted), (25, capabilities::restricted_but_on_windows)],
    ),
    stricter("procMount_restricted", "procMount", &[(35, proc_mount::default)]),
    stricter("restrictedVolumes", "hostPathVolumes", &[(0, volumes::restricted)]),
    check("runAsNonRoot", &[(0, users::non_root), (35, users::non_root_but_in_user_namespaces)]),
    check("runAsUser", &[(23, users::user), (35, users::user_but_in_user_namespaces)]),
    stricter(
        "seccompProfile_restricted",
        "seccompProfile_baseline",
        &[(19, seccomp::restricted), (25, seccomp::restricted_but_on_windows)],
    ),
];

impl Check {
    /// The test of a version.
    fn at(&self, minor: u32) -> Option<Test> {
        self.since.iter().rev().find(|(since, _)| *since <= minor).map(|(_, test)| *test)
    }
}

/// What a pod does that a level does not allow.
pub fn evaluate(at: LevelVersion, pod: &Pod<'_>) -> Vec<Violation> {
    let minor = match at.version {
        Version::Latest => LATEST,
        Version::Minor(minor) => minor.min(LATEST),
    };
    let restricted = match at.level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => &[][..],
        Level::Restricted => &RESTRICTED[..],
    };
    let is_replaced = |id: &str| restricted.iter().any(|check| check.replaces == id && check.at(minor).is_some());
    let baseline = BASELINE.iter().filter(|check| !is_replaced(check.id));
    baseline.chain(restricted).filter_map(|check| check.at(minor)?(pod)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod_security::{details, reasons};
    use serde_json::{Value, json};

    fn at(level: Level, version: Version, pod: &Value) -> Vec<Violation> {
        evaluate(LevelVersion { level, version }, &Pod::of(pod))
    }

    #[test]
    fn checks_are_in_the_order_of_their_names() {
        for checks in [&BASELINE[..], &RESTRICTED[..]] {
            assert!(checks.is_sorted_by_key(|check| check.id));
            assert!(checks.iter().all(|check| check.since.is_sorted_by_key(|(since, _)| *since)));
        }
    }

    #[test]
    fn a_plain_pod_is_told_all_that_the_restricted_level_wants() {
        let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert!(at(Level::Baseline, Version::Latest, &pod).is_empty());
        assert_eq!(
            details(&at(Level::Restricted, Version::Latest, &pod)),
            "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), \
             seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
        let before = at(Level::Restricted, Version::Minor(8), &pod);
        assert_eq!(reasons(&before), "allowPrivilegeEscalation != false, runAsNonRoot != true");
        assert!(at(Level::Privileged, Version::Latest, &pod).is_empty());
    }

    #[test]
    fn a_good_pod_is_restricted_enough() {
        let context =
            json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}});
        let pod = json!({"spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "a", "securityContext": context}]}});
        assert_eq!(at(Level::Restricted, Version::Latest, &pod), []);
        assert_eq!(at(Level::Restricted, Version::Minor(99), &pod), []);
    }

    #[test]
    fn a_stricter_check_is_not_told_twice() {
        let pod = json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}], "containers": []}});
        assert_eq!(reasons(&at(Level::Baseline, Version::Latest, &pod)), "hostPath volumes");
        let told = details(&at(Level::Restricted, Version::Minor(8), &pod));
        assert_eq!(told, "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")");
    }

    #[test]
    fn user_namespaces_relax_what_concerns_root() {
        let context = json!({"runAsUser": 0, "procMount": "Unmasked", "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
        let pod = json!({"spec": {"hostUsers": false, "containers": [{"name": "a", "securityContext": context}]}});
        assert_eq!(reasons(&at(Level::Restricted, Version::Latest, &pod)), "procMount");
        assert_eq!(at(Level::Baseline, Version::Latest, &pod), []);
        let before = at(Level::Restricted, Version::Minor(34), &pod);
        assert_eq!(reasons(&before), "procMount, runAsNonRoot != true, runAsUser=0");
    }

    #[test]
    fn windows_needs_no_linux_settings() {
        let pod = json!({"spec": {"os": {"name": "windows"}, "containers": [{"name": "a"}]}});
        assert_eq!(reasons(&at(Level::Restricted, Version::Latest, &pod)), "runAsNonRoot != true");
    }
}
