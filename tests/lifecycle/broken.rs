//! Clusters that something happened to.

use std::fs;
use std::path::{Path, PathBuf};

use coracle_e2e::*;
use rustix::process::{Pid, Signal, kill_process};

fn kill(pid: i32) {
    let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
}

/// Checks that a cluster can be removed without a trace, whatever became of it.
fn goes_without_a_trace(cluster: &Cluster, made: &Host) {
    cluster.ok("down", &[]);
    eventually("everything is as before", || {
        let left = Host::now().and(made);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    // One that `up` had just begun to start ends by itself: nobody tells it that the link is there.
    eventually("all processes have ended", || match processes_of(cluster) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
    assert_eq!(cgroups_of(cluster), Vec::<String>::new());
    assert!(!cluster.data.exists());
}

#[test]
fn a_cluster_whose_up_was_killed_half_way_is_finished_or_removed() {
    if !can_run() {
        return;
    }
    for milliseconds in [5, 20, 60, 150] {
        let cluster = Cluster::new("half");
        let before = Host::now();
        let mut up = cluster.command("up").stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        up.kill().unwrap();
        up.wait().unwrap();
        let made = Host::now().without(&before);
        goes_without_a_trace(&cluster, &made);
    }
    let cluster = Cluster::new("half");
    let mut up = cluster.command("up").stderr(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    up.kill().unwrap();
    up.wait().unwrap();
    cluster.up();
    cluster.api().get("/api/v1/nodes").ok();
}

#[test]
fn a_cluster_whose_processes_were_all_killed_is_started_again_or_removed() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("killed");
    let before = Host::now();
    cluster.up();
    let made = Host::now().without(&before);
    processes_of(&cluster).iter().for_each(|(pid, _)| kill(*pid));
    eventually("all have ended", || if processes_of(&cluster).is_empty() { Ok(()) } else { Err("they live") });
    cluster.up();
    cluster.api().get("/api/v1/nodes").ok();
    processes_of(&cluster).iter().for_each(|(pid, _)| kill(*pid));
    goes_without_a_trace(&cluster, &made);
}

#[test]
fn a_kubeconfig_that_does_not_parse_is_left_alone() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("config");
    fs::write(&cluster.kubeconfig, "clusters: [unclosed").unwrap();
    let failed = cluster.run("up", &[]);
    assert!(!failed.status.success());
    let message = String::from_utf8_lossy(&failed.stderr);
    assert!(message.contains(&*cluster.kubeconfig.to_string_lossy()), "{message}");
    assert_eq!(fs::read_to_string(&cluster.kubeconfig).unwrap(), "clusters: [unclosed");
    fs::remove_file(&cluster.kubeconfig).unwrap();
    cluster.ok("down", &[]);
}

#[test]
fn a_corrupt_data_directory_is_named_with_file_and_place() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("corrupt");
    cluster.up();
    for number in 0..200 {
        let object = serde_json::json!({"metadata": {"name": format!("c{number}")}, "data": {"a": "b".repeat(200)}});
        cluster.api().post("/api/v1/namespaces/default/configmaps", &object).ok();
    }
    cluster.ok("stop", &["--grace", "2s"]);
    let log = largest_file(&cluster.data.join("store")).expect("the store has files");
    let mut bytes = fs::read(&log).unwrap();
    // In the middle of what is written: what follows is whole, so that it is no torn tail.
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&log, bytes).unwrap();
    let failed = cluster.run("up", &["--wait", "5s"]);
    assert!(!failed.status.success(), "it started on a corrupt store");
    let message = String::from_utf8_lossy(&failed.stderr);
    let name = log.file_name().unwrap().to_string_lossy();
    assert!(message.contains(&*name) && message.contains("offset"), "{message}");
}

fn largest_file(directory: &Path) -> Option<PathBuf> {
    let mut files = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).ok()?.flatten() {
            let metadata = entry.metadata().ok()?;
            if metadata.is_dir() { todo.push(entry.path()) } else { files.push((metadata.len(), entry.path())) }
        }
    }
    files.into_iter().max().map(|(_, path)| path)
}

#[test]
fn names_and_directories_that_cannot_be_used_are_refused() {
    if !can_run() {
        return;
    }
    let mut cluster = Cluster::new("names");
    let file = cluster.directory().join("file");
    fs::write(&file, "").unwrap();
    let name = std::mem::replace(&mut cluster.name, "Bad_Name".into());
    let failed = cluster.run("up", &[]);
    assert!(!failed.status.success());
    assert!(String::from_utf8_lossy(&failed.stderr).contains("lower-case letters"));
    cluster.name = name;
    let data = std::mem::replace(&mut cluster.data, file.join("below"));
    let failed = cluster.run("up", &[]);
    assert!(!failed.status.success());
    assert!(
        String::from_utf8_lossy(&failed.stderr).contains(&*file.to_string_lossy()),
        "{}",
        String::from_utf8_lossy(&failed.stderr)
    );
    cluster.data = data;
}
