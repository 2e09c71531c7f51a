//! Fine-grained SupplementalGroups control.

use coracle_e2e::*;
use serde_json::json;

#[test]
fn should_tell_who_the_first_process_of_every_container_is() {
    let cluster = cluster!();
    let namespace = cluster.namespace("users");
    let mut object = pod("p", &["sleep", "1000"]);
    object["spec"]["securityContext"] = json!({"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 5000,
        "supplementalGroups": [4000], "supplementalGroupsPolicy": "Strict"});
    let mut first = container("first", &["sh", "-c", "exit 0"]);
    first["securityContext"] = json!({"runAsUser": 1001});
    object["spec"]["initContainers"] = json!([first]);
    namespace.create("pods", &object);
    namespace.pod_ready("p");
    let debugger = json!({"spec": {"ephemeralContainers": [container("debugger", &["sleep", "1000"])]}});
    namespace.api.patch(&namespace.path("pods/p/ephemeralcontainers"), STRATEGIC, &debugger).ok();
    let told = namespace.pod_until("p", "has an ephemeral container that runs", |pod| {
        pod["status"]["ephemeralContainerStatuses"][0]["state"]["running"].is_object()
    });
    for (list, user) in
        [("initContainerStatuses", 1001), ("containerStatuses", 1000), ("ephemeralContainerStatuses", 1000)]
    {
        let groups = told["status"][list][0]["user"]["linux"]["supplementalGroups"].as_array().cloned();
        let mut groups = groups.unwrap_or_default();
        groups.sort_by_key(|group| group.as_i64());
        assert_eq!(groups, [3000, 4000, 5000], "{list}: {}", told["status"]);
        let linux = &told["status"][list][0]["user"]["linux"];
        assert_eq!((&linux["uid"], &linux["gid"]), (&json!(user), &json!(3000)), "{list}");
    }
}
