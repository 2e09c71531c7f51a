//! A store whose disk is full: what users, probes and the log are told of it, and that it ends.

use std::fs;
use std::io::Write;
use std::process::Command;

use coracle_e2e::*;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn run(program: &str, arguments: &[&str]) {
    assert!(
        Command::new(program).args(arguments).status().is_ok_and(|status| status.success()),
        "{program} {arguments:?}"
    );
}

fn large(number: u32) -> Value {
    json!({"metadata": {"name": format!("large-{number}")}, "data": {"text": "x".repeat(700_000)}})
}

#[test]
fn a_full_disk_is_told_to_users_probes_and_the_log_once_and_deletions_go_on() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("full");
    cluster.up();
    cluster.ok("stop", &["--grace", "2s"]);
    let (store, kept) = (cluster.data.join("store"), cluster.directory().join("kept"));
    fs::rename(&store, &kept).unwrap();
    fs::create_dir(&store).unwrap();
    let path = store.to_string_lossy().into_owned();
    run("mount", &["-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", &path]);
    run("cp", &["-a", &format!("{}/.", kept.display()), &path]);
    cluster.ok("start", &[]);
    let mut filler = fs::File::create(store.join("filler")).unwrap();
    while filler.write_all(&[1; 64 << 10]).is_ok() {}

    let api = cluster.api();
    let refused = (0..60).map(|number| api.post(MAPS, &large(number))).find(|answer| answer.status != 201);
    let refused = refused.expect("a write is refused");
    assert_eq!(refused.status, 507, "{}", refused.text);
    assert!(refused.text.contains(&path) && refused.text.contains("is full"), "{}", refused.text);
    assert!(!refused.text.contains("segment") && refused.text.contains("delete objects"), "{}", refused.text);
    (100..110).for_each(|number| assert_eq!(api.post(MAPS, &large(number)).status, 507));
    assert_eq!(api.get_as("/livez", "*/*").status, 200);
    let unready = api.get_as("/readyz", "*/*");
    assert!(unready.status == 500 && unready.text.contains("[-]etcd failed"), "{}", unready.text);
    let why = api.get_as("/readyz/etcd", "*/*").text;
    assert!(why.contains(&path) && why.contains("is full"), "{why}");
    api.get(&format!("{MAPS}/large-0")).ok();
    api.delete(&format!("{MAPS}/large-0"), &json!({})).ok();

    drop(filler);
    fs::remove_file(store.join("filler")).unwrap();
    eventually("the server is ready again", || match api.get_as("/readyz", "*/*") {
        answer if answer.status == 200 => Ok(()),
        answer => Err(answer.text),
    });
    api.post(MAPS, &large(200)).ok();
    let log = fs::read_to_string(cluster.data.join("log/server.log")).unwrap();
    let told = |level: &str, what: &str| {
        log.lines().filter(|line| line.contains(level) && line.contains("coracle_store") && line.contains(what)).count()
    };
    assert_eq!((told("WARN", "is full: free space on it"), told("INFO", "there is room again")), (1, 1), "{log}");
}
