//! Pods of all workloads come, change and go while the daemon is killed again and again.
//!
//! `CORACLE_SOAK=2000,50 cargo test --workspace --test crash -- --ignored soak --nocapture` does it at length: so many pods, in
//! waves of about a hundred, as a node takes no more at a time, and so many kills.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use coracle_e2e::*;
use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{ALONE, Footprint};

#[test]
fn pods_of_all_workloads_come_change_and_go_while_the_daemon_is_killed_and_nothing_is_lost_or_left() {
    soak(80, 5);
}

#[test]
#[ignore = "takes half an hour; see the head of the file"]
fn soak_at_length() {
    let wish = std::env::var("CORACLE_SOAK").unwrap_or_else(|_| "2000,50".into());
    let (pods, kills) = wish.split_once(',').expect("CORACLE_SOAK is PODS,KILLS");
    soak(pods.parse().expect("a number of pods"), kills.parse().expect("a number of kills"));
}

/// Makes waves of workloads until so many pods were seen and the daemon was killed so often.
fn soak(pods: usize, kills: usize) {
    let cluster = cluster!();
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // What the first pod makes and all others share stays.
    cluster.namespace("soak-first").run(&["echo", "first"]);
    gone(cluster, "soak-first");
    let before = Footprint::of(cluster);
    let (stop, killed) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    let mut seen = BTreeSet::new();
    let mut waves = 0;
    std::thread::scope(|scope| {
        let _stop = Stop(stop);
        let pause = 700 * (pods / kills.max(1)) as u64;
        scope.spawn(move || kill_at_random(cluster, stop, killed, kills, pause));
        while seen.len() < pods || killed.load(Ordering::SeqCst) < kills {
            let name = format!("soak-{waves}");
            let namespace = eventually("a namespace", || made(cluster, &name));
            Wave { namespace: &namespace, seen: &mut seen }.run();
            ask(cluster.api(), Method::DELETE, &format!("/api/v1/namespaces/{name}"), None, &[200, 202, 404, 409]);
            gone(cluster, &name);
            waves += 1;
            println!("wave {waves}: {} pods, {} kills", seen.len(), killed.load(Ordering::SeqCst));
        }
    });
    eventually("nothing is left behind", || {
        let now = Footprint::of(cluster);
        if now == before { Ok(()) } else { Err(format!("before: {before:#?}\nnow: {now:#?}")) }
    });
}

/// Ends the killing when the test ends, however it does.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Kills the daemon at moments of a fixed but irregular sequence, at most so many milliseconds from each other.
fn kill_at_random(cluster: &Cluster, stop: &AtomicBool, killed: &AtomicUsize, kills: usize, pause: u64) {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    while killed.load(Ordering::SeqCst) < kills && !stop.load(Ordering::SeqCst) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let end = Instant::now() + Duration::from_millis(random % pause.max(1));
        while Instant::now() < end && !stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(pid) = cluster.daemon().and_then(Pid::from_raw)
            && kill_process(pid, Signal::KILL).is_ok()
        {
            killed.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Asks until there is an answer of one of these codes, as the daemon may be away.
fn ask(api: &Api, method: Method, path: &str, body: Option<&Value>, codes: &[u16]) -> Value {
    eventually(&format!("{method} {path}"), || {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder().method(method.clone()).uri(path).header("content-type", kind);
        let request = request.header("accept", "application/json");
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        match api.try_send(request.body(body).expect("the request is well-formed")) {
            Some(answer) if codes.contains(&answer.status) => Ok(answer.body),
            Some(answer) => Err(answer.text),
            None => Err("no answer came".to_owned()),
        }
    })
}

fn made<'a>(cluster: &'a Cluster, name: &str) -> Result<Namespace<'a>, String> {
    let object = json!({"metadata": {"name": name}});
    ask(cluster.api(), Method::POST, "/api/v1/namespaces", Some(&object), &[201, 409]);
    let namespace = Namespace { name: name.to_owned(), api: cluster.api() };
    ask(cluster.api(), Method::GET, &namespace.path("serviceaccounts/default"), None, &[200]);
    Ok(namespace)
}

fn gone(cluster: &Cluster, name: &str) {
    ask(cluster.api(), Method::GET, &format!("/api/v1/namespaces/{name}"), None, &[404]);
}

/// Tries until it succeeds, however long that takes on a busy machine, as long as something changes.
#[track_caller]
fn goes_on<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    let mut since = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if reason == last => assert!(since.elapsed() < PATIENCE, "{what}: stands still at {reason}"),
            Err(reason) => (last, since) = (reason, Instant::now()),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// One round of everything.
struct Wave<'a> {
    namespace: &'a Namespace<'a>,
    /// UIDs of pods that were there at some time.
    seen: &'a mut BTreeSet<String>,
}

const JOB_COMPLETIONS: usize = 20;
const MARKS: usize = 20;

impl Wave<'_> {
    fn run(mut self) {
        for mark in 0..MARKS {
            let object = json!({"metadata": {"name": format!("mark-{mark}")}});
            self.post("api/v1", "configmaps", &object);
        }
        for (group, plural, object) in workloads() {
            self.post(group, plural, &object);
        }
        self.ready("apps/v1", "deployments/d", &json!({"replicas": 20, "readyReplicas": 20, "updatedReplicas": 20}));
        self.ready("apps/v1", "replicasets/r", &json!({"replicas": 10, "readyReplicas": 10}));
        self.ready("api/v1", "replicationcontrollers/c", &json!({"replicas": 10, "readyReplicas": 10}));
        self.ready("apps/v1", "statefulsets/s", &json!({"replicas": 4, "readyReplicas": 4}));
        self.ready("apps/v1", "daemonsets/e", &json!({"numberReady": 1}));
        // Each index once, whoever was killed meanwhile.
        let indexes = format!("0-{}", JOB_COMPLETIONS - 1);
        let job = self.ready("batch/v1", "jobs/j", &json!({"succeeded": JOB_COMPLETIONS, "completedIndexes": indexes}));
        assert!(job["status"]["failed"].is_null(), "{}", job["status"]);
        self.nothing_restarted();

        let image = json!({"spec": {"template": {"spec": {"containers": [container_of("test:2")]}}}});
        let mut scaled = image.clone();
        scaled["spec"]["replicas"] = 25.into();
        self.patch("apps/v1", "deployments/d", &scaled);
        self.patch("apps/v1", "daemonsets/e", &image);
        self.patch("apps/v1", "statefulsets/s", &with_claim(image.clone()));
        self.patch("apps/v1", "replicasets/r", &json!({"spec": {"replicas": 5}}));
        self.patch("api/v1", "replicationcontrollers/c", &json!({"spec": {"replicas": 12}}));
        self.ready("apps/v1", "deployments/d", &json!({"replicas": 25, "readyReplicas": 25, "updatedReplicas": 25}));
        self.ready("apps/v1", "replicasets/r", &json!({"replicas": 5, "readyReplicas": 5}));
        self.ready("api/v1", "replicationcontrollers/c", &json!({"replicas": 12, "readyReplicas": 12}));
        self.ready("apps/v1", "statefulsets/s", &json!({"replicas": 4, "readyReplicas": 4, "updatedReplicas": 4}));
        self.ready("apps/v1", "daemonsets/e", &json!({"numberReady": 1, "updatedNumberScheduled": 1}));
        self.nothing_restarted();
        let marks = self.get("api/v1", "configmaps");
        let name = |item: &Value| item["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("mark-"));
        let found = marks["items"].as_array().into_iter().flatten().filter(|item| name(item)).count();
        assert_eq!(found, MARKS, "objects that were acknowledged are lost");

        for (group, plural, object) in workloads() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let options = json!({"propagationPolicy": "Background", "gracePeriodSeconds": 1});
            let path = self.path(group, &format!("{plural}/{name}"));
            ask(self.namespace.api, Method::DELETE, &path, Some(&options), &[200, 202, 404]);
        }
        goes_on("all pods go", || match self.pods()["items"].as_array().map_or(0, Vec::len) {
            0 => Ok(()),
            count => Err(format!("{count} pods are left")),
        });
    }

    fn path(&self, group: &str, rest: &str) -> String {
        match group {
            "api/v1" => self.namespace.path(rest),
            group => self.namespace.path_in(group, rest),
        }
    }

    fn post(&self, group: &str, plural: &str, object: &Value) {
        ask(self.namespace.api, Method::POST, &self.path(group, plural), Some(object), &[201, 409]);
    }

    fn patch(&self, group: &str, rest: &str, patch: &Value) {
        ask(self.namespace.api, Method::PATCH, &self.path(group, rest), Some(patch), &[200]);
    }

    fn get(&self, group: &str, rest: &str) -> Value {
        ask(self.namespace.api, Method::GET, &self.path(group, rest), None, &[200])
    }

    fn pods(&mut self) -> Value {
        let list = self.get("api/v1", "pods");
        let uids = list["items"].as_array().into_iter().flatten().filter_map(|pod| pod["metadata"]["uid"].as_str());
        self.seen.extend(uids.map(str::to_owned));
        list
    }

    /// Waits until the status of an object says so, of its newest generation.
    fn ready(&mut self, group: &str, rest: &str, wanted: &Value) -> Value {
        goes_on(&format!("{rest} has {wanted}"), || {
            self.pods();
            let object = self.get(group, rest);
            let status = &object["status"];
            let seen = status["observedGeneration"].is_null()
                || status["observedGeneration"] == object["metadata"]["generation"];
            let mut fields = wanted.as_object().into_iter().flatten();
            match seen && fields.all(|(key, value)| status[key] == *value) {
                true => Ok(object),
                false => Err(status.to_string()),
            }
        })
    }

    /// Containers go on running when the daemon is killed. One that it was about to start may be made anew, and counts as started
    /// again, but none has run before.
    fn nothing_restarted(&mut self) {
        for pod in self.pods()["items"].as_array().into_iter().flatten() {
            let status = &pod["status"]["containerStatuses"][0];
            assert!(status["lastState"]["terminated"].is_null(), "{}: {}", pod["metadata"]["name"], pod["status"]);
        }
    }
}

fn container_of(image: &str) -> Value {
    let mut container = container("main", &["sleep", "100000"]);
    container["image"] = image.into();
    container
}

fn with_claim(mut object: Value) -> Value {
    let mounts = json!([{"name": "data", "mountPath": "/data"}]);
    object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = mounts;
    object
}

fn workloads() -> Vec<(&'static str, &'static str, Value)> {
    let object = |name: &str, spec: Value| {
        let labels = json!({"app": name});
        let template = json!({"metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container_of("test:1")]}});
        let mut object = json!({"metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": template}});
        for (key, value) in spec.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        object
    };
    let claim = json!({"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}});
    let set = json!({"replicas": 4, "serviceName": "s", "podManagementPolicy": "Parallel", "volumeClaimTemplates": [claim],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}});
    let mut controller = object("c", json!({"replicas": 10}));
    controller["spec"]["selector"] = json!({"app": "c"});
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container("main", &["exit", "0"])]}});
    let job =
        json!({"completions": JOB_COMPLETIONS, "parallelism": 10, "completionMode": "Indexed", "template": template});
    let schedule = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}});
    vec![
        ("apps/v1", "deployments", object("d", json!({"replicas": 20}))),
        ("apps/v1", "replicasets", object("r", json!({"replicas": 10}))),
        ("api/v1", "replicationcontrollers", controller),
        ("apps/v1", "statefulsets", with_claim(object("s", set))),
        ("apps/v1", "daemonsets", object("e", json!({}))),
        ("batch/v1", "jobs", json!({"metadata": {"name": "j"}, "spec": job})),
        ("batch/v1", "cronjobs", json!({"metadata": {"name": "y"}, "spec": schedule})),
    ]
}
