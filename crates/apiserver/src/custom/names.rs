//! Which names a definition is given: those that no other kind of its group has.

use std::collections::HashSet;

use coracle_api::meta::{list, text};
use coracle_api::strategy::crd::approval::{APPROVED, needs_approval};
use coracle_api::strategy::crd::condition;
use coracle_api::{Kind, Registry, meta};
use serde_json::{Value, json};

/// The names that others of a group have.
#[derive(Default)]
pub(super) struct Taken {
    resources: HashSet<String>,
    kinds: HashSet<String>,
}

impl Taken {
    /// The names of definitions, as they have been accepted.
    pub fn of<'a>(names: impl Iterator<Item = &'a Value>) -> Taken {
        let mut taken = Taken::default();
        for names in names {
            let short = list(names, &["shortNames"]).iter().filter_map(Value::as_str);
            let resources = [text(names, &["plural"]), text(names, &["singular"])].into_iter().chain(short);
            taken.resources.extend(resources.filter(|name| !name.is_empty()).map(str::to_owned));
            let kinds = [text(names, &["kind"]), text(names, &["listKind"])];
            taken.kinds.extend(kinds.into_iter().filter(|name| !name.is_empty()).map(str::to_owned));
        }
        taken
    }

    /// And those of the kinds that are built in.
    pub fn add_built_in(&mut self, registry: &Registry, group: &str) {
        for kind in registry.kinds().iter().filter(|kind| kind.group == group) {
            let short = kind.short_names.iter();
            self.resources.extend([&kind.plural, &kind.singular].into_iter().chain(short).map(ToString::to_string));
            self.kinds.extend([kind.kind.to_string(), kind.list_kind().to_owned()]);
        }
    }
}

/// The names that are wanted and were not accepted, resources and kinds alike.
pub(super) fn missing(wanted: &Value, accepted: &Value) -> Vec<String> {
    let of = |names: &Value| -> Vec<String> {
        let single = ["plural", "singular", "kind", "listKind"].map(|key| text(names, &[key]).to_owned());
        let short = list(names, &["shortNames"]).iter().filter_map(Value::as_str).map(str::to_owned);
        single.into_iter().chain(short).filter(|name| !name.is_empty()).collect()
    };
    let had: HashSet<String> = of(accepted).into_iter().collect();
    of(wanted).into_iter().filter(|name| !had.contains(name)).collect()
}

/// Whether a kind that is built in has the resource or the name of another one.
pub(super) fn is_built_in(registry: &Registry, kind: &Kind) -> bool {
    let same = |own: &Kind| own.group == kind.group && (own.plural == kind.plural || own.kind == kind.kind);
    registry.kinds().iter().any(|own| same(own))
}

/// Brings the status of a definition up to date: its names, and whether they are accepted and it is established.
pub(super) fn settle(definition: &mut Value, taken: &Taken) {
    let wanted = definition["spec"]["names"].clone();
    let mut accepted = definition["status"]["acceptedNames"].clone();
    let names = meta::as_object(&mut accepted);
    // Of several conflicts the last is told.
    let mut conflict: Option<(&str, String)> = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (key, reason, others) in [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("shortNames", "ShortNamesConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ] {
        if key == "shortNames" {
            let short = list(&wanted, &[key]);
            let told = short.iter().filter_map(Value::as_str).filter(|name| others.contains(*name)).map(in_use);
            match told.collect::<Vec<_>>().as_slice() {
                [] => put(names, key, short),
                [one] => conflict = Some((reason, one.clone())),
                many => conflict = Some((reason, format!("[{}]", many.join(", ")))),
            }
            continue;
        }
        let name = text(&wanted, &[key]);
        if text(&Value::Object(names.clone()), &[key]) == name {
            continue;
        }
        match others.contains(name) {
            true => conflict = Some((reason, in_use(name))),
            false => drop(names.insert(key.into(), name.into())),
        }
    }
    put(names, "categories", list(&wanted, &["categories"]));
    meta::object_at(definition, "status").insert("acceptedNames".into(), accepted);
    match &conflict {
        None => condition::set(definition, "NamesAccepted", true, "NoConflicts", "no conflicts found"),
        Some((reason, message)) => condition::set(definition, "NamesAccepted", false, reason, message),
    }
    tell_approval(definition);
    // Once it is established it stays so.
    if !condition::holds(definition, "Established") {
        match conflict {
            None => {
                let message = "the initial names have been accepted";
                condition::set(definition, "Established", true, "InitialNamesAccepted", message);
            }
            Some(_) => {
                condition::set(definition, "Established", false, "NotAccepted", "not all names are accepted");
            }
        }
    }
}

/// Says of a definition in a group of the community whether that has approved it.
fn tell_approval(definition: &mut Value) {
    const CONDITION: &str = "KubernetesAPIApprovalPolicyConformant";
    if !needs_approval(text(definition, &["spec", "group"])) {
        return;
    }
    let annotation = meta::annotation(definition, APPROVED).to_owned();
    match annotation.starts_with("unapproved") {
        true => {
            let message = format!("not approved: {annotation:?}");
            condition::set(definition, CONDITION, false, "UnapprovedAnnotation", &message);
        }
        false => {
            let message = format!("approved in {annotation}");
            condition::set(definition, CONDITION, true, "ApprovedAnnotation", &message);
        }
    }
}

fn put(names: &mut serde_json::Map<String, Value>, key: &str, list: &[Value]) {
    match list.is_empty() {
        true => drop(names.remove(key)),
        false => drop(names.insert(key.into(), json!(list))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Value {
        json!({"spec": {"names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["wd"]}}})
    }

    #[test]
    fn free_names_are_accepted() {
        let mut definition = definition();
        settle(&mut definition, &Taken::default());
        assert_eq!(definition["status"]["acceptedNames"], definition["spec"]["names"]);
        assert!(["NamesAccepted", "Established"].iter().all(|kind| condition::holds(&definition, kind)));
        let before = definition.clone();
        settle(&mut definition, &Taken::default());
        assert_eq!(definition, before);
    }

    #[test]
    fn a_definition_of_the_community_says_whether_it_is_approved() {
        let settled = |annotation: &str| {
            let mut definition = definition();
            definition["spec"]["group"] = "x.k8s.io".into();
            definition["metadata"] = json!({"annotations": {"api-approved.kubernetes.io": annotation}});
            settle(&mut definition, &Taken::default());
            condition::holds(&definition, "KubernetesAPIApprovalPolicyConformant")
        };
        assert_eq!([settled("https://github.com/x/pull/1"), settled("unapproved, a test")], [true, false]);
        assert!(needs_approval("k8s.io") && needs_approval("a.kubernetes.io") && !needs_approval("notk8s.io"));
    }

    #[test]
    fn names_of_others_are_not() {
        let other = json!({"plural": "wd", "kind": "Other"});
        let mut first = definition();
        settle(&mut first, &Taken::of([&other].into_iter()));
        let condition = |definition: &Value, index: usize| definition["status"]["conditions"][index].clone();
        assert_eq!(condition(&first, 0)["reason"], "ShortNamesConflict");
        assert_eq!(condition(&first, 0)["message"], "\"wd\" is already in use");
        assert_eq!(
            (condition(&first, 1)["reason"].as_str(), condition(&first, 1)["status"].as_str()),
            (Some("NotAccepted"), Some("False"))
        );
        let mut several = first.clone();
        several["spec"]["names"]["shortNames"] = json!(["wd", "we"]);
        let others = json!({"plural": "wd", "singular": "we", "kind": "Other"});
        settle(&mut several, &Taken::of([&others].into_iter()));
        assert_eq!(condition(&several, 0)["message"], "[\"wd\" is already in use, \"we\" is already in use]");
        settle(&mut first, &Taken::default());
        assert!(condition::holds(&first, "Established"));
        // What is established stays so when another name of it is taken.
        first["spec"]["names"]["shortNames"] = json!(["x", "wd"]);
        settle(&mut first, &Taken::of([&other].into_iter()));
        assert!(condition::holds(&first, "Established") && !condition::holds(&first, "NamesAccepted"));
        assert_eq!(first["status"]["acceptedNames"]["shortNames"], json!(["wd"]));
    }
}
