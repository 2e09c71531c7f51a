//! Commands touch what provably belongs to a cluster, and nothing else.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use coracle_e2e::*;
use serde_json::{Value, json};

fn coracle(arguments: &[&str], cluster: &Cluster) -> (bool, String) {
    let mut command = Command::new(built("coracle"));
    let output = command.args(arguments).env("KUBECONFIG", &cluster.kubeconfig).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn down_of_a_copy_removes_the_copy_alone() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("copy");
    cluster.up();
    let copied = cluster.directory().join("copied");
    copy(&cluster.data, &copied);
    let daemon = cluster.daemon();
    let (went, text) = coracle(&["down", "--data-dir", &copied.to_string_lossy()], &cluster);
    assert!(!went && text.contains(&*cluster.data.to_string_lossy()), "it says what it left: {text}");
    assert!(!copied.exists());
    let (stopped, _) = coracle(&["stop", "--data-dir", &copied.to_string_lossy()], &cluster);
    assert!(!stopped);
    assert_eq!(cluster.daemon(), daemon, "the original was ended");
    cluster.api().get("/api/v1/nodes").ok();
}

#[test]
fn another_name_and_a_folder_that_merely_looks_like_a_clusters_are_left_alone() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("other");
    cluster.up();
    let data = cluster.data.to_string_lossy().into_owned();
    for verb in ["down", "stop", "up"] {
        let (went, text) = coracle(&[verb, "--name", "somebody-else", "--data-dir", &data], &cluster);
        assert!(!went && text.contains("nothing was changed"), "{verb}: {text}");
    }
    let second = cluster.directory().join("second");
    let (went, text) = coracle(&["up", "--name", &cluster.name, "--data-dir", &second.to_string_lossy()], &cluster);
    assert!(!went && text.contains(&data), "{text}");
    assert!(!second.exists());
    let looks = cluster.directory().join("looks");
    for part in ["store", "pki", "images", "log"] {
        fs::create_dir_all(looks.join(part)).unwrap();
    }
    fs::write(looks.join("images/mine"), "precious").unwrap();
    for verb in ["down", "up"] {
        let (went, _) = coracle(&[verb, "--name", "looks", "--data-dir", &looks.to_string_lossy()], &cluster);
        assert!(!went, "{verb}");
        assert_eq!(fs::read_to_string(looks.join("images/mine")).unwrap(), "precious");
    }
    // An authority that waits for its cluster is not one that is to go.
    let alone = cluster.directory().join("alone");
    fs::create_dir_all(alone.join("pki")).unwrap();
    fs::write(alone.join("pki/ca.key"), "precious").unwrap();
    let (went, text) = coracle(&["down", "--name", "alone", "--data-dir", &alone.to_string_lossy()], &cluster);
    assert!(!went && text.contains("no data of the cluster"), "{text}");
    assert_eq!(fs::read_to_string(alone.join("pki/ca.key")).unwrap(), "precious");
    cluster.api().get("/api/v1/nodes").ok();
}

#[test]
fn what_a_user_put_into_a_clusters_directory_stays_and_is_named() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("theirs");
    cluster.up();
    fs::write(cluster.data.join("notes.txt"), "precious").unwrap();
    fs::create_dir(cluster.data.join("work")).unwrap();
    fs::write(cluster.data.join("work/file"), "precious").unwrap();
    let (went, text) = coracle(&["down", "--name", &cluster.name], &cluster);
    assert!(went && text.contains("is gone"), "{text}");
    for path in ["notes.txt", "work"].map(|name| cluster.data.join(name)) {
        assert!(text.contains(&*path.to_string_lossy()), "{text}");
    }
    assert_eq!(fs::read_dir(&cluster.data).unwrap().count(), 2, "all that is the cluster's went");
    for path in ["notes.txt", "work/file"].map(|name| cluster.data.join(name)) {
        assert_eq!(fs::read_to_string(path).unwrap(), "precious");
    }
    let (_, text) = coracle(&["ls", "-o", "json"], &cluster);
    assert!(!text.contains(&cluster.name), "{text}");
}

#[test]
fn a_damaged_description_does_not_keep_a_cluster_from_going() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("damaged");
    let before = Host::now();
    cluster.up();
    let made = Host::now().without(&before);
    fs::write(cluster.data.join("cluster.json"), "{").unwrap();
    let failed = cluster.run("status", &[]);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("coracle down"));
    cluster.ok("down", &[]);
    assert_eq!(processes_of(&cluster), []);
    assert!(!cluster.data.exists());
    eventually("everything is as before", || {
        let left = Host::now().and(&made);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn a_cluster_is_found_by_its_name_also_after_its_directory_was_moved() {
    if !can_run() {
        return;
    }
    let mut cluster = Cluster::new("moved");
    cluster.up();
    cluster.load_image(&["test:1"]);
    let object = json!({"metadata": {"name": "kept"}, "data": {"a": "b"}});
    cluster.api().post("/api/v1/namespaces/default/configmaps", &object).ok();
    let (_, text) = coracle(&["ls", "-o", "json"], &cluster);
    let listed: Value = serde_json::from_str(&text).unwrap();
    let own = listed.as_array().unwrap().iter().find(|entry| entry["name"] == cluster.name.as_str()).unwrap().clone();
    assert_eq!(own["state"], "Running");
    assert_eq!(own["dataDir"], cluster.data.to_string_lossy().as_ref());
    let (found, text) = coracle(&["image", "ls", "--name", &cluster.name], &cluster);
    assert!(found && text.contains("test:1"), "{text}");

    cluster.ok("stop", &["--grace", "2s"]);
    let there = cluster.directory().join("there");
    fs::rename(&cluster.data, &there).unwrap();
    let (started, text) = coracle(&["start", "--name", &cluster.name], &cluster);
    assert!(!started && text.contains("coracle start --data-dir DIR"), "{text}");
    cluster.data = there;
    cluster.up();
    assert_eq!(cluster.api().get("/api/v1/namespaces/default/configmaps/kept").ok()["data"]["a"], "b");
    let namespace = cluster.namespace("here");
    namespace.create("pods", &pod("runs", &["sleep", "1000"]));
    namespace.pod_ready("runs");
    drop(namespace);
    let (went, text) = coracle(&["down", "--name", &cluster.name], &cluster);
    assert!(went, "{text}");
    assert!(!cluster.data.exists());
}

#[test]
fn users_of_the_host_see_nothing_of_a_clusters_data() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("modes");
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("here");
    namespace.create("pods", &pod("runs", &["sleep", "1000"]));
    namespace.pod_ready("runs");
    assert_eq!(fs::metadata(&cluster.data).unwrap().mode() & 0o7777, 0o700);
    for part in ["store", "pki", "log", "run", "images", "kubelet"] {
        let meta = fs::metadata(cluster.data.join(part)).unwrap();
        assert_eq!(meta.mode() & 0o007, 0, "{part}");
    }
    drop(namespace);
    cluster.ok("stop", &["--grace", "2s"]);
    fs::set_permissions(&cluster.data, fs::Permissions::from_mode(0o755)).unwrap();
    let failed = cluster.run("start", &[]);
    let text = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && text.contains("chmod 0700"), "{text}");
    fs::set_permissions(&cluster.data, fs::Permissions::from_mode(0o700)).unwrap();
    cluster.up();
}

/// The path of the data leads through a link, and a pod has a part of a directory of the host: when the pod goes, what
/// is in that directory stays.
#[test]
fn a_users_files_stay_when_a_pod_that_had_them_goes() {
    if !can_run() {
        return;
    }
    let mut cluster = Cluster::new("linked");
    let real = cluster.directory().join("real");
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, cluster.directory().join("link")).unwrap();
    cluster.data = cluster.directory().join("link/data");
    let mine = cluster.directory().join("mine/part");
    fs::create_dir_all(&mine).unwrap();
    fs::write(mine.join("file"), "precious").unwrap();
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("here");
    let mut object = pod("has", &["sleep", "1000"]);
    object["spec"]["volumes"] = json!([{"name": "mine", "hostPath": {"path": mine.parent().unwrap()}}]);
    object["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "mine", "mountPath": "/mine", "subPath": "part"}]);
    namespace.create("pods", &object);
    namespace.pod_ready("has");
    cluster.api().delete(&namespace.path("pods/has"), &json!({"gracePeriodSeconds": 0})).ok();
    let uid_dir = cluster.data.join("kubelet/pods");
    eventually("the pod's directory is gone", || match fs::read_dir(&uid_dir).map(Iterator::count) {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(fs::read_to_string(mine.join("file")).unwrap(), "precious");
    namespace.create("pods", &object);
    namespace.pod_ready("has");
    drop(namespace);
    cluster.ok("down", &[]);
    assert_eq!(fs::read_to_string(mine.join("file")).unwrap(), "precious");
}

#[test]
fn five_clusters_made_at_once_are_all_in_the_kubeconfig() {
    if !can_run() {
        return;
    }
    let mut clusters: Vec<Cluster> = (0..5).map(|n| Cluster::new(&format!("at-once-{n}"))).collect();
    let shared = clusters[0].kubeconfig.clone();
    clusters.iter_mut().for_each(|cluster| cluster.kubeconfig = shared.clone());
    let ups: Vec<_> = clusters.iter().map(|cluster| cluster.command("up").spawn().unwrap()).collect();
    for mut up in ups {
        assert!(up.wait().unwrap().success());
    }
    let config = clusters[0].read_kubeconfig();
    for list in ["clusters", "contexts", "users"] {
        assert_eq!(config[list].as_array().unwrap().len(), 5, "{list}");
    }
    for cluster in &clusters {
        cluster.ok("down", &[]);
    }
}

#[test]
fn processes_are_called_coracle_and_the_log_can_be_read() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("names");
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("here");
    namespace.create("pods", &pod("runs", &["sleep", "1000"]));
    namespace.pod_ready("runs");
    let mut named = 0;
    for (pid, line) in processes_of(&cluster) {
        if line.starts_with("coracle ") {
            named += 1;
            // One that was forked by a thread is called as that until it runs its own program.
            eventually("a process is called as what it runs", || {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_else(|_| "coracle".into());
                if name.trim() == "coracle" { Ok(()) } else { Err(format!("{name} is {line}")) }
            });
        }
    }
    assert!(named >= 3, "server, first process and shim");
    let log = cluster.ok("logs", &[]);
    assert!(log.contains("all parts are started"), "{log}");
    assert_eq!(cluster.ok("logs", &["--tail", "1"]).lines().count(), 1);
}
