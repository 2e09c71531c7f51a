//! What every cluster has, and what new objects are given.

use serde_json::json;

use crate::Api;

#[tokio::test]
async fn the_rows_that_people_look_for_are_there() {
    let api = Api::new().await;
    let statuses = api.get_as("/api/v1/componentstatuses", "application/json;as=Table;v=v1;g=meta.k8s.io").await.ok();
    let cells: Vec<_> = statuses["rows"].as_array().unwrap().iter().map(|row| row["cells"].clone()).collect();
    assert_eq!(
        cells,
        [
            json!(["controller-manager", "Healthy", "ok", ""]),
            json!(["etcd-0", "Healthy", "ok", ""]),
            json!(["scheduler", "Healthy", "ok", ""]),
        ]
    );
    let core = api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.").await.ok();
    assert_eq!(core["status"]["conditions"][0]["message"], "Local APIServices are always available");
    let apps = api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.apps").await.ok();
    assert_eq!(
        apps["spec"],
        json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15})
    );
    let range = api.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await.ok();
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/16"]));
    assert_eq!(range["status"]["conditions"][0]["type"], "Ready");
}
