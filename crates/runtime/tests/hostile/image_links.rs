//! An image whose /proc, /sys or /dev is a link, so that what the runtime mounts and hides is elsewhere:
//! CVE-2019-19921, CVE-2023-27561, CVE-2023-28642.

use super::*;

#[tokio::test]
async fn an_image_cannot_lead_proc_sys_or_dev_elsewhere() {
    if !is_root() {
        return;
    }
    for name in ["proc", "sys", "dev"] {
        let bench = Bench::new().await;
        let real = format!("real{name}/x");
        import(
            &bench,
            &[Entry::Link(name, "/vol/l"), Entry::Link("vol/l", &format!("/real{name}")), Entry::File(&real, b"")],
            "",
        );
        let sandbox = bench.sandbox().await;
        let volume = volume(&bench, "v");
        let path = format!("/real{name}/sys/kernel/core_pattern");
        let config =
            ContainerConfig { mounts: vec![mount(&volume, "/vol")], ..hostile(&["attack", "open-for-writing", &path]) };
        std::os::unix::fs::symlink(format!("/real{name}"), volume.join("l")).unwrap();
        for config in [config, hostile(&["attack", "open-for-writing", &path])] {
            let error = outcome(&bench, &sandbox, config).await.unwrap_err();
            assert!(error.contains("the image has a link or a file there") && error.contains(name), "{error}");
        }
        bench.end().await;
    }
}

#[tokio::test]
async fn an_image_with_a_dangling_link_on_the_way_of_a_mount_starts() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[Entry::Link("var/run", "/run")], "");
    let sandbox = bench.sandbox().await;
    let volume = volume(&bench, "v");
    std::fs::write(volume.join("token"), "t").unwrap();
    let config = ContainerConfig {
        mounts: vec![mount(&volume, "/var/run/secrets")],
        ..hostile(&["read", "/run/secrets/token"])
    };
    assert_eq!(outcome(&bench, &sandbox, config).await.as_deref(), Ok("t"));
    bench.end().await;
}
