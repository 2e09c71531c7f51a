//! Mount targets that lead out, by links of images and volumes: CVE-2021-30465, CVE-2024-45310.

use super::*;

#[tokio::test]
async fn targets_are_found_and_made_inside_the_root_only() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    let outside = volume(&bench, "outside");
    let outside_text = outside.to_string_lossy().into_owned();
    import(
        &bench,
        &[
            Entry::Link("absolute", &outside_text),
            Entry::Link("relative", &format!("../../../../../../../../../..{outside_text}/dir")),
            Entry::Link("magic", &format!("/proc/1/root{outside_text}")),
            Entry::Link("descriptor", "/proc/self/fd/5/dir"),
        ],
        "",
    );
    let hostile_volume = volume(&bench, "v");
    for (name, target) in [("a", outside_text.clone()), ("m", format!("/proc/1/root{outside_text}"))] {
        std::os::unix::fs::symlink(target, hostile_volume.join(name)).unwrap();
    }
    let (dir, file) = (volume(&bench, "source"), bench.dir.path().join("f"));
    std::fs::write(&file, "x").unwrap();
    for sandbox in [bench.sandbox().await, shared_sandbox(&bench).await] {
        for target in
            ["/absolute/new", "/relative", "/magic/new", "/descriptor/new", "/vol/a/new", "/vol/m/new", "/vol/m/new/er"]
        {
            for source in [&dir, &file] {
                let mounts = vec![mount(&hostile_volume, "/vol"), mount(source, target)];
                let config = ContainerConfig { mounts, ..hostile(&["echo", "started"]) };
                let _ = outcome(&bench, &sandbox, config).await;
                assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{target}");
            }
        }
    }
    bench.end().await;
}

#[tokio::test]
async fn a_target_that_changes_while_containers_start_never_leads_out() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let (shared, source, outside) = (volume(&bench, "shared"), volume(&bench, "source"), volume(&bench, "outside"));
    let (place, out) = (shared.join("x"), outside.clone());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = stop.clone();
    let racer = std::thread::spawn(move || {
        while !told.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = std::fs::create_dir(&place);
            let _ = std::fs::remove_dir(&place);
            let _ = std::os::unix::fs::symlink(format!("../../../../../../../..{}", out.display()), &place);
            let _ = std::fs::remove_file(&place);
        }
    });
    for _ in 0..60 {
        let mounts = vec![mount(&shared, "/vol"), mount(&source, "/vol/x/y")];
        let config = ContainerConfig { mounts, ..hostile(&["read", "/proc/self/mountinfo"]) };
        if let Ok(text) = outcome(&bench, &sandbox, config).await {
            let line = text.lines().find(|line| line.contains("/source "));
            assert!(line.is_some_and(|line| !line.contains(" /outside")), "{text}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    racer.join().unwrap();
    bench.end().await;
}
