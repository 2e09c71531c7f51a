//! What pods may ask for and this node does not have: refused with the reason, as nobody looks for protection that is
//! silently absent. SELinux options are the exception: upstream ignores them on a node without SELinux, and this
//! runtime labels nothing.

use k8s_openapi::api::core::v1::{Container, Pod, SecurityContext};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::Api;

use crate::kubelet::Kubelet;
use crate::pod::PodExt;

/// Handlers of a RuntimeClass that mean the built-in runtime.
const HANDLERS: [&str; 2] = ["coracle", "runc"];
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Checks what a pod is refused for as a whole.
///
/// # Errors
/// Reason and message of the pod's failure.
pub(crate) fn admit(pod: &Pod) -> Result<(), (String, String)> {
    if wants_apparmor(pod) {
        let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        let why = match enabled.is_ok_and(|text| text.starts_with('Y')) {
            false => "AppArmor is not enabled on the host",
            true => "the container runtime does not load profiles",
        };
        return Err(("AppArmor".into(), format!("Cannot enforce AppArmor: {why}")));
    }
    if pod.spec().os.as_ref().is_some_and(|os| os.name != "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Err(("PodOSNotSupported".into(), message.into()));
    }
    if pod.spec().resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        let message = "Pod has resource claims, and this version of the kubelet prepares no devices";
        return Err(("PodFeatureUnsupported".into(), message.into()));
    }
    Ok(())
}

fn security_contexts(pod: &Pod) -> impl Iterator<Item = (&str, Option<&SecurityContext>)> {
    let spec = pod.spec();
    let plain = pod.init_containers().iter().chain(&spec.containers);
    let plain = plain.map(|container| (container.name.as_str(), container.security_context.as_ref()));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    plain.chain(ephemeral.map(|container| (container.name.as_str(), container.security_context.as_ref())))
}

/// Whether a profile is to be loaded for some container: its own, else the pod's, else that of the old annotation.
fn wants_apparmor(pod: &Pod) -> bool {
    let of_pod = pod.spec().security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
    let annotations = pod.metadata.annotations.as_ref();
    security_contexts(pod).any(|(name, context)| {
        let own = context.and_then(|context| context.app_armor_profile.as_ref());
        match own.or(of_pod) {
            Some(profile) => profile.type_ != "Unconfined",
            None => annotations
                .and_then(|annotations| annotations.get(&format!("{APPARMOR}{name}")))
                .is_some_and(|profile| !matches!(profile.as_str(), "" | "unconfined")),
        }
    })
}

/// Checks what a sandbox cannot be made for.
///
/// # Errors
/// With what the `FailedCreatePodSandBox` event says.
pub(crate) async fn sandbox(k: &Kubelet, pod: &Pod) -> Result<(), String> {
    let mut handler = String::new();
    if let Some(name) = pod.spec().runtime_class_name.as_deref().filter(|name| !name.is_empty()) {
        let classes: Api<RuntimeClass> = Api::all(k.client.clone());
        handler = classes.get(name).await.map_err(|error| crate::message_of(&error))?.handler;
        if !HANDLERS.contains(&handler.as_str()) {
            return Err(format!("failed to get sandbox runtime: no runtime for {handler:?} is configured"));
        }
    }
    if pod.spec().host_users == Some(false) {
        return Err(format!("RuntimeClass handler {handler:?} does not support user namespaces"));
    }
    Ok(())
}

/// Checks what a container cannot be made with.
///
/// # Errors
/// With the message of a `CreateContainerConfigError`.
pub(crate) fn container(container: &Container) -> Result<(), String> {
    let proc_mount = container.security_context.as_ref().and_then(|context| context.proc_mount.as_deref());
    match proc_mount {
        None | Some("" | "Default") => Ok(()),
        Some(kind) => Err(format!(
            "procMount {kind:?} of container {:?} needs a user namespace, which this node does not support",
            container.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn profiles_that_cannot_be_loaded_are_refused() {
        let pod = |of_pod: &str, own: &str, annotation: &str| -> Pod {
            let profile =
                |kind: &str| if kind.is_empty() { json!({}) } else { json!({"appArmorProfile": {"type": kind}}) };
            serde_json::from_value(json!({
                "metadata": {"annotations": {format!("{APPARMOR}c"): annotation}},
                "spec": {"securityContext": profile(of_pod), "containers": [{"name": "c", "securityContext": profile(own)}]}}))
            .unwrap()
        };
        for (of_pod, own, annotation, refused) in [
            ("", "", "", false),
            ("Unconfined", "", "runtime/default", false),
            ("RuntimeDefault", "", "", true),
            ("RuntimeDefault", "Unconfined", "", false),
            ("", "Localhost", "", true),
            ("", "", "localhost/x", true),
            ("", "", "unconfined", false),
        ] {
            assert_eq!(wants_apparmor(&pod(of_pod, own, annotation)), refused, "{of_pod} {own} {annotation}");
        }
        let (reason, message) = admit(&pod("", "Localhost", "")).unwrap_err();
        assert_eq!(reason, "AppArmor");
        assert!(message.starts_with("Cannot enforce AppArmor: "), "{message}");
    }

    #[test]
    fn a_pod_that_claims_devices_is_refused() {
        let pod = |claims: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [], "resourceClaims": claims}})).unwrap()
        };
        assert_eq!(admit(&pod(json!([]))), Ok(()));
        let (reason, message) = admit(&pod(json!([{"name": "gpu", "resourceClaimName": "gpu"}]))).unwrap_err();
        assert_eq!(reason, "PodFeatureUnsupported");
        assert_eq!(message, "Pod has resource claims, and this version of the kubelet prepares no devices");
    }
}
