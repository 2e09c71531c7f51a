//! A volume that turns the masking of a path into a mount of something else: CVE-2025-31133, CVE-2025-52881.

use super::*;

fn trap(bench: &Bench) -> std::path::PathBuf {
    let volume = volume(bench, "trap");
    for name in ["null", "console", "zero", "ptmx"] {
        std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", volume.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("/proc", volume.join("pts")).unwrap();
    std::fs::write(volume.join("mine"), "volume").unwrap();
    volume
}

#[tokio::test]
async fn a_volume_in_place_of_dev_shows_and_hijacks_nothing() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let volume = trap(&bench);
    let run = async |args: &[&str]| {
        let config = ContainerConfig { mounts: vec![mount(&volume, "/dev")], ..hostile(args) };
        outcome(&bench, &sandbox, config).await.unwrap()
    };
    assert_eq!(run(&["read", "/dev/mine"]).await, "volume");
    for masked in ["/proc/interrupts", "/proc/keys", "/proc/timer_list", "/proc/kcore"] {
        let text = run(&["read", masked]).await;
        assert!(text.is_empty() || text.contains("No such file"), "{masked}: {text}");
    }
    assert!(run(&["attack", "open-for-writing", "/dev/null"]).await.contains("Read-only"));
    assert!(run(&["attack", "open-for-writing", "/proc/sys/kernel/core_pattern"]).await.contains("Read-only"));
    bench.end().await;
}

#[tokio::test]
async fn masking_covers_with_a_null_device_of_the_containers_own() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let before = std::fs::metadata("/dev/null").unwrap();
    let changed = outcome(&bench, &sandbox, hostile(&["attack", "mode", "/proc/keys"])).await.unwrap();
    let after = std::fs::metadata("/dev/null").unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        (before.mode(), before.ctime(), before.ctime_nsec()),
        (after.mode(), after.ctime(), after.ctime_nsec()),
        "{changed}"
    );
    bench.end().await;
}

#[tokio::test]
async fn nothing_is_mounted_into_proc() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[Entry::Link("way", "/proc/sys")], "");
    let sandbox = bench.sandbox().await;
    let (dir, file) = (volume(&bench, "v"), bench.dir.path().join("f"));
    std::fs::write(&file, "x").unwrap();
    for (source, target, why) in [
        (&dir, "/proc", "is not of type proc"),
        (&dir, "/proc/sys", "is inside /proc"),
        (&dir, "/proc/self/attr", "mount to rootfs"),
        (&dir, "/way", "is inside /proc"),
        (&file, "/proc/sys/kernel/core_pattern", "is inside /proc"),
        (&file, "/proc/keys", "is inside /proc"),
    ] {
        let config = ContainerConfig { mounts: vec![mount(source, target)], ..hostile(&["echo", "started"]) };
        let error = outcome(&bench, &sandbox, config).await.unwrap_err();
        assert!(error.contains(why), "{target}: {error}");
    }
    // What only informs may be covered, as lxcfs does it.
    let config = ContainerConfig { mounts: vec![mount(&file, "/proc/uptime")], ..hostile(&["read", "/proc/uptime"]) };
    assert_eq!(outcome(&bench, &sandbox, config).await.as_deref(), Ok("x"));
    bench.end().await;
}

#[tokio::test]
async fn the_nodes_proc_in_place_of_the_containers_is_hidden_likewise() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let config = |path: &str| ContainerConfig {
        mounts: vec![mount(Path::new("/proc"), "/proc"), mount(Path::new("/sys"), "/sys")],
        ..hostile(&["attack", "open-for-writing", path])
    };
    for path in ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"] {
        let text = outcome(&bench, &sandbox, config(path)).await.unwrap();
        assert!(text.contains("Read-only") || text.contains("No such file"), "{path}: {text}");
    }
    let mut reading = config("");
    reading.args = ["read", "/proc/keys"].map(String::from).to_vec();
    assert_eq!(outcome(&bench, &sandbox, reading).await.as_deref(), Ok(""));
    bench.end().await;
}
