//! Schedules on 5,000 nodes without an API and prints how long it took: a pod for each node, then 10,000 alike.

use std::time::Instant;

use coracle_scheduler::bench::Offline;
use serde_json::json;

fn main() -> Result<(), serde_json::Error> {
    let nodes = (0..5000)
        .map(|n| {
            serde_json::from_value(json!({
                "metadata": {"name": format!("node-{n}"), "labels": {"kubernetes.io/hostname": format!("node-{n}"),
                    "topology.kubernetes.io/zone": format!("zone-{}", n % 3)}},
                "status": {"allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"}}}))
        })
        .collect::<Result<Vec<_>, _>>()?;
    daemons(&mut Offline::new(&nodes))?;
    let mut scheduler = Offline::new(&nodes);
    for n in 0..10_000 {
        scheduler.add(serde_json::from_value(json!({
            "metadata": {"name": format!("web-{n}"), "namespace": "default", "uid": format!("uid-{n}"),
                "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "web:1",
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]}}))?);
    }
    run(&mut scheduler, "pods");
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

/// One pod for every node, as a DaemonSet makes them.
fn daemons(scheduler: &mut Offline) -> Result<(), serde_json::Error> {
    for n in 0..5000 {
        let field = json!({"key": "metadata.name", "operator": "In", "values": [format!("node-{n}")]});
        let required = json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
        scheduler.add(serde_json::from_value(json!({
            "metadata": {"name": format!("agent-{n}"), "namespace": "default", "uid": format!("agent-{n}"),
                "labels": {"app": "agent"}},
            "spec": {"containers": [{"name": "c", "image": "agent:1"}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}}))?);
    }
    run(scheduler, "pods for one node each");
    Ok(())
}
