//! Schedules on 5,000 nodes without an API and prints how long it took: plain pods, pods for one node each, pods of a
//! controller, pods with affinity and spreading, and pods that preempt others. Arguments choose among `daemons`, `plain`,
//! `owned`, `affinity` and `preemption`.

use std::time::Instant;

use coracle_scheduler::bench::Offline;
use serde_json::{Value, json};

const NODES: usize = 5000;

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if is_wanted("daemons") {
        let mut scheduler = Offline::new(&nodes()?)?;
        for n in 0..NODES {
            let field = json!({"key": "metadata.name", "operator": "In", "values": [format!("node-{n}")]});
            let required = json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
            let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
            add(&mut scheduler, "agent", n, json!({"affinity": affinity}), Value::Null)?;
        }
        run(&mut scheduler, "pods for one node each");
    }
    if is_wanted("plain") {
        let mut scheduler = Offline::new(&nodes()?)?;
        for n in 0..20_000 {
            add(&mut scheduler, "web", n, json!({}), Value::Null)?;
        }
        run(&mut scheduler, "plain pods");
    }
    if is_wanted("owned") {
        let mut scheduler = Offline::new(&nodes()?)?;
        for n in 0..10_000 {
            let uid = format!("set-{}", n % 10);
            let owner =
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": uid, "uid": uid, "controller": true}]);
            add(&mut scheduler, &uid, n, json!({}), owner)?;
        }
        run(&mut scheduler, "pods of ten replica sets");
    }
    if is_wanted("affinity") {
        affinity()?;
    }
    if is_wanted("preemption") {
        preemption()?;
    }
    Ok(())
}

fn affinity() -> anyhow::Result<()> {
    let mut scheduler = Offline::new(&nodes()?)?;
    for n in 0..5000 {
        let app = format!("app-{}", n % 10);
        let selector = json!({"matchLabels": {"app": app}});
        let near = json!({"labelSelector": selector, "topologyKey": "topology.kubernetes.io/zone"});
        let far = json!({"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"});
        let spec = json!({
            "affinity": {
                "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": near}]},
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [far]}},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
                    "labelSelector": selector},
                {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": selector}]});
        add(&mut scheduler, &app, n, spec, Value::Null)?;
    }
    run(&mut scheduler, "pods with affinity and spreading");
    Ok(())
}

/// Nodes that are full of pods of little importance, and pods that matter more.
fn preemption() -> anyhow::Result<()> {
    let mut scheduler = Offline::new(&nodes()?)?;
    for n in 0..NODES * 8 {
        let mut pod = pod("low", n, json!({"priority": 1, "nodeName": format!("node-{}", n / 8)}), Value::Null);
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1".into();
        scheduler.add(serde_json::from_value(pod)?);
    }
    for n in 0..1000 {
        let mut pod = pod("high", n, json!({"priority": 10}), Value::Null);
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "2".into();
        scheduler.add(serde_json::from_value(pod)?);
    }
    let started = Instant::now();
    let mut placed = 0;
    for outcome in scheduler.by_ref() {
        placed += usize::from(outcome.is_ok());
        if placed == 1000 {
            break;
        }
    }
    println!("{placed} pods that preempt others in {:?}", started.elapsed());
    Ok(())
}

fn nodes() -> anyhow::Result<Vec<k8s_openapi::api::core::v1::Node>> {
    let node = |n: usize| {
        serde_json::from_value(json!({
            "metadata": {"name": format!("node-{n}"), "labels": {"kubernetes.io/hostname": format!("node-{n}"),
                "topology.kubernetes.io/zone": format!("zone-{}", n % 3)}},
            "status": {"allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"}}}))
    };
    Ok((0..NODES).map(node).collect::<Result<_, _>>()?)
}

fn pod(app: &str, n: usize, spec: Value, owners: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": format!("{app}-{n}"), "namespace": "default", "uid": format!("{app}-{n}"),
            "labels": {"app": app}, "ownerReferences": owners},
        "spec": {"containers": [{"name": "c", "image": "web:1",
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn add(scheduler: &mut Offline, app: &str, n: usize, spec: Value, owners: Value) -> anyhow::Result<()> {
    scheduler.add(serde_json::from_value(pod(app, n, spec, owners))?);
    Ok(())
}

fn run(scheduler: &mut Offline, what: &str) {
    let started = Instant::now();
    let mut placed = 0;
    while let Some(Ok(_)) = scheduler.next() {
        placed += 1;
    }
    let took = started.elapsed();
    println!("{placed} {what} in {took:?}: {:.0} pods/s", f64::from(placed) / took.as_secs_f64());
}
