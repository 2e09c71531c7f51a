//! What the server adds to objects that say little, and what it adds nothing to.

use serde_json::{Value, json};

use super::Api;

fn apps(plural: &str) -> String {
    format!("/apis/apps/v1/namespaces/default/{plural}")
}

const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const DRIVERS: &str = "/apis/storage.k8s.io/v1/csidrivers";

fn pods(restart: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "i:1"}]}})
}

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

#[tokio::test]
async fn a_job_without_labels_has_those_of_its_pods() {
    let api = Api::new().await;
    let job = |name: &str, template: Value| json!({"metadata": {"name": name}, "spec": {"template": template}});
    let mut unlabeled = pods("Never");
    unlabeled["metadata"] = json!({});
    for (name, template) in [("bare", unlabeled), ("labeled", pods("Never"))] {
        let made = api.post(JOBS, &job(name, template)).await.ok();
        assert_eq!(made["spec"]["manualSelector"], false);
        let labels = &made["metadata"]["labels"];
        assert_eq!(*labels, made["spec"]["template"]["metadata"]["labels"]);
        for key in ["batch.kubernetes.io/job-name", "job-name"] {
            assert_eq!(labels[key], *name);
        }
        for key in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
            assert_eq!(labels[key], made["metadata"]["uid"]);
        }
        let path = format!("{JOBS}/{name}");
        let stripped = api.patch("merge-patch", &path, &json!({"metadata": {"labels": null}})).await.ok();
        assert_eq!(stripped["metadata"]["labels"], *labels);
    }
    let mut own = job("own", pods("Never"));
    own["metadata"]["labels"] = json!({"mine": "x"});
    assert_eq!(api.post(JOBS, &own).await.ok()["metadata"]["labels"], json!({"mine": "x"}));
    let mut manual = job("manual", pods("Never"));
    manual["spec"]["manualSelector"] = true.into();
    manual["spec"]["selector"] = json!({"matchLabels": {"a": "b"}});
    assert_eq!(api.post(JOBS, &manual).await.ok()["metadata"]["labels"], json!({"a": "b"}));
}

#[tokio::test]
async fn ports_of_templates_become_the_nodes_in_pods_only() {
    let api = Api::new().await;
    let template = |restart: &str| {
        let mut template = pods(restart);
        template["spec"]["hostNetwork"] = true.into();
        template["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
        template
    };
    let always = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template("Always")});
    let job = json!({"template": template("Never")});
    let workloads = [
        (apps("deployments"), json!({"spec": always})),
        (apps("replicasets"), json!({"spec": always})),
        (apps("daemonsets"), json!({"spec": always})),
        (apps("statefulsets"), json!({"spec": always})),
        (
            "/api/v1/namespaces/default/replicationcontrollers".to_owned(),
            json!({"spec": {"template": always["template"]}}),
        ),
        ("/api/v1/namespaces/default/podtemplates".to_owned(), json!({"template": always["template"]})),
        (JOBS.to_owned(), json!({"spec": job})),
        (JOBS.replace("jobs", "cronjobs"), json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}})),
    ];
    for (path, mut workload) in workloads {
        workload["metadata"] = json!({"name": "w"});
        let made = api.post(&path, &workload).await.ok();
        assert!(made.to_string().contains("containerPort") && !made.to_string().contains("hostPort"), "{made}");
    }
    let mut pod = template("Always");
    pod["metadata"]["name"] = "p".into();
    let made = api.post("/api/v1/namespaces/default/pods", &pod).await.ok();
    assert_eq!(made["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
}

#[tokio::test]
async fn how_a_stateful_set_is_updated() {
    let api = Api::new().await;
    let usual = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}});
    let two = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2, "maxUnavailable": 1}});
    for (given, becomes) in [
        (Value::Null, &usual),
        (json!({}), &usual),
        (json!({"rollingUpdate": {}}), &usual),
        (json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}), &two),
        (json!({"type": "RollingUpdate"}), &json!({"type": "RollingUpdate"})),
        (json!({"type": "OnDelete"}), &json!({"type": "OnDelete"})),
    ] {
        let spec =
            json!({"selector": {"matchLabels": {"a": "b"}}, "template": pods("Always"), "updateStrategy": given});
        let set = json!({"metadata": {"name": "s"}, "spec": spec});
        let made = api.post(&format!("{}?dryRun=All", apps("statefulsets")), &set).await.ok();
        assert_eq!((&made["spec"]["updateStrategy"], &made["spec"]["serviceName"]), (becomes, &json!("")));
    }
}
