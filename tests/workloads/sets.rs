//! DaemonSets and StatefulSets as people use them, with the first kubectl there is.

use coracle_e2e::*;

const SHIPPER: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: shipper}
spec:
  selector:
    matchLabels: {app: shipper}
  template:
    metadata:
      labels: {app: shipper}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: shipper
        image: test:1
        command: [serve, --port, "8080"]
        volumeMounts:
        - {name: logs, mountPath: /logs, readOnly: true}
      volumes:
      - name: logs
        hostPath: {path: /var/log}
"#;

#[test]
fn a_daemon_set_is_on_the_node_rolls_out_and_is_left_alone_by_drain() {
    let cluster = cluster!();
    let namespace = cluster.namespace("daemons");
    let kubectl = kubectl!(cluster, namespace);
    kubectl.apply(SHIPPER);
    let rolled = kubectl.ok("rollout status daemonset/shipper --timeout=60s");
    assert!(rolled.ends_with("daemon set \"shipper\" successfully rolled out\n"), "{rolled}");
    let node = kubectl.ok("get nodes -o jsonpath={.items[0].metadata.name}");
    assert_eq!(kubectl.ok("get pods -l app=shipper -o jsonpath={.items[*].spec.nodeName}"), node);
    let drained =
        kubectl.run(&["drain", &node, "--ignore-daemonsets", "--pod-selector=app=shipper", "--dry-run=server"]);
    assert_eq!(drained.code, 0, "{drained:?}");
    let said = format!("{}{}", drained.out, drained.err).to_lowercase();
    assert!(said.contains("ignoring daemonset-managed pods: daemons/shipper-"), "{said}");

    kubectl.ok("set image daemonset/shipper shipper=test:2");
    kubectl.ok("rollout status daemonset/shipper --timeout=60s");
    let history = kubectl.ok("rollout history daemonset/shipper");
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    assert_eq!(kubectl.ok("rollout undo daemonset/shipper"), "daemonset.apps/shipper rolled back\n");
    kubectl.ok("rollout status daemonset/shipper --timeout=60s");
    let image = "get pods -l app=shipper -o jsonpath={.items[*].spec.containers[0].image}";
    eventually("the first version is back", || match kubectl.ok(image) {
        found if found == "test:1" => Ok(()),
        found => Err(found),
    });
    // A pod that somebody deletes comes back, and one whose node it is no longer for goes.
    let before = kubectl.ok("get pods -l app=shipper -o name");
    kubectl.ok(&format!("delete {}", before.trim()));
    kubectl.ok("rollout status daemonset/shipper --timeout=60s");
    assert_ne!(kubectl.ok("get pods -l app=shipper -o name"), before);
    kubectl.ok(r#"patch daemonset shipper -p {"spec":{"template":{"spec":{"nodeSelector":{"no":"where"}}}}}"#);
    eventually("no pod is left", || match kubectl.ok("get pods -l app=shipper -o name") {
        pods if pods.is_empty() => Ok(()),
        pods => Err(pods),
    });
}

const PEERS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: peers}
spec:
  clusterIP: None
  selector: {app: peer}
  ports:
  - {name: http, port: 8080}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: peer}
spec:
  serviceName: peers
  replicas: 2
  selector:
    matchLabels: {app: peer}
  template:
    metadata:
      labels: {app: peer}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: peer
        image: test:1
        command: [serve, --port, "8080"]
        env:
        - name: INDEX
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}
        readinessProbe:
          httpGet: {path: /healthz, port: 8080}
          periodSeconds: 1
"#;

#[test]
fn the_pods_of_a_stateful_set_keep_their_names_through_deletion_update_and_undo() {
    let cluster = cluster!();
    let namespace = cluster.namespace("peers");
    let kubectl = kubectl!(cluster, namespace);
    kubectl.apply(PEERS);
    let rolled = kubectl.ok("rollout status statefulset/peer --timeout=60s");
    assert!(rolled.contains("statefulset rolling update complete 2 pods") || rolled.contains("roll out"), "{rolled}");
    let pods = "get pods -l app=peer -o jsonpath={.items[*].metadata.name}";
    assert_eq!(kubectl.ok(pods), "peer-0 peer-1");
    for index in ["0", "1"] {
        let url = format!("http://peer-{index}.peers:8080/env?name=INDEX");
        assert_eq!(namespace.run_until_ok(&["wget", &url]), format!("{index}\n"));
    }
    kubectl.replace_pods("peer-1");
    kubectl.ok("rollout status statefulset/peer --timeout=60s");
    kubectl.ok("set image statefulset/peer peer=test:2");
    kubectl.ok("rollout status statefulset/peer --timeout=60s");
    let images = "get pods -l app=peer -o jsonpath={.items[*].spec.containers[0].image}";
    assert_eq!(kubectl.ok(images), "test:2 test:2");
    assert_eq!(kubectl.ok("rollout undo statefulset/peer"), "statefulset.apps/peer rolled back\n");
    kubectl.ok("rollout status statefulset/peer --timeout=60s");
    assert_eq!(kubectl.ok(images), "test:1 test:1");
    let history = kubectl.ok("rollout history statefulset/peer");
    assert!(history.contains("\n3 ") && !history.contains("\n1 "), "{history}");
    kubectl.ok("scale statefulset/peer --replicas=1");
    eventually("the last pod goes", || match kubectl.ok(pods) {
        found if found == "peer-0" => Ok(()),
        found => Err(found),
    });
}
