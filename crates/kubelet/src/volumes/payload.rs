//! The files of a volume that the kubelet writes, and how keys of objects become files.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::KeyToPath;

/// Files of a volume by relative path.
pub(crate) type Payload = BTreeMap<String, File>;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    /// Owner, when not root.
    pub(crate) uid: Option<u32>,
}

/// The mode of files that say nothing else.
pub(super) fn mode(default: Option<i32>) -> u32 {
    default.map_or(0o644, |mode| mode as u32 & 0o777)
}

/// Chooses keys of an object for files: all of them, or those of `items` under their paths.
pub(super) fn select(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
    kind: &str,
) -> Result<Payload, String> {
    let file = |data: &[u8], mode| File { data: data.to_vec(), mode, uid: None };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.iter().map(|(key, value)| (key.clone(), file(value, default_mode))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                payload
                    .insert(item.path.clone(), file(value, item.mode.map_or(default_mode, |mode| mode as u32 & 0o777)));
            }
            None if optional => {}
            None => {
                return Err(match kind {
                    "configmap" => format!("configmap references non-existent config key: {}", item.key),
                    kind => format!("references non-existent {kind} key: {}", item.key),
                });
            }
        }
    }
    Ok(payload)
}

/// A shared object or the message for its absence.
pub(super) fn found<K>(
    object: Option<Arc<K>>,
    optional: bool,
    kind: &str,
    name: &str,
) -> Result<Option<Arc<K>>, String> {
    match object {
        None if !optional => Err(format!("{kind} {name:?} not found")),
        object => Ok(object),
    }
}
