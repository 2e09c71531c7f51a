//! Devices of the node: made by hand, or handed in as standard streams.

use super::*;
use std::os::unix::fs::MetadataExt;

#[tokio::test]
async fn a_device_can_be_made_and_not_used() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    for (kind, numbers) in [("c", "1:1"), ("c", "1:4"), ("c", "1:11"), ("c", "10:229"), ("b", "254:0"), ("b", "7:0")] {
        let text = outcome(&bench, &sandbox, hostile(&["attack", "device", kind, numbers])).await.unwrap();
        assert!(text.contains("error Operation not permitted"), "{kind} {numbers}: {text}");
    }
    bench.end().await;
}

#[tokio::test]
async fn standard_streams_are_never_devices_of_the_node() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let host = std::fs::metadata("/dev/null").unwrap();
    let host = format!("{} {}", host.dev(), host.ino());
    let first = outcome(&bench, &sandbox, hostile(&["attack", "inode", "/proc/self/fd/0"])).await.unwrap();
    assert!(!first.starts_with("error") && first != host, "{first}");
    let id = bench.start(&sandbox, hostile(&["sleep", "60000"])).await;
    let further = exec(&bench, &id, &["/testbox", "attack", "inode", "/proc/self/fd/0"]).await.unwrap();
    assert!(!further.starts_with("error") && further.trim() != host, "{further}");
    // Also when the container has put something else in the place of its null device.
    exec(&bench, &id, &["/testbox", "attack", "link", "/proc/1/root", "/dev/x"]).await.unwrap();
    let (_sizes, resize) = tokio::sync::mpsc::channel(1);
    let streams = Streams { stdin: None, stdout: None, stderr: None, resize };
    let command = ["/testbox", "attack", "mode", "/proc/self/fd/1"].map(String::from).to_vec();
    let before = std::fs::metadata("/dev/null").unwrap();
    assert_eq!(bench.runtime.exec(&id, command, false, streams).await.unwrap(), 0);
    let after = std::fs::metadata("/dev/null").unwrap();
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()));
    bench.end().await;
}
