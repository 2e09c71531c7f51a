//! Starting one container: image, configuration, creation.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coracle_client::EventType;
use coracle_runtime::cri::{
    ContainerConfig, ContainerMetadata, ContainerStatus, Device, Image, Mount, MountPropagation, PodSandbox,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio_util::sync::CancellationToken;

use crate::env::{Sources, make_environment, references, services_of};
use crate::expand::{expand, expand_strictly};
use crate::hosts::hosts_file;
use crate::images::Waiting;
use crate::kubelet::Kubelet;
use crate::pod::{PodExt, container_hash, is_recursively_read_only};
use crate::resources::container_resources;
use crate::security::{container_security, verify_non_root};
use crate::sync::{HASH, IMAGE, Observed, RESOURCES};
use crate::volumes::{Mounted, subpath};

/// Everything needed to start a container.
pub(crate) struct Start {
    pub(crate) pod: Arc<Pod>,
    pub(crate) container: Container,
    pub(crate) attempt: u32,
    pub(crate) sandbox: PodSandbox,
    pub(crate) mounted: Mounted,
    /// Ends the wait for an image.
    pub(crate) cancel: CancellationToken,
}

/// Pulls, creates and starts; answers with the container as the runtime then has it.
///
/// # Errors
/// With why the container waits, and the container if it was made and could not be started. Events were recorded.
pub(crate) async fn start(
    k: &Arc<Kubelet>,
    start: &Arc<Start>,
) -> Result<ContainerStatus, (Waiting, Option<ContainerStatus>)> {
    let (id, event) = create(k, start).await.map_err(|waiting| (waiting, None))?;
    let started = k.runtime.start_container(&id).await;
    k.metrics.container_started(kind(&start.pod, &start.container.name), started.is_err());
    if let Err(error) = started {
        event(EventType::Warning, "Failed", format!("Error: {error}"));
        // The attempt stays as a container that ended, so that its exit code and message are seen.
        let status = k.runtime.container_status(&id).await.ok();
        return Err((Waiting::new("RunContainerError", error.to_string()), status));
    }
    event(EventType::Normal, "Started", format!("Started container {}", start.container.name));
    k.runtime.container_status(&id).await.map_err(|error| (Waiting::new("RunContainerError", error.to_string()), None))
}

/// What metrics call a container of this name.
fn kind(pod: &Pod, name: &str) -> &'static str {
    match pod.container(name) {
        None => "ephemeral_container",
        Some(_) if pod.init_containers().iter().any(|container| container.name == name) => "init_container",
        Some(_) => "container",
    }
}

/// Pulls and creates; answers with the container's ID and a recorder of its events.
async fn create<'a>(
    k: &'a Arc<Kubelet>,
    start: &'a Arc<Start>,
) -> Result<(String, impl Fn(EventType, &str, String) + 'a), Waiting> {
    let Start { pod, container, .. } = &**start;
    let event = move |kind, reason: &str, message: String| {
        k.recorder.record(pod.container_reference(&container.name), kind, reason, message)
    };
    let failed = |reason: &str, message: String| {
        event(EventType::Warning, "Failed", format!("Error: {message}"));
        Waiting::new(reason, message)
    };
    let cancelled = || Waiting::new("ContainerCreating", "");
    let image = tokio::select! {
        image = ensure_image(k, pod, container) => image,
        () = start.cancel.cancelled() => return Err(cancelled()),
    };
    let image = image.inspect_err(|waiting| {
        event(EventType::Warning, "Failed", format!("Error: {}", waiting.reason));
    })?;
    let config = tokio::select! {
        config = configure(k, start, &image) => config,
        () = start.cancel.cancelled() => return Err(cancelled()),
    };
    let config = config.map_err(|message| failed("CreateContainerConfigError", message))?;
    let id = match k.runtime.create_container(&start.sandbox.id, config).await {
        Ok(id) => id,
        Err(error) => return Err(failed("CreateContainerError", error.to_string())),
    };
    event(EventType::Normal, "Created", format!("Created container: {}", container.name));
    Ok((id, event))
}

async fn ensure_image(k: &Kubelet, pod: &Pod, container: &Container) -> Result<Image, Waiting> {
    let mut secrets = Vec::new();
    for reference in pod.spec().image_pull_secrets.iter().flatten() {
        match k.volumes.secrets.get(pod.uid(), pod.namespace(), &reference.name).await {
            Ok(Some(secret)) => secrets.push(secret),
            Ok(None) => k.recorder.event(
                pod,
                EventType::Warning,
                "FailedToRetrieveImagePullSecret",
                format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    reference.name
                ),
            ),
            Err(error) => tracing::debug!(pod = %pod.describe(), "an image pull secret cannot be read: {error}"),
        }
    }
    k.images.ensure(pod, container, &secrets).await
}

async fn sources(k: &Kubelet, start: &Start) -> Result<Sources, String> {
    let Start { pod, container, sandbox, .. } = start;
    let (config_maps, secrets) = references(container);
    let mut sources = Sources {
        pod_ips: sandbox.ips.clone(),
        host_ips: k.config.node_ips(),
        allocatable: k.allocatable.clone(),
        ..Default::default()
    };
    for name in config_maps {
        if let Some(map) = k.volumes.config_maps.get(pod.uid(), pod.namespace(), &name).await? {
            sources.config_maps.insert(name, map);
        }
    }
    for name in secrets {
        if let Some(secret) = k.volumes.secrets.get(pod.uid(), pod.namespace(), &name).await? {
            sources.secrets.insert(name, secret);
        }
    }
    if tokio::time::timeout(Duration::from_secs(5), k.services.synced()).await.is_err() {
        return Err("services have not yet been read at least once, cannot construct envvars".to_owned());
    }
    sources.services = services_of(pod, k.services.store().list());
    Ok(sources)
}

async fn configure(k: &Arc<Kubelet>, start: &Arc<Start>, image: &Image) -> Result<ContainerConfig, String> {
    let Start { pod, container, attempt, mounted, .. } = &**start;
    verify_non_root(pod, container, image)?;
    crate::support::container(container)?;
    let sources = sources(k, start).await?;
    let envs = make_environment(pod, container, &sources)?;
    let by_name: BTreeMap<&str, &str> = envs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let lookup = |name: &str| by_name.get(name).map(|value| (*value).to_owned());
    let expanded =
        |list: &Option<Vec<String>>| list.iter().flatten().map(|text| expand(text, lookup)).collect::<Vec<_>>();
    let devices = devices(container, mounted)?;
    let (kubelet, request, variables) = (k.clone(), start.clone(), envs.clone());
    let mounts = tokio::task::spawn_blocking(move || {
        let by_name: BTreeMap<&str, &str> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        mounts(&kubelet, &request, |name| by_name.get(name).map(|value| (*value).to_owned()))
    });
    let mounts = mounts.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let labels = BTreeMap::from([
        ("io.kubernetes.pod.name".to_owned(), pod.name().to_owned()),
        ("io.kubernetes.pod.namespace".to_owned(), pod.namespace().to_owned()),
        ("io.kubernetes.pod.uid".to_owned(), pod.uid().to_owned()),
        ("io.kubernetes.container.name".to_owned(), container.name.clone()),
    ]);
    let annotations = BTreeMap::from([
        (HASH.to_owned(), container_hash(container)),
        (IMAGE.to_owned(), container.image.clone().unwrap_or_default()),
        (
            RESOURCES.to_owned(),
            serde_json::to_string(&container.resources.clone().unwrap_or_default()).unwrap_or_default(),
        ),
        ("io.kubernetes.container.restartCount".to_owned(), attempt.to_string()),
        (
            "io.kubernetes.container.terminationMessagePolicy".to_owned(),
            container.termination_message_policy.clone().unwrap_or_else(|| "File".into()),
        ),
    ]);
    let mut security = container_security(pod, container, image, &k.config.root_dir)?;
    let observed = k.pods.observed(pod.uid()).unwrap_or_default();
    security.target_id = target_id(pod, &container.name, &observed)?;
    Ok(ContainerConfig {
        metadata: ContainerMetadata { name: container.name.clone(), attempt: *attempt },
        image: if image.id.is_empty() { container.image.clone().unwrap_or_default() } else { image.id.clone() },
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts,
        devices,
        labels,
        annotations,
        log_path: format!("{}/{attempt}.log", container.name),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        resources: container_resources(pod, container, k.memory),
        security,
        stop_signal: container
            .lifecycle
            .as_ref()
            .and_then(|lifecycle| lifecycle.stop_signal.clone())
            .unwrap_or_default(),
        envs,
    })
}

/// The container whose processes an ephemeral container is to see; empty for none.
fn target_id(pod: &Pod, name: &str, observed: &Observed) -> Result<String, String> {
    let mut ephemeral = pod.spec().ephemeral_containers.iter().flatten();
    let target = ephemeral.find(|container| container.name == name);
    let target = target.and_then(|container| container.target_container_name.as_deref()).unwrap_or_default();
    if target.is_empty() {
        return Ok(String::new());
    }
    let found = observed.latest(target).map(|status| status.id.clone());
    found.ok_or_else(|| format!("unable to find target container {target}"))
}

/// The block volumes that the container is given as devices.
fn devices(container: &Container, mounted: &Mounted) -> Result<Vec<Device>, String> {
    let devices = container.volume_devices.iter().flatten().map(|device| {
        let path = mounted.paths.get(&device.name).ok_or_else(|| {
            format!("cannot find volume {:?} to pass into container {:?}", device.name, container.name)
        })?;
        Ok(Device {
            container_path: device.device_path.clone(),
            host_path: path.to_string_lossy().into_owned(),
            permissions: if mounted.read_only.contains(&device.name) { "r" } else { "mrw" }.to_owned(),
        })
    });
    devices.collect()
}

/// What is mounted into the container. Blocks.
fn mounts(k: &Kubelet, start: &Start, lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Vec<Mount>> {
    let Start { pod, container, attempt, mounted, sandbox, .. } = start;
    let mut mounts = Vec::new();
    let mut etc_hosts = false;
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = mounted.paths.get(&mount.name).ok_or_else(|| {
            anyhow::anyhow!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name)
        })?;
        let sub = match (mount.sub_path_expr.as_deref(), mount.sub_path.as_deref()) {
            (Some(expression), _) if !expression.is_empty() => expand_strictly(expression, &lookup)
                .map_err(|name| anyhow::anyhow!("missing value for {name:?} in subPathExpr {expression:?}"))?,
            (_, sub) => sub.unwrap_or_default().to_owned(),
        };
        let recursively = is_recursively_read_only(mount) && path.is_dir();
        let host_path = if sub.is_empty() && !recursively {
            path.clone()
        } else {
            let target = k
                .volumes
                .pod_dir(pod.uid())
                .join("volume-subpaths")
                .join(&mount.name)
                .join(&container.name)
                .join(index.to_string());
            subpath::bind(path, &sub, &target, recursively).map_err(|error| {
                anyhow::anyhow!(
                    "failed to prepare subPath for volumeMount {:?} of container {:?}: {error}",
                    mount.name,
                    container.name
                )
            })?
        };
        etc_hosts |= mount.mount_path == "/etc/hosts";
        let mount_path = Path::new("/").join(&mount.mount_path);
        mounts.push(Mount {
            container_path: mount_path.to_string_lossy().into_owned(),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: mount.read_only.unwrap_or(false) || mounted.read_only.contains(&mount.name),
            propagation: match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => MountPropagation::HostToContainer,
                Some("Bidirectional") => MountPropagation::Bidirectional,
                _ => MountPropagation::Private,
            },
        });
    }
    if !etc_hosts {
        let file = k.volumes.pod_dir(pod.uid()).join("etc-hosts");
        let node =
            if pod.host_network() { std::fs::read_to_string("/etc/hosts").unwrap_or_default() } else { String::new() };
        let text = hosts_file(pod, &sandbox.ips, &k.config.cluster_domain, &node);
        if !std::fs::File::open(&file).is_ok_and(|old| holds(old, &text)) {
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&file, text)?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
        }
        mounts.push(plain("/etc/hosts", &file));
    }
    let message_path =
        container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/dev/termination-log");
    let file = k.termination_file(pod.uid(), &container.name, *attempt);
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&file, b"")?;
    // Whatever user the container has must be able to write it.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666))?;
    mounts.push(plain(message_path, &file));
    Ok(mounts)
}

/// Whether a file has this text. Containers write to it and may have made it of any length: what cannot be the text is
/// not read.
fn holds(file: impl Read, text: &str) -> bool {
    let mut found = Vec::with_capacity(text.len() + 1);
    let read = file.take(text.len() as u64 + 1).read_to_end(&mut found);
    read.is_ok() && found == text.as_bytes()
}

fn plain(container_path: &str, file: &Path) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        host_path: file.to_string_lossy().into_owned(),
        readonly: false,
        propagation: MountPropagation::Private,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::container_status;
    use coracle_runtime::cri::ContainerState;

    #[test]
    fn a_hosts_file_that_a_container_made_endless_is_not_read_to_its_end() {
        assert!(holds(&b"127.0.0.1 a\n"[..], "127.0.0.1 a\n"));
        for other in [&b""[..], b"127.0.0.1 b\n", b"127.0.0.1 a\nmore"] {
            assert!(!holds(other, "127.0.0.1 a\n"));
        }
        assert!(!holds(std::io::repeat(b'1'), "127.0.0.1 a\n"));
    }

    #[test]
    fn an_ephemeral_container_names_the_container_whose_processes_it_sees() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "app"}],
            "ephemeralContainers": [{"name": "debug", "targetContainerName": "app"}, {"name": "plain"}]}}))
        .unwrap();
        let mut observed = Observed::default();
        let error = target_id(&pod, "debug", &observed).unwrap_err();
        assert_eq!(error, "unable to find target container app");
        observed.put(container_status("u", "app", 2, ContainerState::Running, 0));
        assert_eq!(target_id(&pod, "debug", &observed).as_deref(), Ok("u-app-2"));
        for name in ["plain", "app"] {
            assert_eq!(target_id(&pod, name, &observed).as_deref(), Ok(""));
        }
    }
}
