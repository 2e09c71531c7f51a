//! Rights gained in ways that a filter or a flag is to close.

use super::*;

#[tokio::test]
async fn a_setuid_file_gives_nothing_under_no_new_privileges() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let run = async |no_new_privs| {
        let mut config = hostile(&["attack", "setuid"]);
        config.security.run_as_user = Some(1000);
        config.security.no_new_privs = no_new_privs;
        outcome(&bench, &sandbox, config).await.unwrap()
    };
    let without = run(false).await;
    assert!(without.contains("Uid:\t1000\t0"), "the setuid bit does not work at all: {without}");
    let with = run(true).await;
    assert!(with.contains("Uid:\t1000\t1000") && with.contains("CapEff:\t0000000000000000"), "{with}");
    bench.end().await;
}

/// CVE-2022-29162.
#[tokio::test]
async fn no_capability_is_inherited() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, hostile(&["sleep", "60000"])).await;
    let first = exec(&bench, &id, &["/testbox", "read", "/proc/1/status"]).await.unwrap();
    let further = exec(&bench, &id, &["/testbox", "read", "/proc/self/status"]).await.unwrap();
    for status in [first, further] {
        assert!(
            status.contains("CapInh:\t0000000000000000") && status.contains("CapAmb:\t0000000000000000"),
            "{status}"
        );
        assert!(status.contains("CapBnd:\t00000000a80425fb"), "{status}");
    }
    bench.end().await;
}

#[tokio::test]
async fn each_container_has_a_session_keyring_of_its_own() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let mut serials = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let mut config = hostile(&["attack", "keyring"]);
        config.security.seccomp = SecurityProfile::Unconfined;
        let serial = outcome(&bench, &sandbox, config).await.unwrap();
        assert!(serial.parse::<i64>().unwrap() > 0, "{serial}");
        serials.insert(serial);
    }
    assert_eq!(serials.len(), 2);
    bench.end().await;
}

#[tokio::test]
async fn calls_by_other_numberings_are_refused_under_every_profile() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = bench.sandbox().await;
    let profile = bench.dir.path().join("open.json");
    std::fs::write(
        &profile,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"]}"#,
    )
    .unwrap();
    let localhost = SecurityProfile::Localhost(profile.to_string_lossy().into_owned());
    for seccomp in [SecurityProfile::RuntimeDefault, localhost] {
        let mut config = hostile(&["attack", "foreign-calls"]);
        config.security.seccomp = seccomp.clone();
        let text = outcome(&bench, &sandbox, config).await.unwrap();
        assert!(!text.contains("answered"), "{seccomp:?}: {text}");
    }
    bench.end().await;
}
