//! Claims and their volumes, as charts use them: nothing is set up before.

use coracle_e2e::*;
use serde_json::json;

/// A database of which nothing is left but what matters here: it counts its starts in its volume.
const DATABASE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  clusterIP: None
  selector: {app: db}
  ports:
  - {name: http, port: 8080}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  podManagementPolicy: Parallel
  persistentVolumeClaimRetentionPolicy: {whenScaled: Retain, whenDeleted: Delete}
  selector:
    matchLabels: {app: db}
  template:
    metadata:
      labels: {app: db}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: db
        image: test:1
        command: [serve, --port, "8080"]
        volumeMounts:
        - {name: data, mountPath: /data}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Gi}}
"#;

fn write(kubectl: &Kubectl, pod: &str, text: &str) {
    let ran = kubectl.run(&["exec", pod, "--", "write", "/data/file", text]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[track_caller]
fn expect_data(kubectl: &Kubectl, pod: &str, text: &str) {
    eventually(&format!("{pod} has its data"), || {
        let ran = kubectl.run(&["exec", pod, "--", "cat", "/data/file"]);
        if ran.code == 0 && ran.out.trim_end() == text { Ok(()) } else { Err(format!("{ran:?}")) }
    });
}

#[test]
fn a_database_of_three_keeps_its_data_through_deletion_and_scaling() {
    let cluster = cluster!();
    let namespace = cluster.namespace("database");
    let kubectl = kubectl!(cluster, namespace);
    kubectl.apply(DATABASE);
    kubectl.ok("rollout status statefulset/db --timeout=120s");
    let claims = kubectl.ok("get pvc -o jsonpath={.items[*].status.phase}");
    assert_eq!(claims, "Bound Bound Bound");
    let classes = kubectl.ok("get pvc -o jsonpath={.items[*].spec.storageClassName}");
    assert_eq!(classes, "standard standard standard");
    for number in ["0", "1", "2"] {
        write(&kubectl, &format!("db-{number}"), &format!("data-{number}"));
    }
    kubectl.replace_pods("db-0 db-1 db-2");
    kubectl.ok("rollout status statefulset/db --timeout=120s");
    for number in ["0", "1", "2"] {
        expect_data(&kubectl, &format!("db-{number}"), &format!("data-{number}"));
    }
    kubectl.ok("scale statefulset/db --replicas=1");
    eventually("two pods go", || match kubectl.ok("get pods -l app=db -o name") {
        pods if pods == "pod/db-0\n" => Ok(()),
        pods => Err(pods),
    });
    assert_eq!(kubectl.ok("get pvc -o jsonpath={.items[*].status.phase}"), "Bound Bound Bound");
    kubectl.ok("scale statefulset/db --replicas=3");
    kubectl.ok("rollout status statefulset/db --timeout=120s");
    expect_data(&kubectl, "db-2", "data-2");
    // What is deleted with the set takes its volumes and their directories along.
    let volumes = kubectl.ok("get pvc -o jsonpath={.items[*].spec.volumeName}");
    kubectl.ok("delete statefulset/db");
    eventually("claims and volumes go", || {
        let claims = kubectl.ok("get pvc -o name");
        let left: Vec<String> = volumes
            .split(' ')
            .map(|volume| kubectl.ok(&format!("get pv {volume} --ignore-not-found -o name")))
            .filter(|found| !found.is_empty())
            .collect();
        if claims.is_empty() && left.is_empty() { Ok(()) } else { Err(format!("{claims} {left:?}")) }
    });
    for volume in volumes.split(' ') {
        assert!(!cluster.directory().join("kubelet/volumes").join(volume).exists(), "{volume}");
    }
}

const GROWING: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c}
spec:
  accessModes: [ReadWriteOncePod]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: v1
kind: Pod
metadata: {name: first}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: test:1
    command: [serve, --port, "8080"]
    volumeMounts:
    - {name: data, mountPath: /data}
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: c}
"#;

#[test]
fn a_claim_waits_for_its_pod_grows_and_is_for_one_pod_alone() {
    let cluster = cluster!();
    let namespace = cluster.namespace("growing");
    let kubectl = kubectl!(cluster, namespace);
    let (claim, pod) = GROWING.split_once("---\n").expect("two objects");
    kubectl.apply(claim);
    eventually("the claim says that it waits", || match kubectl.ok("get events -o jsonpath={.items[*].reason}") {
        reasons if reasons.contains("WaitForFirstConsumer") => Ok(()),
        reasons => Err(reasons),
    });
    kubectl.apply(pod);
    kubectl.ok("wait pod/first --for=condition=Ready --timeout=60s");
    write(&kubectl, "first", "kept");
    kubectl.ok(r#"patch pvc c -p {"spec":{"resources":{"requests":{"storage":"3Gi"}}}}"#);
    eventually("the claim is larger", || match kubectl.ok("get pvc c -o jsonpath={.status.capacity.storage}") {
        size if size == "3Gi" => Ok(()),
        size => Err(size),
    });
    assert_eq!(kubectl.ok("get pvc c -o jsonpath={.status.conditions}"), "");
    kubectl.apply(&pod.replace("name: first", "name: second"));
    eventually("the second pod says why it waits", || {
        let why = "get pod second -o jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].message}";
        match kubectl.ok(why) {
            message if message.contains("ReadWriteOncePod access mode") => Ok(()),
            message => Err(message),
        }
    });
    kubectl.ok("delete pod first");
    kubectl.ok("wait pod/second --for=condition=Ready --timeout=60s");
    expect_data(&kubectl, "second", "kept");
}

const SCRATCH: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: test:1
    command: [serve, --port, "8080"]
    volumeMounts:
    - {name: scratch, mountPath: /data}
  volumes:
  - name: scratch
    ephemeral:
      volumeClaimTemplate:
        spec:
          accessModes: [ReadWriteOnce]
          resources: {requests: {storage: 1Gi}}
"#;

#[test]
fn an_ephemeral_volume_comes_and_goes_with_its_pod() {
    let cluster = cluster!();
    let namespace = cluster.namespace("scratch");
    let kubectl = kubectl!(cluster, namespace);
    kubectl.apply(SCRATCH);
    kubectl.ok("wait pod/p --for=condition=Ready --timeout=60s");
    write(&kubectl, "p", "scratched");
    let volume = kubectl.ok("get pvc p-scratch -o jsonpath={.spec.volumeName}");
    kubectl.ok("delete pod p");
    eventually("the volume goes", || match kubectl.ok(&format!("get pv {volume} --ignore-not-found -o name")) {
        found if found.is_empty() => Ok(()),
        found => Err(found),
    });
    assert!(!cluster.directory().join("kubelet/volumes").join(volume).exists());
}

#[test]
fn a_pod_that_fills_its_volume_beyond_the_claim_is_evicted_and_the_next_may_clean_up() {
    let cluster = cluster!();
    let namespace = cluster.namespace("overfull");
    let claim = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": {"name": "small"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}}});
    namespace.create("persistentvolumeclaims", &claim);
    let with_claim = |name: &str, script: &str| {
        let mut object = pod(name, &["sh", "-c", script]);
        object["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "small"}}]);
        let container = &mut object["spec"]["containers"][0];
        container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        // With a limit its files are counted more often.
        container["resources"] = json!({"limits": {"ephemeral-storage": "100Mi"}});
        object
    };
    namespace.create("pods", &with_claim("filler", "fill /data/file 32; sleep 1000"));
    let ended = namespace.pod_until("filler", "is evicted", |pod| pod["status"]["phase"] == "Failed");
    assert_eq!(ended["status"]["reason"], "Evicted", "{ended}");
    let message = "Usage of PersistentVolumeClaim volume \"data\" exceeds the limit \"8Mi\". ";
    assert_eq!(ended["status"]["message"], message);
    // What the first one left is not the next one's doing.
    namespace.create("pods", &with_claim("next", "sleep 1000"));
    namespace.pod_ready("next");
    std::thread::sleep(std::time::Duration::from_secs(25));
    assert_eq!(namespace.pod("next")["status"]["phase"], "Running");
}
