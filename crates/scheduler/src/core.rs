//! The scheduler's state: the node table, the queue, and how events change them. No I/O happens here.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_client::ObjectKey;
use coracle_matching::claims::of_pod;
use k8s_openapi::api::core::v1::{Node, Service};
use tokio::time::Instant;

use crate::cycle::{Cycle, Found, Unfit};
use crate::extender::{self, Extenders};
use crate::filters::Filters;
use crate::framework::event::{OWN_GATES, OWN_UPDATE};
use crate::framework::{Actions, ClusterEvent, Handle, PreBind, Profile};
use crate::metrics::{Attempt, METRICS};
use crate::pod::{Labels, PodInfo};
use crate::preemption::{self, Budget, Candidate, NotPreempted, Search};
use crate::queue::{Backoff, Queue, Refused};
use crate::table::Table;

/// Everything that the scheduler's thread owns.
pub(crate) struct Core {
    profiles: Arc<[Profile]>,
    /// The place of each profile, by the name of the scheduler that pods ask for.
    numbers: HashMap<String, usize>,
    pub table: Table,
    pub queue: Queue,
    cycle: Cycle,
    extenders: Arc<Extenders>,
    /// What PreBind acts with; nothing is done before a binding without it.
    handle: Option<Handle>,
}

/// What becomes of one pod.
pub(crate) enum Decision {
    /// It is to be bound; the table has it on the node already.
    Bind { pod: Arc<PodInfo>, node: String, pre_bind: Vec<PreBind>, attempt: Attempt },
    /// No node takes it.
    Unfit { pod: Arc<PodInfo>, message: String, nomination: Nomination },
    /// Something went wrong.
    Failed { pod: Arc<PodInfo>, message: String },
}

/// What becomes of the node that was promised to a pod.
#[derive(Debug)]
pub(crate) enum Nomination {
    /// What was promised stays so.
    Keep,
    /// It has none any more.
    Clear,
    /// Another one is, once the victims are gone.
    Preempt(Preemption),
}

/// Who has to go for a pod.
#[derive(Debug)]
pub(crate) struct Preemption {
    pub node: String,
    pub victims: Vec<Arc<PodInfo>>,
    /// Less important pods that the node was promised to.
    pub displaced: Vec<Arc<PodInfo>>,
}

impl Core {
    pub fn new(
        profiles: Vec<Profile>,
        backoff: Backoff,
        extenders: Arc<Extenders>,
        handle: Option<Handle>,
        seed: u64,
    ) -> Core {
        let names = profiles.iter().map(|profile| profile.scheduler_name.clone()).collect();
        let numbers = profiles.iter().enumerate().map(|(number, profile)| (profile.scheduler_name.clone(), number));
        Core {
            numbers: numbers.collect(),
            cycle: Cycle::new(profiles.len(), seed),
            profiles: profiles.into(),
            table: Table::default(),
            queue: Queue::new(backoff, names),
            extenders,
            handle,
        }
    }

    /// Takes in a new or changed pod.
    pub fn pod_changed(&mut self, pod: Arc<PodInfo>) {
        if pod.is_finished() {
            return self.pod_gone(&pod.uid);
        }
        if pod.node_name().is_some() {
            return self.placed_pod_changed(pod);
        }
        let profile = self.numbers.get(pod.scheduler_name()).copied();
        let Some(profile) = profile.filter(|_| !pod.is_terminating()) else {
            self.queue.remove(&pod.uid);
            self.table.withdraw(&pod.uid);
            return;
        };
        let gated = self.profiles.get(profile).is_some_and(|profile| profile.gates) && pod.gates().next().is_some();
        let was = self.queue.pod(&pod.uid).cloned();
        self.queue.set(pod.clone(), gated);
        // An assumed pod is being bound; its next state brings the node.
        if self.table.pod_place(&pod.uid).is_some() {
            return;
        }
        match pod.nominated().and_then(|node| self.table.number(node)) {
            Some(number) => self.table.nominate(number, pod.clone()),
            None => self.table.withdraw(&pod.uid),
        }
        if let Some(was) = was.filter(|was| is_changed(was, &pod)) {
            let event = ClusterEvent::other(Actions::OWN_UPDATE);
            let (profiles, table) = (&self.profiles, &self.table);
            self.queue.wake_one(&pod.uid, own_change(&was, &pod), |pod, refused| {
                helps(profiles, table, &event, pod, refused)
            });
        }
    }

    fn placed_pod_changed(&mut self, pod: Arc<PodInfo>) {
        self.queue.remove(&pod.uid);
        self.table.withdraw(&pod.uid);
        let before = self.table.pod(&pod.uid).cloned();
        let place = self.table.pod_place(&pod.uid);
        let is_there = place.is_some() && place == pod.node_name().and_then(|name| self.table.number(name));
        match before {
            Some(before) if is_there => {
                let mut actions = Actions::NONE;
                if before.labels() != pod.labels() {
                    actions = actions | Actions::POD_LABEL;
                }
                if before.requests != pod.requests {
                    actions = actions | Actions::POD_SCALE_DOWN;
                }
                // What ends is no longer counted by those that spread.
                if before.is_terminating() != pod.is_terminating() {
                    actions = actions | Actions::POD_LABEL;
                }
                match actions.is_empty() {
                    true => self.table.replace_pod(pod.clone()),
                    false => self.put(&pod),
                }
                // It was assumed to be there, and now it is: who waits for such a pod may go after it.
                if before.node_name().is_none() {
                    actions = actions | Actions::POD_ADD;
                }
                self.wake(ClusterEvent::pod(actions, &pod));
            }
            _ => {
                self.put(&pod);
                self.wake(ClusterEvent::pod(Actions::POD_ADD, &pod));
            }
        }
    }

    fn put(&mut self, pod: &Arc<PodInfo>) {
        if let Some(node) = pod.node_name() {
            self.table.add_pod(node, pod.clone());
        }
    }

    /// Forgets a pod that is deleted or finished.
    pub fn pod_gone(&mut self, uid: &str) {
        self.queue.remove(uid);
        self.table.withdraw(uid);
        if let Some(pod) = self.table.remove_pod(uid) {
            self.wake(ClusterEvent::pod(Actions::POD_DELETE, &pod));
        }
    }

    /// Takes in a new or changed node.
    pub fn node_changed(&mut self, old: Option<&Node>, node: &Node) {
        let actions = match old {
            None => Actions::NODE_ADD,
            Some(old) => {
                let mut actions = Actions::NONE;
                let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
                let images = |node: &Node| node.status.as_ref().and_then(|status| status.images.clone());
                if allocatable(old) != allocatable(node) {
                    actions = actions | Actions::NODE_ALLOCATABLE;
                }
                if old.metadata.labels != node.metadata.labels {
                    actions = actions | Actions::NODE_LABEL;
                }
                if old.spec != node.spec {
                    actions = actions | Actions::NODE_TAINT;
                }
                // A heartbeat changes nothing here.
                if actions.is_empty() && images(old) == images(node) {
                    return;
                }
                actions
            }
        };
        self.table.set_node(node);
        if let Some(number) = node.metadata.name.as_deref().and_then(|name| self.table.number(name)) {
            let (profiles, table) = (&self.profiles, &self.table);
            let event = ClusterEvent::node(actions, table.node(number));
            self.queue.wake(actions, |pod, refused| helps(profiles, table, &event, pod, refused));
        }
    }

    /// Forgets a node.
    pub fn node_gone(&mut self, name: &str) {
        self.table.remove_node(name);
        self.wake(ClusterEvent::other(Actions::NODE_DELETE));
    }

    /// Takes in the labels of a namespace, or forgets it.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        self.table.set_namespace(name, labels);
        self.wake(ClusterEvent::other(Actions::NAMESPACE_LABEL));
    }

    /// Takes in a service, or forgets it.
    pub fn set_service(&mut self, service: &Service, present: bool) {
        let meta = &service.metadata;
        let key = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone());
        self.table.set_service(key, selector.filter(|selector| present && !selector.is_empty()));
    }

    /// Lets pods try again that what happened may help.
    pub fn wake(&mut self, event: ClusterEvent<'_>) {
        let (profiles, table) = (&self.profiles, &self.table);
        self.queue.wake(event.actions, |pod, refused| helps(profiles, table, &event, pod, refused));
    }

    /// Lets pods try again that a change of volumes may help; that of a claim helps those that use it.
    pub fn volumes_changed(&mut self, actions: Actions, claim: Option<ObjectKey>) {
        let event = ClusterEvent::other(actions);
        let uses = |pod: &PodInfo, claim: &ObjectKey| {
            pod.namespace == claim.namespace && of_pod(&pod.pod).any(|used| used.name == claim.name)
        };
        let (profiles, table) = (&self.profiles, &self.table);
        self.queue.wake(actions, |pod, refused| {
            claim.as_ref().is_none_or(|claim| uses(pod, claim)) && helps(profiles, table, &event, pod, refused)
        });
    }

    /// Schedules the next pod. `budgets` is asked only when pods would have to go.
    pub async fn next(&mut self, budgets: impl FnOnce() -> Vec<Budget>) -> Option<Decision> {
        loop {
            let pod = self.queue.pop(Instant::now())?;
            let profiles = self.profiles.clone();
            let number = self.numbers.get(pod.scheduler_name()).copied();
            let Some((number, profile)) = number.and_then(|number| Some((number, profiles.get(number)?))) else {
                self.queue.remove(&pod.uid);
                continue;
            };
            let extenders = self.extenders.clone();
            let attempt = self.queue.attempt(&pod.uid);
            let found = self.cycle.schedule(&pod, &mut self.table, number, profile, &extenders).await;
            METRICS.algorithm.observe(attempt.began.elapsed().as_secs_f64());
            let decision = match found {
                Found::Nodes(nodes) => match self.cycle.choose(&nodes) {
                    Some(node) => self.assume(pod, node, number, profile),
                    None => self.fail(pod, "no node was chosen".to_owned()),
                },
                Found::None(unfit, filters) => self.unfit(pod, unfit, filters, number, profile, budgets).await,
                Found::Failed(message) => self.fail(pod, message),
            };
            match &decision {
                Decision::Bind { .. } => {}
                Decision::Unfit { .. } => METRICS.attempted(&attempt, "unschedulable", &profile.scheduler_name),
                Decision::Failed { .. } => METRICS.attempted(&attempt, "error", &profile.scheduler_name),
            }
            return Some(decision);
        }
    }

    /// The names of the nodes that are best for a pod, or why there is none. Nothing is changed by it.
    pub async fn evaluate(&mut self, pod: Arc<PodInfo>) -> Result<Vec<String>, String> {
        let (profiles, extenders) = (self.profiles.clone(), self.extenders.clone());
        let number = self.numbers.get(pod.scheduler_name()).copied().unwrap_or_default();
        let profile = profiles.get(number).ok_or("there is no profile")?;
        match self.cycle.schedule(&pod, &mut self.table, number, profile, &extenders).await {
            Found::Nodes(nodes) => Ok(nodes.into_iter().map(|node| self.table.node(node).name.clone()).collect()),
            Found::None(unfit, _) => Err(unfit.message(&self.table)),
            Found::Failed(message) => Err(message),
        }
    }

    /// Puts the pod on its node, before the API has it there.
    fn assume(&mut self, pod: Arc<PodInfo>, node: usize, number: usize, profile: &Profile) -> Decision {
        let name = self.table.node(node).name.clone();
        let (nominated, began) = (self.table.nomination(&pod.uid), Instant::now());
        self.table.withdraw(&pod.uid);
        self.table.add_pod(&name, pod.clone());
        let reserve = |plugin: &Arc<dyn crate::framework::Plugin>| plugin.reserve(&pod, node, &mut self.table);
        let reserved = profile.reserve.iter().try_for_each(reserve);
        let status = if reserved.is_ok() { "Success" } else { "Unschedulable" };
        METRICS.ran("Reserve", status, &profile.scheduler_name, began);
        if let Err(refusal) = reserved {
            self.forget(&pod, &name, profile);
            nominated.into_iter().for_each(|node| self.table.nominate(node, pod.clone()));
            let unfit = Unfit { refusals: vec![(node, Arc::new((0, refusal)))], ..Unfit::default() };
            let message = unfit.message(&self.table);
            self.refuse(&pod, &unfit, number, profile);
            return Decision::Unfit { pod, message, nomination: Nomination::Keep };
        }
        let handle = self.handle.as_ref();
        let pre_bind = handle.map(|handle| {
            profile.pre_bind.iter().filter_map(|plugin| plugin.pre_bind(&pod, node, &self.table, handle)).collect()
        });
        let attempt = self.queue.attempt(&pod.uid);
        Decision::Bind { pod, node: name, pre_bind: pre_bind.unwrap_or_default(), attempt }
    }

    /// Takes back that a pod is on a node.
    fn forget(&mut self, pod: &Arc<PodInfo>, node: &str, profile: &Profile) {
        profile.reserve.iter().rev().for_each(|plugin| plugin.unreserve(pod, node, &mut self.table));
        self.table.remove_pod(&pod.uid);
    }

    fn fail(&mut self, pod: Arc<PodInfo>, message: String) -> Decision {
        self.queue.failed(&pod.uid);
        Decision::Failed { pod, message }
    }

    fn refuse(&mut self, pod: &PodInfo, unfit: &Unfit, number: usize, profile: &Profile) {
        let plugins = unfit.plugins();
        let events = plugins.iter().filter_map(|name| profile.plugin(name)).map(|plugin| plugin.events());
        let least = if plugins.contains(&extender::NAME) { Actions::ALL } else { Actions::NODE_ADD };
        let wants = events.fold(least, |all, one| all | one);
        self.queue.unfit(&pod.uid, Refused { profile: number, plugins, wants });
    }

    async fn unfit(
        &mut self,
        pod: Arc<PodInfo>,
        unfit: Unfit,
        filters: Option<Box<Filters>>,
        number: usize,
        profile: &Profile,
        budgets: impl FnOnce() -> Vec<Budget>,
    ) -> Decision {
        let mut message = unfit.message(&self.table);
        self.refuse(&pod, &unfit, number, profile);
        let Some(args) = profile.preemption.as_ref().filter(|_| self.table.count() > 0) else {
            return Decision::Unfit { pod, message, nomination: Nomination::Keep };
        };
        METRICS.preemptions.inc();
        let began = Instant::now();
        let mut filters = filters.map(|filters| *filters).unwrap_or_default();
        let is_whole = unfit.pre_filter.is_none();
        let search = Search { pod: &pod, profile, args, budgets: &budgets() };
        let random = self.cycle.random(self.table.size());
        let candidates = search.candidates(&mut self.table, &mut filters, &unfit, random);
        if is_whole {
            self.cycle.give_back(&pod, number, filters);
        }
        let candidates = match candidates {
            Ok(candidates) => match self.extenders.preempt(&pod, candidates, &self.table).await {
                Ok(left) => Ok(preemption::best(left)),
                Err(error) => Err(NotPreempted::NotEligible(format!("{error:#}"))),
            },
            Err(why) => Err(why),
        };
        let nomination = match candidates {
            Ok(Some(candidate)) => Nomination::Preempt(self.nominate(&pod, &candidate)),
            Ok(None) => {
                message.push_str(" preemption: no candidate node for preemption");
                Nomination::Keep
            }
            Err(NotPreempted::NotEligible(why)) => {
                message.push_str(&format!(" preemption: {why}"));
                Nomination::Keep
            }
            Err(NotPreempted::NotHelpful(why)) => {
                message.push_str(&format!(" preemption: {why}"));
                self.table.withdraw(&pod.uid);
                Nomination::Clear
            }
        };
        let status = match &nomination {
            Nomination::Preempt(preemption) => {
                METRICS.victims.observe(preemption.victims.len() as f64);
                "Success"
            }
            Nomination::Keep | Nomination::Clear => "Unschedulable",
        };
        METRICS.ran("PostFilter", status, &profile.scheduler_name, began);
        Decision::Unfit { pod, message, nomination }
    }

    /// Promises a node to a pod; who was promised it and is less important has to look elsewhere.
    fn nominate(&mut self, pod: &Arc<PodInfo>, candidate: &Candidate) -> Preemption {
        let promised = self.table.nominated(candidate.node).iter();
        let displaced: Vec<Arc<PodInfo>> = promised.filter(|other| other.priority < pod.priority).cloned().collect();
        displaced.iter().for_each(|other| self.table.withdraw(&other.uid));
        self.table.nominate(candidate.node, pod.clone());
        Preemption { node: self.table.node(candidate.node).name.clone(), victims: candidate.victims.clone(), displaced }
    }

    /// The binding went through: the informer brings the rest.
    pub fn bound(&mut self, uid: &str) {
        self.queue.remove(uid);
    }

    /// The binding failed: the pod does not take its place, and is tried again if it still is there.
    pub fn not_bound(&mut self, uid: &str) {
        let Some(pod) = self.table.pod(uid).cloned() else { return };
        // The informer may have shown the pod bound although the answer was an error.
        if pod.node_name().is_some() {
            return;
        }
        let profiles = self.profiles.clone();
        let profile = self.numbers.get(pod.scheduler_name()).and_then(|number| profiles.get(*number));
        let node = self.table.pod_place(uid).map(|number| self.table.node(number).name.clone());
        if let (Some(profile), Some(node)) = (profile, node) {
            self.forget(&pod, &node, profile);
        }
        self.queue.failed(uid);
        self.wake(ClusterEvent::pod(Actions::POD_DELETE, &pod));
    }

    /// Nothing is to be scheduled for now.
    pub fn rest(&mut self) {
        self.cycle.catch_up(&mut self.table);
    }
}

/// Whether something that happened may help a pod, by what the plugins say that refused it.
fn helps(profiles: &[Profile], table: &Table, event: &ClusterEvent<'_>, pod: &PodInfo, refused: &Refused) -> bool {
    let Some(profile) = profiles.get(refused.profile) else { return true };
    if refused.plugins.is_empty() {
        return true;
    }
    refused.plugins.iter().any(|name| match profile.plugin(name) {
        Some(plugin) => plugin.events().meets(event.actions) && plugin.hint(pod, event, table),
        None => true,
    })
}

/// What upstream calls the first thing that was changed about a pod that waits.
fn own_change(old: &PodInfo, new: &PodInfo) -> &'static str {
    let tolerations =
        |pod: &PodInfo| pod.pod.spec.as_ref().and_then(|spec| spec.tolerations.as_ref()).map_or(0, Vec::len);
    if old.labels() != new.labels() {
        "UnschedulablePodUpdatePodLabel"
    } else if old.requests != new.requests {
        "UnschedulablePodUpdatePodScaleDown"
    } else if tolerations(old) != tolerations(new) {
        "UnschedulablePodUpdatePodToleration"
    } else if old.gates().next().is_some() && new.gates().next().is_none() {
        OWN_GATES
    } else {
        OWN_UPDATE
    }
}

/// Whether a pod that waits asks for something else than before.
fn is_changed(old: &PodInfo, new: &PodInfo) -> bool {
    old.template != new.template || old.pod.spec != new.pod.spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{core, decide, next, node, pod};
    use serde_json::json;

    #[test]
    fn the_node_with_more_room_wins() {
        let mut core = core(&[node("a", "1", json!({})), node("b", "8", json!({}))]);
        assert_eq!(decide(&mut core, &pod("p", "500m", json!({}))), Ok("b".into()));
    }

    #[test]
    fn an_untolerated_taint_is_named() {
        let taints = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
        let mut core = core(&[node("a", "1", taints)]);
        let expected = "0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 nodes are \
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
    fn a_pod_that_waits_for_another_is_woken_when_that_one_is_bound() {
        let mut core = core(&[node("a", "1", json!({}))]);
        let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            [{"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}]}}});
        assert!(decide(&mut core, &pod("web", "0", near)).is_err());
        for (name, app, woken) in [("cache", "cache", None), ("db", "db", Some(Ok("a".to_owned())))] {
            assert_eq!(decide(&mut core, &labeled(&pod(name, "0", json!({})), app)), Ok("a".into()));
            core.bound(name);
            assert_eq!(next(&mut core), None, "bindings are told by the informer");
            core.add(&labeled(&pod(name, "0", json!({"nodeName": "a"})), app));
            assert_eq!(next(&mut core), woken);
        }
    }

    #[test]
    fn a_pod_that_spreads_is_woken_when_a_counted_pod_is_bound() {
        let mut core = core(&[node("a", "2", json!({})), node("b", "2", json!({}))]);
        let spread = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
        core.add(&pod("first", "0", json!({"nodeName": "a"})));
        // The only zone that the skew allows has no room for it.
        core.add(&labeled(&pod("full", "2", json!({"nodeName": "b"})), "other"));
        assert!(decide(&mut core, &pod("spread", "1", spread)).is_err());
        assert_eq!(decide(&mut core, &pod("second", "0", json!({"nodeSelector": {"zone": "b"}}))), Ok("b".into()));
        core.add(&pod("second", "0", json!({"nodeName": "b"})));
        assert_eq!(next(&mut core), Some(Ok("a".into())));
    }

    #[test]
    fn gates_and_other_schedulers_are_respected() {
        let mut core = core(&[node("a", "1", json!({}))]);
        let gated = pod("p", "0", json!({"schedulingGates": [{"name": "wait"}]}));
        core.add(&gated);
        core.add(&pod("q", "0", json!({"schedulerName": "other"})));
        assert_eq!(next(&mut core), None);
        core.add(&pod("p", "0", json!({})));
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
        core.add(&pod("low", "1", json!({"nodeName": "a", "priority": 1})));
        core.add(&pod("high", "1", json!({"priority": 10})));
        match futures::executor::block_on(core.next(Vec::new)) {
            Some(Decision::Unfit { nomination: Nomination::Preempt(told), .. }) => {
                assert_eq!((told.node.as_str(), told.victims[0].name.as_str(), told.victims.len()), ("a", "low", 1));
            }
            _ => panic!("the pod should preempt"),
        }
        core.pod_gone("low");
        core.queue.remove("high");
        assert!(decide(&mut core, &pod("other", "1", json!({}))).is_err(), "the room is reserved");
    }

    fn budget(app: &str) -> Budget {
        let budget = json!({"metadata": {"namespace": "n"}, "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
        Budget::new(&serde_json::from_value(budget).unwrap()).unwrap()
    }

    /// The node that is promised to the next pod, and who has to go for it.
    fn preempted(core: &mut Core, budgets: Vec<Budget>) -> (String, Vec<String>) {
        match futures::executor::block_on(core.next(|| budgets)) {
            Some(Decision::Unfit { nomination: Nomination::Preempt(told), .. }) => {
                (told.node, told.victims.iter().map(|victim| victim.name.clone()).collect())
            }
            _ => panic!("the pod should preempt"),
        }
    }

    fn labeled(pod: &Arc<k8s_openapi::api::core::v1::Pod>, app: &str) -> Arc<k8s_openapi::api::core::v1::Pod> {
        let mut pod = (**pod).clone();
        pod.metadata.labels = Some([("app".to_owned(), app.to_owned())].into());
        Arc::new(pod)
    }

    #[test]
    fn the_least_harm_is_done() {
        let full = |on: &str, priority: i32| json!({"nodeName": on, "priority": priority});
        let mut core = core(&[node("a", "2", json!({})), node("b", "2", json!({})), node("c", "2", json!({}))]);
        core.add(&labeled(&pod("guarded", "2", full("a", 1)), "guarded"));
        core.add(&pod("middle", "2", full("b", 5)));
        core.add(&pod("one", "1", full("c", 3)));
        core.add(&pod("two", "1", full("c", 3)));
        core.add(&pod("high", "2", json!({"priority": 10})));
        // The budget counts for more than importance, and that for more than how many go.
        assert_eq!(preempted(&mut core, vec![budget("guarded")]), ("c".into(), vec!["one".into(), "two".into()]));
        // Without the budget the least important one goes.
        core.add(&pod("higher", "2", json!({"priority": 11})));
        assert_eq!(preempted(&mut core, Vec::new()), ("a".into(), vec!["guarded".into()]));
    }

    #[test]
    fn no_more_go_than_must_and_the_important_stay() {
        let mut core = core(&[node("a", "3", json!({}))]);
        for (name, priority) in [("x", 3), ("y", 2), ("z", 1)] {
            core.add(&pod(name, "1", json!({"nodeName": "a", "priority": priority})));
        }
        core.add(&pod("high", "1", json!({"priority": 10})));
        assert_eq!(preempted(&mut core, Vec::new()), ("a".into(), vec!["z".into()]));
    }

    #[test]
    fn who_is_promised_a_node_counts_for_the_less_important() {
        let mut core = core(&[node("a", "1", json!({})), node("b", "1", json!({}))]);
        core.add(&pod("low", "1", json!({"nodeName": "a", "priority": 1})));
        core.add(&pod("other", "1", json!({"nodeName": "b", "priority": 20})));
        core.add(&pod("high", "1", json!({"priority": 10})));
        assert_eq!(preempted(&mut core, Vec::new()).0, "a");
        core.pod_gone("low");
        core.queue.remove("high");
        assert!(decide(&mut core, &pod("equal", "1", json!({"priority": 9}))).is_err());
        assert_eq!(decide(&mut core, &pod("more", "1", json!({"priority": 15}))), Ok("a".into()));
    }

    #[test]
    fn as_many_go_as_spreading_asks_for() {
        let mut core = core(&[node("a", "10", json!({})), node("b", "10", json!({}))]);
        core.add(&pod("high", "9", json!({"nodeName": "a", "priority": 100})));
        for name in ["x", "y", "z"] {
            core.add(&pod(name, "3", json!({"nodeName": "b", "priority": 1})));
        }
        let spread = json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}}]);
        core.add(&pod("middle", "3", json!({"priority": 10, "topologySpreadConstraints": spread})));
        let (node, victims) = preempted(&mut core, Vec::new());
        assert_eq!((node.as_str(), victims.len()), ("b", 2));
        victims.iter().for_each(|victim| core.pod_gone(victim));
        assert_eq!(next(&mut core), Some(Ok("b".into())));
    }
}
