//! The roles and bindings that every cluster has. `crate::bootstrap` makes them when they are missing, and completed when a newer version brings
//! more. What else was given is kept, and an object with the annotation
//! `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation>

mod addons;
mod cluster;
mod controllers;
mod namespaced;
mod reconcile;
mod table;

use serde_json::Value;

use self::table::{Binding, Role, Subject};
use super::rbac::Rule;

pub(crate) use self::reconcile::{Plan, binding_plan, role_plan};

/// What the names of controllers' roles begin with.
const CONTROLLER: &str = "system:controller:";

/// Whether a service account of `kube-system` is that of a controller.
pub(super) fn is_controller(account: &str) -> bool {
    controllers::ROLES.iter().any(|role| role.name.strip_prefix(CONTROLLER) == Some(account))
}

/// The rules of a default role of the cluster.
pub(super) fn rules_of(name: &str) -> Vec<Rule> {
    cluster::ROLES.iter().find(|role| role.name == name).map(Role::rules).unwrap_or_default()
}

/// All of them, as they are made.
pub(crate) fn objects() -> Vec<Value> {
    let of_cluster = |roles: &[Role]| roles.iter().map(|role| role.object("")).collect::<Vec<_>>();
    let bound = |bindings: &[Binding]| bindings.iter().map(|binding| binding.object("")).collect::<Vec<_>>();
    let mut out = of_cluster(cluster::ROLES);
    out.extend(bound(cluster::BINDINGS));
    out.extend(of_cluster(addons::ROLES));
    out.extend(bound(addons::BINDINGS));
    for role in controllers::ROLES {
        let account = role.name.strip_prefix(CONTROLLER).unwrap_or_default();
        out.extend([role.object(""), role.bound_to(&Subject::ServiceAccount("kube-system", account))]);
    }
    out.extend(namespaced::ROLES.iter().map(|(namespace, role)| role.object(namespace)));
    out.extend(namespaced::BINDINGS.iter().map(|(namespace, binding)| binding.object(namespace)));
    out
}

#[cfg(test)]
mod tests {
    use coracle_api::{kinds, meta};

    use super::*;
    use crate::authz::rbac::GROUP;

    #[test]
    fn every_default_object_is_valid_and_has_a_name_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for object in objects() {
            let kind = kinds::by_kind(GROUP, "v1", meta::kind(&object)).expect("a kind of the table");
            let mut errors = kind.strategy.validate(&object);
            errors.extend(kind.strategy.validate_create(&object));
            assert!(errors.is_empty(), "{object}: {errors:?}");
            assert_eq!(kind.namespaced, !meta::namespace(&object).is_empty(), "{object}");
            let name = (kind.kind.clone(), meta::namespace(&object).to_owned(), meta::name(&object).to_owned());
            assert!(names.insert(name), "{object}");
        }
    }

    #[test]
    fn every_binding_names_a_role_that_there_is() {
        let objects = objects();
        for binding in objects.iter().filter(|object| !object["roleRef"].is_null()) {
            let role = objects.iter().find(|object| {
                object["kind"] == binding["roleRef"]["kind"]
                    && object["metadata"]["name"] == binding["roleRef"]["name"]
                    && meta::namespace(object) == meta::namespace(binding)
            });
            assert!(role.is_some(), "{binding}");
        }
    }

    #[test]
    fn the_ingress_changes_no_lease_but_its_own() {
        let (_, role) = namespaced::ROLES.iter().find(|(_, role)| role.name == "system:ingress").expect("its role");
        let object = role.object("kube-system");
        let all = object["rules"].as_array().expect("rules").iter();
        for rule in all.filter(|rule| rule["resources"] == serde_json::json!(["leases"])) {
            let own = serde_json::json!(["coracle-ingress", "coracle-gateway-class"]);
            assert!(rule["verbs"] == serde_json::json!(["create"]) || rule["resourceNames"] == own, "{rule}");
        }
    }
}
