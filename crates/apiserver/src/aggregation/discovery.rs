//! What is known of the group versions that other servers answer.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Remote;
use crate::storage::Storage;

/// All of them at one moment. It never changes: a change makes another one, of the next revision.
#[derive(Default)]
pub(crate) struct Remotes {
    pub revision: u64,
    pub known: Vec<Known>,
}

/// One group version that another server answers.
#[derive(Clone)]
pub(crate) struct Known {
    pub remote: Arc<Remote>,
    pub described: Arc<Description>,
}

impl Known {
    /// Whether both say the same of the same.
    pub fn is(&self, other: &Known) -> bool {
        let key = |known: &Known| {
            let remote = &known.remote;
            (remote.name.clone(), remote.group_priority, remote.version_priority, remote.is_available)
        };
        key(self) == key(other) && *self.described == *other.described
    }
}

/// What another server says of itself; what it said last stays known while it is not reached.
#[derive(Default, PartialEq)]
pub(crate) struct Description {
    /// The `resources` of its APIResourceList.
    pub resources: Vec<Value>,
    /// Where it describes them by OpenAPI version 3.
    pub open_api_v3: Option<String>,
    /// Its OpenAPI document of version 2.
    pub open_api_v2: Bytes,
}

impl Description {
    /// Asks a server, whose list of resources is known to be `list`.
    pub async fn ask(storage: &Storage, remote: &Remote, list: &[u8]) -> Description {
        let (index, v2) =
            tokio::join!(remote.describe(storage, "/openapi/v3"), remote.describe(storage, "/openapi/v2"));
        let index: Value = index.ok().and_then(|index| serde_json::from_slice(&index).ok()).unwrap_or_default();
        let path = format!("apis/{}/{}", remote.group, remote.version);
        let own = format!("/openapi/v3/{path}");
        // It is asked here for no other path than that.
        let url = index["paths"][&path]["serverRelativeURL"].as_str().filter(|url| url.starts_with(&own));
        let list: Value = serde_json::from_slice(list).unwrap_or_default();
        Description {
            resources: coracle_api::meta::list(&list, &["resources"]).to_vec(),
            open_api_v3: url.map(str::to_owned),
            open_api_v2: v2.unwrap_or_default(),
        }
    }
}

impl Known {
    /// The version as the aggregated form of discovery has it.
    pub fn aggregated(&self) -> Value {
        let freshness = if self.remote.is_available { "Current" } else { "Stale" };
        let resources: Vec<Value> = self.described.resources.iter().filter_map(|one| self.resource(one)).collect();
        json!({"version": self.remote.version, "freshness": freshness, "resources": resources})
    }

    /// A resource with its subresources; none for a subresource.
    fn resource(&self, listed: &Value) -> Option<Value> {
        let name = listed["name"].as_str().filter(|name| !name.contains('/'))?;
        let prefix = format!("{name}/");
        let scope = if listed["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut resource = json!({
            "resource": name, "responseKind": self.response_kind(listed), "scope": scope,
            "singularResource": listed["singularName"], "verbs": listed["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if listed[field].is_array() {
                resource[field] = listed[field].clone();
            }
        }
        let below =
            self.described.resources.iter().filter_map(|one| Some((one["name"].as_str()?.strip_prefix(&prefix)?, one)));
        let subresources: Vec<Value> = below
            .map(|(name, one)| json!({"subresource": name, "responseKind": self.response_kind(one), "verbs": one["verbs"]}))
            .collect();
        if !subresources.is_empty() {
            resource["subresources"] = subresources.into();
        }
        Some(resource)
    }

    fn response_kind(&self, listed: &Value) -> Value {
        let or =
            |field: &str, own: &str| listed[field].as_str().filter(|text| !text.is_empty()).unwrap_or(own).to_owned();
        json!({
            "group": or("group", &self.remote.group), "version": or("version", &self.remote.version), "kind": listed["kind"],
        })
    }
}
