//! What the managed fields of a write cost: `cargo run --release -p coracle-api --example managed_fields`.

use std::hint::black_box;

use coracle_api::Kind;
use coracle_api::apply::{Live, Reset, Writer, apply, update, update_text};
use coracle_api::kinds::by_kind;
use serde_json::{Value, json};

const ROUNDS: u32 = 20_000;

fn objects() -> Vec<(&'static Kind, Value)> {
    let kind = |group, kind| by_kind(group, "v1", kind).expect("the kind is there");
    let metadata = json!({"name": "web", "namespace": "default", "uid": "0b3f", "creationTimestamp": "2024-01-01T00:00:00Z",
        "labels": {"app": "web", "tier": "front"}});
    let spec = json!({"containers": [{"name": "nginx", "image": "nginx:1.27", "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
        "resources": {"limits": {"cpu": "1", "memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
        "livenessProbe": {"httpGet": {"path": "/", "port": "http", "scheme": "HTTP"}, "failureThreshold": 3,
            "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "volumeMounts": [{"mountPath": "/etc/web", "name": "config"}]}],
        "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority", "priority": 0,
        "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {}, "serviceAccount": "default",
        "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
        "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
        "volumes": [{"configMap": {"defaultMode": 420, "name": "web"}, "name": "config"}]});
    let data: Value = (0..10).map(|n| (format!("key-{n}"), Value::from("x".repeat(100)))).collect();
    let deployment = json!({"progressDeadlineSeconds": 600, "replicas": 3, "revisionHistoryLimit": 10,
        "selector": {"matchLabels": {"app": "web"}}, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}});
    vec![
        (kind("", "ConfigMap"), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})),
        (kind("", "Pod"), json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {}})),
        (
            kind("apps", "Deployment"),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment, "status": {}}),
        ),
    ]
}

/// Nanoseconds that this thread has been on a processor: what neighbours do does not count.
fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    stat.split(' ').next().and_then(|first| first.parse().ok()).expect("it is a number")
}

/// Microseconds of one call.
fn measure(mut call: impl FnMut()) -> f64 {
    call();
    let start = busy();
    for _ in 0..ROUNDS {
        call();
    }
    (busy() - start) / 1e3 / f64::from(ROUNDS)
}

fn main() {
    println!(
        "{:<12}{:>8}{:>8}{:>10}{:>10}{:>10}{:>10}",
        "kind", "bytes", "fields", "create", "no-op", "change", "apply"
    );
    for (kind, mut object) in objects() {
        let version = kind.api_version();
        let now = jiff::Timestamp::now();
        let writer =
            |manager| Writer { manager, api_version: version, subresource: "", reset: Reset::of(kind, ""), now };
        let size = object.to_string().len();
        let create = measure(|| {
            black_box(update_text(kind, Live::of(None), &mut object, &writer("kubectl-create")));
        });
        let fields = update_text(kind, Live::of(None), &mut object, &writer("kubectl-create")).len();
        let applied = object.clone();
        update(kind, None, &mut object, &writer("kubectl-create"));
        let live = object;
        let write = |change: bool| {
            let mut new = live.clone();
            new["metadata"]["labels"]["tier"] = if change { "back".into() } else { "front".into() };
            let clone = measure(|| {
                black_box(live.clone());
            });
            measure(|| {
                black_box(update_text(kind, Live::of(Some(&live)), &mut new.clone(), &writer("edit")));
            }) - clone
        };
        let (same, change) = (write(false), write(true));
        let live = apply(kind, Some(&live), &applied, &writer("applier"), false).expect("nothing conflicts");
        let apply = measure(|| {
            black_box(apply(kind, Some(&live), &applied, &writer("applier"), false).is_ok());
        });
        println!("{:<12}{size:>8}{fields:>8}{create:>7.1} us{same:>7.1} us{change:>7.1} us{apply:>7.1} us", kind.kind);
    }
}
