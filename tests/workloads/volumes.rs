//! Volumes, users, capabilities and the rest of what a pod asks of its node.

use coracle_e2e::*;
use serde_json::{Value, json};

/// A pod with volumes, all mounted below /v.
fn with_volumes(command: &[&str], volumes: Value) -> Value {
    let mut object = pod("", command);
    object["metadata"] = json!({"generateName": "v-", "labels": {"app": "v"}, "annotations": {"note": "n"}});
    let mounts: Vec<Value> = volumes
        .as_array()
        .into_iter()
        .flatten()
        .map(|volume| json!({"name": volume["name"], "mountPath": format!("/v/{}", volume["name"].as_str().unwrap())}))
        .collect();
    object["spec"]["containers"][0]["volumeMounts"] = json!(mounts);
    object["spec"]["volumes"] = volumes;
    object
}

#[test]
fn containers_of_a_pod_share_an_empty_directory() {
    let cluster = cluster!();
    let namespace = cluster.namespace("empty-dir");
    for medium in ["", "Memory"] {
        let mut object =
            with_volumes(&["cat", "/v/shared/file"], json!([{"name": "shared", "emptyDir": {"medium": medium}}]));
        let mut first = container("first", &["write", "/v/shared/file", "shared"]);
        first["volumeMounts"] = object["spec"]["containers"][0]["volumeMounts"].clone();
        object["spec"]["initContainers"] = json!([first]);
        assert_eq!(namespace.run_pod(&object).log, "shared\n");
    }
}

#[test]
fn a_pod_that_uses_more_of_the_disk_than_it_may_is_evicted() {
    let cluster = cluster!();
    let namespace = cluster.namespace("eviction");
    let line = "write /v/shared/file x; sleep 1000";
    let mut object = with_volumes(&["sh", "-c", line], json!([{"name": "shared", "emptyDir": {"sizeLimit": "1Ki"}}]));
    object["metadata"] = json!({"name": "p"});
    namespace.create("pods", &object);
    let pod = namespace.pod_until("p", "is evicted", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(pod["status"]["reason"], "Evicted");
    assert_eq!(pod["status"]["message"], "Usage of EmptyDir volume \"shared\" exceeds the limit \"1Ki\". ");
}

#[test]
fn config_maps_secrets_and_fields_are_files() {
    let cluster = cluster!();
    let namespace = cluster.namespace("files");
    namespace.create("configmaps", &json!({"metadata": {"name": "c"}, "data": {"a": "one", "b": "two"}}));
    namespace.create("secrets", &json!({"metadata": {"name": "s"}, "stringData": {"key": "secret"}}));
    let volumes = json!([
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "picked", "configMap": {"name": "c", "items": [{"key": "b", "path": "deep/er"}]}},
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 256}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "requests.cpu", "divisor": "1m"}}]}},
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]}},
    ]);
    let line = "cat /v/config/a; echo; cat /v/picked/deep/er; echo; cat /v/secret/key; echo; cat /v/down/labels; echo; cat /v/down/cpu; echo; ls /v/all";
    let mut object = with_volumes(&["sh", "-c", line], volumes);
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "10m"}});
    let run = namespace.run_pod(&object);
    assert_eq!(run.log, "one\ntwo\nsecret\napp=\"v\"\n10\na\nb\nkey\n", "{run:?}");
}

#[test]
fn secrets_and_tokens_are_in_memory_and_nothing_the_kubelet_writes_can_be_written() {
    let cluster = cluster!();
    let namespace = cluster.namespace("in-memory");
    namespace.create("configmaps", &json!({"metadata": {"name": "c"}, "data": {"a": "one"}}));
    namespace.create("secrets", &json!({"metadata": {"name": "s"}, "stringData": {"key": "secret"}}));
    let volumes = json!([
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ]);
    let mounts = namespace.run_pod(&with_volumes(&["cat", "/proc/mounts"], volumes)).log;
    for (path, in_memory) in [("/v/config", false), ("/v/secret", true), ("/v/token", true)] {
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(path)).expect(path);
        let fields: Vec<&str> = line.split(' ').collect();
        assert_eq!(fields[2] == "tmpfs", in_memory, "{line}");
        assert!(fields[3].starts_with("ro"), "{line}");
    }
}

#[test]
fn a_sub_path_is_never_a_link_out_of_its_volume() {
    let cluster = cluster!();
    let namespace = cluster.namespace("sub-paths");
    let mut object = with_volumes(&["ls", "/inner"], json!([{"name": "shared", "emptyDir": {}}]));
    object["metadata"] = json!({"name": "p"});
    let mut first = container("first", &["link", &format!("{}etc", "../".repeat(16)), "/v/shared/out"]);
    first["volumeMounts"] = object["spec"]["containers"][0]["volumeMounts"].clone();
    object["spec"]["initContainers"] = json!([first]);
    object["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "shared", "mountPath": "/inner", "subPath": "out"}]);
    namespace.create("pods", &object);
    let pod = namespace.pod_until("p", "is refused", |pod| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    });
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.ends_with("subpath \"out\" leads out of its volume"), "{message}");
}

#[test]
fn a_changed_config_map_reaches_running_pods() {
    let cluster = cluster!();
    let namespace = cluster.namespace("updates");
    let kubectl = kubectl!(cluster, namespace);
    namespace.create("configmaps", &json!({"metadata": {"name": "c"}, "data": {"a": "before"}}));
    let mut object = with_volumes(&["sleep", "1000"], json!([{"name": "config", "configMap": {"name": "c"}}]));
    object["metadata"] = json!({"name": "p"});
    namespace.create("pods", &object);
    namespace.pod_ready("p");
    namespace.api.patch(&namespace.path("configmaps/c"), MERGE, &json!({"data": {"a": "after"}})).ok();
    // Upstream's kubelet takes up to its sync period of a minute and a half; ours is told.
    eventually("the file changes", || {
        let seen = kubectl.run(&["exec", "p", "--", "cat", "/v/config/a"]).out;
        if seen == "after" { Ok(()) } else { Err(seen) }
    });
}

#[test]
fn users_capabilities_and_privileges_are_as_asked() {
    let cluster = cluster!();
    let namespace = cluster.namespace("privileges");
    let usual = namespace.run(&["caps"]).log;
    assert!(usual.contains("CapEff: 00000000a80425fb") && usual.contains("Seccomp: 2"), "{usual}");
    let with = |context: Value, command: &[&str]| {
        let mut object = pod("", command);
        object["metadata"] = json!({"generateName": "c-"});
        object["spec"]["containers"][0]["securityContext"] = context;
        namespace.run_pod(&object).log
    };
    let user = with(json!({"runAsUser": 1000, "runAsGroup": 1001}), &["id"]);
    assert!(user.contains("Uid: 1000 1000 1000 1000") && user.contains("Gid: 1001"), "{user}");
    let dropped = with(json!({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}), &["caps"]);
    assert!(dropped.contains("CapEff: 0000000000000400"), "{dropped}");
    let filtered =
        with(json!({"seccompProfile": {"type": "RuntimeDefault"}, "allowPrivilegeEscalation": false}), &["caps"]);
    assert!(filtered.contains("Seccomp: 2") && filtered.contains("NoNewPrivs: 1"), "{filtered}");
    let read_only = with(json!({"readOnlyRootFilesystem": true}), &["write", "/file", "x"]);
    assert!(read_only.contains("Read-only file system"), "{read_only}");
}

#[test]
fn a_host_path_is_the_nodes() {
    let cluster = cluster!();
    let namespace = cluster.namespace("host-path");
    let path = cluster.directory().join("host-path");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("file"), "from the host").unwrap();
    let volumes = json!([{"name": "host", "hostPath": {"path": path, "type": "Directory"}}]);
    assert_eq!(namespace.run_pod(&with_volumes(&["cat", "/v/host/file"], volumes)).log, "from the host");
}

#[test]
fn names_hosts_and_environment_are_as_pods_expect() {
    let cluster = cluster!();
    let namespace = cluster.namespace("expectations");
    let mut object =
        pod("named", &["sh", "-c", "hostname; cat /etc/hostname; env GREETING; cat /etc/resolv.conf; cat /etc/hosts"]);
    object["spec"]["containers"][0]["env"] =
        json!([{"name": "NAME", "value": "you"}, {"name": "GREETING", "value": "hello $(NAME) $$(NAME) $(NOBODY)"}]);
    object["spec"]["hostAliases"] = json!([{"ip": "10.1.2.3", "hostnames": ["alias.example"]}]);
    let run = namespace.run_pod(&object);
    let expected = "named\nnamed\nhello you $(NAME) $(NOBODY)\n";
    assert!(run.log.starts_with(expected), "{run:?}");
    for part in [
        "nameserver 10.96.0.10",
        "search expectations.svc.cluster.local svc.cluster.local cluster.local",
        "options ndots:5",
        "10.1.2.3\talias.example",
        "\tnamed",
    ] {
        assert!(run.log.contains(part), "{part:?} is missing: {}", run.log);
    }
}
