//! Control groups as a way out: CVE-2022-0492.

use super::*;

#[tokio::test]
async fn no_release_agent_can_be_set_and_no_hierarchy_mounted() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let groups = outcome(&bench, &sandbox, hostile(&["ls", "/sys/fs/cgroup"])).await.unwrap();
    for path in groups.lines().map(|name| format!("/sys/fs/cgroup/{name}")).chain(["/sys/fs/cgroup".into()]) {
        for file in ["release_agent", "notify_on_release", "cgroup.procs", "new"] {
            let path = format!("{path}/{file}");
            let text = outcome(&bench, &sandbox, hostile(&["write", &path, "1"])).await.unwrap();
            assert!(text.starts_with("error"), "{path}: {text}");
        }
    }
    let text = outcome(&bench, &sandbox, hostile(&["syscalls"])).await.unwrap();
    assert!(text.contains("unshare -1"), "{text}");
    bench.end().await;
}
