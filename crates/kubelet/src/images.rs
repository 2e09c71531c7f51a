//! Pulling images: policy, credentials, backoff, and what users are told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use coracle_client::{EventRecorder, EventType};
use coracle_runtime::cri::{AuthConfig, CriError, Image, ImageService};
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::backoff::Backoffs;
use crate::pod::PodExt;

/// Pulls at the same time.
const PARALLEL_PULLS: usize = 5;

/// How often a container that waits for a pull looks whether its image was loaded.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Why a container waits, as `state.waiting` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
    /// When to try again, when that is known.
    pub retry: Option<Duration>,
}

impl Waiting {
    /// A reason with its message, tried again after the worker's own delay.
    pub fn new(reason: &str, message: impl Into<String>) -> Waiting {
        Waiting { reason: reason.into(), message: message.into(), retry: None }
    }
}

struct Failure {
    message: String,
}

/// Decides whether and how images are pulled, for the whole node.
pub struct ImageManager {
    service: Arc<dyn ImageService>,
    recorder: EventRecorder,
    pulls: Semaphore,
    /// One pull an image at a time: the others find it present.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    backoffs: Mutex<Backoffs>,
    failures: Mutex<HashMap<String, Failure>>,
}

impl ImageManager {
    /// A manager over an image service.
    pub fn new(service: Arc<dyn ImageService>, recorder: EventRecorder) -> ImageManager {
        ImageManager {
            service,
            recorder,
            pulls: Semaphore::new(PARALLEL_PULLS),
            locks: Mutex::default(),
            backoffs: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// The image service.
    pub fn service(&self) -> &Arc<dyn ImageService> {
        &self.service
    }

    /// Makes sure that a container's image is present, as its pull policy says.
    ///
    /// # Errors
    /// With the waiting state of the container.
    pub async fn ensure(&self, pod: &Pod, container: &Container, secrets: &[Arc<Secret>]) -> Result<Image, Waiting> {
        let name = container.image.as_deref().unwrap_or_default();
        let event = |kind, reason: &str, message: String| {
            self.recorder.record(pod.container_reference(&container.name), kind, reason, message);
        };
        if name.is_empty() {
            let message =
                "Failed to apply default image tag \"\": couldn't parse image name \"\": invalid reference format";
            event(EventType::Warning, "InspectFailed", message.into());
            return Err(Waiting::new("InvalidImageName", message));
        }
        let policy = policy(container);
        let present = match self.service.image_status(name).await {
            Ok(present) => present,
            Err(CriError::InvalidArgument(_)) => {
                let message = format!(
                    "Failed to apply default image tag {name:?}: couldn't parse image name {name:?}: invalid reference format"
                );
                event(EventType::Warning, "InspectFailed", message.clone());
                return Err(Waiting::new("InvalidImageName", message));
            }
            Err(error) => {
                let message = format!("Failed to inspect image {name:?}: {error}");
                event(EventType::Warning, "InspectFailed", message.clone());
                return Err(Waiting::new("ImageInspectError", message));
            }
        };
        match (policy, present) {
            ("IfNotPresent" | "Never", Some(image)) => {
                event(EventType::Normal, "Pulled", format!("Container image {name:?} already present on machine"));
                return Ok(image);
            }
            ("Never", None) => {
                let message = format!("Container image {name:?} is not present with pull policy of Never");
                event(EventType::Warning, "ErrImageNeverPull", message.clone());
                return Err(Waiting::new("ErrImageNeverPull", message));
            }
            _ => {}
        }
        let key = format!("{}_{name}", pod.uid());
        let backoff = self.backoffs.lock().in_backoff_since_update(&key);
        if let Some((_, left)) = backoff {
            let cause = self.failures.lock().get(&key).map(|failure| failure.message.clone());
            let mut message = format!("Back-off pulling image {name:?}");
            event(EventType::Normal, "BackOff", message.clone());
            if let Some(cause) = cause {
                message = format!("{message}: ErrImagePull: {cause}");
            }
            // An image that is loaded in the meantime is found long before the next pull.
            let retry = Some(left.min(LOOK_AGAIN));
            return Err(Waiting { reason: "ImagePullBackOff".into(), message, retry });
        }
        let outcome = self.pull(name, policy, secrets, &event).await;
        match outcome {
            Ok(image) => {
                self.backoffs.lock().forget(&key);
                self.failures.lock().remove(&key);
                Ok(image)
            }
            Err(message) => {
                event(EventType::Warning, "Failed", format!("Failed to pull image {name:?}: {message}"));
                let delay = {
                    let mut backoffs = self.backoffs.lock();
                    backoffs.collect();
                    backoffs.next(&key)
                };
                self.failures.lock().insert(key, Failure { message: message.clone() });
                // The container goes on to ImagePullBackOff at once, which waits for the rest.
                let retry = Some(Duration::from_secs(1).min(delay));
                Err(Waiting { reason: "ErrImagePull".into(), message, retry })
            }
        }
    }

    async fn pull(
        &self,
        name: &str,
        policy: &str,
        secrets: &[Arc<Secret>],
        event: &impl Fn(EventType, &str, String),
    ) -> Result<Image, String> {
        let started = Instant::now();
        let lock = self.locks.lock().entry(name.to_owned()).or_default().clone();
        let turn = lock.lock().await;
        let result = async {
            // Another pod may have pulled it while this one waited.
            if policy == "IfNotPresent"
                && let Ok(Some(image)) = self.service.image_status(name).await
            {
                event(EventType::Normal, "Pulled", format!("Container image {name:?} already present on machine"));
                return Ok(image);
            }
            let _permit = self.pulls.acquire().await.map_err(|error| error.to_string())?;
            event(EventType::Normal, "Pulling", format!("Pulling image {name:?}"));
            let pulling = Instant::now();
            let mut candidates: Vec<Option<AuthConfig>> = credentials(name, secrets).into_iter().map(Some).collect();
            candidates.push(None);
            let mut failure = String::new();
            for auth in candidates {
                match self.service.pull_image(name, auth).await {
                    Ok(id) => {
                        let image = match self.service.image_status(&id).await {
                            Ok(Some(image)) => image,
                            Ok(None) => return Err(format!("image {id} vanished after it was pulled")),
                            Err(error) => return Err(error.to_string()),
                        };
                        let message = format!(
                            "Successfully pulled image {name:?} in {} ({} including waiting). Image size: {} bytes.",
                            short(pulling.elapsed()),
                            short(started.elapsed()),
                            image.size
                        );
                        event(EventType::Normal, "Pulled", message);
                        return Ok(image);
                    }
                    Err(error) => {
                        // The first failure is that of the best credentials.
                        if failure.is_empty() {
                            failure = error.to_string();
                        }
                    }
                }
            }
            Err(failure)
        }
        .await;
        drop(turn);
        let mut locks = self.locks.lock();
        if Arc::strong_count(&lock) <= 2 {
            locks.remove(name);
        }
        result
    }

    /// Forgets what is known of a pod that is gone.
    pub fn forget(&self, uid: &str) {
        let prefix = format!("{uid}_");
        self.failures.lock().retain(|key, _| !key.starts_with(&prefix));
    }
}

/// The pull policy, with Kubernetes' default by tag.
fn policy(container: &Container) -> &str {
    match container.image_pull_policy.as_deref().filter(|policy| !policy.is_empty()) {
        Some(policy) => policy,
        None => {
            let image = container.image.as_deref().unwrap_or_default();
            let last = image.rsplit('/').next().unwrap_or_default();
            let latest = last.ends_with(":latest") || !last.contains([':', '@']);
            if latest { "Always" } else { "IfNotPresent" }
        }
    }
}

/// A duration as Go prints it after rounding to milliseconds.
fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..=999 => format!("{millis}ms"),
        1000..=59_999 => format!("{}s", millis as f64 / 1000.0),
        _ => crate::backoff::go_duration(duration),
    }
}

/// The credentials that image pull secrets hold for an image, the most specific first.
fn credentials(image: &str, secrets: &[Arc<Secret>]) -> Vec<AuthConfig> {
    let mut found: Vec<(usize, AuthConfig)> = Vec::new();
    for secret in secrets {
        let data = secret.data.as_ref();
        let (text, nested) = match data.and_then(|data| data.get(".dockerconfigjson")) {
            Some(text) => (Some(text), true),
            None => (data.and_then(|data| data.get(".dockercfg")), false),
        };
        let Some(json) = text.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text.0).ok()) else {
            continue;
        };
        let auths = if nested { &json["auths"] } else { &json };
        for (server, entry) in auths.as_object().into_iter().flatten() {
            if let (Some(rank), Some(auth)) = (matches(image, server), auth_of(entry)) {
                found.push((rank, auth));
            }
        }
    }
    found.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn auth_of(entry: &serde_json::Value) -> Option<AuthConfig> {
    if let Some(auth) = entry["auth"].as_str().filter(|auth| !auth.is_empty()) {
        let plain = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
        let plain = String::from_utf8(plain).ok()?;
        let (username, password) = plain.split_once(':')?;
        return Some(AuthConfig { username: username.into(), password: password.trim_end_matches('\0').into() });
    }
    let username = entry["username"].as_str()?.to_owned();
    Some(AuthConfig { username, password: entry["password"].as_str().unwrap_or_default().to_owned() })
}

/// How well an entry of a docker configuration fits an image: the length of what it names.
fn matches(image: &str, server: &str) -> Option<usize> {
    let server = server.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let server =
        server.trim_end_matches("/v1").trim_end_matches("/v2").trim_end_matches("/v1/").trim_end_matches("/v2/");
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let (image_host, image_path) = match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", image),
    };
    let docker = |host: &str| matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
    let parts = |host: &str| host.split('.').map(str::to_owned).collect::<Vec<_>>();
    let same = |pattern: &str, part: &str| match pattern.split_once('*') {
        None => pattern == part,
        Some((start, end)) => part.len() >= start.len() + end.len() && part.starts_with(start) && part.ends_with(end),
    };
    let (wanted, have) = (parts(host), parts(image_host));
    let host_fits = (docker(host) && docker(image_host))
        || (wanted.len() == have.len() && wanted.iter().zip(&have).all(|(pattern, part)| same(pattern, part)));
    (host_fits && image_path.starts_with(path)).then_some(server.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pull_secrets_are_matched_by_registry() {
        let config = json!({"auths": {
            "reg.example.com": {"auth": base64::engine::general_purpose::STANDARD.encode("u:p:q")},
            "reg.example.com/team": {"username": "t", "password": "s"},
            "https://index.docker.io/v1/": {"username": "d", "password": "s"},
            "*.wild.io": {"username": "w", "password": "s"},
        }});
        let secret: Secret = serde_json::from_value(json!({"data": {
            ".dockerconfigjson": base64::engine::general_purpose::STANDARD.encode(config.to_string())}}))
        .unwrap();
        let secrets = [Arc::new(secret)];
        let users = |image| credentials(image, &secrets).into_iter().map(|auth| auth.username).collect::<Vec<_>>();
        assert_eq!(users("reg.example.com/team/web:1"), ["t", "u"]);
        assert_eq!(users("reg.example.com/web:1"), ["u"]);
        assert_eq!(users("nginx"), ["d"]);
        assert_eq!(users("a.wild.io/x"), ["w"]);
        assert!(users("other.io/x").is_empty());
        assert_eq!(credentials("reg.example.com/web", &secrets)[0].password, "p:q");
    }

    #[test]
    fn the_default_policy_depends_on_the_tag() {
        let of = |image: &str| policy(&Container { image: Some(image.into()), ..Default::default() }).to_owned();
        assert_eq!(of("web"), "Always");
        assert_eq!(of("host:5000/web"), "Always");
        assert_eq!(of("web:1"), "IfNotPresent");
        assert_eq!(of("web@sha256:00"), "IfNotPresent");
    }
}
