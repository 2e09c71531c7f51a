//! Variable Expansion in the subpaths of volumes.

use coracle_e2e::*;
use serde_json::{Value, json};

/// A pod that mounts the part of a volume that a variable names.
fn expanding(variable: &str, command: &[&str]) -> Value {
    let mut object = pod("p", command);
    object["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    let main = &mut object["spec"]["containers"][0];
    main["env"] = json!([{"name": "PART", "value": variable}]);
    main["volumeMounts"] =
        json!([{"name": "v", "mountPath": "/part", "subPathExpr": "$(PART)"}, {"name": "v", "mountPath": "/all"}]);
    object
}

fn is_refused(namespace: &Namespace<'_>, variable: &str) {
    namespace.create("pods", &expanding(variable, &["sleep", "1000"]));
    let status = namespace.container_until("p", "is not started", |status| {
        status["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    });
    assert_eq!(status["started"], false);
}

#[test]
fn should_fail_substituting_values_in_a_volume_subpath_with_backticks() {
    let cluster = cluster!();
    is_refused(&cluster.namespace("expansion-backticks"), "..");
}

#[test]
fn should_fail_substituting_values_in_a_volume_subpath_with_absolute_path() {
    let cluster = cluster!();
    is_refused(&cluster.namespace("expansion-absolute"), "/tmp");
}

#[test]
fn should_succeed_in_writing_subpaths_in_container() {
    let cluster = cluster!();
    let namespace = cluster.namespace("expansion-writes");
    let mut object = expanding("p", &["sh", "-c", "write /part/file text; cat /all/p/file; sleep 1000"]);
    object["spec"]["restartPolicy"] = "Always".into();
    namespace.create("pods", &object);
    namespace.pod_ready("p");
    eventually("the file is in the volume", || match namespace.log("p").trim() {
        "text" => Ok(()),
        other => Err(other.to_owned()),
    });
    namespace.api.delete(&namespace.path("pods/p"), &json!({})).ok();
    eventually("the pod goes", || match namespace.found("pods/p") {
        Ok(pod) => Err(pod["status"].to_string()),
        Err(_) => Ok(()),
    });
}
