//! `secret` volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{KeyToPath, Pod, SecretVolumeSource};

use super::VolumeManager;
use super::payload::{Payload, found, mode, select};
use crate::pod::PodExt;

/// The files of a `secret` volume.
pub(super) async fn payload(
    manager: &VolumeManager,
    pod: &Pod,
    source: &SecretVolumeSource,
) -> Result<Payload, String> {
    let optional = source.optional == Some(true);
    let name = source.secret_name.as_deref().unwrap_or_default();
    project(manager, pod, name, source.items.as_deref(), mode(source.default_mode), optional).await
}

/// The files that a Secret gives to a volume.
pub(super) async fn project(
    manager: &VolumeManager,
    pod: &Pod,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: u32,
    optional: bool,
) -> Result<Payload, String> {
    let object = manager.secrets.get(pod.uid(), pod.namespace(), name).await?;
    match found(object, optional, "secret", name)? {
        Some(secret) => {
            let data: BTreeMap<_, _> =
                secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
            select(&data, items, mode, optional, "secret")
        }
        None => Ok(Payload::new()),
    }
}
