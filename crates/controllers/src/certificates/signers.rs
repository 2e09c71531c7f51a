//! What the built-in signers sign.
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers>

use coracle_pki::Identity;

/// Certificates of clients of the API server.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Those of kubelets as such clients.
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Those of kubelets as servers.
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Whatever was asked for before signers had names.
const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// The common names of kubelets begin so.
pub(super) const NODE: &str = "system:node:";
const NODES: &str = "system:nodes";

/// What a signer says against a wanted, in upstream's words; `None` when it is not one of these signers.
pub(super) fn check(signer: &str, wanted: &Identity, usages: &[String]) -> Option<Result<(), String>> {
    match signer {
        CLIENT => Some(client(usages)),
        KUBELET_CLIENT => Some(kubelet_client(wanted, usages)),
        KUBELET_SERVING => Some(kubelet_serving(wanted, usages)),
        LEGACY => Some(Ok(())),
        _ => None,
    }
}

fn client(usages: &[String]) -> Result<(), String> {
    let optional = |usage: &str| matches!(usage, "digital signature" | "key encipherment");
    match usages.iter().find(|usage| *usage != "client auth" && !optional(usage)) {
        Some(usage) => Err(format!("invalid usage for client certificate: {usage}")),
        None if !usages.iter().any(|usage| usage == "client auth") => {
            Err("missing required usage for client certificate: client auth".into())
        }
        None => Ok(()),
    }
}

/// Checks what kubelets ask for to be clients of the API server.
pub(super) fn kubelet_client(wanted: &Identity, usages: &[String]) -> Result<(), String> {
    organization(wanted)?;
    let none = |is_empty: bool, kind: &str| {
        if is_empty { Ok(()) } else { Err(format!("{kind} subjectAltNames are not allowed")) }
    };
    none(wanted.dns_names.is_empty(), "DNS")?;
    none(wanted.email_addresses.is_empty(), "Email")?;
    none(wanted.ip_addresses.is_empty(), "IP")?;
    none(wanted.uris.is_empty(), "URI")?;
    common_name(wanted)?;
    exactly(usages, ["client auth", "digital signature", "key encipherment"])
}

/// Checks what kubelets ask for to be servers.
pub(super) fn kubelet_serving(wanted: &Identity, usages: &[String]) -> Result<(), String> {
    organization(wanted)?;
    if wanted.dns_names.is_empty() && wanted.ip_addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".into());
    }
    if !wanted.email_addresses.is_empty() {
        return Err("Email subjectAltNames are not allowed".into());
    }
    if !wanted.uris.is_empty() {
        return Err("URI subjectAltNames are not allowed".into());
    }
    exactly(usages, ["digital signature", "key encipherment", "server auth"])?;
    common_name(wanted)
}

fn organization(wanted: &Identity) -> Result<(), String> {
    if wanted.organizations == [NODES] { Ok(()) } else { Err("subject organization is not system:nodes".into()) }
}

fn common_name(wanted: &Identity) -> Result<(), String> {
    if wanted.common_name.starts_with(NODE) {
        Ok(())
    } else {
        Err("subject common name does not begin with system:node:".into())
    }
}

/// Whether the usages are these; only keys that encipher need the one for that.
fn exactly(usages: &[String], wanted: [&str; 3]) -> Result<(), String> {
    let all_known = usages.iter().all(|usage| wanted.contains(&usage.as_str()));
    let needed = wanted.iter().filter(|usage| **usage != "key encipherment");
    if all_known && needed.clone().all(|usage| usages.iter().any(|own| own == usage)) {
        return Ok(());
    }
    Err(format!("usages did not match [{}]", wanted.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_node() -> Identity {
        Identity { common_name: "system:node:a".into(), organizations: vec![NODES.into()], ..Identity::default() }
    }

    fn said(signer: &str, wanted: &Identity, usages: &[&str]) -> Result<(), String> {
        let usages: Vec<String> = usages.iter().map(|usage| (*usage).to_owned()).collect();
        check(signer, wanted, &usages).expect("a built-in signer")
    }

    #[test]
    fn a_kubelet_gets_what_a_client_needs_and_no_names() {
        let usages = ["client auth", "digital signature"];
        assert_eq!(said(KUBELET_CLIENT, &of_node(), &usages), Ok(()));
        let named = Identity { dns_names: vec!["a".into()], ..of_node() };
        let other = Identity { common_name: "a".into(), ..of_node() };
        let masters = Identity { organizations: vec![NODES.into(), "system:masters".into()], ..of_node() };
        for (wanted, usages, why) in [
            (&named, &usages[..], "DNS subjectAltNames are not allowed"),
            (&other, &usages[..], "subject common name does not begin with system:node:"),
            (&masters, &usages[..], "subject organization is not system:nodes"),
            (&of_node(), &["client auth"], "usages did not match [client auth digital signature key encipherment]"),
        ] {
            assert_eq!(said(KUBELET_CLIENT, wanted, usages), Err(why.into()));
        }
    }

    #[test]
    fn a_kubelets_server_has_a_name() {
        let usages = ["key encipherment", "server auth", "digital signature"];
        assert_eq!(said(KUBELET_SERVING, &of_node(), &usages), Err("DNS or IP subjectAltName is required".into()));
        let named = Identity { dns_names: vec!["a".into()], ..of_node() };
        assert_eq!(said(KUBELET_SERVING, &named, &usages), Ok(()));
        let why = "usages did not match [digital signature key encipherment server auth]";
        assert_eq!(said(KUBELET_SERVING, &named, &["server auth"]), Err(why.into()));
        assert_eq!(said(KUBELET_SERVING, &named, &["server auth", "digital signature", "any"]), Err(why.into()));
    }

    #[test]
    fn others_are_clients_or_legacy_or_not_ours() {
        let any = Identity::default();
        assert_eq!(said(CLIENT, &any, &["client auth"]), Ok(()));
        let missing = "missing required usage for client certificate: client auth";
        assert_eq!(said(CLIENT, &any, &["digital signature"]), Err(missing.into()));
        let invalid = "invalid usage for client certificate: server auth";
        assert_eq!(said(CLIENT, &any, &["client auth", "server auth"]), Err(invalid.into()));
        assert_eq!(said(LEGACY, &any, &["any"]), Ok(()));
        assert!(check("example.com/signer", &any, &[]).is_none());
    }
}
