//! Which pods a DaemonSet makes and deletes.

use super::*;
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::{Value, json};

/// Ready since long ago, ready just now, not ready, failed.
#[derive(Clone, Copy, PartialEq)]
enum Is {
    Available,
    Unready,
    Failed,
}

fn set(strategy: Value) -> DaemonSet {
    serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "n", "uid": "u", "generation": 2},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "updateStrategy": strategy,
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": []}}}}))
    .unwrap()
}

fn rolling_by(unavailable: Value, surge: Value) -> DaemonSet {
    set(json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}))
}

fn pod(name: &str, node: &str, hash: &str, is: Is) -> Arc<Pod> {
    let value = json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {HASH_LABEL: hash},
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": if is == Is::Failed {"Failed"} else {"Running"}, "conditions": [{"type": "Ready",
            "status": if is == Is::Available {"True"} else {"False"}, "lastTransitionTime": "2026-01-01T00:00:01Z"}]},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn nodes(names: &[&str]) -> Vec<Arc<Node>> {
    let node = |name: &&str| Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap());
    names.iter().map(node).collect()
}

/// Asks with these nodes and pods; the current hash is `new`.
fn with<T>(ds: &DaemonSet, names: &[&str], on: &[Arc<Pod>], ask: impl FnOnce(&State<'_>) -> T) -> T {
    let (template, nodes, failures) = (Template::of(ds), nodes(names), Failures::default());
    let pods = pods::by_node(on);
    let hashes = BTreeSet::from(["new".to_owned()]);
    let (template, pods, failures, hashes) = (&template, &pods, &failures, &hashes);
    ask(&State { ds, template, nodes: &nodes, pods, hash: "new", hashes, failures })
}

fn named(plan: &Plan) -> (Vec<&str>, Vec<String>) {
    (plan.create.iter().map(String::as_str).collect(), plan.delete.iter().map(|pod| pod.name_any()).collect())
}

#[test]
fn every_node_has_one_pod() {
    let ds = rolling_by(json!(1), json!(0));
    let pods = [
        pod("x", "b", "new", Is::Available),
        pod("y", "b", "new", Is::Available),
        pod("z", "gone", "new", Is::Unready),
    ];
    let plan = with(&ds, &["a", "b"], &pods, plan::manage);
    // The pod of the node that is gone was there: the garbage collector of pods sees to it.
    assert_eq!(named(&plan), (vec!["a"], vec!["y".into()]));
}

#[test]
fn a_pod_that_waits_for_a_node_that_is_gone_is_deleted() {
    let ds = rolling_by(json!(1), json!(0));
    let mut waiting = Template::of(&ds).pod(&ds, "gone", "new");
    waiting.metadata.name = Some("x".into());
    let plan = with(&ds, &[], &[Arc::new(waiting)], plan::manage);
    assert_eq!(named(&plan), (vec![], vec!["x".into()]));
}

#[test]
fn a_failed_pod_is_deleted_and_told_of() {
    let ds = rolling_by(json!(1), json!(0));
    let pods = [pod("x", "a", "new", Is::Failed)];
    let plan = with(&ds, &["a"], &pods, plan::manage);
    assert_eq!(named(&plan), (vec![], vec!["x".into()]));
    assert_eq!(plan.events[0].1, "FailedDaemonPod");
    assert_eq!(plan.events[0].2, "Found failed daemon pod n/x on node a, will try to kill it");
    let (first, second) = with(&ds, &["a"], &pods, |state| (plan::manage(state), plan::manage(state)));
    assert_eq!((first.delete.len(), second.delete.len()), (1, 0));
    assert!(second.again.is_some());
}

#[test]
fn a_pod_that_has_ended_and_is_being_deleted_keeps_no_other_one_away() {
    let ds = rolling_by(json!(1), json!(0));
    let mut ended = (*pod("x", "a", "new", Is::Failed)).clone();
    ended.metadata.deletion_timestamp = Some(now());
    let plan = with(&ds, &["a"], &[Arc::new(ended)], plan::manage);
    assert_eq!(named(&plan), (vec!["a"], vec![]));
    let mut leaving = (*pod("x", "a", "new", Is::Unready)).clone();
    leaving.metadata.deletion_timestamp = Some(now());
    let plan = with(&ds, &["a"], &[Arc::new(leaving)], plan::manage);
    assert_eq!(named(&plan), (vec![], vec![]));
}

#[test]
fn old_pods_are_replaced_as_far_as_they_may_be_missing() {
    let ds = rolling_by(json!("50%"), json!(0));
    let pods = [
        pod("a1", "a", "old", Is::Available),
        pod("b1", "b", "old", Is::Available),
        pod("c1", "c", "old", Is::Unready),
        pod("d1", "d", "new", Is::Unready),
    ];
    let plan = with(&ds, &["a", "b", "c", "d"], &pods, rolling::roll);
    // Two of four may be missing, and c and d are. To replace c costs nothing.
    assert_eq!(named(&plan), (vec![], vec!["c1".into()]));
    let plan = with(&ds, &["a", "b", "c"], &pods[..3], rolling::roll);
    assert_eq!(named(&plan), (vec![], vec!["c1".into(), "a1".into()]));
}

#[test]
fn nothing_is_replaced_in_a_pass_that_does_something_else() {
    let ds = rolling_by(json!(2), json!(0));
    let mut pods = vec![pod("a1", "a", "old", Is::Available)];
    let plan = with(&ds, &["a", "b"], &pods, plan::plan);
    assert_eq!(named(&plan), (vec!["b"], vec![]));
    pods.push(pod("b1", "b", "new", Is::Available));
    let plan = with(&ds, &["a", "b"], &pods, plan::plan);
    assert_eq!(named(&plan), (vec![], vec!["a1".into()]));
}

#[test]
fn new_pods_come_before_old_ones_go_where_they_surge() {
    let ds = rolling_by(json!(0), json!(1));
    let old = |name: &str, node: &str| pod(name, node, "old", Is::Available);
    let plan = with(&ds, &["a", "b"], &[old("a1", "a"), old("b1", "b")], rolling::roll);
    assert_eq!(named(&plan), (vec!["a"], vec![]));
    let pods = [old("a1", "a"), old("b1", "b"), pod("a2", "a", "new", Is::Unready)];
    assert_eq!(named(&with(&ds, &["a", "b"], &pods, rolling::roll)), (vec![], vec![]));
    assert_eq!(named(&with(&ds, &["a", "b"], &pods, plan::manage)), (vec![], vec![]));
    let pods = [old("a1", "a"), old("b1", "b"), pod("a2", "a", "new", Is::Available)];
    assert_eq!(named(&with(&ds, &["a", "b"], &pods, plan::manage)), (vec![], vec!["a1".into()]));
}

#[test]
fn the_status_counts_nodes() {
    let ds = rolling_by(json!(1), json!(0));
    let pods = [pod("x", "a", "new", Is::Available), pod("y", "b", "old", Is::Unready)];
    let status =
        with(&ds, &["a", "b", "c"], &pods, |state| status::desired_status(state, None, true, Timestamp::now()));
    assert_eq!((status.desired_number_scheduled, status.current_number_scheduled), (3, 2));
    assert_eq!((status.number_ready, status.number_available, status.number_unavailable), (1, Some(1), Some(2)));
    assert_eq!((status.updated_number_scheduled, status.observed_generation), (Some(1), Some(2)));
}

/// The server that makes a revision, as which a pod is seen that was waited for.
fn server(key: &ObjectKey, expectations: &Arc<Expectations>) -> Client {
    let (key, expectations) = (key.clone(), expectations.clone());
    coracle_client::in_process(tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (key, expectations) = (key.clone(), expectations.clone());
        async move {
            let is_write = matches!(*request.method(), http::Method::POST | http::Method::PUT);
            if is_write && request.uri().path().contains("/controllerrevisions") {
                expectations.creation_observed(&key);
            }
            let body = request.into_body().collect_bytes().await.unwrap_or_default();
            let code = if is_write { 200 } else { 404 };
            http::Response::builder().status(code).body(kube::client::Body::from(body.to_vec()))
        }
    }))
}

#[tokio::test]
async fn a_pod_that_comes_while_the_others_are_read_is_waited_for() {
    let (key, expectations) = (ObjectKey::new("n", "d"), Arc::<Expectations>::default());
    let client = server(&key, &expectations);
    let informers = coracle_client::Informers::new(client.clone());
    let pods: Vec<(_, coracle_client::Indexer<Pod>)> =
        vec![(BY_CONTROLLER, Box::new(controller_uid::<Pod>)), (ORPHANS, Box::new(orphan_namespace::<Pod>))];
    let revisions: Vec<(_, coracle_client::Indexer<ControllerRevision>)> = vec![
        (BY_CONTROLLER, Box::new(controller_uid::<ControllerRevision>)),
        (ORPHANS, Box::new(orphan_namespace::<ControllerRevision>)),
    ];
    let controller = DaemonSetController {
        client: client.clone(),
        sets: informers.all(),
        pods: informers.indexed(pods),
        nodes: informers.all(),
        histories: Histories::new(client.clone(), informers.indexed(revisions)),
        recorder: EventRecorder::new(client, "daemonset-controller", ""),
        expectations: expectations.clone(),
        failures: Failures::default(),
        queue: WorkQueue::new(),
    };
    let ds = rolling_by(json!(1), json!(0));
    expectations.expect(&key, uid(&ds), 1, []);
    let again = controller.sync(&key, &ds).await.unwrap();
    assert!(again.is_some(), "what was read is older than what was seen");
    assert_eq!(expectations.pending(&key, uid(&ds)), None);
}
