//! The scheduler without an API: what its decisions cost.

use std::time::Instant;

use anyhow::{Result, ensure};
use coracle_scheduler::bench::Offline;
use serde_json::{Value, json};

use super::{NODES, node, pod};
use crate::report::Report;

pub fn measure(report: &mut Report) -> Result<()> {
    let each = |number: usize| {
        let field = json!({"key": "metadata.name", "operator": "In", "values": [format!("node-{number}")]});
        let required = json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
        pod("agent", number, json!({"affinity": affinity}))
    };
    rate(report, "pods for one node each among 5,000, scheduler alone", "", 5_000, each)?;
    let plain = |number: usize| pod("web", number, json!({}));
    rate(report, "plain pods to 5,000 nodes, scheduler alone", "40,000 /s", 20_000, plain)?;
    rate(report, "pods of ten replica sets, scheduler alone", "", 10_000, owned)?;
    rate(report, "pods with affinity and spreading, scheduler alone", "5,000 /s", 5_000, choosy)?;
    preemption(report)
}

fn scheduler() -> Result<Offline> {
    let nodes = (0..NODES).map(|number| serde_json::from_value(node(number)));
    Offline::new(&nodes.collect::<Result<Vec<_>, _>>()?)
}

fn rate(report: &mut Report, what: &str, budget: &str, count: usize, pod: impl Fn(usize) -> Value) -> Result<()> {
    let mut scheduler = scheduler()?;
    for number in 0..count {
        scheduler.add(serde_json::from_value(pod(number))?);
    }
    let start = Instant::now();
    let placed = scheduler.by_ref().take(count).filter(Result::is_ok).count();
    ensure!(placed == count, "{placed} of {count} {what} have a node");
    report.line(what, count as f64 / start.elapsed().as_secs_f64(), "/s", budget);
    Ok(())
}

/// Replicas, which are spread over nodes and zones although they do not ask for it.
fn owned(number: usize) -> Value {
    let set = format!("set-{}", number % 10);
    let mut pod = pod(&set, number, json!({}));
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": set, "controller": true}]);
    pod
}

/// Pods that keep away from their like on nodes, prefer its zone, and have to be spread over zones.
fn choosy(number: usize) -> Value {
    let app = format!("app-{}", number % 10);
    let selector = json!({"matchLabels": {"app": app}});
    let (zone, host) = ("topology.kubernetes.io/zone", "kubernetes.io/hostname");
    let term = |key: &str| json!({"labelSelector": selector, "topologyKey": key});
    let spread = |key: &str, when: &str| json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector});
    let spec = json!({
        "affinity": {
            "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
                [{"weight": 1, "podAffinityTerm": term(zone)}]},
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(host)]}},
        "topologySpreadConstraints": [spread(zone, "DoNotSchedule"), spread(host, "ScheduleAnyway")]});
    pod(&app, number, spec)
}

/// Nodes that are full of pods of little importance, and pods that matter more.
fn preemption(report: &mut Report) -> Result<()> {
    const PER_NODE: usize = 8;
    const COUNT: usize = 1000;
    let sized = |app: &str, number: usize, cpu: &str, more: Value| {
        let mut pod = pod(app, number, more);
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu.into();
        serde_json::from_value(pod)
    };
    let mut scheduler = scheduler()?;
    for number in 0..NODES * PER_NODE {
        let place = json!({"priority": 1, "nodeName": format!("node-{}", number / PER_NODE)});
        scheduler.add(sized("low", number, "1", place)?);
    }
    for number in 0..COUNT {
        scheduler.add(sized("high", number, "2", json!({"priority": 10}))?);
    }
    let start = Instant::now();
    let placed = scheduler.by_ref().filter(Result::is_ok).take(COUNT).count();
    ensure!(placed == COUNT, "{placed} of {COUNT} pods have a node");
    report.line("1,000 pods that preempt others on 5,000 full nodes", start.elapsed().as_secs_f64(), "s", "2 s");
    Ok(())
}
