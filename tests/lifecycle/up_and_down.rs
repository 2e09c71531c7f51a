//! The life of healthy clusters.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use coracle_e2e::*;
use serde_json::{Value, json};

fn status(cluster: &Cluster) -> Value {
    serde_json::from_str(&cluster.ok("status", &["-o", "json"])).expect("the status is JSON")
}

/// A cluster of its own; ends the test when there can be none.
macro_rules! own_cluster {
    ($name:expr) => {{
        if !can_run() {
            return;
        }
        Cluster::new($name)
    }};
}

#[test]
fn up_is_idempotent_and_down_leaves_nothing() {
    let cluster = own_cluster!("down");
    let before = Host::now();
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("here");
    namespace.create("pods", &pod("stays", &["sleep", "1000"]));
    namespace
        .create("services", &json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}));
    namespace.pod_ready("stays");
    let daemon = cluster.daemon();
    cluster.up();
    assert_eq!(cluster.daemon(), daemon, "a second up started another daemon");
    namespace.pod("stays");

    let made = Host::now().without(&before);
    assert!(!made.links.is_empty() && !made.tables.is_empty(), "{made:?}");
    drop(namespace);
    cluster.ok("down", &[]);
    eventually("everything is as before", || {
        let left = Host::now().and(&made);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(processes_of(&cluster), []);
    assert_eq!(cgroups_of(&cluster), Vec::<String>::new());
    assert!(!cluster.data.exists(), "the data directory is left");
    let config = cluster.read_kubeconfig();
    for list in ["clusters", "contexts", "users"] {
        assert_eq!(config[list], json!([]), "{list} are left in the kubeconfig");
    }
    cluster.ok("down", &[]);
}

/// Many systems give a process 1,024 descriptors, of which one that is API server and kubelet has soon none left.
#[test]
fn a_daemon_takes_as_many_descriptors_as_it_may_have() {
    let cluster = own_cluster!("descriptors");
    let (up, soft) = (cluster.command("up"), "ulimit -S -n 512; exec \"$@\"");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", soft, "up"]).arg(up.get_program()).args(up.get_args()).env("KUBECONFIG", &cluster.kubeconfig);
    assert!(command.status().unwrap().success());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cluster.daemon().unwrap())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert!(numbers[0] == numbers[1] && numbers[0] != "512", "{line}");
}

#[test]
fn two_clusters_live_side_by_side_in_one_kubeconfig() {
    let (one, mut two) = (own_cluster!("one"), own_cluster!("two"));
    two.kubeconfig = one.kubeconfig.clone();
    let other = "apiVersion: v1\nkind: Config\ncurrent-context: prod\ncontexts:\n- name: prod\n  context: {cluster: prod, user: me, namespace: shop}\nclusters:\n- name: prod\n  cluster: {server: \"https://prod.example\"}\nusers:\n- name: me\n  user: {token: \"0123\"}\n";
    std::fs::write(&one.kubeconfig, other).unwrap();
    one.up();
    two.up();
    let config = one.read_kubeconfig();
    let names = |list: &str| -> Vec<String> {
        config[list].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().into()).collect()
    };
    let expected = ["prod".to_owned(), format!("coracle-{}", one.name), format!("coracle-{}", two.name)];
    assert_eq!(names("contexts"), expected);
    assert_eq!(config["current-context"], format!("coracle-{}", two.name));
    assert_eq!(config["contexts"][0]["context"]["namespace"], "shop");
    assert_eq!(config["users"][0]["user"]["token"], "0123");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&one.kubeconfig).unwrap().permissions().mode() & 0o777, 0o600);

    assert_ne!(config["clusters"][1]["cluster"]["server"], config["clusters"][2]["cluster"]["server"]);
    two.ok("down", &[]);
    one.api().get("/readyz").status.eq(&200).then_some(()).expect("the other cluster lives on");
    one.ok("down", &[]);
    let after = one.read_kubeconfig();
    assert_eq!(after["contexts"].as_array().unwrap().len(), 1);
    assert_eq!(after["clusters"][0]["cluster"]["server"], "https://prod.example");
}

#[test]
fn who_waits_for_a_node_in_vain_is_told_what_it_says() {
    let cluster = own_cluster!("vain");
    let folder = tempfile::tempdir().unwrap();
    let failed = cluster.run("up", &["--wait", "1s", "--cni-conf-dir", &folder.path().to_string_lossy()]);
    let told = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && told.contains("reason:NetworkPluginNotReady"), "{told}");
}

#[test]
fn a_command_whose_output_nobody_reads_ends_and_says_nothing() {
    for words in [&["completion", "bash"][..], &["config-schema", "server"], &["ls"], &["version"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(built("coracle"));
        let output = command.args(words).stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(141), ""), "{words:?}");
    }
}

#[test]
fn stop_and_start_keep_objects_images_and_volumes_and_pods_run_again() {
    let cluster = own_cluster!("stop");
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("kept");
    namespace.create("configmaps", &json!({"metadata": {"name": "kept"}, "data": {"a": "b"}}));
    let mut object = pod("kept", &["serve", "--port", "8080"]);
    object["spec"]["restartPolicy"] = json!("Always");
    object["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "scratch", "mountPath": "/scratch"}, {"name": "told", "mountPath": "/told"}]);
    object["spec"]["containers"][0]["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["write", "/told/hook", "ran"]}}});
    let told = tempfile::tempdir().unwrap();
    object["spec"]["volumes"] =
        json!([{"name": "scratch", "emptyDir": {}}, {"name": "told", "hostPath": {"path": told.path()}}]);
    object["spec"]["initContainers"] = json!([{"name": "first", "image": "test:1",
        "command": ["write", "/scratch/file", "kept"], "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}]);
    namespace.create("pods", &object);
    let before = namespace.pod_ready("kept");
    let uid = before["metadata"]["uid"].clone();
    namespace.create("pods", &pod("stubborn", &["ignore"]));
    namespace.pod_until("stubborn", "runs", |pod| pod["status"]["phase"] == "Running");

    cluster.ok("stop", &["--grace", "2s"]);
    assert_eq!(processes_of(&cluster), []);
    assert_eq!(status(&cluster)["state"], "Stopped");
    assert_eq!(std::fs::read_to_string(told.path().join("hook")).expect("the hook ran"), "ran\n");
    cluster.ok("start", &[]);

    assert_eq!(namespace.found("configmaps/kept").unwrap()["data"]["a"], "b");
    let restarts = before["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap();
    let after = namespace.pod_until("kept", "runs again", |pod| {
        let container = &pod["status"]["containerStatuses"][0];
        container["ready"] == true && container["restartCount"].as_i64() > Some(restarts)
    });
    assert_eq!(after["metadata"]["uid"], uid);
    let killed = namespace.pod_until("stubborn", "has ended", |pod| pod["status"]["phase"] == "Failed");
    let how = &killed["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&how["exitCode"], &how["reason"]), (&json!(137), &json!("Error")), "{how}");
    let scratch = cluster
        .data
        .join(format!("kubelet/pods/{}/volumes/kubernetes.io~empty-dir/scratch/file", uid.as_str().unwrap()));
    if let Ok(text) = std::fs::read_to_string(scratch) {
        assert_eq!(text, "kept\n");
    }
    assert!(cluster.ok("image ls", &[]).contains("test:1"));
}

#[test]
fn a_node_whose_stop_was_given_up_half_way_comes_back() {
    let cluster = own_cluster!("given-up");
    cluster.up();
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("here");
    // What `stop` asks first, and then nothing more.
    let mut socket = UnixStream::connect(cluster.data.join("control.sock")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"POST /end-containers HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n100").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("the server ends, as nobody ended it");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    eventually("the node is there again", || {
        let output = cluster.run("status", &["-o", "json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if status["nodes"][0]["ready"] == true { Ok(()) } else { Err(status) }
    });
    namespace.create("pods", &pod("later", &["sleep", "1000"]));
    namespace.pod_ready("later");
}

#[test]
fn status_says_what_runs() {
    let cluster = own_cluster!("status");
    let failed = cluster.run("status", &[]);
    assert!(!failed.status.success());
    assert!(String::from_utf8_lossy(&failed.stderr).contains("there is no cluster"));
    cluster.up();
    let status = status(&cluster);
    assert_eq!(status["name"], cluster.name.as_str());
    assert_eq!(status["state"], "Running", "{status:#}");
    assert_eq!(status["nodes"][0]["ready"], true, "{status:#}");
    assert!(status["memory"][0]["bytes"].as_u64() > Some(0), "{status:#}");
    assert_eq!(status["url"], cluster.remote().server, "{status:#}");
    let text = cluster.ok("status", &[]);
    assert!(text.contains(&cluster.remote().server), "{text}");
}

#[test]
fn images_are_loaded_listed_and_removed() {
    let cluster = own_cluster!("images");
    cluster.up();
    cluster.load_image(&["test:1", "test:2"]);
    let list = cluster.ok("image ls", &[]);
    assert!(list.contains("docker.io/library/test") && list.contains('2'), "{list}");
    cluster.ok("image rm", &["test:2"]);
    let names = cluster.ok("image ls", &["-o", "json"]);
    assert!(names.contains("docker.io/library/test:1") && !names.contains("docker.io/library/test:2"), "{names}");
    let failed = cluster.run("image rm", &["nothing:1"]);
    assert!(!failed.status.success());
    assert!(String::from_utf8_lossy(&failed.stderr).contains("there is no image nothing:1"));
    let garbage = cluster.directory().join("garbage.tar");
    std::fs::write(&garbage, vec![7; 10_000]).unwrap();
    let failed = cluster.run("image load", &[&garbage.to_string_lossy()]);
    assert!(!failed.status.success());
}

#[test]
fn a_token_of_the_token_file_is_somebody_who_may_do_nothing() {
    let cluster = own_cluster!("tokens");
    let tokens = cluster.directory().join("tokens.csv");
    std::fs::write(&tokens, "0123456789,alice,1,\"dev,test\"\n").unwrap();
    cluster.ok("up", &["--token-auth-file", &tokens.to_string_lossy()]);
    let mut remote = cluster.remote();
    (remote.client_cert_pem, remote.client_key_pem) = (None, None);
    remote.token = Some("0123456789".into());
    Api::new(&remote).get("/api/v1/namespaces/default/pods").is_failure(
        403,
        "Forbidden",
        "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
    );
    remote.token = Some("wrong".into());
    Api::new(&remote).get("/api/v1/nodes").is_failure(401, "Unauthorized", "Unauthorized");
}

#[test]
fn what_is_asked_of_the_api_server_is_written_down_as_long_as_it_goes_on() {
    let cluster = own_cluster!("audit");
    let (policy, log) = (cluster.directory().join("policy.yaml"), cluster.directory().join("audit.log"));
    let options = |policy: &std::path::Path| {
        [format!("audit-policy-file={}", policy.display()), format!("audit-log-path={}", log.display())]
    };
    let up = |options: &[String; 2]| {
        cluster.run("up", &["--kube-apiserver-arg", &options[0], "--kube-apiserver-arg", &options[1]])
    };
    std::fs::write(&policy, "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Everything}]}").unwrap();
    let failed = up(&options(&policy));
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && told.contains("in the audit policy file"), "{told}");
    cluster.ok("down", &[]);
    std::fs::write(
        &policy,
        "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Request, resources: [{resources: [pods/exec]}]}]}",
    )
    .unwrap();
    let started = up(&options(&policy));
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    cluster.load_image(&["test:1"]);
    let namespace = cluster.namespace("audit");
    namespace.create("pods", &pod("p", &["sleep", "1000"]));
    namespace.pod_ready("p");
    let kubectls = Kubectl::of_every_kind(&cluster, "audit");
    for kubectl in &kubectls {
        kubectl.ok("exec p -- echo hello");
    }
    let events = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    eventually("every exec has ended in the log", || {
        let events = events();
        let count = |stage: &str| events.iter().filter(|event| event["stage"] == stage).count();
        let (started, ended) = (count("ResponseStarted"), count("ResponseComplete"));
        (started >= kubectls.len() && started == ended).then_some(()).ok_or(format!("{events:#?}"))
    });
    let event = events().pop().expect("an entry");
    assert_eq!((&event["objectRef"]["subresource"], &event["responseStatus"]["code"]), (&json!("exec"), &json!(101)));
    assert!(event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("kubectl/")), "{event}");
}
