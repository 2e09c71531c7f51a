//! Under which name a user's requests are counted.

/// One of a few: names are anybody's to choose, and nobody else's business.
pub(crate) fn username(name: &str) -> &str {
    match name {
        "admin" | "client" | "kube_proxy" | "kubelet" | "system:serviceaccount:kube-system:default" => name,
        name if name.contains('@') => "email_id",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_part_of_many_clusters_has_a_name() {
        assert_eq!(["admin", "jane@example.com", "jane"].map(username), ["admin", "email_id", "other"]);
    }
}
