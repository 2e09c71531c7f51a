//! What has to be done for a role or binding to give all that it should. Nothing is taken away.

use coracle_api::meta;
use serde_json::{Map, Value};

use super::table::AUTO_UPDATE;
use crate::authz::rbac::{Rule, missing};

/// What is to be done with an object that is there.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    Keep,
    /// It is to become this.
    Update(Value),
    /// It refers to another role, which cannot be changed: it is deleted and made anew.
    Replace,
}

/// For a role.
pub(crate) fn role_plan(existing: &Value, expected: &Value) -> Plan {
    let mut new = existing.clone();
    complete_metadata(&mut new, expected);
    let expected_rules = rules(expected);
    let lacking = missing(&rules(existing), &expected_rules).unwrap_or(expected_rules);
    append(&mut new, "rules", lacking.iter().map(|rule| serde_json::json!(rule)));
    if expected["aggregationRule"].is_null() {
        meta::as_object(&mut new).remove("aggregationRule");
    } else {
        let selectors = |role: &Value| meta::list(role, &["aggregationRule", "clusterRoleSelectors"]).to_vec();
        let own = selectors(existing);
        let lacking = selectors(expected).into_iter().filter(|selector| !own.contains(selector));
        append(
            meta::as_object(&mut new).entry("aggregationRule").or_insert(Value::Null),
            "clusterRoleSelectors",
            lacking,
        );
    }
    plan(existing, new)
}

/// For a binding.
pub(crate) fn binding_plan(existing: &Value, expected: &Value) -> Plan {
    if is_protected(existing) {
        return Plan::Keep;
    }
    if existing["roleRef"] != expected["roleRef"] {
        return Plan::Replace;
    }
    let mut new = existing.clone();
    complete_metadata(&mut new, expected);
    let own = meta::list(existing, &["subjects"]);
    let lacking = meta::list(expected, &["subjects"]).iter().filter(|subject| !own.contains(subject));
    append(&mut new, "subjects", lacking.cloned());
    plan(existing, new)
}

fn plan(existing: &Value, new: Value) -> Plan {
    if is_protected(existing) || new == *existing { Plan::Keep } else { Plan::Update(new) }
}

fn is_protected(existing: &Value) -> bool {
    meta::annotation(existing, AUTO_UPDATE) == "false"
}

fn rules(role: &Value) -> Vec<Rule> {
    meta::list(role, &["rules"]).iter().filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
}

/// Adds labels and annotations that are not there; those of the object count more.
fn complete_metadata(new: &mut Value, expected: &Value) {
    for part in ["labels", "annotations"] {
        let Some(wanted) = expected["metadata"][part].as_object() else { continue };
        let own = meta::object_at(new, "metadata").entry(part).or_insert(Value::Null);
        let own: &mut Map<String, Value> = meta::as_object(own);
        for (key, value) in wanted {
            own.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

fn append(object: &mut Value, list: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<Value> = items.collect();
    if items.is_empty() {
        return;
    }
    let list = meta::as_object(object).entry(list).or_insert(Value::Null);
    match list.as_array_mut() {
        Some(list) => list.extend(items),
        None => *list = items.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(annotations: Value, rules: Value) -> Value {
        json!({"metadata": {"name": "a", "labels": {"own": "1"}, "annotations": annotations}, "rules": rules})
    }

    fn rule(verbs: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": [""], "resources": ["pods"]})
    }

    #[test]
    fn missing_rules_are_added_and_others_stay() {
        let expected = role(json!({AUTO_UPDATE: "true"}), json!([rule(&["get", "list"])]));
        let existing = role(json!({}), json!([rule(&["get", "delete"])]));
        let Plan::Update(new) = role_plan(&existing, &expected) else { panic!("an update is needed") };
        assert_eq!(new["rules"], json!([rule(&["get", "delete"]), rule(&["list"])]));
        assert_eq!(new["metadata"]["annotations"], json!({AUTO_UPDATE: "true"}));
        assert_eq!(role_plan(&new, &expected), Plan::Keep);
    }

    #[test]
    fn what_opted_out_is_left_alone() {
        let expected = role(json!({AUTO_UPDATE: "true"}), json!([rule(&["get"])]));
        assert_eq!(role_plan(&role(json!({AUTO_UPDATE: "false"}), json!([])), &expected), Plan::Keep);
        let binding = json!({"metadata": {"annotations": {AUTO_UPDATE: "false"}}, "roleRef": {"name": "x"}});
        assert_eq!(binding_plan(&binding, &json!({"roleRef": {"name": "y"}})), Plan::Keep);
    }

    #[test]
    fn an_aggregated_role_keeps_its_rules_and_gets_its_selectors() {
        let selector = |label: &str| json!({"matchLabels": {label: "true"}});
        let expected =
            json!({"metadata": {}, "aggregationRule": {"clusterRoleSelectors": [selector("a")]}, "rules": null});
        let mut existing = expected.clone();
        existing["rules"] = json!([rule(&["get"])]);
        assert_eq!(role_plan(&existing, &expected), Plan::Keep);
        existing["aggregationRule"]["clusterRoleSelectors"] = json!([selector("b")]);
        let Plan::Update(new) = role_plan(&existing, &expected) else { panic!("an update is needed") };
        assert_eq!(new["aggregationRule"]["clusterRoleSelectors"], json!([selector("b"), selector("a")]));
        assert_eq!(new["rules"], existing["rules"]);
    }

    #[test]
    fn a_binding_gets_its_subjects_and_is_replaced_when_it_refers_to_another_role() {
        let of = |role: &str, subjects: &[&str]| {
            let subjects: Vec<Value> = subjects.iter().map(|name| json!({"kind": "User", "name": name})).collect();
            json!({"metadata": {}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subjects})
        };
        let Plan::Update(new) = binding_plan(&of("a", &["x"]), &of("a", &["y"])) else { panic!("an update is needed") };
        assert_eq!(new, of("a", &["x", "y"]));
        assert_eq!(binding_plan(&of("b", &["y"]), &of("a", &["y"])), Plan::Replace);
        assert_eq!(binding_plan(&of("a", &["y", "z"]), &of("a", &["y"])), Plan::Keep);
    }
}
