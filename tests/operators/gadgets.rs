//! One story, told to operators that are written with different clients: a Gadget becomes a Deployment of its size.

use std::process::Command;
use std::time::Duration;

use coracle_e2e::*;
use serde_json::{Value, json};

use crate::program::{Language, Running, build};

#[test]
fn an_operator_with_the_crate_kube_runs_unchanged() {
    story("kube-rs", Language::Rust, Some("Apply"));
}

#[test]
fn an_operator_with_controller_runtime_runs_unchanged() {
    story("controller-runtime", Language::Go("."), Some("Update"));
}

fn definition(group: &str) -> Value {
    let spec = json!({"type": "object", "required": ["size", "image"], "properties": {
        "size": {"type": "integer", "minimum": 0}, "image": {"type": "string"}}});
    let status = json!({"type": "object", "properties": {"ready": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    let version = json!({"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema}});
    json!({"metadata": {"name": format!("gadgets.{group}")}, "spec": {"group": group, "scope": "Namespaced",
        "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"}, "versions": [version]}})
}

/// An operator and what it works on.
struct Story<'a> {
    namespace: &'a Namespace<'a>,
    /// The group of its Gadgets, with a version.
    group: String,
    /// The name of its lease.
    manager: String,
}

fn story(folder: &str, language: Language, operation: Option<&str>) {
    let cluster = cluster!();
    let Some(program) = build(folder, language) else { return };
    let group = format!("{folder}.example.com");
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    cluster.api().post(definitions, &definition(&group)).ok();
    let namespace = cluster.namespace(&format!("gadgets-{folder}"));
    let story = Story { namespace: &namespace, group: format!("{group}/v1"), manager: format!("gadgets-{folder}") };
    let path = format!("/apis/{}/gadgets", story.group);
    eventually("Gadgets are served", || match cluster.api().get(&path).status {
        200 => Ok(()),
        status => Err(status),
    });

    let start = |name: &str| {
        let mut command = Command::new(&program);
        command.arg(name).env("KUBECONFIG", &cluster.kubeconfig);
        Running::start(command, cluster.directory().join(format!("{folder}-{name}.log")))
    };
    let mut first = start("first");
    eventually("the first leads", || leads(&first, "first"));
    let second = start("second");
    let holder = story.holder();

    story.a_gadget_becomes_a_deployment(operation);
    story.what_others_change_is_put_right();
    assert!(leads(&second, "second").is_err(), "there are two leaders");
    first.kill();
    eventually("the second leads", || leads(&second, "second"));
    assert_ne!(story.holder(), holder);
    story.the_size_changes();
    story.it_goes_with_all_that_it_owns();
    drop(second);
    cluster.api().delete(&format!("{definitions}/gadgets.{group}"), &json!({})).ok();
}

fn leads(running: &Running, name: &str) -> Result<(), String> {
    let output = running.output();
    output.lines().any(|line| line == format!("{name} leads")).then_some(()).ok_or(output)
}

impl Story<'_> {
    fn gadget(&self) -> String {
        self.namespace.path_in(&self.group, "gadgets/one")
    }

    fn deployment(&self) -> Value {
        self.namespace.api.get(&self.namespace.path_in("apps/v1", "deployments/one")).body
    }

    fn holder(&self) -> Value {
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/default/leases/{}", self.manager);
        self.namespace.api.get(&lease).ok()["spec"]["holderIdentity"].clone()
    }

    /// Waits until a Gadget says how many of its pods are ready.
    fn ready(&self, count: u64) -> Value {
        eventually("the Gadget is ready", || {
            let gadget = self.namespace.api.get(&self.gadget()).ok();
            if gadget["status"]["ready"] == count { Ok(gadget) } else { Err(gadget["status"].to_string()) }
        })
    }

    fn a_gadget_becomes_a_deployment(&self, operation: Option<&str>) {
        let gadgets = self.namespace.path_in(&self.group, "gadgets");
        let wrong =
            json!({"metadata": {"name": "wrong"}, "apiVersion": self.group, "kind": "Gadget", "spec": {"size": -1}});
        assert_eq!(self.namespace.api.post(&gadgets, &wrong).status, 422);
        let spec = json!({"size": 2, "image": "test:1"});
        let gadget = json!({"metadata": {"name": "one"}, "apiVersion": self.group, "kind": "Gadget", "spec": spec});
        self.namespace.api.post(&gadgets, &gadget).ok();
        let gadget = self.ready(2);
        let group = self.group.trim_end_matches("/v1");
        assert_eq!(gadget["metadata"]["finalizers"], json!([format!("{group}/farewell")]));
        assert_eq!(gadget["metadata"]["generation"], 1);
        let deployment = self.deployment();
        let owner = &deployment["metadata"]["ownerReferences"][0];
        assert_eq!(owner["uid"], gadget["metadata"]["uid"]);
        assert_eq!((&owner["kind"], &owner["controller"]), (&json!("Gadget"), &json!(true)));
        let entries = deployment["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let theirs = entries.iter().find(|entry| entry["fieldsV1"]["f:spec"]["f:replicas"].is_object());
        assert_eq!(theirs.and_then(|entry| entry["operation"].as_str()), operation, "{entries:?}");
        eventually("an event tells of it", || {
            let events = self.namespace.api.get(&self.namespace.path_in("events.k8s.io/v1", "events")).ok();
            let told =
                events["items"].as_array().into_iter().flatten().any(|event| {
                    event["reason"] == "Counted" && event["regarding"]["uid"] == gadget["metadata"]["uid"]
                });
            if told { Ok(()) } else { Err(events.to_string()) }
        });
    }

    fn what_others_change_is_put_right(&self) {
        let path = self.namespace.path_in("apps/v1", "deployments/one");
        let uid = self.deployment()["metadata"]["uid"].clone();
        self.namespace.api.patch(&path, MERGE, &json!({"spec": {"replicas": 5}})).ok();
        eventually("the size is put right", || match self.deployment()["spec"]["replicas"].as_u64() {
            Some(2) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        self.namespace.api.delete(&path, &json!({"propagationPolicy": "Background"})).ok();
        eventually("the Deployment comes back", || {
            let now = self.deployment()["metadata"]["uid"].clone();
            if now.is_string() && now != uid { Ok(()) } else { Err(now.to_string()) }
        });
        self.ready(2);
    }

    fn the_size_changes(&self) {
        self.namespace.api.patch(&self.gadget(), MERGE, &json!({"spec": {"size": 3}})).ok();
        let gadget = self.ready(3);
        assert_eq!(gadget["metadata"]["generation"], 2);
        assert_eq!(self.deployment()["spec"]["replicas"], 3);
    }

    fn it_goes_with_all_that_it_owns(&self) {
        self.namespace.api.delete(&self.gadget(), &json!({})).ok();
        eventually("the Gadget goes", || match self.namespace.api.get(&self.gadget()) {
            answer if answer.status == 404 => Ok(()),
            answer => Err(answer.text),
        });
        assert!(self.namespace.found("configmaps/farewell-one").is_ok(), "its finalizer did nothing");
        eventually("its Deployment goes", || match self.deployment() {
            status if status["code"] == 404 => Ok(()),
            deployment => Err(deployment.to_string()),
        });
        eventually("its pods go", || {
            let pods = self.namespace.api.get(&self.namespace.path("pods")).ok();
            if pods["items"] == json!([]) { Ok(()) } else { Err(pods.to_string()) }
        });
        never("it comes back", Duration::from_millis(500), || {
            self.deployment()["metadata"]["uid"].as_str().map(str::to_owned)
        });
    }
}
