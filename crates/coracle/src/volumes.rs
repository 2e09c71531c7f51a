//! The volumes that a cluster makes by itself: the class that claims have without naming one, and who makes them.

use std::path::Path;

use coracle_kubelet::provisioner::{self, PROVISIONER};
use kube::Client;
use serde_json::{Value, json};

use crate::daemon::Parts;

/// The class `standard`, which a new cluster begins with. A volume is made where the first pod that needs it is to run.
pub fn default_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    })
}

/// Starts to make volumes of directories of the node, beneath the kubelet's. Claims that any node may make one for are taken by
/// nodes beside a server: others may not write into claims.
pub fn start(client: Client, selects_itself: bool, node_name: &str, kubelet_dir: &Path, parts: &mut Parts) {
    let config =
        provisioner::Config { node_name: node_name.to_owned(), selects_itself, root_dir: kubelet_dir.to_owned() };
    parts.spawn("provisioner of local directories", provisioner::run(client, config));
}
