//! Servers of one cluster that stand on the same etcd.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use coracle_store::etcd::{Config, Etcd};
use coracle_testing::etcd::Cluster;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::Api;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LONG: Duration = Duration::from_secs(60);

/// A store on a cluster of etcd that nobody else uses.
pub async fn connect(endpoints: Vec<String>) -> Etcd {
    let config = Config { endpoints, root: "/registry/".into(), ..Config::default() };
    Etcd::connect(&config).await.expect("etcd answers")
}

async fn server(cluster: &Cluster) -> Api {
    server_at(cluster, 1).await
}

/// One that is reached at an address of its own.
async fn server_at(cluster: &Cluster, number: u8) -> Api {
    let store = Arc::new(connect(cluster.urls()).await);
    Api::at(Ipv4Addr::new(192, 0, 2, number), tempfile::tempdir().expect("a directory"), store).await
}

fn named(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": value}})
}

#[tokio::test]
async fn what_one_server_wrote_the_other_reads_at_once() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    // Both make what every cluster has.
    let (a, b) = tokio::join!(server(&cluster), server(&cluster));
    for n in 0..20 {
        let (path, name) = (format!("{MAPS}/m{n}"), format!("m{n}"));
        let made = a.post(MAPS, &named(&name, "1")).await.ok();
        assert_eq!(b.get(&path).await.ok(), made);
        let changed = b.patch("merge-patch", &path, &json!({"data": {"k": "2"}})).await.ok();
        assert_eq!(a.get(&path).await.ok(), changed);
        assert_eq!(a.get(MAPS).await.ok()["items"].as_array().unwrap().len(), n + 1);
        assert_eq!(b.post(MAPS, &named(&name, "3")).await.status, 409);
    }
    let version = a.get(MAPS).await.ok()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let watch = format!("{MAPS}?watch=true&resourceVersion={version}");
    let (event, _) = tokio::join!(b.first_event(&watch), async { a.delete(&format!("{MAPS}/m0")).await.ok() });
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("m0")));
}

/// No address and no port of a service is given twice.
#[tokio::test]
async fn servers_allocate_from_the_same_ranges() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    let (a, b) = (server(&cluster).await, server(&cluster).await);
    let services = "/api/v1/namespaces/default/services";
    let make = |api: Api, who: &'static str| async move {
        let mut given = Vec::new();
        for n in 0..20 {
            let service = json!({"metadata": {"name": format!("{who}{n}")}, "spec": {"type": "NodePort",
                "ports": [{"port": 80}]}});
            let made = api.post(services, &service).await.ok();
            given.push((made["spec"]["clusterIP"].clone(), made["spec"]["ports"][0]["nodePort"].clone()));
        }
        (given, api)
    };
    let ((mut given, _a), (more, _b)) = tokio::join!(make(a, "a"), make(b, "b"));
    given.extend(more);
    let distinct = |of: fn(&(Value, Value)) -> &Value| {
        given.iter().map(|one| of(one).to_string()).collect::<std::collections::HashSet<_>>().len()
    };
    assert_eq!((distinct(|one| &one.0), distinct(|one| &one.1)), (40, 40));
}

#[tokio::test]
async fn a_server_goes_on_when_etcd_was_away_and_says_so_meanwhile() {
    let Some(mut cluster) = Cluster::start(1, &[]) else { return };
    let api = server(&cluster).await;
    api.post(MAPS, &named("m", "1")).await.ok();
    assert_eq!(api.get("/readyz/etcd").await.status, 200);
    cluster.kill(0);
    let refused = api.get(&format!("{MAPS}/m")).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    // What may be old is still shown.
    api.get(&format!("{MAPS}/m?resourceVersion=0")).await.ok();
    let unready = api.get("/readyz/etcd").await;
    assert_eq!(unready.status, 500);
    assert!(unready.text.contains("the store is unavailable"), "{}", unready.text);
    let page = api.get("/readyz").await;
    assert!(page.text.contains("[-]etcd failed: reason withheld"), "{}", page.text);
    cluster.restart(0);
    let back = async {
        while api.get(&format!("{MAPS}/m")).await.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, back).await.expect("it answers again");
    assert_eq!(api.get("/readyz").await.status, 200);
    api.post(MAPS, &named("n", "1")).await.ok();
    assert_eq!(api.get(MAPS).await.ok()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_service_kubernetes_leads_to_all_servers_that_are_there() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    let (a, b) = (server_at(&cluster, 1).await, server_at(&cluster, 2).await);
    let endpoints = async |api: &Api| {
        let found = api.get("/api/v1/namespaces/default/endpoints/kubernetes").await.ok();
        let addresses = found["subsets"][0]["addresses"].as_array().unwrap().iter();
        addresses.map(|address| address["ip"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(endpoints(&a).await, ["192.0.2.1", "192.0.2.2"]);
    let slice = b.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await.ok();
    assert_eq!(slice["endpoints"].as_array().unwrap().len(), 2);
    // One that says nothing any more is forgotten.
    drop(b);
    let gone = async {
        while endpoints(&a).await != ["192.0.2.1"] {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(LONG, gone).await.expect("it is forgotten");
}
