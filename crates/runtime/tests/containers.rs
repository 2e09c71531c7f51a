//! Containers in real shims, namespaces and cgroups.
#![allow(missing_docs, reason = "tests are no interface")]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, docker_archive_with, is_root};
use coracle_runtime::cri::*;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_container_runs_and_its_exit_code_and_log_are_kept() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let (status, log) = bench.run(&sandbox, Bench::container_config(&["echo", "hello", "world"])).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    assert_eq!(log, ["hello world"]);
    let (status, log) = bench.run(&sandbox, Bench::container_config(&["fail", "7"])).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"));
    assert_eq!(log, ["failing"]);
    let (_, log) = bench.run(&sandbox, Bench::container_config(&["read", "/etc/hostname"])).await;
    assert_eq!(log, ["pod-host"]);
    let (_, log) = bench.run(&sandbox, Bench::container_config(&["read", "/etc/resolv.conf"])).await;
    assert_eq!(log, ["nameserver 10.96.0.10"]);
    let (_, log) = bench.run(&sandbox, Bench::container_config(&["ls", "/data"])).await;
    assert_eq!(log, ["kept", "new"]);
    let (_, log) = bench.run(&sandbox, Bench::container_config(&["flood", "20000"])).await;
    assert_eq!(log.len(), 20000);
    bench.end().await;
}

#[tokio::test]
async fn a_missing_command_is_a_start_error_worded_as_upstream() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    for (command, expected) in [
        ("nope", r#"exec: "nope": executable file not found in $PATH: unknown"#),
        ("/nope", r#"exec: "/nope": stat /nope: no such file or directory: unknown"#),
        ("/etc/passwd", r#"exec: "/etc/passwd": permission denied: unknown"#),
        ("/bin/tool", "exec /bin/tool: exec format error"),
    ] {
        let config = ContainerConfig { command: strings(&[command]), ..Bench::container_config(&[]) };
        let id = bench.runtime.create_container(&sandbox, config).await.unwrap();
        let error = bench.runtime.start_container(&id).await.unwrap_err().to_string();
        assert!(error.contains("OCI runtime create failed") && error.contains(expected), "{error}");
        let status = bench.runtime.container_status(&id).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
    }
    let config = ContainerConfig {
        security: LinuxContainerSecurityContext { run_as_username: "ghost".into(), ..Default::default() },
        ..Bench::container_config(&["echo"])
    };
    let id = bench.runtime.create_container(&sandbox, config).await.unwrap();
    let error = bench.runtime.start_container(&id).await.unwrap_err().to_string();
    assert!(error.contains("unable to find user ghost"), "{error}");
    bench.end().await;
}

#[tokio::test]
async fn user_groups_capabilities_and_seccomp_are_as_asked() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let (_, log) = bench.run(&sandbox, Bench::container_config(&["id"])).await;
    let log = log.join("\n");
    assert!(log.contains("CapEff:\t00000000a80425fb") && log.contains("CapBnd:\t00000000a80425fb"), "{log}");
    assert!(log.contains("Seccomp:\t2") && log.contains("NoNewPrivs:\t0") && log.contains("cwd /work"), "{log}");
    assert!(log.contains("Umask:\t0022"), "{log}");
    let security = LinuxContainerSecurityContext {
        run_as_username: "web".into(),
        supplemental_groups: vec![77],
        no_new_privs: true,
        ..Default::default()
    };
    let config = ContainerConfig { security, ..Bench::container_config(&["id"]) };
    let (status, log) = bench.run(&sandbox, config).await;
    let user = LinuxContainerUser { uid: 1000, gid: 1001, supplemental_groups: vec![1001, 50, 77] };
    assert_eq!(status.user, Some(user));
    let log = log.join("\n");
    assert!(log.contains("Uid:\t1000\t1000") && log.contains("Gid:\t1001") && log.contains("50 77 1001"), "{log}");
    assert!(log.contains("CapEff:\t0000000000000000") && log.contains("NoNewPrivs:\t1"), "{log}");
    let (_, log) = bench.run(&sandbox, Bench::container_config(&["syscalls"])).await;
    assert_eq!(log, ["unshare -1", "keyctl -1"]);
    let config = ContainerConfig { envs: vec![("A".into(), "b".into())], ..Bench::container_config(&["env"]) };
    let (_, log) = bench.run(&sandbox, config).await;
    for line in ["A=b", "FROM_IMAGE=1", "HOSTNAME=pod-host", "HOME=/root", "PATH=/:/bin"] {
        assert!(log.iter().any(|found| found == line), "{line} in {log:?}");
    }
    bench.end().await;
}

#[tokio::test]
async fn what_must_not_be_written_or_seen_is_not() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let run = async |readonly: bool, args: &[&str]| {
        let mut config = Bench::container_config(args);
        config.security.readonly_rootfs = readonly;
        bench.run(&sandbox, config).await.1.join("\n")
    };
    assert!(run(true, &["write", "/x", "1"]).await.contains("Read-only"));
    assert_eq!(run(false, &["write", "/x", "1"]).await, "written");
    assert_eq!(run(false, &["write", "/dev/shm/x", "1"]).await, "written");
    assert_eq!(run(false, &["read", "/dev/shm/x"]).await, "1");
    assert!(run(false, &["write", "/proc/sys/kernel/panic", "1"]).await.contains("Read-only"));
    assert!(run(false, &["write", "/sys/x", "1"]).await.contains("error"));
    assert_eq!(run(false, &["read", "/proc/keys"]).await, "");
    assert_eq!(run(false, &["read", "/proc/1/comm"]).await, "testbox");
    let dev = run(false, &["ls", "/dev"]).await;
    assert!(dev.contains("null") && !dev.contains("kmsg"), "{dev}");
    bench.end().await;
}

#[tokio::test]
async fn mounts_are_made_in_the_container() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let volume = bench.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("f"), "from the node").unwrap();
    let mount = |readonly| Mount {
        container_path: "/mnt/a/b".into(),
        host_path: volume.to_string_lossy().into_owned(),
        readonly,
        ..Default::default()
    };
    let config = ContainerConfig { mounts: vec![mount(true)], ..Bench::container_config(&["read", "/mnt/a/b/f"]) };
    assert_eq!(bench.run(&sandbox, config).await.1, ["from the node"]);
    let config =
        ContainerConfig { mounts: vec![mount(true)], ..Bench::container_config(&["write", "/mnt/a/b/g", "1"]) };
    assert!(bench.run(&sandbox, config).await.1[0].contains("Read-only"));
    let config =
        ContainerConfig { mounts: vec![mount(false)], ..Bench::container_config(&["write", "/mnt/a/b/g", "1"]) };
    assert_eq!(bench.run(&sandbox, config).await.1, ["written"]);
    assert_eq!(std::fs::read_to_string(volume.join("g")).unwrap(), "1");
    bench.end().await;
}

/// What the image has at the path of a volume is there, with owner and mode, and what is written is the container's own.
#[tokio::test]
async fn a_volume_of_an_image_is_a_directory_of_the_containers_own() {
    use std::os::unix::fs::MetadataExt;
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    bench.runtime.import(&docker_archive_with("test:1", &["/data", "/missing/too", "/covered"])[..], None).unwrap();
    let sandbox = bench.sandbox().await;
    let covering = bench.dir.path().join("covering");
    std::fs::create_dir(&covering).unwrap();
    let config = |args: &[&str]| {
        let mut config = Bench::container_config(args);
        config.security.readonly_rootfs = true;
        config.mounts = vec![Mount {
            container_path: "/covered/".into(),
            host_path: covering.to_string_lossy().into_owned(),
            ..Default::default()
        }];
        config
    };
    assert_eq!(bench.run(&sandbox, config(&["ls", "/data"])).await.1, ["inner", "kept", "link", "new", "same"]);
    assert_eq!(bench.run(&sandbox, config(&["read", "/data/link"])).await.1, [""; 0]);
    for path in ["/data/new", "/data/inner/x", "/missing/too/x", "/covered/x"] {
        assert_eq!(bench.run(&sandbox, config(&["write", path, "3"])).await.1, ["written"], "{path}");
    }
    assert_eq!(std::fs::read_to_string(covering.join("x")).unwrap(), "3");
    // What another container wrote is not in this one's.
    assert_eq!(bench.run(&sandbox, config(&["read", "/data/new"])).await.1, ["2"]);
    assert!(bench.run(&sandbox, config(&["write", "/x", "1"])).await.1[0].contains("Read-only"));

    let id = bench.start(&sandbox, config(&["write", "/missing/too/large", &"x".repeat(64 << 10)])).await;
    bench.wait(&id).await;
    assert!(bench.runtime.writable_layer(&id).await.unwrap().used_bytes > 64 << 10);
    let volumes = bench.config.state.join("containers").join(&id).join("volumes");
    let meta = |path: &str| std::fs::symlink_metadata(volumes.join(path)).unwrap();
    let (data, kept, inner) = (meta("0"), meta("0/kept"), meta("0/inner"));
    assert_eq!((data.uid(), data.gid(), data.mode() & 0o7777), (1000, 1001, 0o750));
    assert_eq!((kept.uid(), kept.mode() & 0o7777, kept.ino()), (0, 0o644, meta("0/same").ino()));
    assert_eq!((inner.uid(), inner.mode() & 0o7777), (7, 0o1777));
    assert_eq!((meta("1").uid(), meta("1").mode() & 0o7777), (0, 0o755));
    assert!(!volumes.join("2").exists() && !volumes.join("0/gone").exists());
    bench.runtime.remove_container(&id).await.unwrap();
    assert!(!volumes.exists());
    bench.end().await;
}

#[tokio::test]
async fn a_container_beyond_its_memory_is_killed_and_says_so() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let mut config = Bench::container_config(&["eat", "256"]);
    config.resources.memory_limit_in_bytes = 32 << 20;
    let (status, _) = bench.run(&sandbox, config).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    bench.end().await;
}

#[tokio::test]
async fn a_container_that_ignores_the_stop_signal_is_killed() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
    let stats = bench.runtime.container_stats(&id).await.unwrap();
    assert!(stats.process_count >= 1 && stats.memory.usage_bytes > 0, "{stats:?}");
    let begin = Instant::now();
    // PID 1 without a handler takes no SIGTERM.
    bench.runtime.stop_container(&id, Duration::from_millis(200)).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!(bench.wait(&id).await.exit_code, 137);
    bench.end().await;
}

#[tokio::test]
async fn a_shared_pid_namespace_has_one_pid_1() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let mut config = bench.sandbox_config();
    config.namespaces.shared_pid = true;
    let sandbox = bench.runtime.run_pod_sandbox(config).await.unwrap();
    let (_, log) = bench.run(&sandbox, Bench::container_config(&["read", "/proc/1/comm"])).await;
    assert_eq!(log, ["coracle"]);
    let id = bench.start(&sandbox, Bench::container_config(&["leave"])).await;
    assert_eq!(bench.wait(&id).await.exit_code, 0);
    assert_eq!(bench.log(&id).await, ["left"]);
    bench.end().await;
}

#[tokio::test]
async fn many_starts_leave_nothing_behind() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let (mut sandboxes, mut containers) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let begin = Instant::now();
        let sandbox = bench.sandbox().await;
        sandboxes.push(begin.elapsed());
        let begin = Instant::now();
        let id = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
        containers.push(begin.elapsed());
        assert!(bench.runtime.container_status(&id).await.unwrap().pid > 0);
        bench.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    }
    sandboxes.sort();
    containers.sort();
    println!(
        "sandbox p50 {:?} p90 {:?}; container p50 {:?} p90 {:?}",
        sandboxes[50], sandboxes[90], containers[50], containers[90]
    );
    bench.end().await;
}

#[tokio::test]
async fn a_privileged_container_has_the_nodes_devices_and_no_filter() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let run = async |args: &[&str]| {
        let mut config = Bench::container_config(args);
        config.security.privileged = true;
        bench.run(&sandbox, config).await.1.join("\n")
    };
    let id = run(&["id"]).await;
    assert!(id.contains("Seccomp:\t0") && !id.contains("CapEff:\t00000000a80425fb"), "{id}");
    assert!(run(&["ls", "/dev"]).await.contains("kmsg"));
    assert!(!run(&["write", "/proc/sys/kernel/no-such", "1"]).await.contains("Read-only"));
    bench.end().await;
}

#[tokio::test]
async fn the_nodes_namespaces_can_be_used() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let mut config = bench.sandbox_config();
    config.hostname = String::new();
    config.namespaces = NamespaceOptions { host_network: true, host_pid: true, host_ipc: true, shared_pid: false };
    let sandbox = bench.runtime.run_pod_sandbox(config).await.unwrap();
    assert!(bench.runtime.pod_sandbox_status(&sandbox).await.unwrap().ips.is_empty());
    let (_, log) = bench.run(&sandbox, Bench::container_config(&["read", "/proc/1/comm"])).await;
    assert_eq!(log, [std::fs::read_to_string("/proc/1/comm").unwrap().trim()]);
    // Without a PID namespace of its own, what it leaves is killed by cgroup.
    let id = bench.start(&sandbox, Bench::container_config(&["leave"])).await;
    bench.wait(&id).await;
    bench.runtime.remove_container(&id).await.unwrap();
    let id = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
    let done = bench.runtime.exec_sync(&id, strings(&["/testbox", "read", "/proc/1/comm"]), None).await.unwrap();
    assert_eq!(done.exit_code, 0);
    bench.end().await;
}

#[tokio::test]
async fn mounts_travel_as_asked() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let volume = bench.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    for propagation in [MountPropagation::HostToContainer, MountPropagation::Bidirectional] {
        let mount = Mount {
            container_path: "/mnt".into(),
            host_path: volume.to_string_lossy().into_owned(),
            readonly: false,
            propagation,
        };
        let config =
            ContainerConfig { mounts: vec![mount], ..Bench::container_config(&["read", "/proc/self/mountinfo"]) };
        let (_, log) = bench.run(&sandbox, config).await;
        let line = log.iter().find(|line| line.contains(" /mnt ")).unwrap();
        let shared = line.contains("shared:");
        assert_eq!(shared, propagation == MountPropagation::Bidirectional, "{line}");
    }
    bench.end().await;
}

#[tokio::test]
async fn limits_can_be_changed_while_it_runs() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let sandbox = bench.sandbox().await;
    let mut config = Bench::container_config(&["sleep", "60000"]);
    config.resources.memory_limit_in_bytes = 64 << 20;
    config.resources.cpu_shares = 512;
    config.resources.pids_limit = 50;
    let id = bench.start(&sandbox, config).await;
    for limit in [128 << 20, 32 << 20] {
        let resources = LinuxContainerResources {
            memory_limit_in_bytes: limit,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            ..Default::default()
        };
        bench.runtime.update_container_resources(&id, resources).await.unwrap();
    }
    assert!(bench.runtime.pod_sandbox_stats(&sandbox).await.unwrap().process_count >= 1);
    bench.end().await;
}

#[tokio::test]
async fn a_pod_has_a_limit_of_processes_also_when_it_asks_for_none() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    bench.sandbox().await;
    let limits: Vec<_> =
        bench.groups().iter().filter_map(|group| std::fs::read_to_string(group.join("pids.max")).ok()).collect();
    assert_eq!(limits, ["4096\n"]);
    bench.end().await;
}

#[tokio::test]
async fn a_container_sees_the_processes_of_its_target() {
    if !is_root() {
        return;
    }
    let bench = Bench::with_image().await;
    let (sandbox, other) = (bench.sandbox().await, bench.sandbox().await);
    let target = bench.start(&sandbox, Bench::container_config(&["sleep", "60000"])).await;
    let debug = |args: &[&str]| {
        let mut config = Bench::container_config(args);
        config.security.target_id = target.clone();
        config
    };
    let (_, seen) = bench.run(&sandbox, debug(&["read", "/proc/1/cmdline"])).await;
    assert_eq!(seen, ["/testbox\0sleep\x0060000\0"]);
    let (_, seen) = bench.run(&sandbox, debug(&["ls", "/proc/1/root/data"])).await;
    assert_eq!(seen, ["kept", "new"]);
    // What hides parts of /proc covers the shared one as well.
    let (_, seen) = bench.run(&sandbox, debug(&["write", "/proc/sys/kernel/panic", "1"])).await;
    assert!(seen[0].contains("Read-only"), "{seen:?}");
    let id = bench.start(&sandbox, debug(&["leave"])).await;
    assert_eq!(bench.wait(&id).await.exit_code, 0);
    let id = bench.start(&sandbox, debug(&["sleep", "60000"])).await;
    let done = bench.runtime.exec_sync(&id, strings(&["/testbox", "ls", "/proc/1"]), None).await.unwrap();
    assert_eq!(done.exit_code, 0);
    let error = bench.runtime.create_container(&other, debug(&["echo"])).await.unwrap_err().to_string();
    assert!(error.contains("does not belong to sandbox"), "{error}");
    // It ends with its target, as everything in a PID namespace does.
    bench.runtime.stop_container(&target, Duration::ZERO).await.unwrap();
    assert_eq!(bench.wait(&id).await.exit_code, 137);
    let error = bench.runtime.create_container(&sandbox, debug(&["echo"])).await.unwrap_err().to_string();
    assert!(error.contains("is not running"), "{error}");
    bench.end().await;
}
