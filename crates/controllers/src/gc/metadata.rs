//! What garbage collection reads of an object's metadata: a small part of it, as everything that changes passes here.

use coracle_client::Followed;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Deserialize;

/// An object, of which nothing but this is read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Seen {
    #[serde(default)]
    pub metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub name: String,
    pub namespace: Option<String>,
    pub uid: String,
    resource_version: Option<String>,
    deletion_timestamp: Option<String>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl Followed for Seen {
    fn read(text: &str) -> serde_json::Result<Seen> {
        serde_json::from_str(text)
    }

    fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

/// What the graph is told of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub uid: &'a str,
    pub owners: &'a [OwnerReference],
    pub finalizers: &'a [String],
    pub deleting: bool,
}

impl<'a> From<&'a ObjectMeta> for Facts<'a> {
    fn from(meta: &'a ObjectMeta) -> Facts<'a> {
        Facts {
            uid: meta.uid.as_deref().unwrap_or_default(),
            owners: meta.owner_references.as_deref().unwrap_or_default(),
            finalizers: meta.finalizers.as_deref().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }
}

impl<'a> From<&'a Metadata> for Facts<'a> {
    fn from(meta: &'a Metadata) -> Facts<'a> {
        Facts {
            uid: &meta.uid,
            owners: meta.owner_references.as_deref().unwrap_or_default(),
            finalizers: meta.finalizers.as_deref().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }
}
