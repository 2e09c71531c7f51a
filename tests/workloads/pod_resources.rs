//! Pods that say their resources as a whole.

use coracle_e2e::*;
use serde_json::json;

use crate::resizing::limits;

const MI: u64 = 1 << 20;

#[test]
fn limits_of_a_whole_pod_are_its_groups_and_its_class_and_its_containers_are_told() {
    let cluster = cluster!();
    let namespace = cluster.namespace("pod-resources");
    let mut object = pod("p", &["serve", "--port", "8080"]);
    object["spec"]["resources"] = json!({"limits": {"cpu": "150m", "memory": "64Mi"}});
    namespace.create("pods", &object);
    let pod = namespace.pod_ready("p");
    assert_eq!(pod["spec"]["resources"]["requests"], pod["spec"]["resources"]["limits"]);
    assert_eq!(pod["spec"]["containers"][0]["resources"], json!({}));
    assert_eq!(pod["status"]["qosClass"], "Guaranteed");
    assert_eq!(limits(&pod), [(150, 64 * MI); 2]);
}

#[test]
fn a_limit_of_a_container_stays_within_that_of_its_pod_and_who_has_none_is_told_the_pods() {
    let cluster = cluster!();
    let namespace = cluster.namespace("pod-resources-both");
    let mut object = pod("p", &["serve", "--port", "8080"]);
    object["spec"]["resources"] = json!({"limits": {"cpu": "1", "memory": "96Mi"}});
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "50m"}, "limits": {"memory": "32Mi"}});
    let mut teller = container("teller", &["echo", "$(MEMORY)"]);
    teller["env"] = json!([{"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}]);
    object["spec"]["containers"].as_array_mut().unwrap().push(teller);
    namespace.create("pods", &object);
    let pod = namespace.pod_until("p", "has one container that runs and one that has ended", |pod| {
        let statuses = &pod["status"]["containerStatuses"];
        !statuses[0]["state"]["running"].is_null() && !statuses[1]["state"]["terminated"].is_null()
    });
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    assert_eq!(pod["spec"]["resources"]["requests"], json!({"cpu": "50m", "memory": "32Mi"}));
    assert_eq!(limits(&pod), [(1000, 32 * MI), (1000, 96 * MI)]);
    let log = namespace.api.get_as(&namespace.path("pods/p/log?container=teller"), "*/*").text;
    assert_eq!(log.trim(), (96 * MI).to_string());
}
