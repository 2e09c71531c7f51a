//! Storage classes, as claims refer to them.

use std::cmp::Reverse;
use std::sync::Arc;

use coracle_client::Store;
use coracle_matching::annotations::{BETA_IS_DEFAULT_CLASS, IS_DEFAULT_CLASS};
use coracle_matching::claims::class_of_claim;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

/// The class of a claim, if there is one of that name.
pub(super) fn of_claim(classes: &Store<StorageClass>, claim: &PersistentVolumeClaim) -> Option<Arc<StorageClass>> {
    classes.get("", class_of_claim(claim))
}

/// Whether the volume of a claim of this class is chosen once it is known which node needs it.
pub(super) fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// Whether claims that name no class are of this one.
pub(super) fn is_default(class: &StorageClass) -> bool {
    [IS_DEFAULT_CLASS, BETA_IS_DEFAULT_CLASS]
        .iter()
        .any(|name| class.annotations().get(*name).is_some_and(|value| value == "true"))
}

/// The class of claims that name none: of several the newest, and of those the first by name.
pub(super) fn default_class(classes: &Store<StorageClass>) -> Option<Arc<StorageClass>> {
    let mut defaults = classes.list();
    defaults.retain(|class| is_default(class));
    defaults.into_iter().max_by_key(|class| (class.creation_timestamp().map(|time| time.0), Reverse(class.name_any())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_default_class_counts() {
        let class = |name: &str, made: &str, default: &str| -> StorageClass {
            let annotations = json!({IS_DEFAULT_CLASS: default});
            let meta = json!({"name": name, "creationTimestamp": made, "annotations": annotations});
            serde_json::from_value(json!({"metadata": meta, "provisioner": "p"})).unwrap()
        };
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let classes =
            vec![class("a", old, "true"), class("c", new, "true"), class("b", new, "true"), class("d", new, "false")];
        assert_eq!(default_class(&Store::of(classes, Vec::new())).unwrap().name_any(), "b");
        assert!(default_class(&Store::of(vec![class("d", new, "no")], Vec::new())).is_none());
    }
}
