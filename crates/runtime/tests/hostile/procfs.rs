//! Files of /proc and /sys that act on the whole node, also where a write is led astray: CVE-2019-16884.

use super::*;

#[tokio::test]
async fn switches_of_the_node_cannot_be_written() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let run = async |sandbox: &str, path: &str| {
        outcome(&bench, sandbox, hostile(&["attack", "open-for-writing", path])).await.unwrap()
    };
    for sandbox in [bench.sandbox().await, shared_sandbox(&bench).await] {
        for path in [
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/vm/panic_on_oom",
            "/proc/sys/fs/binfmt_misc/register",
            "/proc/sysrq-trigger",
            "/proc/irq/default_smp_affinity",
            "/sys/kernel/uevent_helper",
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "/sys/power/state",
        ] {
            let text = run(&sandbox, path).await;
            assert!(text.starts_with("error"), "{path}: {text}");
        }
        // A null device covers it where the kernel has it, and may be written to.
        let text = outcome(&bench, &sandbox, hostile(&["read", "/proc/kcore"])).await.unwrap();
        assert!(text.is_empty() || text.contains("No such file"), "{text}");
        let text = outcome(&bench, &sandbox, hostile(&["ls", "/sys/firmware"])).await.unwrap();
        assert!(text.is_empty() || text.contains("No such file"), "{text}");
    }
    bench.end().await;
}
