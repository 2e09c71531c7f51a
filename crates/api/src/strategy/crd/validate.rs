//! Checks a definition: its group, names, versions and how they are converted.

use serde_json::Value;

use super::approval::{APPROVED, needs_approval};
use super::{conversion, names, version};
use crate::field::{self, FieldError, Path};
use crate::meta::{self, at, list, text};
use crate::strategy::common;

/// Checks a definition that was `old` before.
pub(super) fn definition(obj: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::new("spec");
    let (group, plural) = (text(obj, &["spec", "group"]), text(obj, &["spec", "names", "plural"]));
    if meta::name(obj) != format!("{plural}.{group}") {
        let path = Path::new("metadata").child("name");
        errors.push(FieldError::invalid_str(&path, meta::name(obj), "must be spec.names.plural+\".\"+spec.group"));
    }
    check_group(group, &path.child("group"), &mut errors);
    common::one_of(&mut errors, &path.child("scope"), at(obj, &["spec", "scope"]), &["Cluster", "Namespaced"], true);
    let of_names = path.child("names");
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(obj, &["spec", "names", key]).is_empty() {
            errors.push(FieldError::required(&of_names.child(key), ""));
        }
    }
    names::check(at(obj, &["spec", "names"]), &of_names, &mut errors);
    versions(obj, old, &path.child("versions"), &mut errors);
    if obj["spec"]["preserveUnknownFields"] == true {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(&path.child("preserveUnknownFields"), &true.into(), detail));
    }
    conversion::check(obj, old, &path.child("conversion"), &mut errors);
    protected(obj, group, &mut errors);
    errors
}

fn check_group(group: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if group.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let wrong = field::dns1123_subdomain(group);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid_str(path, group, wrong.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid_str(path, group, "should be a domain with at least one dot"));
    }
}

fn versions(obj: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let versions = list(obj, &["spec", "versions"]);
    let whole = at(obj, &["spec", "versions"]);
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        // The schemas are not shown along: nobody would find the message behind them.
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(path, &summary(whole), detail));
    }
    let mut seen = std::collections::HashSet::new();
    if !versions.iter().all(|version| seen.insert(text(version, &["name"]))) {
        errors.push(FieldError::invalid(path, &summary(whole), "must contain unique version names"));
    }
    let alike = have_one_schema(versions);
    for (index, version) in versions.iter().enumerate() {
        let before = list(old, &["spec", "versions"]).iter().find(|before| before["name"] == version["name"]);
        // What was taken once, by another version of the server maybe, does not hold up other changes.
        let is_old = before.is_some_and(|before| before["schema"] == version["schema"]);
        let path = path.index(index);
        let of_schema = match alike {
            true => Path::new("spec").child("validation"),
            false => path.child("schema"),
        };
        let of_schema = of_schema.child("openAPIV3Schema");
        if !alike || index == 0 {
            version::check_schema(version, is_old, &of_schema, errors);
        }
        version::check(version, &path, errors);
    }
}

/// Whether all versions have one schema: what is wrong with it is told once, and not of a version.
fn have_one_schema(versions: &[Value]) -> bool {
    let schemas = || versions.iter().map(|version| &version["schema"]["openAPIV3Schema"]);
    schemas().next().is_some_and(Value::is_object)
        && schemas().all(|schema| *schema == versions[0]["schema"]["openAPIV3Schema"])
}

/// The names of versions and what they are for.
fn summary(versions: &Value) -> Value {
    let shown = |version: &Value| serde_json::json!({"name": version["name"], "served": version["served"], "storage": version["storage"]});
    list(versions, &[]).iter().map(shown).collect()
}

/// Groups of the community say that someone has looked at the definition.
fn protected(obj: &Value, group: &str, errors: &mut Vec<FieldError>) {
    if !needs_approval(group) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    match meta::annotation(obj, APPROVED) {
        "" => {
            let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
            errors.push(FieldError::required(&path, detail));
        }
        value if value.starts_with("unapproved") || value.starts_with("https://") || value.starts_with("http://") => {}
        value => {
            let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111";
            errors.push(FieldError::invalid_str(&path, value, detail));
        }
    }
}

/// Checks that every version that objects are stored in is still there.
pub(super) fn stored_versions(obj: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("status").child("storedVersions");
    let stored = list(obj, &["status", "storedVersions"]);
    if stored.is_empty() {
        errors.push(FieldError::invalid(&path, &Value::Array(Vec::new()), "must have at least one stored version"));
    }
    let versions = list(obj, &["spec", "versions"]);
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            errors.push(FieldError::invalid(&path.index(index), name, "must appear in spec.versions"));
        }
    }
    let in_use = versions.iter().find(|version| version["storage"] == true);
    if let Some(in_use) = in_use.filter(|version| !stored.contains(&version["name"])) {
        let detail = format!("must have the storage version {}", text(in_use, &["name"]));
        errors.push(FieldError::invalid(&path, at(obj, &["status", "storedVersions"]), detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::CustomResourceDefinition;
    use super::*;
    use crate::strategy::Strategy;

    fn good() -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "conversion": {"strategy": "None"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer"}, "color": {"type": "string"}}},
                }}}}],
            },
        })
    }

    fn errors(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut definition = good();
        change(&mut definition);
        CustomResourceDefinition.validate_create(&definition).iter().map(ToString::to_string).collect()
    }

    fn schema() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let scalar = || {
            prop_oneof![
                Just(Value::Null),
                any::<bool>().prop_map(Value::from),
                any::<i32>().prop_map(Value::from),
                "object|array|string|integer|int32|date|[(]|atomic|set|map|a|b|self[.]a == 1|self == oldSelf|self[.]all[(]a, a > 0[)]".prop_map(Value::from),
            ]
        };
        let key = "type|format|properties|items|additionalProperties|required|enum|default|pattern|nullable|anyOf|allOf|oneOf|not|minimum|multipleOf|maxLength|rule|fieldPath|optionalOldSelf|a|b|metadata|x-kubernetes-(list-type|list-map-keys|map-type|preserve-unknown-fields|embedded-resource|int-or-string|validations)";
        scalar().prop_recursive(5, 60, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..5)
                    .prop_map(|pairs| pairs.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn no_schema_panics(schema in schema(), object in schema()) {
            let mut definition = good();
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema.clone();
            CustomResourceDefinition.validate_create(&definition);
            CustomResourceDefinition.warnings(&definition);
            let parsed = crate::schema::Structural::parse(&schema);
            let mut object = object;
            parsed.prune(&mut object, &mut |_| {});
            parsed.fill(&mut object);
            let mut again = object.clone();
            parsed.prune(&mut again, &mut |_| {});
            let definition = crate::schema::structural::Definition::new(&schema);
            definition.validate(&object, Some(&again));
            definition.validate(&object, None);
        }
    }

    #[test]
    fn a_good_definition_is_taken() {
        assert_eq!(errors(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let version =
            |key: &'static str, value: Value| errors(move |definition| definition["spec"]["versions"][0][key] = value);
        let schema = |value: Value| {
            errors(move |definition| {
                definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = value;
            })
        };
        const SPEC: &str = "spec.validation.openAPIV3Schema.properties[spec]";
        for (found, expected) in [
            (errors(|d| d["spec"]["group"] = "example".into()).pop(), "spec.group: Invalid value: \"example\": should be a domain with at least one dot".to_owned()),
            (errors(|d| d["metadata"]["name"] = "x".into()).pop(), "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group".into()),
            (errors(|d| d["spec"]["scope"] = "World".into()).pop(), "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"".into()),
            (errors(|d| d["spec"]["names"]["listKind"] = "Widget".into()).pop(), "spec.names.listKind: Invalid value: \"Widget\": kind and listKind may not be the same".into()),
            (errors(|d| d["spec"]["conversion"]["strategy"] = "Magic".into()).pop(), "spec.conversion.strategy: Unsupported value: \"Magic\": supported values: \"None\", \"Webhook\"".into()),
            (version("schema", Value::Null).pop(), "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required".into()),
            (version("subresources", json!({"scale": {"specReplicasPath": ".status.x", "statusReplicasPath": ".status.x"}})).pop(), "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec".into()),
            (version("additionalPrinterColumns", json!([{"name": "N", "type": "text", "jsonPath": ".spec.x"}])).pop(), "spec.versions[0].additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string".into()),
            (version("selectableFields", json!([{"jsonPath": ".spec.nothing"}])).pop(), "spec.versions[0].selectableFields[0].jsonPath: Invalid value: \".spec.nothing\": is an invalid path: does not refer to a valid field".into()),
            (errors(|d| d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["nullable"] = true.into()).pop(), "spec.validation.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root".to_owned()),
            (schema(json!({"properties": {}})).pop(), format!("{SPEC}.type: Required value: must not be empty for specified object fields")),
            (schema(json!({"type": "array"})).pop(), format!("{SPEC}.items: Required value: must be specified")),
            (schema(json!({"type": "text"})).pop(), format!("{SPEC}.type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"")),
            (schema(json!({"type": "string", "pattern": "("})).pop().map(|text| text[..SPEC.len() + 76].to_owned()), format!("{SPEC}.pattern: Invalid value: \"(\": must be a valid regular expression, but isn't:")),
            (schema(json!({"type": "array", "uniqueItems": true, "items": {"type": "string"}})).pop(), format!("{SPEC}.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic")),
            (schema(json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]})).pop(), format!("{SPEC}.properties[a]: Required value: because it is defined in {SPEC}.anyOf[0].properties[a]")),
            (schema(json!({"type": "object", "anyOf": [{"type": "object"}]})).pop(), format!("{SPEC}.anyOf[0].type: Forbidden: must be empty to be structural")),
            (schema(json!({"type": "integer", "default": "x"})).pop(), format!("{SPEC}.default: Invalid value: \"string\": {SPEC}.default in body must be of type integer: \"string\"")),
            (schema(json!({"type": "object", "properties": {"a": {"type": "string"}}, "default": {"b": 1}})).pop(), format!("{SPEC}.default: Invalid value: {{\"b\":1}}: must not have unknown fields")),
            (schema(json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}})).pop(), format!("{SPEC}.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map")),
        ] {
            assert_eq!(found, Some(expected));
        }
        assert_eq!(errors(|d| d["spec"]["versions"] = json!([])).len(), 1);
        let of_two = |second: Value| {
            errors(move |d| {
                d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["nullable"] = true.into();
                let mut other = d["spec"]["versions"][0].clone();
                (other["name"], other["storage"]) = ("v2".into(), false.into());
                if !second.is_null() {
                    other["schema"]["openAPIV3Schema"] = second;
                }
                d["spec"]["versions"] = json!([d["spec"]["versions"][0], other]);
            })
        };
        let forbidden = |path: &str| {
            vec![format!("{path}.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root")]
        };
        assert_eq!(of_two(Value::Null), forbidden("spec.validation"));
        assert_eq!(of_two(json!({"type": "object"})), forbidden("spec.versions[0].schema"));
        let apart = |keyword: &'static str, value: Value| {
            errors(move |d| {
                d["spec"]["versions"][0]["subresources"] = json!({"status": {}});
                d["spec"]["versions"][0]["schema"]["openAPIV3Schema"][keyword] = value;
            })
        };
        assert!(apart("required", json!(["spec"])).is_empty());
        assert!(
            apart("anyOf", json!([{"required": ["spec"]}]))[0]
                .ends_with("fields are allowed at the root of the schema if the status subresource is enabled")
        );
        let ok = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%?$"});
        assert!(schema(ok).is_empty());
    }
}
