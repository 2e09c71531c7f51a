//! Daemons and shims that die.
#![allow(missing_docs, reason = "tests are no interface")]

mod common;

use std::time::Duration;

use common::{Bench, is_root};
use coracle_runtime::cri::*;

/// The shim of a sandbox: the parent of its containers' first processes.
fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn containers_live_on_and_exits_meanwhile_are_found() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let long = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
    let short = bench.start(&sandbox, Bench::container_config(&["sleep", "400"])).await;
    let before = bench.runtime.container_status(&long).await.unwrap();
    bench.restart().await;
    let after = bench.runtime.container_status(&long).await.unwrap();
    assert_eq!((after.pid, after.state, after.started_at), (before.pid, ContainerState::Running, before.started_at));
    bench.stop_daemon().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.restart().await;
    let ended = bench.runtime.container_status(&short).await.unwrap();
    assert_eq!((ended.state, ended.exit_code, ended.reason.as_str()), (ContainerState::Exited, 0, "Completed"));
    assert!(ended.finished_at > ended.started_at && ended.started_at > 0);
    let done = bench.runtime.exec_sync(&long, vec!["/testbox".into(), "echo".into()], None).await.unwrap();
    assert_eq!(done.exit_code, 0);
    assert_eq!(bench.runtime.pod_sandbox_status(&sandbox).await.unwrap().state, SandboxState::Ready);
    bench.end().await;
}

/// A start may take long, as when a volume is filled, and the kubelet makes another container for one that never ran.
#[tokio::test]
async fn a_start_that_was_under_way_when_its_daemon_died_runs_nothing_later() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let mut config = Bench::container_config(&["sleep", "60000"]);
    config.security.seccomp = SecurityProfile::RuntimeDefault;
    let id = bench.runtime.create_container(&sandbox, config).await.unwrap();
    // Its first process waits for its filter, which comes by a pipe.
    let filter = std::fs::read_dir(bench.config.state.join("seccomp")).unwrap().next().unwrap().unwrap().path();
    let program = std::fs::read(&filter).unwrap();
    std::fs::remove_file(&filter).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &filter, fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let (runtime, name) = (bench.runtime.clone(), id.clone());
    let start = tokio::spawn(async move { runtime.start_container(&name).await });
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
    let writer = loop {
        match rustix::fs::open(&filter, flags, rustix::fs::Mode::empty()) {
            Ok(writer) => break writer,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    start.abort();
    assert!(start.await.is_err());
    bench.stop_daemon().await;
    bench.restart().await;
    let _ = rustix::io::write(&writer, &program);
    drop(writer);
    let group = bench.groups().into_iter().find(|group| group.ends_with(&id)).unwrap();
    let mut rounds = 0;
    while !std::fs::read_to_string(group.join("cgroup.procs")).unwrap().is_empty() {
        assert!(rounds < 500, "it runs, and nobody knows of it");
        rounds += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bench.runtime.container_status(&id).await.unwrap().state, ContainerState::Created);
    bench.end().await;
}

#[tokio::test]
async fn who_runs_is_known_though_the_daemon_died_before_it_wrote_that_down() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
    let before = bench.runtime.container_status(&id).await.unwrap().user;
    assert!(before.is_some());
    bench.stop_daemon().await;
    let file = bench.config.state.join("containers").join(&id).join("container.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(!record["status"]["user"].take().is_null());
    std::fs::write(&file, record.to_string()).unwrap();
    bench.restart().await;
    assert_eq!(bench.runtime.container_status(&id).await.unwrap().user, before);
    bench.end().await;
}

#[tokio::test]
async fn a_killed_shim_is_noticed_and_takes_its_containers_along() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    // Such as a lock of whoever starts the daemon: the shim would hold it for ever.
    let left_open = rustix::fs::open("/proc/version", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
    let pid = bench.runtime.container_status(&id).await.unwrap().pid;
    let shim = parent(pid);
    drop(left_open);
    let files = std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().flatten();
    let files: Vec<_> = files.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
    assert!(!files.is_empty() && !files.iter().any(|file| file.ends_with("proc/version")), "{files:?}");
    // The kernel refuses to write what is executed; afterwards, only the mount does.
    let program = rustix::fs::statvfs(format!("/proc/{shim}/exe")).unwrap();
    assert!(program.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    assert_eq!(std::fs::read_to_string(format!("/proc/{shim}/comm")).unwrap(), "coracle\n");
    let pss = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap_or_default();
    println!(
        "shim: {}",
        pss.lines()
            .filter(|line| line.starts_with("Pss:") || line.starts_with("Rss:") || line.starts_with("Private_Dirty"))
            .collect::<Vec<_>>()
            .join(" ")
    );
    let mut events = bench.runtime.container_events();
    let shim = rustix::process::Pid::from_raw(shim).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let status = bench.wait(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
    let mut seen = Vec::new();
    while let Ok(Ok(event)) = tokio::time::timeout(Duration::from_secs(1), events.recv()).await {
        seen.push(event.container_id);
        if seen.contains(&sandbox) {
            break;
        }
    }
    assert!(seen.contains(&id) && seen.contains(&sandbox));
    assert_eq!(bench.runtime.pod_sandbox_status(&sandbox).await.unwrap().state, SandboxState::NotReady);
    bench.end().await;
}

#[tokio::test]
async fn a_shim_that_died_without_a_daemon_is_cleaned_up() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
    let half = bench.config.state.join("sandboxes").join("half-made");
    std::fs::create_dir(&half).unwrap();
    bench.restart().await;
    assert!(!half.exists());
    bench.runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    bench.runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    bench.restart().await;
    let status = bench.runtime.container_status(&id).await.unwrap();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 137));
    assert!(bench.runtime.pod_sandbox_status("nope").await.is_err());
    bench.end().await;
}

/// IDs of the shims that wait for a pod.
fn spares(bench: &Bench) -> Vec<String> {
    let entries = std::fs::read_dir(bench.config.state.join("sandboxes")).unwrap().flatten();
    let waiting = entries.filter(|entry| !entry.path().join("sandbox.json").exists());
    let mut ids: Vec<_> = waiting.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    ids.sort();
    ids
}

/// Whether a shim of a sandbox lives.
fn lives(id: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split('\0').any(|word| word == id))
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn shims_wait_for_the_next_pods_and_go_with_their_daemon() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::with_image().await;
    assert!(spares(&bench).is_empty());
    let first = bench.sandbox().await;
    eventually("shims wait", || spares(&bench).len() == 2).await;
    let before = spares(&bench);
    eventually("they live", || before.iter().all(|id| lives(id))).await;
    let second = bench.sandbox().await;
    assert!(before.contains(&second) && second != first);
    // It is a sandbox as others are.
    let config = Bench::container_config(&["echo", "hello"]);
    let (status, log) = bench.run(&second, config).await;
    assert_eq!((status.exit_code, log.len()), (0, 1), "{log:?}");
    eventually("others take their place", || spares(&bench).len() == 2).await;
    let mut config = bench.sandbox_config();
    config.namespaces.host_network = true;
    let waiting = spares(&bench);
    let host = bench.runtime.run_pod_sandbox(config).await.unwrap();
    assert!(!waiting.contains(&host));
    // One that dies is not taken, and nothing of it stays.
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let is_first = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&waiting[0]))
    };
    let pid = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_first).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    eventually("it ends", || !lives(&waiting[0])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_ne!(bench.sandbox().await, waiting[0]);
    eventually("nothing of it stays", || spares(&bench).len() == 2 && !spares(&bench).contains(&waiting[0])).await;
    let waiting = spares(&bench);
    bench.stop_daemon().await;
    eventually("those without a pod end", || !waiting.iter().any(|id| lives(id))).await;
    assert!([&first, &second, &host].iter().all(|id| lives(id)));
    bench.restart().await;
    assert!(spares(&bench).is_empty());
    bench.end().await;
}
