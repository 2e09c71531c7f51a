//! A working directory that is a link of /proc to somewhere else: CVE-2024-21626 and its relatives.

use super::*;

/// Whether the output of `ls .` is that of a container's root, and not of the node's.
fn shows_the_node(listing: &str) -> bool {
    listing.lines().any(|line| line == "usr" || line == "boot")
}

async fn enters_the_node(bench: &Bench, sandbox: &str, directory: &str) -> Option<String> {
    for args in [["ls", "."], ["ls", "../../../.."], ["ls", "../../../../../../../../.."]] {
        let config = ContainerConfig { working_dir: directory.into(), ..hostile(&args) };
        match outcome(bench, sandbox, config).await {
            Ok(listing) if shows_the_node(&listing) => return Some(format!("{directory}: {listing}")),
            _ => {}
        }
    }
    None
}

#[tokio::test]
async fn no_descriptor_of_the_runtime_is_a_working_directory() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    for number in 0..24 {
        for process in ["self", "thread-self", "1"] {
            let directory = format!("/proc/{process}/fd/{number}");
            assert_eq!(enters_the_node(&bench, &sandbox, &directory).await, None);
        }
    }
    bench.end().await;
}

#[tokio::test]
async fn the_root_of_pid_1_is_no_working_directory() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[Entry::Link("way", "/proc/1/root")], "/proc/1/root");
    for sandbox in [shared_sandbox(&bench).await, bench.sandbox().await] {
        let listing = outcome(&bench, &sandbox, hostile(&["ls", "."])).await;
        assert!(!listing.as_ref().is_ok_and(|listing| shows_the_node(listing)), "{listing:?}");
        for directory in
            ["/proc/1/root", "/proc/1/cwd", "/proc/self/root/..", "/way", "/proc/1/root/tmp/x", "/way/tmp/x"]
        {
            assert_eq!(enters_the_node(&bench, &sandbox, directory).await, None);
        }
    }
    assert!(!Path::new("/tmp/x").exists());
    bench.end().await;
}

#[tokio::test]
async fn a_further_process_enters_no_link_of_proc_either() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "/work");
    let sandbox = shared_sandbox(&bench).await;
    let id = bench.start(&sandbox, hostile(&["sleep", "60000"])).await;
    let working = exec(&bench, &id, &["/testbox", "id"]).await.unwrap();
    assert!(working.contains("cwd /work"), "{working}");
    // The directory was made by the start; its place is taken by a link.
    let layer = bench.config.state.join("containers").join(&id).join("upper/work");
    for target in ["/proc/1/root", "/proc/self/fd/3", "/proc/self/fd/5", "/proc/self/fd/7", "/proc/self/cwd"] {
        let _ = std::fs::remove_dir(&layer).or_else(|_| std::fs::remove_file(&layer));
        std::os::unix::fs::symlink(target, &layer).unwrap();
        let listing = exec(&bench, &id, &["/testbox", "ls", "../../../.."]).await;
        assert!(!listing.as_ref().is_ok_and(|listing| shows_the_node(listing)), "{target}: {listing:?}");
    }
    bench.end().await;
}

#[tokio::test]
async fn a_pod_that_sees_the_nodes_processes_does_not_begin_in_their_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "/proc/1/root");
    let mut config = bench.sandbox_config();
    config.namespaces.host_pid = true;
    let sandbox = bench.runtime.run_pod_sandbox(config).await.unwrap();
    let error = outcome(&bench, &sandbox, hostile(&["ls", "."])).await.unwrap_err();
    assert!(error.contains("chdir to cwd (\"/proc/1/root\") set in config.json failed"), "{error}");
    bench.end().await;
}
