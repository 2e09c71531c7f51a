//! `downwardAPI` volumes.

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, Pod};

use super::payload::{File, Payload};
use super::{Facts, VolumeManager};
use crate::env::field_value;
use crate::pod::PodExt;
use crate::resources::resource_field;

/// The files of a `downwardAPI` volume.
pub(super) fn payload(
    manager: &VolumeManager,
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    default_mode: u32,
    facts: &Facts<'_>,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            field_value(pod, &field.field_path, facts.pod_ips, &manager.host_ips)?
        } else if let Some(selector) = &item.resource_field_ref {
            let name = selector.container_name.as_deref().unwrap_or_default();
            let container = pod.container(name).ok_or_else(|| format!("container {name} not found"))?;
            resource_field(selector, pod, container, &manager.allocatable)?
        } else {
            continue;
        };
        let mode = item.mode.map_or(default_mode, |mode| mode as u32 & 0o777);
        payload.insert(item.path.clone(), File { data: text.into_bytes(), mode, uid: None });
    }
    Ok(payload)
}
