//! What this server has and what others have, told as one.

use coracle_api::registry::{Group, Registry};
use serde_json::{Map, Value, json};

use super::Remotes;

/// All named groups with their versions, in the order in which clients prefer them.
pub(crate) fn groups(registry: &Registry, remotes: &Remotes) -> Vec<Group> {
    let mut groups: Vec<Group> = registry.groups().iter().filter(|group| !group.name.is_empty()).cloned().collect();
    let mut known: Vec<_> = remotes.known.iter().map(|known| &known.remote).collect();
    known.sort_by_key(|remote| (-remote.group_priority, remote.group.clone(), -remote.version_priority));
    for remote in known {
        let priority = u32::try_from(remote.group_priority).unwrap_or(0);
        if let Some(group) = groups.iter_mut().find(|group| group.name == remote.group) {
            if !group.versions.contains(&remote.version) {
                group.versions.push(remote.version.clone());
            }
            continue;
        }
        let at = groups.iter().position(|group| group.priority.is_some_and(|other| other < priority));
        let group =
            Group { name: remote.group.clone(), versions: vec![remote.version.clone()], priority: Some(priority) };
        groups.insert(at.unwrap_or(groups.len()), group);
    }
    groups
}

/// The index of OpenAPI documents of version 3 with those of others.
pub(crate) fn open_api_v3_index(own: Vec<u8>, remotes: &Remotes) -> Vec<u8> {
    let described =
        remotes.known.iter().filter_map(|known| Some((&known.remote, known.described.open_api_v3.as_ref()?)));
    with(own, described.count(), |document| {
        let described =
            remotes.known.iter().filter_map(|known| Some((&known.remote, known.described.open_api_v3.as_ref()?)));
        for (remote, url) in described {
            document["paths"][format!("apis/{}/{}", remote.group, remote.version)] = json!({"serverRelativeURL": url});
        }
    })
}

/// The OpenAPI document of version 2 with the paths of others and what these mean. What both define is this server's.
pub(crate) fn open_api_v2(own: Vec<u8>, remotes: &Remotes) -> Vec<u8> {
    with(own, remotes.known.len(), |document| {
        for known in &remotes.known {
            let Ok(Value::Object(theirs)) = serde_json::from_slice(&known.described.open_api_v2) else { continue };
            let below = format!("/apis/{}/{}/", known.remote.group, known.remote.version);
            add(document, &theirs, "paths", |path| format!("{path}/").starts_with(&below));
            add(document, &theirs, "definitions", |_| true);
        }
    })
}

fn add(document: &mut Value, theirs: &Map<String, Value>, part: &str, wanted: impl Fn(&str) -> bool) {
    let Some(own) = document[part].as_object_mut() else { return };
    for (name, value) in
        theirs.get(part).and_then(Value::as_object).into_iter().flatten().filter(|(name, _)| wanted(name))
    {
        own.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

/// A document that is changed, where there is anything to change.
fn with(own: Vec<u8>, count: usize, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    if count == 0 {
        return own;
    }
    let Ok(mut document) = serde_json::from_slice(&own) else { return own };
    change(&mut document);
    document.to_string().into_bytes()
}
