//! `configMap` volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, KeyToPath, Pod};

use super::VolumeManager;
use super::payload::{Payload, found, mode, select};
use crate::pod::PodExt;

/// The files of a `configMap` volume.
pub(super) async fn payload(
    manager: &VolumeManager,
    pod: &Pod,
    source: &ConfigMapVolumeSource,
) -> Result<Payload, String> {
    let optional = source.optional == Some(true);
    project(manager, pod, &source.name, source.items.as_deref(), mode(source.default_mode), optional).await
}

/// The files that a ConfigMap gives to a volume.
pub(super) async fn project(
    manager: &VolumeManager,
    pod: &Pod,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: u32,
    optional: bool,
) -> Result<Payload, String> {
    let object = manager.config_maps.get(pod.uid(), pod.namespace(), name).await?;
    match found(object, optional, "configmap", name)? {
        Some(map) => select(&data(&map), items, mode, optional, "configmap"),
        None => Ok(Payload::new()),
    }
}

fn data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}
