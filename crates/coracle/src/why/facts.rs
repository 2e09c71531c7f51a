//! What there is to know: the objects of a namespace, and those of the cluster that decide over them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use coracle_client::{Remote, remote};
use serde_json::Value;

/// Pages of a list.
const PAGE: usize = 500;

/// What is read: the plural, the path before it, and whether only what is in the namespace counts.
const LISTS: [(&str, &str, bool); 13] = [
    ("pods", "api/v1", false),
    ("nodes", "api/v1", false),
    ("namespaces", "api/v1", false),
    ("events", "api/v1", true),
    ("services", "api/v1", true),
    ("persistentvolumeclaims", "api/v1", true),
    ("persistentvolumes", "api/v1", false),
    ("endpointslices", "apis/discovery.k8s.io/v1", true),
    ("storageclasses", "apis/storage.k8s.io/v1", false),
    ("deployments", "apis/apps/v1", true),
    ("statefulsets", "apis/apps/v1", true),
    ("daemonsets", "apis/apps/v1", true),
    ("replicasets", "apis/apps/v1", true),
];
const JOBS: (&str, &str, bool) = ("jobs", "apis/batch/v1", true);

/// Objects, by the plural of their kind.
#[derive(Debug, Default)]
pub struct Facts {
    pub namespace: String,
    pub lists: BTreeMap<&'static str, Vec<Value>>,
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// The server cannot be reached, or does not let the user read. What lies outside of the namespace is left out if the user
    /// may not read it.
    pub async fn read(to: &Remote, namespace: &str) -> Result<Facts> {
        let client = remote(to)?;
        let mut facts = Facts { namespace: namespace.to_owned(), lists: BTreeMap::new() };
        for (plural, group, is_namespaced) in LISTS.into_iter().chain([JOBS]) {
            let own = format!("/{group}/namespaces/{namespace}/{plural}");
            let path = if is_namespaced { own.clone() } else { format!("/{group}/{plural}") };
            let items = match list(&client, &path).await {
                Err(kube::Error::Api(status)) if status.code == 403 && !is_namespaced => {
                    if plural == "pods" {
                        list(&client, &own).await
                    } else {
                        Ok(Vec::new())
                    }
                }
                other => other,
            };
            facts.lists.insert(plural, items.with_context(|| format!("failed to read the {plural}"))?);
        }
        Ok(facts)
    }

    /// All objects of a kind that were read.
    pub fn all(&self, plural: &str) -> &[Value] {
        self.lists.get(plural).map(Vec::as_slice).unwrap_or_default()
    }

    /// Those in the namespace.
    pub fn own(&self, plural: &str) -> impl Iterator<Item = &Value> {
        self.all(plural).iter().filter(|object| object["metadata"]["namespace"] == self.namespace.as_str())
    }

    /// An object of the namespace.
    pub fn find(&self, plural: &str, name: &str) -> Option<&Value> {
        self.own(plural).find(|object| object["metadata"]["name"] == name)
    }

    /// An object of the cluster.
    pub fn cluster_wide(&self, plural: &str, name: &str) -> Option<&Value> {
        self.all(plural).iter().find(|object| object["metadata"]["name"] == name)
    }

    /// The objects that one controls.
    pub fn controlled(&self, plural: &str, owner: &Value) -> Vec<&Value> {
        let uid = &owner["metadata"]["uid"];
        let is_owned = |object: &&Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.into_iter().flatten().any(|reference| reference["uid"] == *uid && reference["controller"] == true)
        };
        self.own(plural).filter(is_owned).collect()
    }

    /// Events about an object, the newest last: reason and message.
    pub fn events(&self, kind: &str, name: &str) -> Vec<(&str, &str)> {
        let mut events: Vec<&Value> = self
            .own("events")
            .filter(|event| event["involvedObject"]["kind"] == kind && event["involvedObject"]["name"] == name)
            .collect();
        events.sort_by_key(|event| {
            let times = [&event["lastTimestamp"], &event["eventTime"], &event["metadata"]["creationTimestamp"]];
            times.into_iter().find_map(Value::as_str).unwrap_or_default()
        });
        events.into_iter().map(|event| (text(event, "/reason"), text(event, "/message"))).collect()
    }

    /// The message of the newest event of one of these reasons.
    pub fn event(&self, kind: &str, name: &str, reasons: &[&str]) -> Option<(&str, &str)> {
        self.events(kind, name).into_iter().rev().find(|(reason, _)| reasons.contains(reason))
    }
}

async fn list(client: &kube::Client, path: &str) -> kube::Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut next = String::new();
    loop {
        let query = if next.is_empty() { String::new() } else { format!("&continue={next}") };
        let request = hyper::Request::get(format!("{path}?limit={PAGE}{query}")).body(Vec::new());
        let page: Value = client.request(request.map_err(kube::Error::HttpError)?).await?;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        next = text(&page, "/metadata/continue").to_owned();
        if next.is_empty() {
            return Ok(items);
        }
    }
}

/// A text of an object, or nothing.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A number of an object, or none.
pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The members of a list of an object.
pub fn members<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// A condition of an object.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    members(object, "/status/conditions").find(|condition| condition["type"] == kind)
}

/// The labels that a selector wants and an object has not: each as `key=value`.
pub fn unmatched(selector: &Value, object: &Value) -> Vec<String> {
    let labels = &object["metadata"]["labels"];
    let wanted = selector.as_object().into_iter().flatten();
    wanted
        .filter(|(key, value)| labels[*key] != **value)
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect()
}
