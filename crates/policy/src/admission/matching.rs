//! Whether a rule is about a request: operations, resources and scope, and what selectors select.

use coracle_api::meta::{list, text};
use coracle_api::selector::LabelSelector;
use serde_json::Value;

/// A resource in one of its versions, as a request or a rule names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    /// Its group; empty for the core group.
    pub group: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its plural.
    pub plural: &'a str,
    /// Its kind.
    pub kind: &'a str,
}

/// Whether one of a list of rules is about an operation on a resource. `namespaced` says whether the object is in a
/// namespace, and `name` is the object's, for rules that name objects.
pub fn matches_rules(
    rules: &[Value],
    operation: &str,
    resource: Resource<'_>,
    subresource: &str,
    namespaced: bool,
    name: &str,
) -> bool {
    let has =
        |rule: &Value, key: &str, wanted: &str| list(rule, &[key]).iter().any(|value| value == "*" || value == wanted);
    rules.iter().any(|rule| {
        let names = list(rule, &["resourceNames"]);
        has(rule, "operations", operation)
            && has(rule, "apiGroups", resource.group)
            && has(rule, "apiVersions", resource.version)
            && names_resource(rule, resource.plural, subresource)
            && match text(rule, &["scope"]) {
                "Namespaced" => namespaced,
                "Cluster" => !namespaced,
                _ => true,
            }
            && (names.is_empty() || names.iter().any(|known| known == name))
    })
}

/// `pods` is the resource alone, `pods/*` its subresources too, and `*/status` that of all.
fn names_resource(rule: &Value, plural: &str, subresource: &str) -> bool {
    list(rule, &["resources"]).iter().filter_map(Value::as_str).any(|resource| {
        let (whole, sub) = resource.split_once('/').unwrap_or((resource, ""));
        (whole == "*" || whole == plural) && (sub == "*" || sub == subresource)
    })
}

/// The version of a resource that rules are about: that of the request, or with the policy `Equivalent` another in which
/// the same objects are served, of those in `others`.
pub fn matching_resource<'a>(
    match_policy: &str,
    request: Resource<'a>,
    others: &[Resource<'a>],
    matches: impl Fn(Resource<'a>) -> bool,
) -> Option<Resource<'a>> {
    if matches(request) {
        return Some(request);
    }
    if match_policy == "Exact" {
        return None;
    }
    others.iter().copied().find(|other| matches(*other))
}

/// Whether a selector selects one of several objects; without one, all are selected.
///
/// # Errors
/// The selector is not valid.
pub fn is_selected<'a>(selector: &Value, objects: impl IntoIterator<Item = &'a Value>) -> Result<bool, String> {
    if selector.is_null() {
        return Ok(true);
    }
    let selector = LabelSelector::from_object(selector)?;
    Ok(selector.is_everything() || objects.into_iter().any(|object| selector.matches(&object["metadata"]["labels"])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const APPS: Resource<'static> =
        Resource { group: "apps", version: "v1", plural: "deployments", kind: "Deployment" };

    fn rule(resources: &[&str], scope: &str) -> Value {
        json!({"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["*"], "resources": resources, "scope": scope})
    }

    #[test]
    fn rules_name_resources_and_subresources() {
        let matches = |resources: &[&str], subresource: &str| {
            matches_rules(&[rule(resources, "*")], "CREATE", APPS, subresource, true, "a")
        };
        assert!(matches(&["deployments"], "") && !matches(&["deployments"], "scale"));
        assert!(matches(&["*"], "") && !matches(&["*"], "scale"));
        assert!(matches(&["*/*"], "scale") && matches(&["*/*"], "") && matches(&["deployments/*"], "scale"));
        assert!(matches(&["*/scale"], "scale") && !matches(&["*/scale"], "status"));
        assert!(!matches_rules(&[rule(&["*"], "*")], "UPDATE", APPS, "", true, "a"));
        assert!(!matches_rules(&[rule(&["*"], "Cluster")], "CREATE", APPS, "", true, "a"));
        let mut named = rule(&["*"], "Namespaced");
        named["resourceNames"] = json!(["b"]);
        assert!(!matches_rules(std::slice::from_ref(&named), "CREATE", APPS, "", true, "a"));
        assert!(matches_rules(&[named], "CREATE", APPS, "", true, "b"));
    }

    #[test]
    fn other_versions_of_the_same_objects_are_equivalent() {
        let old = Resource { group: "extensions", version: "v1beta1", ..APPS };
        let is_old = |resource: Resource<'_>| resource.group == "extensions";
        assert_eq!(matching_resource("Equivalent", APPS, &[old], is_old), Some(old));
        assert_eq!(matching_resource("Exact", APPS, &[old], is_old), None);
    }

    #[test]
    fn one_of_both_states_is_enough_to_be_selected() {
        let (with, without) = (json!({"metadata": {"labels": {"a": "b"}}}), json!({}));
        let selector = json!({"matchLabels": {"a": "b"}});
        assert_eq!(is_selected(&selector, [&without, &with]), Ok(true));
        assert_eq!(is_selected(&selector, [&without]), Ok(false));
        assert_eq!(is_selected(&json!({}), []), Ok(true));
        assert!(is_selected(&json!({"matchExpressions": [{"key": "a", "operator": "Odd"}]}), []).is_err());
    }
}
