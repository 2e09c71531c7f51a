//! Built-in admission: what the server adds to or refuses of new objects beyond their own validity. Changes of objects and
//! deletions pass none, but that some namespaces cannot be deleted.

mod runtime_class;

use coracle_api::meta;
use coracle_api::status::{Cause, Status};
use coracle_api::{Kind, kinds};
use serde_json::{Value, json};

use crate::auth::User;
use crate::object::Object;
use crate::request::key;
use crate::rest::{cache, core};
use crate::server::Inner;

/// Namespaces that every cluster has.
pub const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Runs on every create, after defaulting and before validation.
pub fn create(inner: &Inner, kind: &Kind, object: &mut Value) -> Result<(), Status> {
    namespace_lifecycle(inner, kind, object)?;
    match (&*kind.group, &*kind.plural) {
        ("", "pods") => {
            priority(inner, object)?;
            service_account(inner, object)?;
            default_tolerations(object);
            runtime_class::apply(inner, object)?;
        }
        ("", "persistentvolumeclaims") => default_storage_class(inner, object)?,
        _ => {}
    }
    Ok(())
}

/// A request for a certificate says who made it, whatever the client wrote there.
pub fn requester(kind: &Kind, user: &User, object: &mut Value) {
    if !kind.is("certificates.k8s.io", "CertificateSigningRequest") {
        return;
    }
    let spec = meta::object_at(object, "spec");
    for key in ["uid", "groups", "extra"] {
        spec.remove(key);
    }
    spec.insert("username".into(), user.name.as_str().into());
    if !user.uid.is_empty() {
        spec.insert("uid".into(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        spec.insert("groups".into(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".into(), user.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect());
    }
}

/// Runs on every deletion by a client.
pub fn delete(kind: &Kind, name: &str) -> Result<(), Status> {
    let immortal = ["default", "kube-system", "kube-public"];
    if kind.is("", "Namespace") && immortal.contains(&name) {
        return Err(Status::forbidden("", "namespaces", name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// Nothing is made in a namespace that is not there or is going away.
fn namespace_lifecycle(inner: &Inner, kind: &Kind, object: &Value) -> Result<(), Status> {
    let name = meta::namespace(object);
    if name.is_empty() {
        return Ok(());
    }
    let Some(namespace) = cache(inner, core("namespaces"))?.get(name)? else {
        return Err(Status::not_found("", "namespaces", name));
    };
    // Parsing every namespace on every create would be waste: one that ends has this in its bytes.
    let ending = namespace.stored().windows(b"deletionTimestamp".len()).any(|window| window == b"deletionTimestamp");
    if ending && meta::is_deleting(&namespace.value()) {
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let mut status = Status::forbidden(&kind.group, &kind.plural, meta::name(object), &why);
        let cause = Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {name} is being terminated"),
            field: "metadata.namespace".into(),
        };
        status.details.get_or_insert_default().causes.push(cause);
        return Err(status);
    }
    Ok(())
}

/// The integer behind a pod's priority class. Two classes of the system always exist.
fn priority(inner: &Inner, pod: &mut Value) -> Result<(), Status> {
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let classes =
        kinds::by_resource("scheduling.k8s.io", "v1", "priorityclasses").ok_or_else(Status::path_not_found)?;
    let classes = cache(inner, classes)?;
    let (class, value, policy) = if name.is_empty() {
        let default =
            classes.snapshot().range("", None).map(Object::value).find(|class| class["globalDefault"] == true);
        match default {
            Some(class) => {
                (meta::name(&class).to_owned(), class["value"].as_i64().unwrap_or(0), class["preemptionPolicy"].clone())
            }
            None => (String::new(), 0, Value::Null),
        }
    } else {
        let why = format!("no PriorityClass with name {name} was found");
        let class = classes.get(&name)?.ok_or_else(|| Status::forbidden("", "pods", meta::name(pod), &why))?.value();
        (name, class["value"].as_i64().unwrap_or(0), class["preemptionPolicy"].clone())
    };
    let given = pod["spec"]["priority"].as_i64();
    if given.is_some_and(|given| given != value) {
        let why = "the integer value of priority must not be provided in pod spec; priority admission controller computed it from the given PriorityClass name";
        return Err(Status::forbidden("", "pods", meta::name(pod), why));
    }
    if !class.is_empty() {
        pod["spec"]["priorityClassName"] = class.into();
    }
    pod["spec"]["priority"] = value.into();
    pod["spec"]["preemptionPolicy"] = policy.as_str().unwrap_or("PreemptLowerPriority").into();
    Ok(())
}

/// Gives a pod its service account, the account's pull secrets, and a volume with its token.
fn service_account(inner: &Inner, pod: &mut Value) -> Result<(), Status> {
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
    let Some(account) = cache(inner, core("serviceaccounts"))?.get(&key(Some(&namespace), &name))? else {
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

/// Pods outlive a short failure of their node.
fn default_tolerations(pod: &mut Value) {
    if !pod["spec"]["tolerations"].is_array() {
        pod["spec"]["tolerations"] = json!([]);
    }
    let Some(tolerations) = pod["spec"]["tolerations"].as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            let (own, effect) =
                (toleration["key"].as_str().unwrap_or_default(), toleration["effect"].as_str().unwrap_or_default());
            (own == key || own.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !tolerations.iter().any(covers) {
            tolerations
                .push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

fn default_storage_class(inner: &Inner, claim: &mut Value) -> Result<(), Status> {
    if !claim["spec"]["storageClassName"].is_null() {
        return Ok(());
    }
    let Some(kind) = kinds::by_resource("storage.k8s.io", "v1", "storageclasses") else { return Ok(()) };
    let snapshot = cache(inner, kind)?.snapshot();
    let is_default = |class: &Value| meta::annotation(class, "storageclass.kubernetes.io/is-default-class") == "true";
    let newest = snapshot.range("", None).map(Object::value).filter(is_default).max_by_key(meta::creation_timestamp);
    if let Some(class) = newest {
        claim["spec"]["storageClassName"] = meta::name(&class).into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespaces_that_everything_needs_cannot_be_deleted() {
        let status = delete(core("namespaces"), "kube-system").unwrap_err();
        assert_eq!(status.code, 403);
        assert_eq!(status.message, "namespaces \"kube-system\" is forbidden: this namespace may not be deleted");
        assert!(delete(core("namespaces"), "dev").is_ok());
        assert!(delete(core("pods"), "default").is_ok());
    }

    #[test]
    fn a_token_is_mounted_without_making_lists_that_were_not_there() {
        let mut pod = json!({"spec": {"containers": [{"name": "c"}]}});
        mount_token(&mut pod);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], TOKEN_DIRECTORY);
        assert!(pod["spec"].get("initContainers").is_none());
    }
}
