//! Crash-only: what was acknowledged is kept, and containers go on running, whenever the daemon is killed.
#![allow(missing_docs, reason = "tests are no interface")]

mod disk;
mod resizing;
mod shims;
mod soak;
mod volumes;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// One test at a time: each disturbs the cluster.
static ALONE: Mutex<()> = Mutex::new(());

const KILLS: usize = 50;

#[test]
fn no_acknowledged_write_is_lost_and_no_container_restarts_when_the_daemon_is_killed_at_random() {
    let cluster = cluster!();
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let namespace = cluster.namespace("kill");
    let names: Vec<String> = (0..3).map(|number| format!("p{number}")).collect();
    for name in &names {
        let mut object = pod(name, &["serve", "--port", "8080"]);
        object["spec"]["restartPolicy"] = json!("Always");
        namespace.create("pods", &object);
    }
    let container_of = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    let before: Vec<Value> = names.iter().map(|name| container_of(&namespace.pod_ready(name))).collect();

    let acknowledged: Mutex<BTreeMap<String, i64>> = Mutex::new(BTreeMap::new());
    let (stop, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let name = format!("c{}", next.fetch_add(1, Ordering::SeqCst));
                    let object = json!({"metadata": {"name": name}, "data": {"name": name}});
                    let request = http::Request::post(namespace.path("configmaps"))
                        .header("content-type", "application/json")
                        .body(object.to_string().into_bytes());
                    match namespace.api.try_send(request.expect("the request is well-formed")) {
                        Some(answer) if answer.status == 201 => {
                            let version = answer.body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                            let version = version.parse().expect("revisions are numbers");
                            acknowledged.lock().unwrap().insert(name, version);
                        }
                        _ => std::thread::sleep(Duration::from_millis(5)),
                    }
                }
            });
        }
        // Moments of a fixed but irregular sequence, from right after the start to well in the middle.
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for kill in 0..KILLS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            std::thread::sleep(Duration::from_millis(random % 400));
            let count = acknowledged.lock().unwrap().len();
            let killed = eventually("there is a daemon to kill", || cluster.daemon().ok_or("there is none"));
            let _ = Pid::from_raw(killed).map(|pid| kill_process(pid, Signal::KILL));
            eventually("another daemon follows", || match cluster.daemon() {
                Some(pid) if pid != killed => Ok(()),
                _ => Err("there is none"),
            });
            // Every fourth one is killed before it serves; the others only after it has taken a write.
            if kill % 4 != 0 {
                eventually("writes go on", || {
                    let now = acknowledged.lock().unwrap().len();
                    if now > count { Ok(()) } else { Err(format!("{now} writes")) }
                });
            }
        }
        stop.store(true, Ordering::SeqCst);
    });

    let list = eventually("the cluster is back", || namespace.found("configmaps"));
    let kept: BTreeMap<String, i64> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| {
            let metadata = &item["metadata"];
            Some((metadata["name"].as_str()?.to_owned(), metadata["resourceVersion"].as_str()?.parse().ok()?))
        })
        .collect();
    let acknowledged = acknowledged.into_inner().unwrap();
    println!("{} writes were acknowledged around {KILLS} kills", acknowledged.len());
    for (name, version) in &acknowledged {
        assert_eq!(kept.get(name), Some(version), "the acknowledged write of {name} is lost");
    }
    for (name, container) in names.iter().zip(before) {
        let pod = namespace.pod_ready(name);
        assert_eq!(container_of(&pod), container, "{name} has another container");
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{name} was restarted");
    }
    // The node works as before.
    assert_eq!(namespace.run_until_ok(&["echo", "alive"]), "alive\n");
}

#[test]
fn what_happens_while_the_daemon_is_away_is_seen_when_it_is_back() {
    let cluster = cluster!();
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let namespace = cluster.namespace("away");
    let mut object = pod("ends", &["lines", "20", "100"]);
    object["spec"]["restartPolicy"] = json!("Never");
    namespace.create("pods", &object);
    namespace.pod_until("ends", "runs", |pod| pod["status"]["phase"] == "Running");
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        let daemon = cluster.daemon().and_then(Pid::from_raw);
        let _ = daemon.map(|pid| kill_process(pid, Signal::KILL));
        std::thread::sleep(Duration::from_millis(20));
    }
    namespace.pod_until("ends", "has ended", |pod| pod["status"]["phase"] == "Succeeded");
    let log = eventually("the log is served", || {
        let request = http::Request::get(namespace.path("pods/ends/log")).body(Vec::new()).unwrap();
        namespace.api.try_send(request).map(|answer| answer.text).ok_or("no answer came")
    });
    let expected: String = (1..=20).map(|line| format!("line {line}\n")).collect();
    assert_eq!(log, expected, "lines of the log are lost");
}

#[test]
fn two_hundred_pods_come_and_go_and_leave_nothing() {
    const PODS: usize = 200;
    let cluster = cluster!();
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let namespace = cluster.namespace("many");
    eventually("earlier pods are gone", || {
        let list = namespace.api.get("/api/v1/pods").ok();
        if list["items"].as_array().is_some_and(Vec::is_empty) { Ok(()) } else { Err("some are left") }
    });
    // What the first pod makes and all others share, such as the cgroups of the classes, stays.
    namespace.run(&["echo", "first"]);
    eventually("it is gone", || match namespace.found("pods")?["items"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        count => Err(format!("{count} are left")),
    });
    std::thread::sleep(Duration::from_secs(1));
    let before = Footprint::of(cluster);
    // In batches, as a node takes 110 pods at a time.
    for batch in 0..PODS / 50 {
        for number in 0..50 {
            namespace.create("pods", &pod(&format!("p{batch}-{number}"), &["sleep", "1000"]));
        }
        let selected = |phase: &str| {
            let list = namespace.api.get(&namespace.path(&format!("pods?fieldSelector=status.phase={phase}"))).ok();
            list["items"].as_array().map_or(0, Vec::len)
        };
        eventually("all run", || match selected("Running") {
            50 => Ok(()),
            count => Err(format!("{count} run")),
        });
        namespace.api.delete(&namespace.path("pods?gracePeriodSeconds=0"), &json!({"gracePeriodSeconds": 0})).ok();
        eventually("all are gone", || match namespace.found("pods")?["items"].as_array().map_or(0, Vec::len) {
            0 => Ok(()),
            count => Err(format!("{count} are left")),
        });
    }
    eventually("nothing is left behind", || {
        let now = Footprint::of(cluster);
        if now == before { Ok(()) } else { Err(format!("before: {before:#?}\nnow: {now:#?}")) }
    });
}

/// What pods leave on a node when something is wrong.
#[derive(Debug, PartialEq)]
struct Footprint {
    processes: usize,
    cgroups: Vec<String>,
    links: Vec<String>,
    mounts: Vec<String>,
    volumes: Vec<String>,
}

impl Footprint {
    fn of(cluster: &Cluster) -> Footprint {
        let daemon = cluster.daemon().unwrap_or_default();
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{daemon}/{file}")).unwrap_or_default();
        let column = |text: String, skip: usize, at: usize| -> Vec<String> {
            let lines = text.lines().skip(skip);
            let mut found: Vec<String> =
                lines.filter_map(|line| Some(line.split_whitespace().nth(at)?.trim_end_matches(':').into())).collect();
            found.sort();
            found
        };
        let pods = std::fs::read_dir(cluster.data.join("kubelet/pods")).into_iter().flatten().flatten();
        let mut cgroups = cgroups_of(cluster);
        cgroups.sort();
        // Shims that wait for a pod come and go, and are never more than these.
        const SPARES: usize = 2;
        let sandboxes = cluster.data.join("run/sandboxes");
        let waits = |line: &str| {
            let id = line.strip_prefix("coracle shim ").map(str::trim);
            id.is_some_and(|id| !sandboxes.join(id).join("sandbox.json").exists())
        };
        let (waiting, others): (Vec<_>, Vec<_>) = processes_of(cluster).into_iter().partition(|(_, line)| waits(line));
        Footprint {
            processes: others.len() + waiting.len().saturating_sub(SPARES),
            cgroups,
            links: column(read("net/dev"), 2, 0),
            mounts: column(read("mountinfo"), 0, 4),
            volumes: pods.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
        }
    }
}
