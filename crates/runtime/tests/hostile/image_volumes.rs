//! Volumes of an image whose paths lead out, or into what the node shows of itself, by `..`, by links and by links on the way:
//! nothing of the node is copied into them, mounted over or written to (CVE-2022-23648).

use super::*;

#[tokio::test]
async fn a_volume_of_an_image_never_leads_out() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    let outside = volume(&bench, "outside");
    std::fs::write(outside.join("secret"), "of the node").unwrap();
    let outside_text = outside.to_string_lossy().into_owned();
    let up = format!("../../../../../../../../../..{outside_text}");
    let entries = [
        Entry::Link("absolute", &outside_text),
        Entry::Link("relative", &up),
        Entry::Link("magic", "/proc/1/root"),
        Entry::Link("self", "/proc/self/fd"),
        Entry::Link("circle", "circle"),
        Entry::Link("within/link", &up),
        Entry::File("file", b"x"),
        Entry::Fifo("within/pipe"),
    ];
    let through = |link: &str| format!("{link}{outside_text}");
    for path in [up.clone(), "/absolute".into(), "/relative".into(), through("/magic"), "/within".into()] {
        import_with_volumes(&bench, &entries, "", &[&path]);
        for sandbox in [bench.sandbox().await, shared_sandbox(&bench).await] {
            for file in ["secret", "link/secret"] {
                let shown = format!("{path}/{file}");
                let told = outcome(&bench, &sandbox, hostile(&["read", &shown])).await;
                assert!(told.as_ref().map_or(true, |text| text.starts_with("error")), "{shown}: {told:?}");
            }
            let _ = outcome(&bench, &sandbox, hostile(&["write", &format!("{path}/new"), "1"])).await;
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{path}");
        }
    }
    bench.end().await;
}

#[tokio::test]
async fn a_volume_of_an_image_covers_nothing_that_the_runtime_hides() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    let entries = [
        Entry::Link("elsewhere", "/proc/sys"),
        Entry::File("proc/sys/kernel/core_pattern", b"x"),
        Entry::Link("circle", "circle"),
        Entry::File("file", b"x"),
    ];
    for path in ["/", "/..", "/proc", "/proc/sys", "/proc/sys/kernel", "/elsewhere", "/circle", "/file"] {
        import_with_volumes(&bench, &entries, "", &[path]);
        let sandbox = bench.sandbox().await;
        let told = outcome(&bench, &sandbox, hostile(&["write", "/proc/sys/kernel/core_pattern", "|/testbox"])).await;
        assert!(told.is_err(), "{path}: {told:?}");
    }
    bench.end().await;
}
