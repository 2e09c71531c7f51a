//! `coracle backup` and `coracle restore` of a cluster that is on an etcd.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use coracle_e2e::*;
use coracle_testing::etcd;
use serde_json::{Value, json};

use crate::several_servers::Server;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WRITERS: usize = 4;
/// Enough that a restore takes many transactions.
const BEFORE: usize = 600;
const BYTES: usize = 30_000;

/// Writes until it is told to stop, and notes what was acknowledged.
fn write(api: &Api, next: &AtomicUsize, acknowledged: &Mutex<Vec<String>>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let name = format!("c{}", next.fetch_add(1, Ordering::SeqCst));
        let map = json!({"metadata": {"name": name}, "data": {"name": name, "more": "x".repeat(BYTES)}});
        api.post(MAPS, &map).ok();
        acknowledged.lock().unwrap().push(name);
    }
}

/// Backs up while it is written; answers with what was acknowledged before.
fn back_up(server: &Server, members: &str, file: &str) -> Vec<String> {
    let (next, acknowledged, stop) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut before = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| write(&server.api, &next, &acknowledged, &stop));
        }
        eventually("some writes are made", || match acknowledged.lock().unwrap().len() {
            few @ ..BEFORE => Err(format!("{few} writes")),
            _ => Ok(()),
        });
        before.clone_from(&acknowledged.lock().unwrap());
        server.cluster.ok("backup", &[file, "--etcd-servers", members]);
        stop.store(true, Ordering::SeqCst);
    });
    before
}

/// Begins a restore and kills it on the way; false if it was done before that.
fn interrupt(cluster: &Cluster, members: &str, file: &str) -> bool {
    let mut restore = Command::new(built("coracle"));
    restore.args(["restore", file, "--lower-revisions", "--etcd-servers", members]).stdin(Stdio::null());
    let mut restore = restore.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it has begun", || {
        let told = cluster.run("store check", &["--etcd-servers", members]);
        let ended = restore.try_wait().unwrap().is_some();
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        if ended || told.contains("a restore was interrupted") { Ok(()) } else { Err(told) }
    });
    restore.kill().unwrap();
    !restore.wait().unwrap().success()
}

fn refused(cluster: &Cluster, verb: &str, arguments: &[&str], why: &str) {
    let output = cluster.run(verb, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains(why), "coracle {verb} {arguments:?}: {told}");
}

#[test]
fn a_cluster_on_etcd_is_restored_into_another_where_half_of_it_is_never_taken_for_the_whole() {
    if !can_run() {
        return;
    }
    let Some(old) = etcd::Cluster::start(1, &[]) else { return };
    let kept = tempfile::tempdir().unwrap();
    let file = kept.path().join("backup");
    let file = file.to_str().unwrap();
    let mut first = Server::start(7, &old, None);
    let acknowledged = back_up(&first, &old.urls()[0], file);
    let later = first.api.post(MAPS, &json!({"metadata": {"name": "later"}})).ok();
    assert!(later["metadata"]["uid"].is_string());
    first.kill();
    drop(old);

    let mut interrupted = None;
    for _ in 0..5 {
        let Some(new) = etcd::Cluster::start(1, &[]) else { return };
        refused(&first.cluster, "restore", &[file, "--etcd-servers", &new.urls()[0]], "--lower-revisions does it");
        if interrupt(&first.cluster, &new.urls()[0], file) {
            interrupted = Some(new);
            break;
        }
    }
    let new = interrupted.expect("one of five restores is killed on the way");
    let url = new.urls()[0].clone();
    let other = format!("{file}.other");
    for (verb, arguments) in [
        ("store check", vec!["--etcd-servers", &*url]),
        ("backup", vec![&*other, "--etcd-servers", &url]),
        ("server", vec!["--disable-agent", "--node-ip", "192.0.2.17", "--port", "16457", "--etcd-servers", &url]),
    ] {
        refused(&first.cluster, verb, &arguments, "a restore was interrupted");
    }
    assert!(!fs::exists(&other).unwrap());
    // The same backup goes on.
    first.cluster.ok("restore", &[file, "--lower-revisions", "--etcd-servers", &url]);
    first.cluster.ok("store check", &["--etcd-servers", &url]);
    refused(&first.cluster, "restore", &[file, "--lower-revisions", "--etcd-servers", &url], "already");

    let second = Server::start(8, &new, Some(&first));
    for name in &acknowledged {
        let map = second.api.get(&format!("{MAPS}/{name}")).ok();
        assert_eq!(map["data"]["name"], Value::from(name.as_str()));
    }
    assert_eq!(second.api.get(&format!("{MAPS}/later")).status, 404);
    second.api.post(MAPS, &json!({"metadata": {"name": "after"}})).ok();

    // And from there into a directory.
    second.cluster.ok("backup", &[&other, "--etcd-servers", &url]);
    let cluster = Cluster::new("from-etcd");
    cluster.ok("restore", &[&other]);
    assert!(cluster.ok("store check", &[]).contains("is whole"));
    refused(&cluster, "restore", &[&other], "already");
}
