//! A write as policies and webhooks see it: in the version that their rules are about.

use std::borrow::Cow;
use std::sync::Arc;

use coracle_api::decode::{FieldValidation, decode_patched, decode_value};
use coracle_api::schema::{self, DefId};
use coracle_api::{Kind, Status, meta, scale};
use coracle_policy::admission::{Admitted, Resource, is_selected, matches_rules, matching_resource};
use serde_json::{Map, Value, json};

use super::{Asking, Request};
use crate::conversion::Conversions;
use crate::operation::{Operation, Ownership, Verb};
use crate::storage::{Storage, core};

/// A write that policies and webhooks are asked about.
pub(super) struct Target<'a> {
    storage: &'a Storage,
    conversions: &'a Conversions,
    pub op: &'a Operation,
    /// As it will be, and as it is; both in the version in which the write is done. Of an object that is scaled, its scale.
    object: Option<Cow<'a, Value>>,
    old: Option<Cow<'a, Value>>,
    whole: &'a Value,
    /// The kind in its other versions.
    others: Vec<Arc<Kind>>,
    user: Value,
    options: Value,
}

/// The objects of a write in one version.
pub(super) struct Versioned {
    pub kind: Arc<Kind>,
    pub object: Option<Value>,
    pub old: Option<Value>,
}

impl<'a> Target<'a> {
    /// What a plugin was asked about.
    pub fn of(asking: &'a Asking, request: &Request<'a>, object: &'a Value) -> Target<'a> {
        let (storage, conversions) = (&*asking.storage, &*asking.conversions);
        let (op, whole) = (request.op, object);
        let (object, old) = match op.verb {
            Verb::Delete => (None, Some(object)),
            Verb::Create | Verb::Update | Verb::Connect => (Some(object), request.old),
        };
        let seen = |object: Option<&'a Value>| match op.subresource {
            "scale" => object.map(|object| Cow::Owned(scale::of(op.worked().strategy.scale_paths(), object))),
            _ => object.map(Cow::Borrowed),
        };
        let (object, old) = (seen(object), seen(old));
        let kinds = storage.kinds.snapshot();
        let is_other = |kind: &&Arc<Kind>| kind.storage_prefix == op.kind.storage_prefix && kind != &&op.kind;
        let others = kinds.kinds().iter().filter(is_other).cloned().collect();
        Target { storage, conversions, op, whole, object, old, others, user: op.user.info(), options: options(op) }
    }

    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub fn operation(&self) -> &'static str {
        match self.op.verb {
            Verb::Create => "CREATE",
            Verb::Update => "UPDATE",
            Verb::Delete => "DELETE",
            Verb::Connect => "CONNECT",
        }
    }

    fn either(&self) -> &Value {
        self.object.as_deref().or(self.old.as_deref()).unwrap_or(&Value::Null)
    }

    pub fn name(&self) -> &str {
        match meta::name(self.either()) {
            "" => &self.op.name,
            name => name,
        }
    }

    /// Whether the scale of the object is written.
    pub fn is_scale(&self) -> bool {
        self.op.subresource == "scale"
    }

    /// The kind of what is sent to a subresource where that is not the object's.
    fn body(&self) -> Option<[&str; 3]> {
        let is_sent = self.op.verb == Verb::Connect || matches!(self.op.subresource, "binding" | "eviction" | "scale");
        let body = self.op.kind.subresource(self.op.subresource).filter(|_| is_sent)?;
        Some([&body.group, &body.version, &body.kind])
    }

    fn is_namespace(&self) -> bool {
        self.op.kind.is("", "Namespace")
    }

    /// The namespace; a Namespace is in itself.
    pub fn namespace(&self) -> &str {
        if self.is_namespace() { self.name() } else { meta::namespace(self.either()) }
    }

    /// The kind that rules are about, which may be another version of the object's.
    pub fn matching(&self, match_policy: &str, rules: &[Value]) -> Option<Arc<Kind>> {
        let namespaced = !self.is_namespace() && !self.namespace().is_empty();
        let others: Vec<Resource<'_>> = self.others.iter().map(|kind| resource(kind)).collect();
        let matches = |resource: Resource<'_>| {
            matches_rules(rules, self.operation(), resource, self.op.subresource, namespaced, self.name())
        };
        let found = matching_resource(match_policy, resource(&self.op.kind), &others, matches)?;
        let is_found = |kind: &&Arc<Kind>| resource(kind) == found;
        std::iter::once(&self.op.kind).chain(&self.others).find(is_found).cloned()
    }

    /// Whether the selectors of a policy or webhook select the object and its namespace.
    ///
    /// # Errors
    /// A selector is not valid, or the namespace is not there.
    pub fn is_selected(&self, owner: &Value) -> Result<bool, String> {
        if !is_selected(&owner["objectSelector"], self.object.iter().chain(&self.old).map(|object| &**object))? {
            return Ok(false);
        }
        let selector = &owner["namespaceSelector"];
        let everything = selector.as_object().is_none_or(Map::is_empty);
        if everything || self.namespace().is_empty() {
            return Ok(true);
        }
        if self.is_namespace() {
            return is_selected(selector, self.object.as_deref().or(self.old.as_deref()));
        }
        let namespace = self.namespace_object()?;
        is_selected(selector, [&namespace])
    }

    /// The namespace that the object is in; `null` where it is in none.
    pub fn namespace_object(&self) -> Result<Value, String> {
        let name = self.namespace();
        if name.is_empty() || self.is_namespace() {
            return Ok(Value::Null);
        }
        let found = self.storage.cache(core("namespaces")).and_then(|cache| cache.get(name));
        let found = found.map_err(|status| status.message)?;
        found.map(|namespace| namespace.value()).ok_or_else(|| format!("namespaces \"{name}\" not found"))
    }

    /// The objects in a version.
    ///
    /// # Errors
    /// They cannot be converted.
    pub async fn in_version(&self, kind: &Arc<Kind>) -> Result<Versioned, Status> {
        let versioned = async |object: Option<&Value>| match object {
            None => Ok(None),
            Some(scale) if self.is_scale() => Ok(Some(scale.clone())),
            Some(object) => self.conversions.value(self.op.worked(), kind, object.clone()).await.map(Some),
        };
        let (object, old) = (versioned(self.object.as_deref()).await?, versioned(self.old.as_deref()).await?);
        Ok(Versioned { kind: kind.clone(), object, old })
    }

    /// The definition of what is sent to a subresource where that is not the object's.
    pub fn sent(&self) -> Option<DefId> {
        self.body().and_then(|[group, version, kind]| schema::by_gvk(group, version, kind))
    }

    /// Brings what was changed in a version into its form.
    ///
    /// # Errors
    /// What does not fit.
    pub fn decode(&self, kind: &Kind, object: &mut Value) -> Result<(), String> {
        match self.sent() {
            Some(def) => decode_value(def, object, FieldValidation::Ignore).map(drop).map_err(|status| status.message),
            None => decode_patched(kind, object, FieldValidation::Ignore).map(drop).map_err(|misfit| misfit.json),
        }
    }

    /// The object that is to be stored when what was seen of it in a version becomes another: in the version in which the
    /// write is done, with defaults.
    ///
    /// # Errors
    /// It cannot be converted, or no object has such a scale.
    pub async fn put(&self, conversions: &Conversions, kind: &Kind, seen: Value) -> Result<Value, Status> {
        let worked = self.op.worked();
        if self.is_scale() {
            return scale::put(worked.strategy.scale_paths(), self.whole, &seen);
        }
        if self.sent().is_some() {
            return Ok(seen);
        }
        let mut object = conversions.value(kind, worked, seen).await?;
        meta::set_type(&mut object, worked.api_version(), &worked.kind);
        worked.strategy.default(&mut object);
        Ok(object)
    }

    /// What expressions and reviews have of it.
    pub fn admitted<'v>(&'v self, versioned: &'v Versioned) -> Admitted<'v> {
        Admitted {
            operation: self.operation(),
            resource: resource(&versioned.kind),
            requested: resource(&self.op.kind),
            subresource: self.op.subresource,
            body: self.body(),
            name: self.name(),
            namespace: self.namespace(),
            object: versioned.object.as_ref(),
            old_object: versioned.old.as_ref(),
            options: &self.options,
            dry_run: self.op.dry_run,
            user: &self.user,
        }
    }
}

fn resource(kind: &Kind) -> Resource<'_> {
    Resource { group: &kind.group, version: &kind.version, plural: &kind.plural, kind: &kind.kind }
}

/// The options of a write.
fn options(op: &Operation) -> Value {
    let kind = match op.verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        Verb::Delete => "DeleteOptions",
        Verb::Connect => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if op.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if let (Ownership::By(manager), false) = (&op.ownership, op.verb == Verb::Delete) {
        options["fieldManager"] = manager.as_str().into();
    }
    options
}
