//! Jobs and cron jobs: pods that run to their end.

use coracle_e2e::*;
use serde_json::json;

fn is_complete(job: &serde_json::Value) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Complete" && c["status"] == "True")
}

#[test]
fn a_job_of_a_cron_job_is_started_by_hand() {
    let cluster = cluster!();
    let namespace = cluster.namespace("jobs-by-hand");
    let kubectl = kubectl!(cluster, namespace);
    kubectl.ok("create cronjob yearly --image=test:1 --schedule=@yearly -- echo done");
    assert_eq!(kubectl.ok("create job now --from=cronjob/yearly"), "job.batch/now created\n");
    assert_eq!(kubectl.ok("wait --for=condition=Complete job/now --timeout=60s"), "job.batch/now condition met\n");
    assert_eq!(kubectl.ok("logs job/now"), "done\n");
    let shown = kubectl.ok("get job now --no-headers");
    assert!(shown.contains("Complete") && shown.contains("1/1"), "{shown}");
    let owner = kubectl.ok("get job now -o jsonpath={.metadata.ownerReferences[0].kind}");
    assert_eq!(owner, "CronJob");
    kubectl.ok("delete cronjob/yearly");
    eventually("the job and its pod go with the cron job", || {
        let left = kubectl.ok("get jobs,pods -o name");
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn every_index_of_a_job_finds_its_index() {
    let cluster = cluster!();
    let namespace = cluster.namespace("jobs-indexed");
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container("main", &["sh", "-c", "hostname; env JOB_COMPLETION_INDEX"])]}});
    let spec = json!({"completions": 20, "parallelism": 5, "completionMode": "Indexed", "template": template});
    let path = namespace.path_in("batch/v1", "jobs");
    namespace.api.post(&path, &json!({"metadata": {"name": "count"}, "spec": spec})).ok();
    let job = eventually("the job completes", || {
        let job = namespace.api.get(&format!("{path}/count")).ok();
        if is_complete(&job) { Ok(job) } else { Err(job["status"].to_string()) }
    });
    assert_eq!((&job["status"]["completedIndexes"], &job["status"]["succeeded"]), (&json!("0-19"), &json!(20)));
    assert_eq!(job["status"]["failed"], json!(null));
    let pods = namespace.api.get(&namespace.path("pods")).ok();
    let mut logs: Vec<(String, String)> = Vec::new();
    for pod in pods["items"].as_array().expect("pods") {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        assert!(pod["metadata"]["finalizers"].is_null(), "{pod}");
        let index = name.strip_prefix("count-").and_then(|rest| rest.split('-').next()).expect("an index");
        logs.push((index.to_owned(), namespace.log(name).trim().to_owned()));
    }
    assert_eq!(logs.len(), 20);
    assert!(logs.iter().all(|(index, log)| *log == format!("count-{index}\n{index}")), "{logs:?}");
}

/// `cargo test --workspace --test workloads -- --ignored a_thousand --nocapture`; `bench` has it as a row (`jobs`).
#[test]
#[ignore = "takes minutes in a debug build"]
fn a_thousand_indexes_are_completed_once_each() {
    const COMPLETIONS: usize = 1000;
    let cluster = cluster!();
    let namespace = cluster.namespace("jobs-thousand");
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container("main", &["exit", "0"])]}});
    let spec =
        json!({"completions": COMPLETIONS, "parallelism": 50, "completionMode": "Indexed", "template": template});
    let path = namespace.path_in("batch/v1", "jobs");
    let began = std::time::Instant::now();
    namespace.api.post(&path, &json!({"metadata": {"name": "count"}, "spec": spec})).ok();
    let (mut done, mut job) = (0, json!({}));
    while done < COMPLETIONS && !is_complete(&job) {
        job = eventually("more indexes are completed", || {
            let job = namespace.api.get(&format!("{path}/count")).ok();
            let now = job["status"]["succeeded"].as_u64().unwrap_or(0) as usize;
            if now > done || is_complete(&job) { Ok(job) } else { Err(job["status"].to_string()) }
        });
        done = job["status"]["succeeded"].as_u64().unwrap_or(0) as usize;
    }
    let job = eventually("the job completes", || {
        let job = namespace.api.get(&format!("{path}/count")).ok();
        if is_complete(&job) { Ok(job) } else { Err(job["status"].to_string()) }
    });
    println!("{COMPLETIONS} completions took {:?}", began.elapsed());
    assert_eq!(
        (&job["status"]["completedIndexes"], &job["status"]["succeeded"]),
        (&json!("0-999"), &json!(COMPLETIONS))
    );
    assert_eq!(job["status"]["failed"], json!(null));
    namespace.api.delete(&format!("{path}/count"), &json!({"propagationPolicy": "Background"})).ok();
    let mut left = COMPLETIONS;
    while left > 0 {
        left = eventually("pods go", || {
            let list = namespace.api.get(&namespace.path("pods?limit=1")).ok();
            let more = list["metadata"]["remainingItemCount"].as_u64().unwrap_or(0) as usize;
            let now = more + list["items"].as_array().map_or(0, Vec::len);
            if now < left || now == 0 { Ok(now) } else { Err(format!("{now} pods are left")) }
        });
    }
    println!("and {:?} with the deletion of its pods", began.elapsed());
}

#[test]
fn an_exit_code_ends_a_job_at_once() {
    let cluster = cluster!();
    let namespace = cluster.namespace("jobs-failing");
    let rules = json!([{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]);
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container("main", &["exit", "42"])]}});
    let spec = json!({"backoffLimit": 9, "podFailurePolicy": {"rules": rules}, "template": template});
    let path = namespace.path_in("batch/v1", "jobs");
    namespace.api.post(&path, &json!({"metadata": {"name": "fails"}, "spec": spec})).ok();
    namespace.event("fails", "PodFailurePolicy", "failed with exit code 42 matching FailJob rule at index 0");
    let job = namespace.api.get(&format!("{path}/fails")).ok();
    assert_eq!(job["status"]["failed"], json!(1));
}

#[test]
fn an_evicted_pod_of_a_job_that_ignores_disruptions_is_replaced() {
    let cluster = cluster!();
    let namespace = cluster.namespace("jobs-disrupted");
    let rules = json!([{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]);
    let template = json!({"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [container("main", &["sleep", "1000"])]}});
    let spec = json!({"backoffLimit": 0, "podFailurePolicy": {"rules": rules}, "template": template});
    let path = namespace.path_in("batch/v1", "jobs");
    namespace.api.post(&path, &json!({"metadata": {"name": "goes-on"}, "spec": spec})).ok();
    let running = |but: &str| {
        eventually("a pod runs", || {
            let pods = namespace.api.get(&namespace.path("pods")).ok();
            let pods = pods["items"].as_array().cloned().unwrap_or_default();
            let name = |pod: &serde_json::Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let found = pods.iter().find(|pod| pod["status"]["phase"] == "Running" && name(pod) != but);
            found.map(name).ok_or_else(|| format!("{pods:?}"))
        })
    };
    let first = running("");
    namespace.api.post(&namespace.path(&format!("pods/{first}/eviction")), &json!({"metadata": {"name": first}})).ok();
    running(&first);
    let job = namespace.api.get(&format!("{path}/goes-on")).ok();
    assert_eq!((&job["status"]["failed"], &job["status"]["active"]), (&json!(null), &json!(1)));
}
