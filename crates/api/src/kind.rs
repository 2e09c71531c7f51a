//! One kind in one version: what it is called, where it is served and stored, and what one can do with it.

use std::sync::Arc;

use serde_json::Value;
use smol_str::{SmolStr, format_smolstr};

use crate::schema::{DefId, Schema};
use crate::strategy::Strategy;

/// Verbs of what is stored and has no verbs of its own said.
const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// One kind in one version. Built-in kinds are in the table of [`crate::kinds`]; others are made while the server runs.
/// Two are the same if group, version and kind are.
#[derive(Clone)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: SmolStr,
    /// API version, for example `v1`.
    pub version: SmolStr,
    /// Kind, for example `Deployment`.
    pub kind: SmolStr,
    /// Resource, for example `deployments`.
    pub plural: SmolStr,
    /// Singular of the resource, for example `deployment`.
    pub singular: SmolStr,
    /// Short names, for example `deploy`.
    pub short_names: Vec<SmolStr>,
    /// Categories, for example `all`.
    pub categories: Vec<SmolStr>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of the resource.
    pub verbs: &'static [&'static str],
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// Path below `/registry/` where objects are stored.
    pub storage_prefix: SmolStr,
    /// What is special about the kind.
    pub strategy: Arc<dyn Strategy>,
    /// What its objects are made of.
    pub schema: Schema,
    /// A question that is answered at once and never stored, such as a `TokenReview`.
    pub review: bool,
    /// The webhook that converts objects between its versions, as its definition has it. Objects then stay in the version
    /// in which they were stored.
    pub webhook: Option<Arc<Value>>,
    /// The version that objects are stored in, where that is another one.
    stored: Option<Arc<Kind>>,
    api_version: SmolStr,
    list_kind: SmolStr,
}

/// A subresource, such as `pods/exec`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subresource {
    /// Name below the object.
    pub name: &'static str,
    /// Group of its body; the parent's where it is the parent's kind.
    pub group: SmolStr,
    /// Version of its body.
    pub version: SmolStr,
    /// Kind of its body.
    pub kind: SmolStr,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

impl Kind {
    /// A kind that lives in namespaces, has all verbs, and is stored below its plural. `names` are kind, plural and
    /// singular.
    pub fn new(
        group: &str,
        version: &str,
        names: (&str, &str, &str),
        schema: impl Into<Schema>,
        strategy: impl Strategy + 'static,
    ) -> Self {
        Kind::with_strategy(group, version, names, schema.into(), Arc::new(strategy))
    }

    fn with_strategy(
        group: &str,
        version: &str,
        (kind, plural, singular): (&str, &str, &str),
        schema: Schema,
        strategy: Arc<dyn Strategy>,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: singular.into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            verbs: ALL,
            subresources: Vec::new(),
            storage_prefix: plural.into(),
            strategy,
            schema,
            review: false,
            webhook: None,
            stored: None,
            api_version: if group.is_empty() { version.into() } else { format_smolstr!("{group}/{version}") },
            list_kind: format_smolstr!("{kind}List"),
        }
    }

    /// With short names.
    pub fn short(mut self, names: &[&str]) -> Self {
        self.short_names = names.iter().map(SmolStr::new).collect();
        self
    }

    /// In a category.
    pub fn category(mut self, name: &str) -> Self {
        self.categories.push(name.into());
        self
    }

    /// Not in namespaces.
    pub fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }

    /// With no other verbs than these.
    pub fn verbs(mut self, verbs: &'static [&'static str]) -> Self {
        self.verbs = verbs;
        self
    }

    /// With subresources.
    pub fn subresources(mut self, list: impl Into<Vec<Subresource>>) -> Self {
        self.subresources = list.into();
        self
    }

    /// Stored elsewhere than below its plural.
    pub fn stored_at(mut self, prefix: &str) -> Self {
        self.storage_prefix = prefix.into();
        self
    }

    /// Stored as another version of it, and where that is.
    pub fn stored_as(mut self, stored: Arc<Kind>) -> Self {
        self.storage_prefix = stored.storage_prefix.clone();
        self.stored = Some(stored);
        self
    }

    /// Converted between its versions by a webhook, if one is given.
    pub fn converted_by(mut self, webhook: Option<Arc<Value>>) -> Self {
        self.webhook = webhook;
        self
    }

    /// With a list kind that is not the kind and `List`.
    pub fn listed_as(mut self, list_kind: &str) -> Self {
        self.list_kind = list_kind.into();
        self
    }

    /// Answered at once and never stored.
    pub fn review(mut self) -> Self {
        self.review = true;
        self.verbs = &["create"];
        self
    }

    /// The generated definition of its schema; custom resources have none.
    pub fn def(&self) -> Option<DefId> {
        self.schema.generated()
    }

    /// Whether it is that kind of that group, in whatever version.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Whether what is stored of it may be of a version and kind: its own, or any of those that a webhook converts.
    pub fn may_hold(&self, api_version: &str, kind: &str) -> bool {
        let is_in_group = || api_version.rsplit_once('/').is_some_and(|(group, _)| self.group == group);
        self.kind == kind && (self.api_version == api_version || self.webhook.is_some() && is_in_group())
    }

    /// `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// The kind of a list of it, for example `PodList`.
    pub fn list_kind(&self) -> &str {
        &self.list_kind
    }

    /// The kind that objects are stored as: itself, but for kinds served in several versions.
    pub fn storage(self: &Arc<Self>) -> &Arc<Kind> {
        self.stored.as_ref().unwrap_or(self)
    }

    /// Whether objects are stored in this version.
    pub fn is_storage_version(&self) -> bool {
        self.stored.is_none()
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether it has the subresource `status`.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether the resource has the verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.plural, self.version, self.group)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (&self.group, &self.version, &self.kind) == (&other.group, &other.version, &other.kind)
    }
}

impl Eq for Kind {}
