//! What a joining node reads of the cluster before it knows whom to trust: where the API is, and its authority. Controllers
//! sign it with each bootstrap token.
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#configmap-signing>

use std::net::SocketAddr;

use anyhow::{Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::kinds;
use serde_json::{Value, json};

use super::{failed, made};
use crate::objects::Objects;
use crate::operation::{Operation, Verb};

const NAMESPACE: &str = "kube-public";
const NAME: &str = "cluster-info";

/// Makes the config map, and brings it up to date beside its signatures.
pub(super) async fn make(objects: &Objects, endpoint: SocketAddr, authority: &str) -> Result<()> {
    let kubeconfig = Value::from(kubeconfig(endpoint, authority));
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {"kubeconfig": kubeconfig},
    });
    if made(objects, "", "v1", "configmaps", map).await? {
        return Ok(());
    }
    let kind = kinds::by_resource("", "v1", "configmaps").ok_or_else(|| anyhow!("there are no config maps"))?;
    let mut make = |current: &Value| {
        let mut new = current.clone();
        new["data"]["kubeconfig"] = kubeconfig.clone();
        Ok(new)
    };
    let key = crate::storage::key(Some(NAMESPACE), NAME);
    let written = Box::pin(objects.update(&Operation::by_server(kind, Verb::Update), &key, &mut make)).await;
    written.map(|_| ()).map_err(|status| failed("configmaps", &status))
}

/// A kubeconfig that names nobody.
fn kubeconfig(endpoint: SocketAddr, authority: &str) -> String {
    let authority = STANDARD.encode(authority);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: \"\"\n  cluster:\n    certificate-authority-data: {authority}\n    server: https://{endpoint}\ncontexts: null\ncurrent-context: \"\"\npreferences: {{}}\nusers: null\n"
    )
}
