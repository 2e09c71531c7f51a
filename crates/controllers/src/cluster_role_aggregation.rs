//! Gathers the rules of ClusterRoles with an aggregation rule from the roles that it selects.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles>

use std::sync::Arc;

use coracle_client::{Informer, Store, WorkQueue, is_conflict, is_not_found};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use kube::core::SelectorExt;

use crate::common::{Context, selector_of};
use crate::run::reconcile_all;

/// Runs the controller until its queue is closed.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let queue: WorkQueue<String> = WorkQueue::named("ClusterRoleAggregator");
    let roles: Informer<ClusterRole> = context.informers.all();
    let (store, q) = (roles.store(), queue.clone());
    // Any role may be selected by any aggregated one, and may have been before it changed.
    roles.subscribe(move |_| {
        let aggregated = store.list().into_iter().filter(|role| role.aggregation_rule.is_some());
        aggregated.for_each(|role| q.add(role.name_any()));
    });
    let store = roles.store();
    let api: Api<ClusterRole> = Api::all(context.client);
    reconcile_all(&[&roles], &queue, 2, move |name| {
        let found = store.get("", &name).and_then(|role| Some((gathered(&role, &store)?, role)));
        let api = api.clone();
        async move {
            let Some((rules, role)) = found else { return Ok(None) };
            let mut new = (*role).clone();
            new.rules = Some(rules);
            match api.replace(&name, &PostParams::default(), &new).await {
                // The change that was in the way brings the role here again.
                Err(error) if is_conflict(&error) || is_not_found(&error) => Ok(None),
                done => done.map(|_| None),
            }
        }
    })
    .await
}

/// The rules that a role is to have; `None` when it has them, or gathers none.
fn gathered(role: &ClusterRole, store: &Store<ClusterRole>) -> Option<Vec<PolicyRule>> {
    let others = store.list();
    let rules = rules_for(role, &others)?;
    (role.rules.as_deref().unwrap_or_default() != rules).then_some(rules)
}

/// The rules of all roles that the role selects, each once, in the order of the selectors and of the roles' names. A
/// selector that is not valid selects nothing.
fn rules_for(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let mut others: Vec<_> = all.iter().filter(|other| other.name_any() != role.name_any()).collect();
    others.sort_by_key(|other| other.name_any());
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors.iter().filter_map(selector_of) {
        for other in others.iter().filter(|other| selector.matches(other.labels())) {
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn role(name: &str, label: &str, verbs: &[&[&str]]) -> Arc<ClusterRole> {
        let rules: Vec<_> =
            verbs.iter().map(|verbs| json!({"verbs": verbs, "apiGroups": [""], "resources": ["pods"]})).collect();
        let object = json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": rules});
        Arc::new(serde_json::from_value(object).expect("a role"))
    }

    #[test]
    fn a_role_gathers_the_rules_of_those_it_selects() {
        let mut admin = (*role("admin", "to-admin", &[&["escalate"]])).clone();
        assert!(rules_for(&admin, &[]).is_none());
        let selectors = json!({"clusterRoleSelectors": [{"matchLabels": {"to-admin": "true"}}, {"matchLabels": {"to-edit": "true"}}]});
        admin.aggregation_rule = Some(serde_json::from_value(selectors).expect("a rule"));
        let all = [
            Arc::new(admin.clone()),
            role("b", "to-admin", &[&["update"], &["get"]]),
            role("a", "to-admin", &[&["get"]]),
            role("c", "to-view", &[&["watch"]]),
            role("d", "to-edit", &[&["update"], &["patch"]]),
        ];
        let rules = rules_for(&admin, &all).expect("rules");
        let verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "update", "patch"]);
        let rules = rules_for(&admin, &all[..1]).expect("none");
        assert!(rules.is_empty());
    }
}
