//! A cluster whose scheduler is configured by a file.

use coracle_e2e::*;

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

#[test]
fn profiles_of_a_file_are_scheduled_and_a_wrong_file_is_refused_at_once() {
    if !can_run() {
        return;
    }
    let cluster = Cluster::new("profiles");
    let file = cluster.directory().join("scheduler.yaml");
    let path = file.to_str().expect("a path");
    std::fs::write(&file, format!("{HEAD}profiles: [{{plugins: {{score: {{enabled: [{{name: Nothing}}]}}}}}}]\n"))
        .unwrap();
    let refused = cluster.run("up", &["--scheduler-config", path]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(told.contains("profiles[0].plugins.score.enabled[0]: plugin \"Nothing\" does not exist"), "{told}");
    std::fs::write(&file, format!("{HEAD}profiles: [{{}}, {{schedulerName: second}}]\n")).unwrap();
    cluster.ok("up", &["--wait", "60s", "--scheduler-config", path]);
    let namespace = cluster.namespace("profiles");
    let mut second = pod("p", &["sleep", "1000"]);
    second["spec"]["schedulerName"] = "second".into();
    namespace.create("pods", &second);
    namespace.event("p", "Scheduled", "Successfully assigned profiles/p to");
}
