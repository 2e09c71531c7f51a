//! Terminals whose places in /dev were exchanged: CVE-2025-52565.

use super::*;

#[tokio::test]
async fn the_console_is_bound_to_the_containers_own_terminal_only() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[Entry::Link("dev/console", "/proc/sys/kernel/core_pattern"), Entry::Link("dev/pts", "/proc")], "");
    let sandbox = bench.sandbox().await;
    let config = ContainerConfig { tty: true, ..hostile(&["read", "/proc/self/mountinfo"]) };
    let text = outcome(&bench, &sandbox, config).await.unwrap();
    let console = text.lines().find(|line| line.contains(" /dev/console ")).unwrap();
    assert!(console.contains(" - devpts "), "{console}");
    bench.end().await;
}

#[tokio::test]
async fn a_volume_over_dev_gives_no_further_process_a_terminal_of_its_choice() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let volume = volume(&bench, "v");
    std::fs::create_dir(volume.join("pts")).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd", volume.join("fd")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, volume.join("pts/ptmx"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let mounts = vec![mount(&volume, "/dev")];
    let config = ContainerConfig { tty: true, mounts: mounts.clone(), ..hostile(&["tty"]) };
    let id = bench.start(&sandbox, config).await;
    bench.runtime.stop_container(&id, std::time::Duration::ZERO).await.unwrap();
    let id = bench.start(&sandbox, ContainerConfig { mounts, ..hostile(&["sleep", "60000"]) }).await;
    let (_sizes, resize) = tokio::sync::mpsc::channel(1);
    let streams = Streams { stdin: None, stdout: Some(Box::new(tokio::io::sink())), stderr: None, resize };
    let command = vec!["/testbox".to_string(), "tty".to_string()];
    let error = bench.runtime.exec(&id, command, true, streams).await.unwrap_err().to_string();
    assert!(error.contains("/dev/pts/ptmx is not that of a devpts file system"), "{error}");
    bench.end().await;
}
