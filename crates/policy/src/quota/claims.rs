//! Claims use storage, of which each class may be limited by itself.

use coracle_api::meta::{self, text};
use serde_json::Value;

use super::usage::whole;
use crate::amounts::Amounts;

const CLASS: &str = ".storageclass.storage.k8s.io/";

pub(super) fn is_tracked(name: &str) -> bool {
    let of_class = name.split_once(CLASS).map(|(_, name)| name);
    matches!(of_class.unwrap_or(name), "persistentvolumeclaims" | "requests.storage")
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let storage = |list: &Value| Amounts::of(list).get("storage");
    let wanted = storage(&claim["spec"]["resources"]["requests"]);
    // What could not be enlarged is still set aside.
    let size = wanted.max(storage(&claim["status"]["allocatedResources"]));
    let mut used = Amounts::default();
    used.set("persistentvolumeclaims", whole(1));
    if let Some(size) = size {
        used.set("requests.storage", size);
    }
    let class = class(claim);
    if !class.is_empty() {
        for (name, amount) in used.clone().0 {
            used.set(format!("{class}{CLASS}{name}"), amount);
        }
    }
    used
}

/// The class; an old annotation comes first, as upstream has it.
fn class(claim: &Value) -> &str {
    match meta::annotation(claim, "volume.beta.kubernetes.io/storage-class") {
        "" => text(claim, &["spec", "storageClassName"]),
        class => class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_uses_storage_of_its_class() {
        let mut claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
        assert_eq!(
            usage(&claim).to_string(),
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi"
        );
        assert!(usage(&claim).0.keys().all(|name| is_tracked(name)));
        claim["status"]["allocatedResources"]["storage"] = "2Gi".into();
        assert_eq!(usage(&claim).get("requests.storage"), "2Gi".parse().ok());
    }
}
