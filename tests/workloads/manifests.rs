//! `kubectl apply`, `diff`, `replace` and `prune` with a manifest of several documents.

use coracle_e2e::*;

const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {part-of: shop}}
data:
  greeting: hello
---
apiVersion: v1
kind: Secret
metadata: {name: password, labels: {part-of: shop}}
data:
  password: aHVudGVyMg==
---
apiVersion: v1
kind: Service
metadata: {name: shop, labels: {part-of: shop}}
spec:
  selector: {app: shop}
  ports:
  - {name: http, port: 80, targetPort: http}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {part-of: shop}}
spec:
  replicas: 2
  selector:
    matchLabels: {app: shop}
  template:
    metadata:
      labels: {app: shop}
    spec:
      terminationGracePeriodSeconds: 2
      initContainers:
      - name: prepare
        image: test:1
        command: [write, /shared/prepared, "yes"]
        volumeMounts:
        - {name: shared, mountPath: /shared}
      containers:
      - name: shop
        image: test:1
        command: [serve, --port, "8080"]
        ports:
        - {name: http, containerPort: 8080}
        env:
        - name: GREETING
          valueFrom: {configMapKeyRef: {name: settings, key: greeting}}
        - name: PASSWORD
          valueFrom: {secretKeyRef: {name: password, key: password}}
        - name: NODE
          valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
        - name: LIMIT
          valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}
        resources:
          limits: {memory: 64Mi, cpu: 500m}
        startupProbe:
          tcpSocket: {port: http}
          periodSeconds: 1
        livenessProbe:
          httpGet: {path: /healthz, port: http}
          periodSeconds: 5
        readinessProbe:
          exec: {command: [cat, /shared/prepared]}
          periodSeconds: 1
        volumeMounts:
        - {name: shared, mountPath: /shared}
        - {name: settings, mountPath: /settings, readOnly: true}
      volumes:
      - name: shared
        emptyDir: {}
      - name: settings
        configMap: {name: settings}
"#;

#[test]
fn a_manifest_is_applied_changed_and_pruned() {
    let cluster = cluster!();
    let namespace = cluster.namespace("manifest");
    let kubectl = kubectl!(cluster, namespace);
    let created = kubectl.apply(MANIFEST);
    let expected =
        "configmap/settings created\nsecret/password created\nservice/shop created\ndeployment.apps/shop created\n";
    assert_eq!(created, expected);
    kubectl.ok("rollout status deployment/shop --timeout=60s");
    let value = |name: &str| namespace.run_until_ok(&["wget", &format!("http://shop/env?name={name}")]);
    assert_eq!((value("GREETING"), value("PASSWORD")), ("hello\n".into(), "hunter2\n".into()));
    assert_eq!((value("NODE"), value("LIMIT")), (format!("{}\n", cluster.name), "64\n".into()));

    // Nothing changed.
    let again = kubectl.apply(MANIFEST);
    assert_eq!(again, expected.replace("created", "unchanged"));
    let diff = kubectl.with_input(MANIFEST, &["diff", "-f", "-"]);
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);

    // A field changes, another goes.
    let changed = MANIFEST.replace("replicas: 2", "replicas: 1").replace("          periodSeconds: 5\n", "");
    let diff = kubectl.with_input(&changed, &["diff", "-f", "-"]);
    assert_eq!(diff.code, 1, "{}", diff.err);
    assert!(diff.out.contains("-  replicas: 2\n") && diff.out.contains("+  replicas: 1\n"), "{}", diff.out);
    assert!(kubectl.apply(&changed).contains("deployment.apps/shop configured"));
    kubectl.ok("rollout status deployment/shop --timeout=60s");
    let period = "get deployment shop -o jsonpath={.spec.template.spec.containers[0].livenessProbe.periodSeconds}";
    assert_eq!(kubectl.ok(period), "10");

    // A document goes: without pruning it stays, with pruning it goes.
    let fewer: String =
        changed.split("---").filter(|document| !document.contains("kind: Secret")).collect::<Vec<_>>().join("---");
    let fewer = fewer.replace(
        "        - name: PASSWORD\n          valueFrom: {secretKeyRef: {name: password, key: password}}\n",
        "",
    );
    kubectl.apply(&fewer);
    kubectl.ok("get secret password");
    let pruned = kubectl.with_input(&fewer, &["apply", "--prune", "-l", "part-of=shop", "-f", "-"]);
    assert_eq!(pruned.code, 0, "{}", pruned.err);
    assert!(pruned.out.contains("secret/password pruned"), "{}", pruned.out);
    let gone = kubectl.run(&["get", "secret", "password"]);
    assert_eq!((gone.code, gone.err.as_str()), (1, "Error from server (NotFound): secrets \"password\" not found\n"));

    let deleted = kubectl.with_input(&fewer, &["delete", "-f", "-"]);
    assert_eq!(deleted.code, 0, "{}", deleted.err);
}

#[test]
fn a_manifest_with_mistakes_is_refused() {
    let cluster = cluster!();
    let namespace = cluster.namespace("mistakes");
    let kubectl = kubectl!(cluster, namespace);
    let unknown = MANIFEST.replace("      initContainers:", "      initContainer:");
    let ran = kubectl.with_input(&unknown, &["apply", "-f", "-"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("unknown field \"spec.template.spec.initContainer\""), "{}", ran.err);
    let selector = MANIFEST.replace("labels: {app: shop}", "labels: {app: other}");
    let ran = kubectl.with_input(&selector, &["apply", "-f", "-"]);
    assert!(ran.err.contains("`selector` does not match template `labels`"), "{}", ran.err);
    let kind = "apiVersion: v1\nkind: Nonsense\nmetadata: {name: a}\n";
    let ran = kubectl.with_input(kind, &["apply", "-f", "-"]);
    assert!(ran.err.contains("no matches for kind \"Nonsense\" in version \"v1\""), "{}", ran.err);
}

#[test]
fn a_rollout_is_paused_resumed_and_misses_its_deadline() {
    let cluster = cluster!();
    let namespace = cluster.namespace("rollout");
    let kubectl = kubectl!(cluster, namespace);
    kubectl.ok("create deployment web --image=test:1 --replicas=2");
    kubectl.ok("rollout status deployment/web --timeout=60s");
    kubectl.ok("rollout pause deployment/web");
    kubectl.ok("set image deployment/web test=test:2");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(kubectl.ok("get replicasets -o name").lines().count(), 1);
    kubectl.ok("rollout resume deployment/web");
    kubectl.ok("rollout status deployment/web --timeout=60s");
    assert_eq!(kubectl.ok("get replicasets -o name").lines().count(), 2);

    kubectl.run(&["patch", "deployment", "web", "-p", r#"{"spec":{"progressDeadlineSeconds":2,"minReadySeconds":0}}"#]);
    kubectl.ok("set image deployment/web test=nothing:1");
    let ran = kubectl.run(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("error: deployment \"web\" exceeded its progress deadline"), "{ran:?}");
    let available = kubectl.ok("get deployment web -o jsonpath={.status.availableReplicas}");
    assert_eq!(available, "2", "the old pods must go on");
}
