//! What is kept between pods says what would be found out anew: a scheduler that has seen a cluster change step by step, and one
//! that sees it for the first time, agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::SchedulerConfiguration;
use crate::config::profile;
use crate::core::Core;
use crate::extender::Extenders;
use crate::pod::PodInfo;
use crate::queue::Backoff;

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

fn core() -> Core {
    let profiles = vec![profile(&SchedulerConfiguration::default(), 0).unwrap()];
    Core::new(profiles, Backoff::default(), Arc::new(Extenders::none()), None, 5)
}

fn node(name: &str, random: &mut Random) -> Node {
    let mut labels = json!({"kubernetes.io/hostname": name});
    if random.below(4) > 0 {
        labels["topology.kubernetes.io/zone"] = random.of(&["a", "b", "c"]).into();
    }
    let taints = if random.below(5) == 0 { json!([{"key": "k", "effect": "NoSchedule"}]) } else { Value::Null };
    let node = json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
        "status": {"allocatable": {"cpu": random.of(&["2", "4"]), "memory": "8Gi", "pods": "20"}}});
    serde_json::from_value(node).unwrap()
}

/// Pods with and without rules about others.
fn template(number: usize) -> Value {
    let term = |app: &str, key: &str| json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key});
    let (zone, host) = ("topology.kubernetes.io/zone", "kubernetes.io/hostname");
    let spread = |key: &str, when: &str| json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": {"matchLabels": {"app": "a"}}});
    match number {
        0 => json!({}),
        1 => json!({"affinity": {"podAntiAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": [term("a", host)]}}}),
        2 => {
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("b", zone)]}}})
        }
        3 => json!({"topologySpreadConstraints": [spread(zone, "DoNotSchedule"), spread(host, "ScheduleAnyway")]}),
        4 => json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 7, "podAffinityTerm": term("a", zone)}]}, "podAntiAffinity":
            {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 9, "podAffinityTerm": term("b", host)}]}}}),
        _ => json!({"topologySpreadConstraints": [spread(host, "DoNotSchedule"), spread(zone, "ScheduleAnyway")],
            "nodeSelector": {"topology.kubernetes.io/zone": "a"}}),
    }
}

fn pod(uid: &str, app: &str, number: usize, more: Value) -> Arc<PodInfo> {
    let mut pod = json!({"metadata": {"name": uid, "namespace": "n", "uid": uid, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "300m"}}}]}});
    for value in [template(number), more] {
        for (key, value) in value.as_object().into_iter().flatten() {
            pod["spec"][key] = value.clone();
        }
    }
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value::<Pod>(pod).unwrap())))
}

fn ask(core: &mut Core, number: usize) -> Result<Vec<String>, String> {
    let best = block_on(core.evaluate(pod("asked", "a", number, json!({}))));
    best.map(|mut nodes| {
        nodes.sort();
        nodes
    })
}

#[test]
fn what_is_kept_is_what_would_be_counted_anew() {
    for seed in 1..=4 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut kept = core();
        let (mut nodes, mut pods) = (BTreeMap::<String, Node>::new(), BTreeMap::<String, Arc<PodInfo>>::new());
        for step in 0..120 {
            let name = format!("node-{}", random.below(8));
            match random.below(10) {
                0 => {
                    nodes.remove(&name);
                    kept.node_gone(&name);
                }
                1 | 2 => {
                    let new = node(&name, &mut random);
                    let old = nodes.insert(name, new.clone());
                    kept.node_changed(old.as_ref(), &new);
                }
                3 => {
                    let gone = pods.keys().nth(random.below(pods.len().max(1))).cloned();
                    if let Some(uid) = gone {
                        pods.remove(&uid);
                        kept.pod_gone(&uid);
                    }
                }
                4 => {
                    // Nobody goes for good by this: it is only found out who would have to.
                    kept.pod_changed(pod("important", "b", random.below(6), json!({"priority": 9})));
                    drop(block_on(kept.next(Vec::new)));
                    kept.pod_gone("important");
                }
                _ => {
                    let uid = format!("pod-{step}");
                    let app = random.of(&["a", "b"]);
                    let placed = pod(&uid, app, random.below(6), json!({"nodeName": name}));
                    pods.insert(uid, placed.clone());
                    kept.pod_changed(placed);
                }
            }
            let mut fresh = core();
            nodes.values().for_each(|node| fresh.node_changed(None, node));
            pods.values().for_each(|pod| fresh.pod_changed(pod.clone()));
            for number in 0..6 {
                assert_eq!(ask(&mut kept, number), ask(&mut fresh, number), "seed {seed}, step {step}, pod {number}");
            }
            if step % 7 == 0 {
                kept.rest();
            }
        }
    }
}
