//! Hollow nodes: what they make of Node objects and of pods, as the API's clients see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::addresses::Family;
use coracle_kubelet::hollow::{ACCOUNT, Clients, HollowConfig, HollowNodes, run};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::cluster::{Cluster, until};

/// The hollow nodes of a server called `dev`.
struct Hollow {
    wanted: watch::Sender<HollowNodes>,
    task: AbortHandle,
}

impl Drop for Hollow {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn nodes(count: u32) -> HollowNodes {
    let capacity = [("cpu", "2"), ("memory", "1Gi"), ("pods", "10")];
    let capacity: BTreeMap<_, _> = capacity.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into();
    HollowNodes { count, capacity, tainted: true }
}

fn start(cluster: &Cluster, count: u32) -> Hollow {
    let config =
        HollowConfig { server: "dev".into(), families: vec![Family::V4], kubernetes_version: "v1.35.0".into() };
    let (wanted, follows) = watch::channel(nodes(count));
    let (server, account) = (cluster.server().clone(), cluster.client_of(ACCOUNT));
    let clients: Clients = Arc::new(move |node| {
        let user = coracle_apiserver::auth::User::new(format!("system:node:{node}"), &["system:nodes"]);
        coracle_client::in_process(server.service(user))
    });
    let task = tokio::spawn(run(config, follows, account, clients, watch::Sender::new(0))).abort_handle();
    Hollow { wanted, task }
}

async fn node(cluster: &Cluster, name: &str, what: &str, fits: impl Fn(&Node) -> bool) -> Node {
    let api: Api<Node> = Api::all(cluster.client.clone());
    until(what, || async { api.get_opt(name).await.expect("an answer").filter(&fits) }).await
}

async fn names(cluster: &Cluster) -> Vec<String> {
    let api: Api<Node> = Api::all(cluster.client.clone());
    api.list(&ListParams::default()).await.expect("a list").iter().map(ResourceExt::name_any).collect()
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn pod(name: &str, node: &str, more: Value) -> Value {
    let mut spec = json!({"nodeName": node, "containers": [{"name": "c", "image": "i:1"}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn ip(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default()
}

async fn running(cluster: &Cluster, name: &str) -> Pod {
    cluster.wait::<Pod>(name, "a pod that runs", |pod| phase(pod) == "Running").await
}

#[tokio::test]
async fn nodes_register_as_kubelets_do_renew_leases_and_come_back_when_they_are_deleted() {
    let cluster = Cluster::new().await;
    let _hollow = start(&cluster, 3);
    let first = node(&cluster, "dev-hollow-1", "a Ready node", is_ready).await;
    for name in ["dev-hollow-2", "dev-hollow-3"] {
        node(&cluster, name, "a Ready node", is_ready).await;
    }
    let (spec, status) = (first.spec.clone().unwrap(), first.status.clone().unwrap());
    assert_eq!(first.labels()["coracle.io/hollow"], "true");
    assert_eq!(first.labels()["kubernetes.io/hostname"], "dev-hollow-1");
    let hollow = |node: &Node| {
        node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|t| t.key == "coracle.io/hollow")
    };
    assert!(hollow(&first), "{spec:?}");
    // Theirs are apart, so that other nodes do not want for ranges.
    assert_eq!(
        (spec.pod_cidr.as_deref(), status.addresses.unwrap()[0].address.as_str()),
        (Some("240.0.1.0/24"), "198.18.0.1")
    );
    assert_eq!(status.capacity.unwrap()["cpu"].0, "2");
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-node-lease");
    let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
    let lease = until("a lease", || async { leases.get_opt("dev-hollow-1").await.unwrap() }).await;
    assert_eq!(lease.owner_references()[0].uid, first.uid().unwrap());
    until("a renewed lease", || async {
        leases.get_opt("dev-hollow-1").await.unwrap().filter(|now| renewed(now) > renewed(&lease))
    })
    .await;
    let api: Api<Node> = Api::all(cluster.client.clone());
    api.delete("dev-hollow-1", &DeleteParams::default()).await.unwrap();
    let again = |node: &Node| is_ready(node) && node.uid() != first.uid();
    node(&cluster, "dev-hollow-1", "the node anew", again).await;
    // What somebody else says of its status is put right.
    let condition = json!({"type": "Ready", "status": "False", "reason": "r", "lastTransitionTime": null});
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    api.patch_status("dev-hollow-2", &PatchParams::default(), &patch).await.unwrap();
    node(&cluster, "dev-hollow-2", "a Ready node again", is_ready).await;
}

#[tokio::test]
async fn nodes_come_and_go_as_they_are_wanted_and_no_other_is_touched() {
    let cluster = Cluster::new().await;
    let other: Node =
        serde_json::from_value(json!({"metadata": {"name": "dev-hollow-2", "labels": {"mine": "yes"}}})).unwrap();
    let real: Node = serde_json::from_value(json!({"metadata": {"name": "real"}})).unwrap();
    let api: Api<Node> = Api::all(cluster.client.clone());
    for object in [&other, &real] {
        api.create(&Default::default(), object).await.unwrap();
    }
    // Its pods are none of ours.
    cluster.create::<Pod>(pod("theirs", "dev-hollow-2", json!({}))).await;
    let hollow = start(&cluster, 3);
    node(&cluster, "dev-hollow-3", "a Ready node", is_ready).await;
    hollow.wanted.send_replace(HollowNodes { tainted: false, ..nodes(4) });
    let untainted = |node: &Node| {
        is_ready(node)
            && !node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|t| t.key == "coracle.io/hollow")
    };
    node(&cluster, "dev-hollow-4", "another node", untainted).await;
    node(&cluster, "dev-hollow-1", "a node without the taint", untainted).await;
    cluster.create::<Pod>(pod("orphan", "dev-hollow-3", json!({}))).await;
    running(&cluster, "orphan").await;
    hollow
        .wanted
        .send_replace(HollowNodes { capacity: BTreeMap::from([("pods".into(), Quantity("7".into()))]), ..nodes(1) });
    until("the others are gone", || async {
        (names(&cluster).await == ["dev-hollow-1", "dev-hollow-2", "real"]).then_some(())
    })
    .await;
    // Not only when its node has been gone for a while.
    until("its pods are too", || async {
        cluster.api::<Pod>().get_opt("orphan").await.unwrap().is_none().then_some(())
    })
    .await;
    let seven = |node: &Node| node.status.as_ref().is_some_and(|s| s.capacity.as_ref().unwrap()["pods"].0 == "7");
    node(&cluster, "dev-hollow-1", "another capacity", seven).await;
    let left = node(&cluster, "dev-hollow-2", "a node of somebody else", |_| true).await;
    cluster.wait::<Pod>("theirs", "a pod that waits", |pod| phase(pod) == "Pending").await;
    assert!(!is_ready(&left) && left.labels().get("coracle.io/hollow").is_none(), "{left:?}");
    drop(hollow);
    // The next process is asked for none.
    let _hollow = start(&cluster, 0);
    until("none is left", || async { (names(&cluster).await == ["dev-hollow-2", "real"]).then_some(()) }).await;
}

#[tokio::test]
async fn pods_run_end_and_go_and_another_process_goes_on_with_them() {
    let cluster = Cluster::new().await;
    let hollow = start(&cluster, 2);
    node(&cluster, "dev-hollow-1", "a Ready node", is_ready).await;
    cluster.create::<Pod>(pod("a", "dev-hollow-1", json!({}))).await;
    let a = running(&cluster, "a").await;
    assert_eq!(ip(&a), "240.0.1.1");
    cluster.create::<Pod>(pod("b", "dev-hollow-1", json!({}))).await;
    assert_eq!(ip(&running(&cluster, "b").await), "240.0.1.2");
    cluster.create::<Pod>(pod("host", "dev-hollow-1", json!({"hostNetwork": true}))).await;
    assert_eq!(ip(&running(&cluster, "host").await), "198.18.0.1");
    // More than there is, and what the node does not have.
    let requests =
        |cpu: &str| json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]});
    cluster.create::<Pod>(pod("large", "dev-hollow-1", requests("3"))).await;
    let large = cluster.wait::<Pod>("large", "a pod that fails", |pod| phase(pod) == "Failed").await;
    assert_eq!(large.status.unwrap().reason.as_deref(), Some("OutOfcpu"));
    cluster.event("large", "OutOfcpu").await;
    cluster.create::<Pod>(pod("choosy", "dev-hollow-1", json!({"nodeSelector": {"zone": "a"}}))).await;
    let choosy = cluster.wait::<Pod>("choosy", "a pod that fails", |pod| phase(pod) == "Failed").await;
    assert_eq!(choosy.status.unwrap().reason.as_deref(), Some("NodeAffinity"));
    cluster.create::<Pod>(pod("fits", "dev-hollow-1", json!({"nodeSelector": {"coracle.io/hollow": "true"}}))).await;
    running(&cluster, "fits").await;

    cluster.patch::<Pod>("a", json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    for name in ["a", "b"] {
        cluster.api::<Pod>().delete(name, &DeleteParams::default()).await.unwrap();
    }
    until("b is gone", || async { cluster.api::<Pod>().get_opt("b").await.unwrap().is_none().then_some(()) }).await;
    let held = cluster.wait::<Pod>("a", "a pod that has ended", |pod| phase(pod) == "Succeeded").await;
    assert!(held.metadata.deletion_timestamp.is_some());

    // Killed, and started anew: what runs is known, and its addresses are nobody else's.
    drop(hollow);
    cluster.patch::<Pod>("a", json!({"metadata": {"finalizers": null}})).await;
    cluster.create::<Pod>(pod("late", "dev-hollow-1", json!({}))).await;
    let before = running(&cluster, "fits").await;
    let _hollow = start(&cluster, 2);
    let late = running(&cluster, "late").await;
    let after = running(&cluster, "fits").await;
    assert_eq!(
        (before.status, before.metadata.resource_version),
        (after.status.clone(), after.metadata.resource_version.clone())
    );
    assert_ne!(ip(&late), ip(&after));
    cluster.create::<Pod>(pod("sized", "dev-hollow-1", requests("2"))).await;
    running(&cluster, "sized").await;
    cluster.create::<Pod>(pod("more", "dev-hollow-1", requests("1"))).await;
    cluster.wait::<Pod>("more", "a pod that fails", |pod| phase(pod) == "Failed").await;
}

#[tokio::test]
async fn a_pod_is_as_long_as_it_says_and_one_node_writes_nothing_of_anothers() {
    let cluster = Cluster::new().await;
    let _hollow = start(&cluster, 1);
    node(&cluster, "dev-hollow-1", "a Ready node", is_ready).await;
    let mut job = pod("job", "dev-hollow-1", json!({"restartPolicy": "Never"}));
    job["metadata"]["annotations"] = json!({"coracle.io/hollow-run": "1s,exit=2", "coracle.io/hollow-start": "1s"});
    cluster.create::<Pod>(job).await;
    cluster
        .wait::<Pod>("job", "a pod that waits or runs", |pod| {
            pod.status.as_ref().is_some_and(|s| s.start_time.is_some())
        })
        .await;
    let ended = cluster.wait::<Pod>("job", "a pod that ends", |pod| phase(pod) == "Failed").await;
    let containers = ended.status.unwrap().container_statuses.unwrap();
    assert_eq!(containers[0].state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 2);
    // Of other nodes it may write nothing, as no kubelet may.
    let user = coracle_apiserver::auth::User::new("system:node:dev-hollow-1", &["system:nodes"]);
    let api: Api<Node> = Api::all(coracle_client::in_process(cluster.server().service(user)));
    let real: Node = serde_json::from_value(json!({"metadata": {"name": "real"}})).unwrap();
    assert!(api.create(&Default::default(), &real).await.is_err());
}

#[tokio::test]
async fn daemon_sets_keep_away_unless_they_tolerate_the_taint() {
    let cluster = Cluster::new().await;
    let _hollow = start(&cluster, 2);
    for name in ["dev-hollow-1", "dev-hollow-2"] {
        node(&cluster, name, "a Ready node", is_ready).await;
    }
    let set = |name: &str, tolerations: Value| {
        json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"tolerations": tolerations, "containers": [{"name": "c", "image": "i"}]}}}})
    };
    cluster.create::<DaemonSet>(set("real", json!([]))).await;
    cluster.create::<DaemonSet>(set("all", json!([{"operator": "Exists"}]))).await;
    cluster.active_pods("app=all", 2).await;
    let wait = |set: &DaemonSet| {
        set.status.as_ref().is_some_and(|s| s.observed_generation == Some(1) && s.desired_number_scheduled == 0)
    };
    cluster.wait::<DaemonSet>("real", "a set without nodes", wait).await;
    assert!(cluster.pods("app=real").await.is_empty());
}
