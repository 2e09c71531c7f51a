//! Addresses and ports of services.

use std::net::Ipv4Addr;
use std::sync::Arc;

use coracle_apiserver::Config;
use coracle_store::{Embedded, Op, Options, Store, Txn};
use serde_json::{Value, json};

use crate::Api;
use crate::held::{self, Held};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["ports"] = json!([{"port": 80}]);
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn what_the_cluster_has_no_addresses_for_is_refused() {
    let api = Api::new().await;
    api.post(SERVICES, &service("a", json!({"ipFamilies": ["IPv6"]}))).await.refused(
        422,
        "Service \"a\" is invalid: spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
    );
    api.post(SERVICES, &service("a", json!({"ipFamilyPolicy": "RequireDualStack"}))).await.refused(
        422,
        "Service \"a\" is invalid: spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
    );
    let made = api.post(SERVICES, &service("a", json!({"ipFamilyPolicy": "PreferDualStack"}))).await.ok();
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(made["spec"]["ipFamilyPolicy"], "PreferDualStack");
}

/// A server with addresses of these ranges.
async fn with_ranges(ranges: &str) -> Api {
    Api::with(|config| config.service_cidr = ranges.parse().expect("ranges")).await
}

const BOTH: &str = "10.96.0.0/16,fd00:10:96::/112";
/// What a service has of addresses.
const FIELDS: [&str; 3] = ["ipFamilyPolicy", "ipFamilies", "clusterIPs"];

fn families(service: &Value) -> Value {
    assert_eq!(service["spec"]["clusterIP"], service["spec"]["clusterIPs"][0], "{service}");
    json!([service["spec"]["ipFamilyPolicy"], service["spec"]["ipFamilies"]])
}

fn addresses(service: &Value) -> Vec<std::net::IpAddr> {
    let list = service["spec"]["clusterIPs"].as_array().expect("addresses");
    list.iter().map(|ip| ip.as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn a_service_has_the_families_that_it_asks_for() {
    let api = with_ranges(BOTH).await;
    let (v4, v6) = (json!(["IPv4"]), json!(["IPv6"]));
    let (both, turned) = (json!(["IPv4", "IPv6"]), json!(["IPv6", "IPv4"]));
    let cases = [
        (json!({}), "SingleStack", &v4),
        (json!({"ipFamilies": ["IPv6"]}), "SingleStack", &v6),
        (json!({"clusterIP": "fd00:10:96::77"}), "SingleStack", &v6),
        (json!({"ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", &both),
        (json!({"ipFamilyPolicy": "RequireDualStack"}), "RequireDualStack", &both),
        (json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"]}), "PreferDualStack", &turned),
        (json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}), "RequireDualStack", &turned),
        (json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "fd00:10:96::78"}), "RequireDualStack", &turned),
        (json!({"clusterIP": "None"}), "RequireDualStack", &both),
        (json!({"clusterIP": "None", "selector": {"a": "b"}}), "SingleStack", &v4),
    ];
    for (n, (spec, policy, expected)) in cases.into_iter().enumerate() {
        let made = api.post(SERVICES, &service(&format!("s{n}"), spec.clone())).await.ok();
        assert_eq!(families(&made), json!([policy, expected]), "{spec}");
        if spec["clusterIP"] == "None" {
            assert_eq!(made["spec"]["clusterIPs"], json!(["None"]));
            continue;
        }
        let names: Vec<_> = addresses(&made).iter().map(|ip| if ip.is_ipv4() { "IPv4" } else { "IPv6" }).collect();
        assert_eq!(json!(names), *expected, "{spec}");
        for address in addresses(&made) {
            let object = api.get(&format!("{ADDRESSES}/{address}")).await.ok();
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            assert_eq!(object["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], family);
        }
    }
    let cidr = api.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").await.ok();
    assert_eq!(cidr["spec"]["cidrs"], json!(["10.96.0.0/16", "fd00:10:96::/112"]));
}

#[tokio::test]
async fn families_that_do_not_fit_are_refused_with_the_reason() {
    let api = with_ranges(BOTH).await;
    let two = json!(["10.96.0.50", "fd00:10:96::50"]);
    let cases = [
        (
            json!({"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4", "IPv6"]}),
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
        (
            json!({"clusterIP": "10.96.0.50", "clusterIPs": two}),
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
        ),
        (
            json!({"ipFamilies": ["IPv6"], "clusterIP": "10.96.0.50"}),
            "spec.clusterIPs[0]: Invalid value: \"10.96.0.50\": expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        (
            json!({"ipFamilyPolicy": "PreferDualStack", "clusterIP": "10.96.0.50", "clusterIPs": ["10.96.0.50", "10.96.0.51"]}),
            "may specify no more than one IP for each IP family",
        ),
        (json!({"clusterIPs": ["10.96.0.50"]}), "must be empty when `clusterIP` is not specified"),
        (
            json!({"clusterIP": "None", "clusterIPs": ["None", "fd00:10:96::50"]}),
            "'None' must be the first and only value",
        ),
        (json!({"ipFamilies": ["IPv4", "IPv4"]}), "spec.ipFamilies[1]: Duplicate value: \"IPv4\""),
        (json!({"ipFamilyPolicy": "Both"}), "spec.ipFamilyPolicy: Unsupported value: \"Both\""),
        (json!({"clusterIP": "fd00:10:97::1"}), "the provided IP (fd00:10:97::1) is not in the valid range"),
    ];
    for (spec, expected) in cases {
        let answer = api.post(SERVICES, &service("a", spec.clone())).await;
        assert!(
            answer.status == 422 && answer.text.contains(&json!(expected).to_string().trim_matches('"').to_owned()),
            "{spec}: {}",
            answer.text
        );
    }
    // An address that is taken, of the second family, and nothing is left of the first.
    let spec = json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.96.0.50", "clusterIPs": two});
    api.post(SERVICES, &service("b", spec)).await.ok();
    let spec = json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.96.0.51", "clusterIPs": ["10.96.0.51", "fd00:10:96::50"]});
    let answer = api.post(SERVICES, &service("c", spec)).await;
    assert!(answer.text.contains("provided IP is already allocated"), "{}", answer.text);
    api.get(&format!("{ADDRESSES}/10.96.0.51"))
        .await
        .refused(404, "ipaddresses.networking.k8s.io \"10.96.0.51\" not found");
}

#[tokio::test]
async fn a_service_gets_a_second_family_and_gives_it_back() {
    let api = with_ranges(BOTH).await;
    let path = format!("{SERVICES}/a");
    let patch = async |spec: Value| api.patch("merge-patch", &path, &json!({"spec": spec})).await;
    let single = api.post(SERVICES, &service("a", json!({}))).await.ok();
    let dual = patch(json!({"ipFamilyPolicy": "PreferDualStack"})).await.ok();
    assert_eq!((addresses(&dual)[0], addresses(&dual).len()), (addresses(&single)[0], 2));
    let same = patch(json!({"ipFamilyPolicy": "RequireDualStack"})).await.ok();
    assert_eq!(addresses(&same), addresses(&dual));
    // What an older client, which knows one address, writes back.
    let mut older = same.clone();
    FIELDS.iter().for_each(|field| drop(older["spec"].as_object_mut().unwrap().remove(*field)));
    let kept = api.put(&path, &older).await.ok();
    assert_eq!((families(&kept), addresses(&kept)), (families(&same), addresses(&same)));
    let answer = patch(json!({"clusterIPs": [addresses(&dual)[0]], "ipFamilies": ["IPv4"]})).await;
    for what in ["cluster IP", "IP family"] {
        let detail = format!("must be 'SingleStack' to release the secondary {what}");
        assert!(answer.status == 422 && answer.text.contains(&detail), "{}", answer.text);
    }
    let answer = patch(json!({"ipFamilies": ["IPv6", "IPv4"]})).await;
    assert!(answer.text.contains("expected an IPv6 value as indicated by `ipFamilies[0]`"), "{}", answer.text);
    let released = patch(json!({"ipFamilyPolicy": "SingleStack"})).await.ok();
    assert_eq!(addresses(&released), addresses(&single));
    assert_eq!(families(&released), json!(["SingleStack", ["IPv4"]]));
    assert_eq!(api.get(&format!("{ADDRESSES}/{}", addresses(&dual)[1])).await.status, 404);
    api.get(&format!("{ADDRESSES}/{}", addresses(&dual)[0])).await.ok();
    let named = patch(json!({"type": "ExternalName", "externalName": "a.b"})).await.ok();
    FIELDS.iter().for_each(|field| assert_eq!(named["spec"].get(*field), None, "{named}"));
}

#[tokio::test]
async fn what_prefers_two_families_keeps_what_it_has_when_the_cluster_changes() {
    let api = with_ranges(BOTH).await;
    let made = api.post(SERVICES, &service("a", json!({"ipFamilyPolicy": "PreferDualStack"}))).await.ok();
    let single = Api::after(api).await;
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    let changed = single.patch("merge-patch", &format!("{SERVICES}/a"), &patch).await.ok();
    assert_eq!(addresses(&changed), addresses(&made));
    let alone = single.post(SERVICES, &service("b", json!({"ipFamilyPolicy": "PreferDualStack"}))).await.ok();
    assert_eq!(families(&alone), json!(["PreferDualStack", ["IPv4"]]));
}

#[tokio::test]
async fn a_cluster_has_addresses_of_the_other_family_alone() {
    let api = with_ranges("fd00:10:96::/112").await;
    let own = api.get(&format!("{SERVICES}/kubernetes")).await.ok();
    assert_eq!(
        (families(&own), &own["spec"]["clusterIP"]),
        (json!(["SingleStack", ["IPv6"]]), &json!("fd00:10:96::1"))
    );
    let dns = api.get("/api/v1/namespaces/kube-system/services/kube-dns").await.ok();
    assert_eq!(dns["spec"]["clusterIP"], "fd00:10:96::a");
    let answer = api.post(SERVICES, &service("a", json!({"clusterIP": "10.96.0.9"}))).await;
    assert!(answer.text.contains("IPv4 is not configured on this cluster"), "{}", answer.text);
}

#[tokio::test]
async fn what_a_type_does_not_have_is_refused_and_not_dropped() {
    let api = Api::new().await;
    let spec = json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.3.3"});
    api.post(SERVICES, &service("a", spec))
        .await
        .refused(422, "Service \"a\" is invalid: spec.clusterIPs: Forbidden: may not be set for ExternalName services");
    let mut with_port = service("a", json!({}));
    with_port["spec"]["ports"][0]["nodePort"] = 30_999.into();
    let answer = api.post(SERVICES, &with_port).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
}

#[tokio::test]
async fn every_address_has_an_object_that_comes_and_goes_with_its_service() {
    let api = Api::new().await;
    let first = api.get(&format!("{ADDRESSES}/10.96.0.1")).await.ok();
    assert_eq!(
        first["spec"]["parentRef"],
        json!({"group": "", "resource": "services", "namespace": "default", "name": "kubernetes"})
    );
    api.post(SERVICES, &service("a", json!({"clusterIP": "10.96.7.7"}))).await.ok();
    let path = format!("{ADDRESSES}/10.96.7.7");
    assert_eq!(api.get(&path).await.ok()["spec"]["parentRef"]["name"], "a");
    let patch = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
    let named = api.patch("merge-patch", &format!("{SERVICES}/a"), &patch).await.ok();
    assert_eq!(named["spec"].get("clusterIP"), None, "{named}");
    assert_eq!(api.get(&path).await.status, 404);
    let patch = json!({"spec": {"type": "ClusterIP", "externalName": null}});
    let again = api.patch("merge-patch", &format!("{SERVICES}/a"), &patch).await.ok();
    let path = format!("{ADDRESSES}/{}", again["spec"]["clusterIP"].as_str().unwrap());
    api.get(&path).await.ok();
    api.delete(&format!("{SERVICES}/a")).await.ok();
    assert_eq!(api.get(&path).await.status, 404);
}

#[tokio::test]
async fn an_address_that_an_object_reserves_is_not_given() {
    let api = Api::new().await;
    let parent = json!({"resource": "gateways", "group": "g.example.com", "name": "x"});
    api.post(ADDRESSES, &json!({"metadata": {"name": "10.96.5.5"}, "spec": {"parentRef": parent}})).await.ok();
    let answer = api.post(SERVICES, &service("a", json!({"clusterIP": "10.96.5.5"}))).await;
    assert!(answer.text.contains("provided IP is already allocated"), "{}", answer.text);
}

#[tokio::test]
async fn local_traffic_of_a_load_balancer_has_a_port_for_its_health() {
    let api = Api::new().await;
    let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let made = api.post(SERVICES, &service("a", spec)).await.ok();
    let port = made["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30_000..=32_767).contains(&port) && made["spec"]["ports"][0]["nodePort"] != port);
    let patch = json!({"spec": {"type": "ClusterIP"}});
    let plain = api.patch("merge-patch", &format!("{SERVICES}/a"), &patch).await.ok();
    for key in ["healthCheckNodePort", "externalTrafficPolicy", "allocateLoadBalancerNodePorts"] {
        assert_eq!(plain["spec"].get(key), None, "{key}");
    }
    assert_eq!(plain["spec"]["ports"][0].get("nodePort"), None);
}

/// Begins to make a service whose write is held.
async fn begin(api: &Arc<Api>, held: &Held, service: Value) -> tokio::task::JoinHandle<crate::Answer> {
    held.hold();
    let api = api.clone();
    let task = tokio::spawn(async move { api.post(SERVICES, &service).await });
    held.holds().await;
    task
}

#[tokio::test]
async fn what_a_client_that_left_was_given_is_given_to_nobody_else() {
    let wanted = [json!({"clusterIP": "10.96.7.7"}), json!({"type": "NodePort"})];
    for spec in wanted {
        let (api, held) = held::api().await;
        let with_port = |name: &str| {
            let mut service = service(name, spec.clone());
            if spec["type"] == "NodePort" {
                service["spec"]["ports"][0]["nodePort"] = 30_080.into();
            }
            service
        };
        let task = begin(&api, &held, with_port("a")).await;
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        api.post(SERVICES, &with_port("b")).await.ok();
        held.release().await;
        assert_eq!(api.get(&format!("{SERVICES}/a")).await.status, 404, "{spec}");
        api.get(&format!("{SERVICES}/b")).await.ok();
    }
}

#[tokio::test]
async fn an_address_that_an_object_reserves_meanwhile_is_not_given() {
    let (api, held) = held::api().await;
    let task = begin(&api, &held, service("a", json!({"clusterIP": "10.96.5.5"}))).await;
    let parent = json!({"resource": "gateways", "group": "g.example.com", "name": "x"});
    let object = json!({"metadata": {"name": "10.96.5.5"}, "spec": {"parentRef": parent}});
    let reserved = api.post(ADDRESSES, &object).await.ok();
    held.release().await;
    let answer = task.await.expect("an answer");
    assert!(answer.text.contains("provided IP is already allocated"), "{}", answer.text);
    assert_eq!(api.get(&format!("{ADDRESSES}/10.96.5.5")).await.ok(), reserved);
}

#[tokio::test]
async fn a_service_whose_ports_another_server_may_have_given_is_given_others() {
    let (api, held) = held::api().await;
    let task = begin(&api, &held, service("a", json!({"type": "NodePort"}))).await;
    let op = Op::Put { key: "/registry/coracle/nodeports".into(), value: bytes::Bytes::new(), ttl: None };
    api.store.txn(Txn { compares: Vec::new(), ops: vec![op] }).await.expect("it is written");
    held.release().await;
    let made = task.await.expect("an answer").ok();
    assert!(made["spec"]["ports"][0]["nodePort"].is_u64() && made["spec"]["clusterIP"].is_string(), "{made}");
}

#[tokio::test]
async fn a_cluster_comes_to_have_the_other_family_and_no_other_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(&dir.path().join("store"), Options::default()).unwrap());
    let start = |ranges: &'static str| {
        let (store, own) = (store.clone(), tempfile::tempdir().unwrap());
        let change = move |config: &mut Config| config.service_cidr = ranges.parse().unwrap();
        tokio::spawn(Api::set_up(Ipv4Addr::new(192, 0, 2, 1), own, store, change))
    };
    let at = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    let single = start("10.96.0.0/16").await.unwrap();
    assert_eq!(single.get(at).await.ok()["spec"]["cidrs"], json!(["10.96.0.0/16"]));
    for other in ["10.97.0.0/16", "fd00:10:96::/112,10.96.0.0/16"] {
        let refused = start(other).await.err().unwrap().into_panic();
        let told = refused.downcast_ref::<String>().unwrap();
        assert!(told.contains(&format!("10.96.0.0/16, and --service-cluster-ip-range says {other}:")), "{told}");
    }
    let both = start(BOTH).await.unwrap();
    assert_eq!(both.get(at).await.ok()["spec"]["cidrs"], json!(["10.96.0.0/16", "fd00:10:96::/112"]));
    let without = start("10.96.0.0/16").await.unwrap();
    let kept = without.get(at).await.ok();
    assert_eq!(kept["spec"]["cidrs"], json!(["10.96.0.0/16", "fd00:10:96::/112"]));
    assert!(start("10.96.0.0/16,fd00:10:97::/112").await.is_err());
}
