//! What the server adds to objects that say little, and what it adds nothing to.

use serde_json::{Value, json};

use super::Api;

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
