//! Definitions in groups of the community name who has approved them.
//! <https://github.com/kubernetes/enhancements/pull/1111>

/// The annotation that says who has approved a definition in a group of the community.
pub const APPROVED: &str = "api-approved.kubernetes.io";

/// Whether definitions in a group need an approval: the community's groups.
pub fn needs_approval(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        let rest = group.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}
