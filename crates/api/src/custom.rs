//! The kinds that a CustomResourceDefinition defines.

use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

use crate::apply;
use crate::awaited::Awaited;
use crate::convert;
use crate::kind::{Kind, Subresource};
use crate::meta::{list, text};
use crate::registry::Registry;
use crate::schema::structural::{Definition, Node};
use crate::strategy::crd::condition;
use crate::strategy::custom_resource::CustomResource;

const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];
/// Verbs while the definition is being deleted.
const TERMINATING: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What a definition defines.
pub struct Defined {
    /// The version that objects are stored in, whether it is served or not.
    pub stored: Arc<Kind>,
    /// The versions that are served.
    pub served: Vec<Arc<Kind>>,
}

/// What a definition defines, under the names that it was given; `None` when no version is the stored one.
pub fn kinds(definition: &Value) -> Option<Defined> {
    let versions = list(definition, &["spec", "versions"]);
    let stored = versions.iter().find(|version| version["storage"] == true)?;
    let conversion = &definition["spec"]["conversion"];
    let webhook = (conversion["strategy"] == "Webhook").then(|| Arc::new(conversion["webhook"].clone()));
    let kind = |version: &Value| kind(definition, version).converted_by(webhook.clone());
    let stored = Arc::new(kind(stored));
    let served = versions
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| match version["storage"] == true {
            true => stored.clone(),
            false => Arc::new(kind(version).stored_as(stored.clone())),
        })
        .collect();
    Some(Defined { stored, served })
}

/// The versions of a custom resource, as server-side apply asks for them.
pub struct Versions<'k> {
    registry: &'k Registry,
    kind: &'k Kind,
    awaited: &'k Awaited,
}

impl<'k> Versions<'k> {
    /// Those that are served of a kind. Where a webhook converts them, what came of it is looked up.
    pub fn new(registry: &'k Registry, kind: &'k Kind, awaited: &'k Awaited) -> Versions<'k> {
        Versions { registry, kind, awaited }
    }

    fn version(&self, api_version: &str) -> Option<&Kind> {
        if self.kind.api_version() == api_version {
            return Some(self.kind);
        }
        let (group, version) = api_version.rsplit_once('/')?;
        let kind = self.registry.by_kind(group, version, &self.kind.kind)?;
        // Whoever writes managed fields names versions: one of another group's kind of that name is none of this one.
        Some(&**kind).filter(|kind| kind.storage_prefix == self.kind.storage_prefix)
    }
}

impl apply::versions::Versions for Versions<'_> {
    type Node<'a>
        = Node<'a>
    where
        Self: 'a;

    fn node<'a>(&'a self, api_version: &str) -> Option<Node<'a>> {
        self.version(api_version)?.schema.structural().map(|definition| Node::root(&definition.root))
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        let (from, to) = (self.version(from)?, self.version(to)?);
        if to.webhook.is_some() {
            return self.awaited.get(object, to.api_version());
        }
        let mut object = object.clone();
        convert::convert(from, to, &mut object);
        Some(object)
    }
}

fn kind(definition: &Value, version: &Value) -> Kind {
    let name = |key: &str| text(definition, &["status", "acceptedNames", key]);
    let names = |key: &str| -> Vec<SmolStr> {
        let names = list(definition, &["status", "acceptedNames", key]);
        names.iter().filter_map(Value::as_str).map(SmolStr::new).collect()
    };
    let (group, version_name) = (text(definition, &["spec", "group"]), text(version, &["name"]));
    let (own, plural) = (name("kind"), name("plural"));
    let schema = Arc::new(Definition::new(&version["schema"]["openAPIV3Schema"]));
    let strategy = CustomResource::new(version, schema.clone(), &format!("{group}/{version_name}"), own);
    let mut kind = Kind::new(group, version_name, (own, plural, name("singular")), schema, strategy)
        .stored_at(&format!("{group}/{plural}"))
        .listed_as(name("listKind"))
        .subresources(subresources(version, group, own));
    kind.namespaced = definition["spec"]["scope"] == "Namespaced";
    kind.short_names = names("shortNames");
    kind.categories = names("categories");
    if condition::holds(definition, "Terminating") {
        kind.verbs = TERMINATING;
    }
    kind
}

fn subresources(version: &Value, group: &str, kind: &str) -> Vec<Subresource> {
    let of = |name, group: &str, version: &str, kind: &str| Subresource {
        name,
        group: group.into(),
        version: version.into(),
        kind: kind.into(),
        verbs: GET_PATCH_UPDATE,
    };
    let has = |name: &str| version["subresources"][name].is_object();
    let status = has("status").then(|| of("status", group, text(version, &["name"]), kind));
    let scale = has("scale").then(|| of("scale", "autoscaling", "v1", "Scale"));
    status.into_iter().chain(scale).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kinds;

    fn widgets() -> Value {
        let version = |name: &str, storage: bool, field: &str| {
            json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {field: {"type": "string"}}}},
            }}})
        };
        json!({
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": [version("v1", false, "a"), version("v2", true, "b")]},
            "status": {"acceptedNames": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"]}},
        })
    }

    #[test]
    fn a_definition_makes_a_kind_of_each_version_that_is_served() {
        let mut definition = widgets();
        let defined = kinds(&definition).expect("a version is stored");
        let kinds: Vec<&str> = defined.served.iter().map(|kind| kind.api_version()).collect();
        assert_eq!(kinds, ["example.com/v1", "example.com/v2"]);
        for kind in &defined.served {
            assert!(Arc::ptr_eq(kind.storage(), &defined.stored) && kind.has_status() && kind.namespaced);
            assert_eq!((&*kind.storage_prefix, kind.list_kind()), ("example.com/widgets", "WidgetList"));
        }
        definition["spec"]["versions"][1]["served"] = false.into();
        let defined = super::kinds(&definition).expect("a version is stored");
        assert_eq!((defined.served.len(), defined.stored.api_version()), (1, "example.com/v2"));
    }

    #[test]
    fn a_kind_of_another_group_is_no_version() {
        use apply::versions::Versions as _;

        let mut other = widgets();
        other["spec"]["group"] = "other.com".into();
        other["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {}});
        let (own, other) =
            (kinds(&widgets()).expect("a version is stored"), kinds(&other).expect("a version is stored"));
        let registry = kinds::built_in().with([own.served.clone(), other.served].concat());
        let awaited = Awaited::default();
        let versions = Versions::new(&registry, &own.served[0], &awaited);
        assert!(versions.node("example.com/v2").is_some() && versions.node("other.com/v2").is_none());
        assert!(versions.convert(&json!({}), "example.com/v1", "other.com/v2").is_none());
        assert!(awaited.take_wanted().is_empty());
    }

    #[test]
    fn a_version_drops_the_fields_of_another() {
        use apply::versions::Versions as _;

        let defined = kinds(&widgets()).expect("a version is stored");
        let registry = kinds::built_in().with(defined.served.clone());
        let awaited = Awaited::default();
        let versions = Versions::new(&registry, &defined.served[0], &awaited);
        let object =
            json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {}, "spec": {"a": "x", "b": "y"}});
        let other = versions.convert(&object, "example.com/v1", "example.com/v2").expect("both are served");
        assert_eq!((&other["apiVersion"], &other["spec"]), (&json!("example.com/v2"), &json!({"b": "y"})));
        let spec = |version: &str| versions.node(version).and_then(|node| node.field("spec")).map(|(node, _)| node);
        assert!(spec("example.com/v2").is_some_and(|spec| spec.field("b").is_some() && spec.field("a").is_none()));
        assert!(spec("example.com/v3").is_none());
    }
}
