//! Security contexts of pod and container, merged and checked.

use std::path::{Component, Path};

use coracle_runtime::cri::{Image, LinuxContainerSecurityContext, SecurityProfile};
use k8s_openapi::api::core::v1::{Container, Pod, SeccompProfile, SecurityContext};

use crate::pod::PodExt;

/// What the runtime is told of a container; `root_dir` holds local seccomp profiles below `seccomp`.
///
/// # Errors
/// With the message of a `CreateContainerConfigError`.
pub fn container_security(
    pod: &Pod,
    container: &Container,
    image: &Image,
    root_dir: &Path,
) -> Result<LinuxContainerSecurityContext, String> {
    let default = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&default);
    let of_pod = pod.spec().security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let privileged = own.privileged.unwrap_or(false);
    let run_as_user = run_as_user(pod, container).or(image.uid);
    let mut supplemental_groups = of_pod.supplemental_groups.unwrap_or_default();
    supplemental_groups.extend(of_pod.fs_group);
    let seccomp = match own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()) {
        _ if privileged => SecurityProfile::Unconfined,
        Some(profile) => seccomp(profile, root_dir)?,
        None => SecurityProfile::RuntimeDefault,
    };
    Ok(LinuxContainerSecurityContext {
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        privileged,
        run_as_user,
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        run_as_username: if run_as_user.is_none() { image.username.clone() } else { String::new() },
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups,
        only_supplemental_groups: of_pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        seccomp,
        unmasked_proc: own.proc_mount.as_deref() == Some("Unmasked"),
        target_id: String::new(),
    })
}

/// A local profile is one below the node's directory of them, whatever its name says.
fn seccomp(profile: &SeccompProfile, root_dir: &Path) -> Result<SecurityProfile, String> {
    let file = profile.localhost_profile.as_deref().unwrap_or_default();
    match profile.type_.as_str() {
        "Unconfined" => Ok(SecurityProfile::Unconfined),
        "Localhost" if file.is_empty() => {
            Err("localhostProfile must be set if seccompProfile type is Localhost.".into())
        }
        "Localhost" => {
            let descends =
                Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if !descends {
                return Err(format!("localhostProfile {file:?} must be a relative path that does not contain '..'"));
            }
            Ok(SecurityProfile::Localhost(root_dir.join("seccomp").join(file).to_string_lossy().into_owned()))
        }
        _ => Ok(SecurityProfile::RuntimeDefault),
    }
}

/// `runAsUser` of the container, else of the pod.
pub fn run_as_user(pod: &Pod, container: &Container) -> Option<i64> {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
    own.or_else(|| pod.spec().security_context.as_ref()?.run_as_user)
}

/// Checks `runAsNonRoot`.
///
/// # Errors
/// With the message of a `CreateContainerConfigError`.
pub fn verify_non_root(pod: &Pod, container: &Container, image: &Image) -> Result<(), String> {
    let own = container.security_context.as_ref().and_then(|context| context.run_as_non_root);
    let of_pod = || pod.spec().security_context.as_ref()?.run_as_non_root;
    if !own.or_else(of_pod).unwrap_or(false) {
        return Ok(());
    }
    let place = format!("(pod: \"{}\", container: {})", pod.describe(), container.name);
    match run_as_user(pod, container) {
        Some(0) => return Err(format!("container's runAsUser breaks non-root policy {place}")),
        Some(_) => return Ok(()),
        None => {}
    }
    match image.uid {
        Some(0) => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        Some(_) => Ok(()),
        None if image.username.is_empty() => {
            Err(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        None => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {place}",
            image.username
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn run_as_non_root_is_checked_against_context_and_image() {
        let pod = |context: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
                "spec": {"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "c", "securityContext": context}]}}))
            .unwrap()
        };
        let check = |context, image: Image| {
            let pod = pod(context);
            verify_non_root(&pod, &pod.spec().containers[0], &image)
        };
        let named = Image { username: "app".into(), ..Default::default() };
        assert!(check(json!({"runAsUser": 1}), Image::default()).is_ok());
        assert!(check(json!({}), Image { uid: Some(1), ..Default::default() }).is_ok());
        assert!(check(json!({"runAsNonRoot": false}), Image::default()).is_ok());
        assert_eq!(
            check(json!({}), Image::default()).unwrap_err(),
            "container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)"
        );
        assert!(check(json!({"runAsUser": 0}), Image::default()).unwrap_err().contains("breaks non-root policy"));
        assert!(check(json!({}), named).unwrap_err().contains("non-numeric user (app)"));
    }

    #[test]
    fn a_local_seccomp_profile_is_below_its_directory() {
        let profile = |file: Option<&str>| SeccompProfile {
            type_: "Localhost".into(),
            localhost_profile: file.map(str::to_owned),
        };
        let found = |file| seccomp(&profile(file), Path::new("/node"));
        let expected = SecurityProfile::Localhost("/node/seccomp/profiles/a.json".into());
        assert_eq!(found(Some("profiles/a.json")), Ok(expected));
        for file in ["/dev/zero", "../../etc/passwd", "a/../../b"] {
            assert!(found(Some(file)).unwrap_err().contains("must be a relative path"), "{file}");
        }
        assert!(found(None).unwrap_err().contains("localhostProfile must be set"));
    }
}
