//! An APIService for each group and version that definitions define, as clients expect of what is served.

use std::collections::HashSet;

use anyhow::Result;
use coracle_api::{kinds, meta};
use serde_json::{Value, json};

use super::failed;
use crate::objects::{DeleteOptions, Objects};
use crate::operation::{Operation, Verb};

/// Marks those that come and go with definitions.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const MANAGED_VALUE: &str = "true";
/// Priorities of what is defined, as upstream's.
const GROUP_PRIORITY: u32 = 1000;
const VERSION_PRIORITY: u32 = 100;

/// Makes what is missing, and deletes what is served no more.
pub(super) async fn follow(objects: &Objects) -> Result<()> {
    let kind = kinds::by_resource("apiregistration.k8s.io", "v1", "apiservices").expect("the kind is in the table");
    let cache = objects.storage.cache(kind).map_err(failed)?;
    let registry = objects.storage.kinds.snapshot();
    let mut wanted = HashSet::new();
    for group in registry.groups() {
        let versions = group.versions.iter().filter(|version| !kinds::built_in().serves(&group.name, version));
        for version in versions {
            let name = format!("{version}.{}", group.name);
            if cache.get(&name).map_err(failed)?.is_none() {
                let op = Operation::by_server(kind, Verb::Create);
                match objects.create(&op, object(&name, &group.name, version)).await {
                    Err(status) if status.code != 409 => return Err(failed(status)),
                    _ => {}
                }
            }
            wanted.insert(name);
        }
    }
    let snapshot = cache.snapshot();
    let gone: Vec<String> = snapshot
        .range("", None)
        .filter(|object| object.label(MANAGED) == Some(MANAGED_VALUE) && !wanted.contains(object.name()))
        .map(|object| object.key().to_owned())
        .collect();
    for key in gone {
        match objects.delete(&Operation::by_server(kind, Verb::Delete), &key, &DeleteOptions::default()).await {
            Err(status) if status.code != 404 => return Err(failed(status)),
            _ => {}
        }
    }
    Ok(())
}

fn object(name: &str, group: &str, version: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"labels": {MANAGED: MANAGED_VALUE}},
        "spec": {
            "group": group, "version": version, "groupPriorityMinimum": GROUP_PRIORITY, "versionPriority": VERSION_PRIORITY,
        },
    });
    meta::set_name(&mut object, name);
    object
}
