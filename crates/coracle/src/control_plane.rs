//! The label that says that a node runs the control plane, which a kubelet must not give to its own.
//! <https://kubernetes.io/docs/reference/labels-annotations-taints/#node-role-kubernetes-io-control-plane>

use anyhow::Result;
use coracle_client::{Event, Informer, WorkQueue, is_not_found, run};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

const LABEL: &str = "node-role.kubernetes.io/control-plane";

/// Gives the node the label whenever it has none, for ever.
pub async fn mark(client: Client, node: String) -> Result<()> {
    let queue: WorkQueue<String> = WorkQueue::new();
    let api: Api<Node> = Api::all(client);
    let nodes = Informer::with_selectors(api.clone(), None, Some(format!("metadata.name={node}")), Vec::new());
    let changed = queue.clone();
    nodes.subscribe(move |event| {
        if let Event::Added(node) | Event::Updated { new: node, .. } = event
            && !node.labels().contains_key(LABEL)
        {
            changed.add(node.name_any());
        }
    });
    nodes.start();
    let label = json!({"metadata": {"labels": {LABEL: ""}}});
    run(queue, 1, move |name| {
        let (api, label) = (api.clone(), label.clone());
        async move {
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(label)).await {
                Err(error) if !is_not_found(&error) => Err(error),
                _ => Ok(None),
            }
        }
    })
    .await;
    Ok(())
}
