//! Probing container, of the gRPC health service.

use coracle_e2e::*;
use serde_json::{Value, json};

/// A pod that serves at port 5000 and is asked at another or the same.
fn probed(port: u16) -> Value {
    let mut object = pod("p", &["grpc", "--port", "5000"]);
    object["spec"]["restartPolicy"] = "Always".into();
    object["spec"]["containers"][0]["livenessProbe"] = json!({"grpc": {"port": port}, "initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 1});
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"grpc": {"port": 5000}, "periodSeconds": 1, "timeoutSeconds": 5});
    object
}

#[test]
fn should_not_be_restarted_with_a_grpc_liveness_probe() {
    let cluster = cluster!();
    let namespace = cluster.namespace("grpc-passes");
    namespace.create("pods", &probed(5000));
    namespace.pod_ready("p");
    never("the container is restarted", std::time::Duration::from_secs(5), || {
        let restarts = namespace.pod("p")["status"]["containerStatuses"][0]["restartCount"].as_i64();
        restarts.filter(|count| *count != 0)
    });
}

#[test]
fn should_be_restarted_with_a_grpc_liveness_probe() {
    let cluster = cluster!();
    let namespace = cluster.namespace("grpc-fails");
    namespace.create("pods", &probed(2333));
    namespace.container_until("p", "is restarted", |status| status["restartCount"].as_i64() >= Some(1));
    namespace.event("p", "Unhealthy", "Liveness probe failed: ");
}
