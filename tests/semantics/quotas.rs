//! What a namespace may use, as the API server and the controller count it together.

use coracle_e2e::*;
use serde_json::{Value, json};

#[test]
fn a_quota_counts_what_is_there_and_what_comes() {
    let cluster = cluster!();
    let namespace = cluster.namespace("quota");
    let map = |name: &str| json!({"metadata": {"name": name}});
    namespace.create("configmaps", &map("before"));
    let hard = json!({"count/configmaps": "4", "pods": "1", "count/deployments.apps": "1"});
    namespace.create("resourcequotas", &json!({"metadata": {"name": "q"}, "spec": {"hard": hard}}));
    let used = |name: &str| -> Value {
        namespace.found("resourcequotas/q").expect("the quota")["status"]["used"][name].clone()
    };
    // Every namespace has the certificate of the authority, too.
    let settles = |name: &str, amount: &str| {
        eventually("the quota is counted", || match used(name) {
            used if used == amount => Ok(()),
            used => Err(format!("{name} is {used}")),
        });
    };
    settles("count/configmaps", "2");
    settles("pods", "0");
    namespace.create("configmaps", &map("c"));
    assert_eq!(used("count/configmaps"), "3");
    namespace.create("configmaps", &map("d"));
    namespace.api.post(&namespace.path("configmaps"), &map("e")).is_failure(
        403,
        "Forbidden",
        "configmaps \"e\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=4, limited: count/configmaps=4",
    );
    namespace.api.delete(&namespace.path("configmaps/d"), &json!({})).ok();
    assert_eq!(used("count/configmaps"), "3");
    // What is limited from now on is counted.
    let more = json!({"spec": {"hard": {"secrets": "5"}}});
    namespace.api.patch(&namespace.path("resourcequotas/q"), MERGE, &more).ok();
    settles("secrets", "0");
}
