//! The PID 1 that containers of a pod share.

use super::*;

#[tokio::test]
async fn the_shared_pid_1_has_nothing_to_take() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = shared_sandbox(&bench).await;
    let run = async |args: &[&str], capabilities: &[&str]| {
        let mut config = hostile(args);
        config.security.add_capabilities = capabilities.iter().map(ToString::to_string).collect();
        outcome(&bench, &sandbox, config).await.unwrap()
    };
    for path in ["/proc/1/root/", "/proc/1/cwd/"] {
        let text = run(&["ls", path], &[]).await;
        assert!(text.contains("Permission denied") || text.contains("not permitted"), "{path}: {text}");
    }
    // Who may trace sees an empty root that cannot be written to, and no descriptor.
    for path in ["/proc/1/root/", "/proc/1/cwd/", "/proc/1/fd"] {
        assert_eq!(run(&["ls", path], &["SYS_PTRACE", "SYS_ADMIN"]).await, "", "{path}");
    }
    assert!(run(&["write", "/proc/1/root/x", "1"], &["SYS_PTRACE"]).await.contains("Read-only"));
    let status = run(&["read", "/proc/1/status"], &[]).await;
    for line in ["Uid:\t65535", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert_eq!(run(&["read", "/proc/1/comm"], &[]).await, "coracle");
    bench.end().await;
}

#[tokio::test]
async fn containers_of_a_shared_pid_namespace_see_each_other_and_nobody_else() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = shared_sandbox(&bench).await;
    let id = bench.start(&sandbox, hostile(&["sleep", "60000"])).await;
    let processes = |text: &str| text.lines().filter(|line| line.bytes().all(|byte| byte.is_ascii_digit())).count();
    let seen = outcome(&bench, &sandbox, hostile(&["ls", "/proc"])).await.unwrap();
    assert_eq!(processes(&seen), 3, "{seen}");
    let seen = exec(&bench, &id, &["/testbox", "ls", "/proc"]).await.unwrap();
    assert_eq!(processes(&seen), 3, "{seen}");
    bench.end().await;
}
