//! `coracle backup` and `coracle restore`: a cluster that is lost is made anew of a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use coracle_e2e::*;
use serde_json::{Value, json};

const WRITERS: usize = 3;

/// Writes config maps one after the other and notes those that were acknowledged, until it is told to stop.
fn write(namespace: &Namespace<'_>, next: &AtomicUsize, acknowledged: &Mutex<Vec<String>>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let name = format!("c{}", next.fetch_add(1, Ordering::SeqCst));
        namespace.create("configmaps", &json!({"metadata": {"name": name}, "data": {"name": name}}));
        acknowledged.lock().unwrap().push(name);
    }
}

/// Backs up a cluster while it is written to; answers with what was acknowledged before.
fn backed_up(cluster: &Cluster, namespace: &Namespace<'_>, file: &str) -> Vec<String> {
    let (next, acknowledged, stop) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut before = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| write(namespace, &next, &acknowledged, &stop));
        }
        eventually("some writes are made", || match acknowledged.lock().unwrap().len() {
            few @ ..200 => Err(format!("{few} writes")),
            _ => Ok(()),
        });
        before.clone_from(&acknowledged.lock().unwrap());
        cluster.ok("backup", &[file]);
        stop.store(true, Ordering::SeqCst);
    });
    assert!(acknowledged.lock().unwrap().len() > before.len(), "writes went on");
    before
}

fn refused(cluster: &Cluster, verb: &str, arguments: &[&str], why: &str) {
    let output = cluster.run(verb, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains(why), "coracle {verb} {arguments:?}: {told}");
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn container_of(pod: &Value) -> String {
    pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_cluster_that_was_lost_is_restored_with_all_that_was_acknowledged_before_its_backup() {
    if !can_run() {
        return;
    }
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("backup");
    let file = file.to_str().unwrap();
    let (acknowledged, last, (uid, container)) = {
        let cluster = Cluster::new("backup");
        cluster.up();
        cluster.load_image(&["test:1"]);
        let namespace = cluster.namespace("kept");
        let mut object = pod("runs", &["sleep", "1000"]);
        object["spec"]["restartPolicy"] = json!("Always");
        namespace.create("pods", &object);
        let runs = namespace.pod_ready("runs");
        let acknowledged = backed_up(&cluster, &namespace, file);
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        refused(&cluster, "backup", &[file], "--overwrite");
        refused(&cluster, "restore", &[file], "runs");
        let last = namespace.create("configmaps", &json!({"metadata": {"name": "after"}}));
        cluster.ok("backup", &["--overwrite", &format!("{file}.later")]);
        std::mem::forget(namespace);

        // The store of one that does not run is backed up and looked at as well.
        cluster.ok("stop", &[]);
        cluster.ok("store check", &[]);
        cluster.ok("store compact", &[]);
        cluster.ok("backup", &["--overwrite", &format!("{file}.later")]);
        refused(&cluster, "restore", &[file], "already");
        cluster.ok("up", &["--wait", "60s"]);
        cluster.ok("down", &[]);
        (acknowledged, version(&last), (runs["metadata"]["uid"].clone(), container_of(&runs)))
    };

    let cluster = Cluster::new("backup");
    damaged_ones_are_refused(&cluster, Path::new(file));
    cluster.ok("restore", &[file]);
    refused(&cluster, "restore", &[file], "already");
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = Namespace { name: "kept".into(), api: cluster.api() };
    for name in &acknowledged {
        assert_eq!(namespace.found(&format!("configmaps/{name}")).unwrap()["data"]["name"], **name);
    }
    assert!(namespace.found("configmaps/after").is_err());
    let restored = namespace.create("configmaps", &json!({"metadata": {"name": "later"}}));
    assert!(version(&restored) > last + 100_000_000, "{restored}");
    let watched = namespace.path(&format!("configmaps?watch=true&resourceVersion={last}"));
    let event = cluster.api().watch(&watched).next(Duration::from_secs(20)).unwrap();
    assert_eq!(event["object"]["code"], 410, "{event}");
    // Its containers are others; the pod is the same, and has what it needs of this cluster.
    let pod = namespace.pod_until("runs", "has a container of the new node", |pod| container_of(pod) != container);
    assert_eq!(pod["metadata"]["uid"], uid);
    namespace.pod_ready("runs");
    assert_eq!(namespace.run_until_ok(&["echo", "alive"]), "alive\n");
    std::mem::forget(namespace);
}

fn damaged_ones_are_refused(cluster: &Cluster, file: &Path) {
    let whole = fs::read(file).unwrap();
    let other = cluster.directory().join("other");
    let other_name = other.to_str().unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (bytes, why) in [
        (flipped, "is damaged at offset"),
        (whole[..whole.len() - 1].to_vec(), "is cut off"),
        ([b"CORABKP9", &whole[8..]].concat(), "format 9"),
        (b"something else".to_vec(), "is no backup"),
    ] {
        fs::write(&other, bytes).unwrap();
        refused(cluster, "restore", &[other_name], why);
        refused(cluster, "store check", &[other_name], why);
    }
    assert!(!cluster.data.exists(), "what is refused makes nothing");
}
