//! The kubelet's own server.

use super::*;

#[tokio::test]
async fn the_server_serves_logs_and_exec_to_whom_it_may() {
    let cluster = start();
    let probe = json!({"exec": {"command": ["probe"]}});
    create(&cluster.api, json!({"containers": [{"name": "c", "image": "i:1", "readinessProbe": probe}]}));
    cluster.api.wait(POD, |pod| condition(pod, "Ready", "True")).await;
    let node = cluster.api.wait("/api/v1/nodes/node", |node| condition(node, "Ready", "True")).await.unwrap();
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(call(port, true, &get("/healthz"), b"\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
    assert!(call(port, false, &get("/healthz"), b"\r\n\r\n").await.starts_with("HTTP/1.1 401"));
    assert!(call(port, false, &get("/pods"), b"\r\n\r\n").await.starts_with("HTTP/1.1 401"));
    assert!(call(port, true, &get("/pods"), b"PodList").await.contains("PodList"));
    assert!(call(port, true, &get("/stats/summary"), b"podRef").await.contains("\"nodeName\":\"node\""));
    assert!(
        call(port, true, &get("/metrics/resource"), b"scrape_error 0")
            .await
            .contains("container_cpu_usage_seconds_total{container=\"c\"")
    );
    let page = call(port, true, &get("/metrics/probes"), b"prober_probe_duration_seconds_bucket").await;
    assert!(
        page.contains("prober_probe_total{probe_type=\"Readiness\",result=\"successful\",container=\"c\""),
        "{page}"
    );
    assert!(call(port, true, &get("/metrics/slis"), b"} 1").await.contains("{name=\"ping\",type=\"healthz\"} 1"));
    // The first sync goes on until what it began is done.
    let page = call(port, true, &get("/metrics"), b"process_start_time_seconds ").await;
    assert!(page.contains("kubelet_pod_worker_duration_seconds_count{operation_type=\"create\"} 1\n"), "{page}");
    let logs = cluster.dir.path().join("logs/n_p_u/c");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("0.log"), "2024-01-01T00:00:00Z stdout F hello\n").unwrap();
    assert!(call(port, true, &get("/containerLogs/n/p/c?tailLines=1"), b"hello").await.contains("hello\n"));
    assert!(call(port, true, &get("/containerLogs/n/p/x"), b"\r\n\r\n").await.starts_with("HTTP/1.1 404"));
    let exec = "GET /exec/n/p/c?command=3&output=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";
    let answer = call(port, true, exec, b"NonZeroExitCode").await;
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert!(answer.contains("NonZeroExitCode"), "{answer}");
    // A namesake of the pod that is meant is another pod.
    for (uid, code) in [("u", "101"), ("of-a-namesake", "404")] {
        let answer = call(port, true, &exec.replace("/n/p/c", &format!("/n/p/{uid}/c")), b"\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{uid}: {answer}");
    }
    let answer = call(port, true, &exec.replace("command=3", "command=nope"), b"InternalError").await;
    let told = "\"message\":\"Internal error occurred: error executing command in container: no such command\"";
    assert!(answer.contains(told), "{answer}");
    let spdy = "POST /exec/n/p/c?command=0&output=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
        X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
    let answer = call(port, true, spdy, b"\r\n\r\n").await.to_lowercase();
    assert!(
        answer.starts_with("http/1.1 101") && answer.contains("x-stream-protocol-version: v4.channel.k8s.io"),
        "{answer}"
    );
    cluster.shutdown.cancel();
}

#[tokio::test]
async fn the_logs_of_a_container_that_waits_say_what_for() {
    let cluster = start();
    let missing = json!([{"configMapRef": {"name": "m"}}]);
    create(
        &cluster.api,
        json!({"containers": [{"name": "c", "image": "i:1"}], "ephemeralContainers": [{"name": "e", "image": "i:1", "envFrom": missing}]}),
    );
    let waits = |pod: Option<&Value>| {
        pod.is_some_and(|pod| {
            let state = &pod["status"]["ephemeralContainerStatuses"][0]["state"];
            state["waiting"]["reason"] == "CreateContainerConfigError"
        })
    };
    cluster.api.wait(POD, waits).await;
    let node = cluster.api.wait("/api/v1/nodes/node", |node| condition(node, "Ready", "True")).await.unwrap();
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap();
    let get = "GET /containerLogs/n/p/e HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = call(port, true, get, b"Error").await;
    assert!(
        answer.contains("container \"e\" in pod \"p\" is waiting to start: CreateContainerConfigError"),
        "{answer}"
    );
    cluster.shutdown.cancel();
}
