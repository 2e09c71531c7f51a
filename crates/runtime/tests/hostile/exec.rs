//! A container that lies in wait for the runtime's processes that join it: CVE-2016-9962, CVE-2019-5736 and ptrace.

use super::*;

/// Milliseconds that a watcher watches at most, longer than what it watches takes on any machine.
const LONG: &str = "600000";

/// Lets a container watch while commands are run in it; answers with what it got.
async fn watched(bench: &Bench, sandbox: &str, capabilities: &[&str]) -> String {
    let mut config = hostile(&["attack", "watch", LONG, "/stop"]);
    config.security.add_capabilities = capabilities.iter().map(ToString::to_string).collect();
    let id = bench.start(sandbox, config).await;
    // A long search path holds the last step before the program up.
    for round in 0..120 {
        let done = exec(bench, &id, &["testbox", "echo", "joined"]).await.unwrap();
        assert_eq!(done, "joined\n", "{round}");
    }
    exec(bench, &id, &["/testbox", "write", "/stop", "1"]).await.unwrap();
    bench.wait(&id).await;
    let log = bench.log(&id).await.join("\n");
    assert!(log.ends_with("watched"), "{log}");
    log
}

#[tokio::test]
async fn a_process_that_joins_a_container_cannot_be_opened_or_traced() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    for sandbox in [bench.sandbox().await, shared_sandbox(&bench).await] {
        let log = watched(&bench, &sandbox, &[]).await;
        for line in log.lines() {
            let harmless = ["watching", "watched", "capabilities 00000000a80425fb"].contains(&line);
            assert!(harmless, "{log}");
        }
    }
    bench.end().await;
}

#[tokio::test]
async fn who_may_trace_gets_nothing_that_the_container_has_not() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    for sandbox in [bench.sandbox().await, shared_sandbox(&bench).await] {
        // The runtime has no more of another container in its memory than what it needs of it.
        let mut other = hostile(&["sleep", "600000"]);
        other.envs = (0..300).map(|n| (format!("OF_ANOTHER_{n}"), "secret".repeat(10))).collect();
        bench.start(&sandbox, other).await;
        let log = watched(&bench, &sandbox, &["SYS_PTRACE"]).await;
        for line in log.lines() {
            let capabilities = line.strip_prefix("capabilities ").is_none_or(|set| set == "00000000a80c25fb");
            let root = ["dev", "etc", "proc", "sys", "testbox", "suid", "stop"];
            let root = line.strip_prefix("in its root ").is_none_or(|name| root.contains(&name));
            // Its own streams, its own program, and the one socket by which it says that it cannot execute that.
            let descriptors = ["/dev/null", "/testbox"];
            let descriptors = line.strip_prefix("descriptor ").is_none_or(|path| descriptors.contains(&path));
            let sockets = line.strip_prefix("sockets ").is_none_or(|count| ["0", "1"].contains(&count));
            let own = capabilities && root && descriptors && sockets;
            let hidden = !["can write the program", "remembers another container: true"].contains(&line);
            assert!(own && hidden, "{line} in {log}");
        }
    }
    bench.end().await;
}

#[tokio::test]
async fn a_container_that_starts_beside_a_watcher_is_not_seen_half_made() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = shared_sandbox(&bench).await;
    let mut config = hostile(&["attack", "watch", LONG, "/dev/shm/stop"]);
    config.security.add_capabilities = vec!["SYS_PTRACE".into()];
    let watcher = bench.start(&sandbox, config).await;
    for _ in 0..30 {
        assert_eq!(outcome(&bench, &sandbox, hostile(&["echo", "ran"])).await.as_deref(), Ok("ran"));
    }
    exec(&bench, &watcher, &["/testbox", "write", "/dev/shm/stop", "1"]).await.unwrap();
    bench.wait(&watcher).await;
    let log = bench.log(&watcher).await.join("\n");
    for line in log.lines() {
        let capabilities = line.strip_prefix("capabilities ").is_none_or(|set| set.ends_with("25fb"));
        assert!(capabilities && !line.contains(&*bench.dir.path().to_string_lossy()), "{line} in {log}");
    }
    bench.end().await;
}

#[tokio::test]
async fn the_runtimes_own_program_is_never_the_containers() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[Entry::Link("way", "/proc/self/exe"), Entry::Link("bin/way", "/proc/self/exe")], "");
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, hostile(&["sleep", "60000"])).await;
    for name in ["/proc/self/exe", "/way", "/bin/way", "way"] {
        let config = ContainerConfig { command: vec![name.into()], ..hostile(&["echo"]) };
        let error = outcome(&bench, &sandbox, config).await.unwrap_err();
        assert!(error.contains("permission denied") || error.contains("not found in $PATH"), "{name}: {error}");
        let error = exec(&bench, &id, &[name, "echo"]).await.unwrap_err();
        assert!(error.contains("permission denied") || error.contains("not found in $PATH"), "{name}: {error}");
    }
    bench.end().await;
}
