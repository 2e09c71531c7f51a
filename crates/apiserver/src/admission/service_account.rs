//! Gives a pod its service account, the account's pull secrets, and a volume with its token.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>

use std::sync::Arc;
use std::time::Duration;

use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::{Value, json};

use super::{Plugin, Request, Verdict, makes};
use crate::operation::Operation;
use crate::storage::{Storage, core, key};

const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub(super) struct ServiceAccount(pub Arc<Storage>);

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, op: &Operation) -> bool {
        makes(op, "", "Pod")
    }

    fn admit<'a>(&'a self, _request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        Box::pin(service_account(&self.0, object))
    }
}

/// The account that pods have by default comes a moment after its namespace: how often it is looked for, as upstream does.
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);

async fn service_account(storage: &Storage, pod: &mut Value) -> Result<(), Status> {
    if !meta::annotation(pod, "kubernetes.io/config.mirror").is_empty() {
        return Ok(());
    }
    let name = match pod["spec"]["serviceAccountName"].as_str() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "default".to_owned(),
    };
    pod["spec"]["serviceAccountName"] = name.as_str().into();
    pod["spec"]["serviceAccount"] = name.as_str().into();
    let namespace = meta::namespace(pod).to_owned();
    let accounts = storage.cache(core("serviceaccounts"))?;
    let mut account = accounts.get(&key(Some(&namespace), &name))?;
    for _ in 1..if name == "default" { ATTEMPTS } else { 1 } {
        if account.is_none() {
            tokio::time::sleep(PAUSE).await;
            account = accounts.get(&key(Some(&namespace), &name))?;
        }
    }
    let Some(account) = account else {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
        return Err(Status::forbidden("", "pods", meta::name(pod), &why));
    };
    let account = account.value();
    let secrets = &account["imagePullSecrets"];
    if pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty) && secrets.is_array() {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
    let wanted =
        pod["spec"]["automountServiceAccountToken"].as_bool().or(account["automountServiceAccountToken"].as_bool());
    if wanted.unwrap_or(true) {
        mount_token(pod);
    }
    Ok(())
}

fn mount_token(pod: &mut Value) {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let volume = format!("kube-api-access-{}", &random[..5]);
    let mut used = false;
    for part in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(part).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if !container["volumeMounts"].is_array() {
                container["volumeMounts"] = json!([]);
            }
            let Some(mounts) = container["volumeMounts"].as_array_mut() else { continue };
            if mounts.iter().all(|mount| mount["mountPath"] != TOKEN_DIRECTORY) {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": TOKEN_DIRECTORY}));
                used = true;
            }
        }
    }
    if !used {
        return;
    }
    if !pod["spec"]["volumes"].is_array() {
        pod["spec"]["volumes"] = json!([]);
    }
    if let Some(volumes) = pod["spec"]["volumes"].as_array_mut() {
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_mounted_without_making_lists_that_were_not_there() {
        let mut pod = json!({"spec": {"containers": [{"name": "c"}]}});
        mount_token(&mut pod);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], TOKEN_DIRECTORY);
        assert!(pod["spec"].get("initContainers").is_none());
    }
}
