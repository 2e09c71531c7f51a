//! Hooks, and stopping containers.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use coracle_client::EventType;
use coracle_runtime::cri::{ContainerStatus, CriError};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::probe::{http, port};

/// The least time a container gets to react to its stop signal.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);

/// Runs a hook.
///
/// # Errors
/// With what its event says.
pub(crate) async fn run_hook(
    k: &Kubelet,
    handler: &LifecycleHandler,
    container: &Container,
    id: &str,
    ip: Option<IpAddr>,
) -> Result<(), String> {
    if let Some(action) = &handler.exec {
        let command = action.command.clone().unwrap_or_default();
        return match k.runtime.exec_sync(id, command.clone(), None).await {
            Ok(response) if response.exit_code == 0 => Ok(()),
            Ok(response) => {
                let mut output = response.stdout;
                output.extend(response.stderr);
                let output = String::from_utf8_lossy(&output).into_owned();
                Err(format!(
                    "Exec lifecycle hook ([{}]) for Container {:?} failed - error: command '{}' exited with {}: {output}, message: {output:?}",
                    command.join(" "),
                    container.name,
                    command.join(" "),
                    response.exit_code
                ))
            }
            Err(error) => Err(error.to_string()),
        };
    }
    if let Some(action) = &handler.http_get {
        let number = port(&action.port, container)?;
        let host =
            action.host.clone().filter(|host| !host.is_empty()).or(ip.map(|ip| ip.to_string())).unwrap_or_default();
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let path = action.path.as_deref().unwrap_or("/");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
        let uri = format!("{scheme}://{host}:{number}{path}").parse().map_err(|error| format!("{error}"))?;
        let response = http::get(&uri, action, Duration::from_secs(30)).await?;
        if http::is_success(response.status()) {
            return Ok(());
        }
        return Err(format!(
            "HTTP lifecycle hook ({path}) for Container {:?} failed - statuscode: {}",
            container.name,
            response.status().as_u16()
        ));
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(action.seconds.max(0) as u64)).await;
    }
    Ok(())
}

/// Stops a container: its preStop hook, then its stop signal, then SIGKILL; all within `grace` (but at least two
/// seconds after the hook, unless the grace is shorter).
pub(crate) async fn kill_container(
    k: &Kubelet,
    pod: &Pod,
    name: &str,
    id: &str,
    ip: Option<IpAddr>,
    grace: Duration,
    message: &str,
) -> Result<Option<Box<ContainerStatus>>, CriError> {
    let reference = pod.container_reference(name);
    k.recorder.record(reference.clone(), EventType::Normal, "Killing", message);
    let started = Instant::now();
    let container = pod.container(name);
    let hook = container.and_then(|container| Some((container, container.lifecycle.as_ref()?.pre_stop.as_ref()?)));
    if let Some((container, hook)) = hook.filter(|_| !grace.is_zero()) {
        let ip = ip.or(pod.host_network().then_some(k.config.node_ip));
        // The container may end while its hook still runs; then there is nothing to wait for.
        let outcome = tokio::time::timeout(grace, run_hook(k, hook, container, id, ip)).await;
        if let Ok(Err(error)) = outcome {
            k.recorder.record(
                reference,
                EventType::Warning,
                "FailedPreStopHook",
                format!("PreStopHook failed: {error}"),
            );
        }
    }
    let left = grace.saturating_sub(started.elapsed());
    stop_container(k, id, if hook.is_some() { left.max(MINIMUM_GRACE.min(grace)) } else { grace }).await
}

/// Stops a container; answers with what it is then, as its end may not have been told yet. `None` when there is none.
pub(crate) async fn stop_container(
    k: &Kubelet,
    id: &str,
    grace: Duration,
) -> Result<Option<Box<ContainerStatus>>, CriError> {
    match k.runtime.stop_container(id, grace).await {
        Err(CriError::NotFound(_)) => return Ok(None),
        other => other?,
    }
    match k.runtime.container_status(id).await {
        Err(CriError::NotFound(_)) => Ok(None),
        other => other.map(Box::new).map(Some),
    }
}
