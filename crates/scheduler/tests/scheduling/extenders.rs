//! Servers that have a say.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cluster::Cluster;

type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A server that answers questions, and remembers them.
async fn serve(answer: fn(&str, &Value) -> Value) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let asked: Asked = Asked::default();
    let told = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let told = told.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let told = told.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await?.to_bytes();
                    let question: Value = serde_json::from_slice(&body).unwrap_or_default();
                    let answer = answer(&path, &question);
                    told.lock().push((path, question));
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer.to_string()))))
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_filters_scores_and_binds_the_pods_it_cares_for() {
    let answer = |path: &str, question: &Value| match path {
        "/x/filter" => {
            let nodes = question["NodeNames"].as_array().cloned().unwrap_or_default();
            let left: Vec<Value> = nodes.into_iter().filter(|node| node != "a").collect();
            json!({"nodenames": left, "FailedNodes": {"a": "not this one"}, "Error": ""})
        }
        "/x/prioritize" => json!([{"Host": "b", "Score": 0}, {"host": "c", "score": 10}]),
        _ => json!({"Error": "it is not bound here"}),
    };
    let (address, asked) = serve(answer).await;
    let mut cluster = Cluster::bare().await;
    for name in ["a", "b", "c"] {
        let amounts = json!({"cpu": "4", "memory": "8Gi", "pods": "110", "example.com/foo": "4"});
        cluster.node(name, "4", json!({"status": {"allocatable": amounts, "capacity": amounts}})).await;
    }
    cluster.schedule(&format!(
        "extenders: [{{urlPrefix: 'http://{address}/x', filterVerb: filter, prioritizeVerb: prioritize, weight: 5, \
         nodeCacheCapable: true, managedResources: [{{name: example.com/foo, ignoredByScheduler: true}}]}}]"
    ));
    cluster.pod("plain", "1", json!({})).await;
    cluster.placed("plain").await;
    assert!(asked.lock().is_empty(), "it does not care for this pod");
    let cares = |count: &str| {
        json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": {
            "requests": {"example.com/foo": count}, "limits": {"example.com/foo": count}}}]}})
    };
    // More than any node has, which is the extender's affair.
    cluster.pod("p", "1", cares("9")).await;
    assert_eq!(cluster.placed("p").await, "c");
    let paths: Vec<String> = asked.lock().iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, ["/x/filter", "/x/prioritize"]);
    assert_eq!(asked.lock()[0].1["Pod"]["metadata"]["name"], "p");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_nodes_are_shown_and_refusals_told() {
    let (address, asked) = serve(|_, question| {
        let names = question["Nodes"]["items"].as_array().into_iter().flatten();
        let failed: serde_json::Map<String, Value> = names
            .filter_map(|node| Some((node["metadata"]["name"].as_str()?.to_owned(), json!("none of them"))))
            .collect();
        json!({"Nodes": {"items": []}, "FailedNodes": failed})
    })
    .await;
    let mut cluster = Cluster::bare().await;
    cluster.node("a", "4", json!({})).await;
    cluster.schedule(&format!("extenders: [{{urlPrefix: 'http://{address}', filterVerb: filter}}]"));
    cluster.pod("p", "1", json!({})).await;
    let told = cluster.refused("p").await;
    assert!(told.starts_with("0/1 nodes are available: 1 none of them."), "{told}");
    assert_eq!(asked.lock()[0].1["Nodes"]["items"][0]["status"]["allocatable"]["cpu"], "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_that_may_be_left_out_is() {
    let (gone, _) = (SocketAddr::from(([127, 0, 0, 1], 9)), ());
    let mut cluster = Cluster::bare().await;
    cluster.node("a", "4", json!({})).await;
    cluster.schedule(&format!(
        "profiles: [{{schedulerName: x}}]\nextenders: [{{urlPrefix: 'http://{gone}', filterVerb: filter, ignorable: true}}]"
    ));
    cluster.schedule(&format!("extenders: [{{urlPrefix: 'http://{gone}', filterVerb: filter}}]"));
    cluster.pod("p", "1", json!({"spec": {"schedulerName": "x"}})).await;
    assert_eq!(cluster.placed("p").await, "a");
    cluster.pod("q", "1", json!({})).await;
    let told = cluster.refused("q").await;
    assert!(told.contains("failed filter with extender at URL"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_binds() {
    let (address, asked) = serve(|_, _| json!({"Error": "not today"})).await;
    let mut cluster = Cluster::bare().await;
    cluster.node("a", "4", json!({})).await;
    cluster.schedule(&format!("extenders: [{{urlPrefix: 'http://{address}', bindVerb: bind}}]"));
    cluster.pod("p", "1", json!({})).await;
    let told = cluster.refused("p").await;
    assert_eq!(told, "binding rejected: not today");
    let question = asked.lock()[0].1.clone();
    assert_eq!((&question["PodName"], &question["Node"]), (&json!("p"), &json!("a")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_says_where_others_have_to_go() {
    let answer = |_: &str, question: &Value| {
        let victims = question["NodeNameToMetaVictims"]["b"].clone();
        json!({"NodeNameToMetaVictims": {"b": victims}})
    };
    let (address, asked) = serve(answer).await;
    let mut cluster = Cluster::bare().await;
    for (name, value) in [("low", 1), ("high", 10)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        cluster.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
    }
    cluster.node("a", "1", json!({})).await;
    cluster.node("b", "1", json!({})).await;
    cluster.schedule(&format!(
        "extenders: [{{urlPrefix: 'http://{address}', preemptVerb: preempt, nodeCacheCapable: true}}]"
    ));
    for name in ["p", "q"] {
        cluster.pod(name, "1", json!({"spec": {"priorityClassName": "low"}})).await;
        cluster.placed(name).await;
    }
    cluster.pod("high", "1", json!({"spec": {"priorityClassName": "high"}})).await;
    let victim = if cluster.placed("p").await == "b" { "p" } else { "q" };
    cluster.event(victim, "Preempted").await;
    let question = asked.lock()[0].1.clone();
    assert_eq!(question["NodeNameToMetaVictims"]["a"]["Pods"].as_array().map(Vec::len), Some(1));
    cluster.bury(victim).await;
    assert_eq!(cluster.placed("high").await, "b");
}
