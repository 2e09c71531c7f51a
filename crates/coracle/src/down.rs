//! `coracle stop` and `coracle down`: nothing of the cluster stays, and nothing else goes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use coracle_kubelet::Shutdown;
use coracle_network::host;

use crate::args::{Stop, Which};
use crate::cluster::{Cluster, DEFAULT_NAME, Kind, Place};
use crate::local_node::{LocalNode, end_process};
use crate::process::NodeProcess;
use crate::registry::{self, Lock};
use crate::{data_dir, host_node, host_settings, kubeconfig};

/// Ends the nodes; everything on disk stays.
pub fn stop(options: &Stop) -> Result<()> {
    let cluster = Cluster::load(&options.which)?;
    let _lock = Lock::take(&cluster.name)?;
    Place::find(&options.which, DEFAULT_NAME)?.check_name()?;
    let deadline = Instant::now() + options.grace;
    let (first, further): (Vec<_>, Vec<_>) = cluster.all_nodes().into_iter().partition(LocalNode::is_first);
    let how = Shutdown { longest: options.grace, others_go_on: false };
    at_once(&cluster.all_nodes(), |node| node.end_containers(how));
    // The server goes last: kubelets tell it how their pods end.
    for nodes in [further, first] {
        at_once(&nodes, |node| node.ask_to_end(deadline));
    }
    if cluster.kind != Kind::Local {
        host_node::ask_to_end(&cluster, deadline);
    }
    end_node(&cluster);
    let again = cluster.kind.starts();
    println!("Cluster {:?} is stopped; `{again} --name {}` starts it again.", cluster.name, cluster.name);
    Ok(())
}

/// Does something with all nodes side by side.
fn at_once(nodes: &[LocalNode<'_>], what: impl Fn(&LocalNode<'_>) + Sync) {
    std::thread::scope(|scope| {
        for node in nodes {
            scope.spawn(|| what(node));
        }
    });
}

/// Ends everything of a cluster and removes it, also when it is half there. What does not provably belong to it stays, and
/// is named.
pub fn down(which: &Which) -> Result<()> {
    let place = Place::find(which, DEFAULT_NAME)?;
    let _lock = Lock::take(&place.name)?;
    let elsewhere = place.elsewhere();
    let was_there = place.has_data() || place.is_bare();
    let (mut left, mut others) = (Vec::new(), Vec::new());
    if let Some(other) = &elsewhere {
        left.push(format!("the cluster {:?} itself, whose data are in {}", place.name, other.display()));
    } else {
        // Without a description everything but the directory is found by the name.
        let described = Cluster::read(&place.dir).ok().flatten();
        let cluster = match described {
            Some(cluster) => cluster,
            None => Cluster::new(&place, Kind::Local, "10.90.0.0/24".parse()?),
        };
        end_node(&cluster);
        let removed = kubeconfig::path().and_then(|path| kubeconfig::remove(&path, &cluster.context()));
        left.extend(removed.err().map(|error| format!("its entries in the kubeconfig: {error:#}")));
    }
    if place.has_data() || place.is_bare() {
        match data_dir::remove(&place.dir) {
            Ok(stays) => others = stays,
            Err(error) => left.push(format!("{}: {error:#}", place.dir.display())),
        }
    } else if fs::symlink_metadata(&place.dir).is_ok() {
        left.push(format!("{}, which has no data of the cluster {:?}", place.dir.display(), place.name));
    }
    if elsewhere.is_none() && left.is_empty() {
        registry::remove(&place.name);
    }
    if !left.is_empty() {
        bail!("this was left as it is:\n  {}", left.join("\n  "));
    }
    match was_there {
        true => println!("Cluster {:?} is gone.", place.name),
        false => println!("There is no cluster {:?}; nothing of one is left.", place.name),
    }
    if !others.is_empty() {
        println!(
            "This is not the cluster's, and was left in its data directory, where there is room for a cluster once it is moved:"
        );
        others.iter().for_each(|path| println!("  {}", path.display()));
    }
    Ok(())
}

/// Ends the node's processes and removes its links, tables and cgroups. Nothing of it needs to exist.
pub fn end_node(cluster: &Cluster) {
    end_process(cluster.process());
    registry::clear_running(&cluster.name);
    let _ = fs::remove_file(cluster.control_socket());
    let warn = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("warning: failed to remove {what}: {error:#}");
        }
    };
    if cluster.kind == Kind::Local {
        end_further_nodes(cluster);
        // Also links of nodes of which nothing is known any more.
        let ports = host::ports(&cluster.bridge()).unwrap_or_default();
        for link in ports.into_iter().chain([cluster.link(), cluster.bridge()]) {
            warn(&format!("the link {link}"), host::delete_link(&link));
        }
        warn("the rules in the firewall", host::close_firewall(&cluster.bridge()));
        warn(&format!("the nftables table {}", cluster.table()), host::delete_table(&cluster.table()));
    } else {
        host_node::end(cluster).into_iter().for_each(|(what, error)| warn(&what, Err(error)));
    }
    remove_cgroups(&cluster.cgroup());
    if cluster.kind == Kind::Local {
        further_cgroups(cluster).iter().for_each(|group| remove_cgroups(group));
    }
    warn("changes of kernel parameters", host_settings::release(&cluster.name));
}

/// Ends the nodes besides the first: those that the description has, and those that are written down as running.
fn end_further_nodes(cluster: &Cluster) {
    for name in registry::running_nodes(&cluster.name) {
        let running = registry::running(&name).filter(|running| running.dir == cluster.dir);
        end_process(running.map(|running| running.process).filter(NodeProcess::lives));
        registry::clear_running(&name);
    }
    cluster.all_nodes().iter().filter(|node| !node.is_first()).for_each(LocalNode::end);
}

/// The cgroups of nodes besides the first.
fn further_cgroups(cluster: &Cluster) -> BTreeSet<String> {
    let prefix = format!("{}.", cluster.name);
    let groups = cgroup_mounts().into_iter().filter_map(|root| fs::read_dir(root.join("coracle")).ok()).flatten();
    let names = groups.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&prefix)).map(|name| format!("coracle/{name}")).collect()
}

/// Removes the cgroups of a node.
pub fn remove_cgroups_of(node: &LocalNode<'_>) {
    remove_cgroups(&node.cgroup());
}

/// Where cgroup hierarchies are mounted.
pub fn cgroup_mounts() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let roots = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_cgroup = matches!(after.split(' ').next()?, "cgroup" | "cgroup2");
        is_cgroup.then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or_default()))
    });
    roots.collect()
}

/// Removes a group and those below it from every hierarchy, and the common parent when it is empty.
fn remove_cgroups(group: &str) {
    for root in cgroup_mounts() {
        let path = root.join(group);
        let deadline = Instant::now() + Duration::from_secs(2);
        // A group of processes that just ended may stay busy for a moment.
        while path.exists() && remove_group(&path).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if let Some(parent) = path.parent().filter(|parent| parent.ends_with("coracle")) {
            let _ = fs::remove_dir(parent);
        }
    }
}

fn remove_group(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_group(&entry.path())?;
    }
    fs::remove_dir(path)
}
