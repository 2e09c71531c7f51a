//! The scheduler's state: the node table, the queue, and how events change them. No I/O happens here.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use tokio::time::Instant;

use crate::cycle::{Cycle, Unfit};
use crate::pod::{Labels, PodInfo, Selects};
use crate::preemption::{self, Budget, Plan};
use crate::queue::{Happened, Queue};
use crate::table::Table;

/// Everything that one lock guards.
pub(crate) struct Core {
    profile: String,
    pub table: Table,
    pub queue: Queue,
    cycle: Cycle,
    /// Selectors of services, by namespace and name.
    services: BTreeMap<(String, String), Labels>,
}

/// What became of one pod.
pub(crate) enum Decision {
    /// It is to be bound; the table has it on the node already.
    Bind { pod: Arc<PodInfo>, node: String },
    /// No node takes it.
    Unfit { pod: Arc<PodInfo>, message: String, preemption: Option<(String, Vec<Arc<PodInfo>>)> },
}

fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

impl Core {
    pub fn new(profile: &str, seed: u64) -> Core {
        Core {
            profile: profile.to_owned(),
            table: Table::default(),
            queue: Queue::default(),
            cycle: Cycle::new(seed),
            services: BTreeMap::new(),
        }
    }

    /// Takes in a new or changed pod.
    pub fn pod_changed(&mut self, old: Option<&Pod>, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if is_finished(pod) {
            return self.pod_gone(&uid);
        }
        let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty());
        if let Some(node) = bound {
            self.queue.remove(&uid);
            self.table.withdraw(&uid);
            let known = self.table.pod_place(&uid);
            let info = Arc::new(PodInfo::new(&mut self.table.names, pod.clone()));
            let relabeled = old.is_some_and(|old| old.metadata.labels != pod.metadata.labels);
            let shrunk = known.is_some_and(|number| {
                let before = self.table.node(number).pods.iter().find(|other| other.uid == uid);
                before.is_some_and(|before| before.requests != info.requests)
            });
            // Most changes of a pod that runs are of its status and mean nothing here.
            let same = known == self.table.number(node)
                && known.is_some()
                && !relabeled
                && !shrunk
                && old.is_some_and(|old| old.metadata.deletion_timestamp == pod.metadata.deletion_timestamp);
            if !same {
                self.table.add_pod(node, info);
            }
            let mut event = Happened::default();
            if known.is_none() {
                event = event.and(Happened::POD_PLACED);
            }
            if relabeled {
                event = event.and(Happened::POD_LABELS);
            }
            if shrunk {
                event = event.and(Happened::POD_GONE);
            }
            self.queue.wake(event);
            return;
        }
        let spec = pod.spec.as_ref();
        let mine = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or("default-scheduler") == self.profile;
        if pod.metadata.deletion_timestamp.is_some() || !mine {
            self.queue.remove(&uid);
            self.table.withdraw(&uid);
            return;
        }
        // An assumed pod is being bound; its next state brings the node.
        if self.table.pod_place(&uid).is_some() {
            return;
        }
        let gated = spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
        let retry = old.is_some_and(|old| old.spec != pod.spec || old.metadata.labels != pod.metadata.labels);
        let info = Arc::new(PodInfo::new(&mut self.table.names, pod.clone()));
        match info.nominated().and_then(|node| self.table.number(node)) {
            Some(number) => self.table.nominate(number, info.clone()),
            None => self.table.withdraw(&uid),
        }
        self.queue.set(info, gated, retry);
    }

    /// Forgets a pod that is deleted or finished.
    pub fn pod_gone(&mut self, uid: &str) {
        self.queue.remove(uid);
        self.table.withdraw(uid);
        if self.table.remove_pod(uid).is_some() {
            self.queue.wake(Happened::POD_GONE);
        }
    }

    /// Takes in a new or changed node.
    pub fn node_changed(&mut self, old: Option<&Node>, node: &Node) {
        let event = match old {
            None => Happened::NODE_ADDED,
            Some(old) => {
                let mut event = Happened::default();
                let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
                let images = |node: &Node| node.status.as_ref().and_then(|status| status.images.clone());
                if allocatable(old) != allocatable(node) {
                    event = event.and(Happened::NODE_ALLOCATABLE);
                }
                if old.metadata.labels != node.metadata.labels {
                    event = event.and(Happened::NODE_LABELS);
                }
                if old.spec != node.spec {
                    event = event.and(Happened::NODE_TAINTS);
                }
                // A heartbeat changes nothing here.
                if event.is_empty() && images(old) == images(node) {
                    return;
                }
                event
            }
        };
        self.table.set_node(node);
        self.queue.wake(event);
    }

    /// Forgets a node.
    pub fn node_gone(&mut self, name: &str) {
        self.table.remove_node(name);
        self.queue.wake(Happened::POD_GONE);
    }

    /// Takes in the labels of a namespace, or forgets it.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        match labels {
            Some(labels) => self.table.namespaces.insert(name.to_owned(), labels),
            None => self.table.namespaces.remove(name),
        };
        self.queue.wake(Happened::NAMESPACE_LABELS);
    }

    /// Takes in a service, or forgets it.
    pub fn set_service(&mut self, service: &Service, present: bool) {
        let meta = &service.metadata;
        let key = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone());
        match selector.filter(|selector| present && !selector.is_empty()) {
            Some(selector) => self.services.insert(key, selector),
            None => self.services.remove(&key),
        };
    }

    /// The pods that a pod without spread constraints should be spread from: those of its controller, or else
    /// those that the same services select.
    fn peers(&self, pod: &PodInfo) -> Selects {
        if let Some(owner) = &pod.owner {
            return Selects::Owner(owner.clone());
        }
        let from = (pod.namespace.clone(), String::new());
        let mut all = Labels::new();
        for (_, selector) in self.services.range(from..).take_while(|((namespace, _), _)| *namespace == pod.namespace) {
            if selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value)) {
                all.extend(selector.clone());
            }
        }
        if all.is_empty() { Selects::Nothing } else { Selects::Labels(all.into_iter().collect()) }
    }

    /// Schedules the next pod. `budgets` is asked only when pods would have to go.
    pub fn next(&mut self, budgets: impl FnOnce() -> Vec<Budget>) -> Option<Decision> {
        let pod = self.queue.pop(Instant::now())?;
        let peers = self.peers(&pod);
        match self.cycle.schedule(&pod, &mut self.table, peers) {
            Ok(number) => {
                let node = self.table.node(number).name.clone();
                self.table.withdraw(&pod.uid);
                self.table.add_pod(&node, pod.clone());
                Some(Decision::Bind { pod, node })
            }
            Err(unfit) => Some(self.unfit(pod, unfit, budgets)),
        }
    }

    fn unfit(&mut self, pod: Arc<PodInfo>, unfit: Unfit, budgets: impl FnOnce() -> Vec<Budget>) -> Decision {
        let mut message = unfit.message(&self.table);
        self.queue.unfit(&pod.uid, unfit.reasons());
        if self.table.count() == 0 {
            return Decision::Unfit { pod, message, preemption: None };
        }
        let preemption = match preemption::plan(&pod, &mut self.table, &unfit, &budgets()) {
            Ok(Plan { node, victims, .. }) => {
                self.table.nominate(node, pod.clone());
                Some((self.table.node(node).name.clone(), victims))
            }
            Err(why) => {
                message.push_str(&format!(" preemption: {why}"));
                None
            }
        };
        Decision::Unfit { pod, message, preemption }
    }

    /// The binding went through: the informer brings the rest.
    pub fn bound(&mut self, uid: &str) {
        self.queue.remove(uid);
    }

    /// The binding failed: the pod does not take its place, and is tried again if it still is there.
    pub fn not_bound(&mut self, uid: &str) {
        let placed = self
            .table
            .pod_place(uid)
            .and_then(|number| self.table.node(number).pods.iter().find(|pod| pod.uid == uid).cloned());
        // The informer may have shown the pod bound although the answer was an error.
        if placed.is_some_and(|pod| pod.node_name().is_none()) {
            self.table.remove_pod(uid);
            self.queue.failed(uid);
            self.queue.wake(Happened::POD_GONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, cpu: &str, extra: Value) -> Node {
        let mut value = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": &name[..1]}},
            "spec": {}, "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "4"}}});
        for (key, field) in extra.as_object().into_iter().flatten() {
            value["spec"][key] = field.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    fn pod(name: &str, cpu: &str, spec: Value) -> Arc<Pod> {
        let mut value = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        for (key, field) in spec.as_object().into_iter().flatten() {
            value["spec"][key] = field.clone();
        }
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn core(nodes: &[Node]) -> Core {
        let mut core = Core::new("default-scheduler", 7);
        nodes.iter().for_each(|node| core.node_changed(None, node));
        core
    }

    fn decide(core: &mut Core, pod: &Arc<Pod>) -> Result<String, String> {
        core.pod_changed(None, pod);
        next(core).expect("a pod waits")
    }

    fn next(core: &mut Core) -> Option<Result<String, String>> {
        core.next(Vec::new).map(|decision| match decision {
            Decision::Bind { node, .. } => Ok(node),
            Decision::Unfit { message, .. } => Err(message),
        })
    }

    #[test]
    fn the_node_with_more_room_wins() {
        let mut core = core(&[node("a", "1", json!({})), node("b", "8", json!({}))]);
        assert_eq!(decide(&mut core, &pod("p", "500m", json!({}))), Ok("b".into()));
    }

    #[test]
    fn an_untolerated_taint_is_named() {
        let taints = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
        let mut core = core(&[node("a", "1", taints)]);
        let expected = "0/1 nodes are available: 1 node(s) had untolerated taint {k: v}. preemption: 0/1 nodes are \
                        available: 1 Preemption is not helpful for scheduling.";
        assert_eq!(decide(&mut core, &pod("p", "0", json!({}))), Err(expected.into()));
        let tolerations = json!({"tolerations": [{"key": "k", "operator": "Exists"}]});
        assert_eq!(decide(&mut core, &pod("q", "0", tolerations)), Ok("a".into()));
    }

    #[test]
    fn reasons_are_counted_over_nodes() {
        let mut core = core(&[
            node("a", "1", json!({})),
            node("b", "1", json!({})),
            node("c", "1", json!({"unschedulable": true})),
        ]);
        let expected = "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu. preemption: 0/3 \
                        nodes are available: 3 Preemption is not helpful for scheduling.";
        assert_eq!(decide(&mut core, &pod("p", "2", json!({}))), Err(expected.into()));
        assert_eq!(decide(&mut core, &pod("q", "1", json!({"nodeSelector": {"zone": "b"}}))), Ok("b".into()));
        let message = decide(&mut core, &pod("r", "1", json!({"nodeSelector": {"zone": "b"}}))).unwrap_err();
        assert!(
            message.contains("1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector"),
            "{message}"
        );
        assert!(
            message.ends_with(
                "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
            )
        );
    }

    #[test]
    fn no_nodes_is_its_own_message_and_a_new_node_wakes_the_pod() {
        let mut core = core(&[]);
        let waiting = pod("p", "1", json!({}));
        assert_eq!(decide(&mut core, &waiting), Err("no nodes available to schedule pods".into()));
        assert_eq!(next(&mut core), None);
        core.node_changed(None, &node("a", "1", json!({})));
        assert_eq!(next(&mut core), Some(Ok("a".into())));
    }

    #[test]
    fn gates_and_other_schedulers_are_respected() {
        let mut core = core(&[node("a", "1", json!({}))]);
        let gated = pod("p", "0", json!({"schedulingGates": [{"name": "wait"}]}));
        core.pod_changed(None, &gated);
        core.pod_changed(None, &pod("q", "0", json!({"schedulerName": "other"})));
        assert_eq!(next(&mut core), None);
        core.pod_changed(Some(&gated), &pod("p", "0", json!({})));
        assert_eq!(next(&mut core), Some(Ok("a".into())));
    }

    #[test]
    fn a_failed_binding_gives_the_room_back() {
        let mut core = core(&[node("a", "1", json!({}))]);
        assert!(decide(&mut core, &pod("p", "1", json!({}))).is_ok());
        assert!(decide(&mut core, &pod("q", "1", json!({}))).is_err());
        core.not_bound("p");
        assert_eq!(next(&mut core), Some(Ok("a".into())));
    }

    #[test]
    fn host_ports_and_pod_counts_are_kept() {
        let mut core = core(&[node("a", "1", json!({}))]);
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]});
        assert!(decide(&mut core, &pod("p", "0", port.clone())).is_ok());
        let message = decide(&mut core, &pod("q", "0", port)).unwrap_err();
        assert!(message.contains("1 node(s) didn't have free ports for the requested pod ports"), "{message}");
        for name in ["r", "s", "t"] {
            assert!(decide(&mut core, &pod(name, "0", json!({}))).is_ok());
        }
        assert!(decide(&mut core, &pod("u", "0", json!({}))).unwrap_err().contains("1 Too many pods"));
    }

    #[test]
    fn pods_with_anti_affinity_keep_apart_both_ways() {
        let mut core = core(&[node("a", "1", json!({})), node("b", "1", json!({}))]);
        let term = json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}]);
        let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}});
        let first = decide(&mut core, &pod("p", "0", apart.clone())).unwrap();
        let second = decide(&mut core, &pod("q", "0", apart)).unwrap();
        assert_ne!(first, second);
        let message = decide(&mut core, &pod("r", "0", json!({}))).unwrap_err();
        assert!(message.contains("2 node(s) didn't satisfy existing pods anti-affinity rules"), "{message}");
        let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            [{"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}]}}});
        assert!(
            decide(&mut core, &pod("s", "0", near)).unwrap_err().contains("2 node(s) didn't match pod affinity rules")
        );
    }

    #[test]
    fn a_pod_for_one_node_goes_there_or_nowhere() {
        let mut core = core(&[node("a", "4", json!({})), node("b", "1", json!({})), node("c", "4", json!({}))]);
        let only = |name: &str| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]}}}})
        };
        assert_eq!(decide(&mut core, &pod("x", "1", only("b"))), Ok("b".into()));
        let refused = decide(&mut core, &pod("y", "1", only("b"))).unwrap_err();
        let text = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity].";
        assert!(refused.starts_with(text), "{refused}");
        let nowhere = decide(&mut core, &pod("z", "1", only("gone"))).unwrap_err();
        assert!(nowhere.contains("3 node(s) didn't satisfy plugin(s) [NodeAffinity]"), "{nowhere}");
    }

    #[test]
    fn hard_spread_keeps_the_skew() {
        let mut core = core(&[node("a", "8", json!({})), node("b", "1", json!({}))]);
        let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
        let places: Vec<String> =
            ["p", "q", "r", "s"].map(|name| decide(&mut core, &pod(name, "0", spread.clone())).unwrap()).into();
        assert_eq!(places.iter().filter(|place| *place == "a").count(), 2);
    }

    #[test]
    fn lower_priority_is_preempted_and_the_room_reserved() {
        let mut core = core(&[node("a", "1", json!({}))]);
        core.pod_changed(None, &pod("low", "1", json!({"nodeName": "a", "priority": 1})));
        core.pod_changed(None, &pod("high", "1", json!({"priority": 10})));
        match core.next(Vec::new) {
            Some(Decision::Unfit { preemption: Some((node, victims)), .. }) => {
                assert_eq!((node.as_str(), victims[0].name.as_str(), victims.len()), ("a", "low", 1));
            }
            _ => panic!("the pod should preempt"),
        }
        core.pod_gone("low");
        core.queue.remove("high");
        assert!(decide(&mut core, &pod("other", "1", json!({}))).is_err(), "the room is reserved");
    }
}
