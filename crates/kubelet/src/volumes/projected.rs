//! `projected` volumes: several sources in one directory.

use k8s_openapi::api::core::v1::{Pod, ProjectedVolumeSource};
use tokio::time::Instant;

use super::payload::{File, Payload, mode};
use super::{Facts, VolumeManager, config_map, downward, secret};
use crate::pod::PodExt;
use crate::security::run_as_user;

/// The files of a `projected` volume; `refresh` becomes the earliest time at which a token must be renewed.
pub(super) async fn payload(
    manager: &VolumeManager,
    pod: &Pod,
    source: &ProjectedVolumeSource,
    facts: &Facts<'_>,
    refresh: &mut Option<Instant>,
) -> Result<Payload, String> {
    let mode = mode(source.default_mode);
    let mut payload = Payload::new();
    for part in source.sources.iter().flatten() {
        if let Some(map) = &part.config_map {
            payload.extend(
                config_map::project(manager, pod, &map.name, map.items.as_deref(), mode, map.optional == Some(true))
                    .await?,
            );
        }
        if let Some(from) = &part.secret {
            payload.extend(
                secret::project(manager, pod, &from.name, from.items.as_deref(), mode, from.optional == Some(true))
                    .await?,
            );
        }
        if let Some(api) = &part.downward_api {
            payload.extend(downward::payload(manager, pod, api.items.as_deref().unwrap_or_default(), mode, facts)?);
        }
        if let Some(token) = &part.service_account_token {
            let (text, renew) = manager.tokens.get(pod, token).await?;
            *refresh = Some(refresh.map_or(renew, |known| known.min(renew)));
            let fs_group = pod.spec().security_context.as_ref().and_then(|context| context.fs_group);
            let uid = common_user(pod);
            // With a known reader nobody else may read the token.
            let mode = if uid.is_some() || fs_group.is_some() { 0o600 } else { mode };
            payload.insert(token.path.clone(), File { data: text.into_bytes(), mode, uid });
        }
        if let Some(bundle) = &part.cluster_trust_bundle
            && bundle.optional != Some(true)
        {
            return Err("clusterTrustBundle projection is not supported by this node".to_owned());
        }
    }
    Ok(payload)
}

/// The user that all containers run as, when it is one.
fn common_user(pod: &Pod) -> Option<u32> {
    let mut users =
        pod.init_containers().iter().chain(&pod.spec().containers).map(|container| run_as_user(pod, container));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first as u32)
}
