//! What the server adds to objects that say little, and what it adds nothing to.

use serde_json::{Value, json};

use super::Api;

const DRIVERS: &str = "/apis/storage.k8s.io/v1/csidrivers";

#[tokio::test]
async fn an_autoscaler_names_the_group_of_what_it_scales() {
    let api = Api::new().await;
    for version in ["v1", "v2"] {
        let path = format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
        let scaler =
            |target: Value| json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target}});
        let refused = async |target: Value, why: &str| {
            let told = format!("HorizontalPodAutoscaler.autoscaling \"h\" is invalid: spec.scaleTargetRef.{why}");
            api.post(&path, &scaler(target)).await.refused(422, &told);
        };
        let no_group = "apiVersion must specify API group";
        refused(json!({"kind": "Deployment", "name": "d"}), &format!("apiVersion: Invalid value: \"\": {no_group}"))
            .await;
        let core = json!({"kind": "Deployment", "name": "d", "apiVersion": "v1"});
        refused(core, &format!("apiVersion: Invalid value: \"v1\": {no_group}")).await;
        let odd = json!({"kind": "Deployment", "name": "d", "apiVersion": "a/b/c"});
        refused(odd, "apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c").await;
        let path_in_name = json!({"kind": "Deployment", "name": "d/e", "apiVersion": "apps/v1"});
        refused(path_in_name, "name: Invalid value: \"d/e\": may not contain '/'").await;
        let controller = scaler(json!({"kind": "ReplicationController", "name": "d"}));
        api.post(&format!("{path}?dryRun=All"), &controller).await.ok();
    }
}

#[tokio::test]
async fn a_driver_without_a_spec_has_the_usual_one() {
    let api = Api::new().await;
    let made = api.post(DRIVERS, &json!({"metadata": {"name": "x.example"}})).await.ok();
    let usual = json!({"attachRequired": true, "podInfoOnMount": false, "volumeLifecycleModes": ["Persistent"],
        "storageCapacity": false, "fsGroupPolicy": "ReadWriteOnceWithFSType", "requiresRepublish": false, "seLinuxMount": false});
    assert_eq!((&made["spec"], &made["metadata"]["generation"]), (&usual, &Value::Null));
    let path = format!("{DRIVERS}/x.example");
    let changed = api.patch("merge-patch", &path, &json!({"spec": {"podInfoOnMount": true}})).await.ok();
    assert_eq!(changed["metadata"]["generation"], 1);
}
