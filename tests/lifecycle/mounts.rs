//! Files of the host at other paths in nodes: `up --mount`.

use std::fs;
use std::path::{Path, PathBuf};

use coracle_e2e::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

/// A file system in memory, until the test ends.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Runs a command in a pod on a node that has a path of the node at /data.
fn run_with(namespace: &Namespace<'_>, node: &str, path: &Path, command: &[&str]) -> Run {
    let mut object = pod("", command);
    object["metadata"] = json!({"generateName": "run-"});
    object["spec"]["nodeName"] = json!(node);
    object["spec"]["volumes"] = json!([{"name": "v", "hostPath": {"path": path}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/data"}]);
    namespace.run_pod(&object)
}

#[test]
fn pods_of_every_node_see_what_is_mounted_and_nothing_is_made_on_the_host() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("loc-mounts");
    let base = cluster.directory().join("host");
    for name in ["shared", "kept/below", "covered", "other"] {
        fs::create_dir_all(base.join(name)).unwrap();
    }
    fs::write(base.join("covered/of-the-host"), "x").unwrap();
    fs::write(base.join("other/o"), "o").unwrap();
    let (shared, kept, covered) = (base.join("shared"), base.join("kept"), base.join("covered"));
    mount("loc-mounts", kept.join("below"), "tmpfs", MountFlags::empty(), Some(c"size=1m")).unwrap();
    let _mounted = Mounted(kept.join("below"));
    fs::write(kept.join("below/f"), "below").unwrap();
    let missing = PathBuf::from(format!("/coracle-of-{}", cluster.name));
    let of = |from: &Path, to: &Path, more: &str| format!("{}:{}{more}", from.display(), to.display());

    let nowhere = base.join("nowhere");
    let refused = cluster.run("up", &["--mount", &of(&shared, &nowhere, "")]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("mkdir -p"), "{refused:?}");
    assert!(!cluster.data.exists() && !nowhere.exists());

    let mounts = [of(&shared, &covered, ""), of(&kept, &missing.join("a"), ":ro")];
    cluster.ok("up", &["--nodes", "2", "--mount", &mounts[0], "--mount", &mounts[1]]);
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("mounts");
    let nodes = [cluster.name.clone(), format!("{}-2", cluster.name)];
    let see_all = || {
        for node in &nodes {
            let wrote = run_with(&namespace, node, &covered, &["write", &format!("/data/{node}"), "written"]);
            assert_eq!(wrote.code, 0, "{wrote:?}");
            assert_eq!(fs::read_to_string(shared.join(node)).unwrap(), "written\n");
            let listed = run_with(&namespace, node, &covered, &["ls", "/data"]);
            assert!(!listed.log.contains("of-the-host"), "{listed:?}");
            let below = run_with(&namespace, node, &missing.join("a"), &["cat", "/data/below/f"]);
            assert_eq!(below.log.trim(), "below", "{below:?}");
            for file in ["/data/f", "/data/below/f"] {
                let wrote = run_with(&namespace, node, &missing.join("a"), &["write", file, "x"]);
                assert_ne!(wrote.code, 0, "{file} is read-only: {wrote:?}");
            }
        }
    };
    see_all();
    assert!(!missing.exists(), "a directory was made on the host");
    assert!(covered.join("of-the-host").exists() && !covered.join(&nodes[0]).exists(), "the host sees what it had");

    // A node has others if it is told so.
    cluster.ok("node add", &["--mount", &of(&base.join("other"), &covered, "")]);
    let third = format!("{}-3", cluster.name);
    assert_eq!(run_with(&namespace, &third, &covered, &["cat", "/data/o"]).log.trim(), "o");

    let refused = cluster.run("up", &["--mount", &mounts[0]]);
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("coracle stop"),
        "{refused:?}"
    );
    cluster.ok("stop", &["--grace", "1s"]);
    cluster.ok("start", &[]);
    see_all();

    let made = Host::now();
    cluster.ok("down", &[]);
    assert!(Host::now().without(&made).mounts.is_empty());
    assert!(!missing.exists() && covered.join("of-the-host").exists() && shared.join(&nodes[0]).exists());
    assert_eq!(fs::read_to_string(kept.join("below/f")).unwrap(), "below");
}
