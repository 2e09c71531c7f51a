//! What Gateways and routes become.

use coracle_client::Store;
use http::{HeaderMap, Method};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::routes::{AnyRoute, Rules};
use super::types::HttpSpec;
use super::*;
use crate::backend::Forbidden;
use crate::route::Asked;
use crate::route::action::Target;
use crate::route::path::Path;

fn gateway(listeners: Value) -> Arc<Gateway> {
    let metadata = json!({"name": "gw", "namespace": "n", "uid": "u", "generation": 3});
    let spec = json!({"gatewayClassName": "coracle", "listeners": listeners});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn route(namespace: &str, name: &str, spec: Value) -> AnyRoute {
    let spec: HttpSpec = serde_json::from_value(spec).unwrap();
    AnyRoute {
        kind: "HTTPRoute",
        at: ("v1", "httproutes"),
        key: ObjectKey::new(namespace, name),
        generation: 1,
        parents: spec.parent_refs,
        hostnames: spec.hostnames,
        rules: Rules::Http(spec.rules),
        status: Value::Null,
        version: Some("7".into()),
    }
}

fn built(gateway: Arc<Gateway>, routes: Vec<AnyRoute>) -> Built {
    built_with(gateway, routes, || Known::Missing)
}

fn built_with(gateway: Arc<Gateway>, routes: Vec<AnyRoute>, known: impl Fn() -> Known) -> Built {
    built_of(vec![gateway], routes, known)
}

fn built_of(gateways: Vec<Arc<Gateway>>, routes: Vec<AnyRoute>, known: impl Fn() -> Known) -> Built {
    let class = json!({"metadata": {"name": "coracle"}, "spec": {"controllerName": CONTROLLER}});
    let objects = Objects { classes: vec![Arc::new(serde_json::from_value(class).unwrap())], gateways, routes };
    let service = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"ports": [{"port": 80}]}});
    let services: Vec<Service> = vec![serde_json::from_value(service).unwrap()];
    let backends = Backends::new(Store::of(services, vec![]), Store::of(vec![], vec![]), Forbidden::default());
    let means = Means {
        backends: &backends,
        secrets: &|_| known(),
        shown: &|_, _| None,
        grants: &[],
        namespaces: &|_| None,
        addresses: &|_| vec![[10, 90, 0, 129].into()],
    };
    build(&objects, &means)
}

fn status<'a>(built: &'a Built, plural: &str, name: &str) -> &'a Value {
    let end = format!("/{plural}/{name}");
    &built.told.iter().find(|told| told.path.ends_with(&end)).unwrap_or_else(|| panic!("{end}")).status
}

fn reason(conditions: &Value, kind: &str) -> String {
    let one = conditions.as_array().unwrap().iter().find(|one| one["type"] == kind).unwrap();
    format!("{} {}", one["status"].as_str().unwrap(), one["reason"].as_str().unwrap())
}

#[test]
fn listeners_are_told_apart() {
    let listeners = json!([
        {"name": "web", "protocol": "HTTP", "port": 80},
        {"name": "a", "protocol": "HTTP", "port": 81, "hostname": "a.b"},
        {"name": "b", "protocol": "HTTP", "port": 81, "hostname": "A.b"},
        {"name": "c", "protocol": "HTTP", "port": 82},
        {"name": "d", "protocol": "HTTPS", "port": 82, "tls": {"certificateRefs": [{"name": "s"}]}},
        {"name": "tcp", "protocol": "TCP", "port": 83},
        {"name": "tls", "protocol": "HTTPS", "port": 443, "tls": {"certificateRefs": [{"name": "s"}]}},
        {"name": "theirs", "protocol": "HTTPS", "port": 444, "tls": {"certificateRefs": [{"name": "s", "namespace": "o"}]}},
        {"name": "kinds", "protocol": "HTTP", "port": 84, "allowedRoutes": {"kinds": [{"kind": "UDPRoute"}, {"kind": "HTTPRoute"}]}},
    ]);
    let built = built(gateway(listeners), vec![]);
    let status = status(&built, "gateways", "gw");
    let of = |name: &str, kind: &str| {
        let one = status["listeners"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
        reason(&one["conditions"], kind)
    };
    for (name, kind, wanted) in [
        ("web", "Programmed", "True Programmed"),
        ("web", "Conflicted", "False NoConflicts"),
        ("a", "Conflicted", "True HostnameConflict"),
        ("b", "Accepted", "False HostnameConflict"),
        ("c", "Conflicted", "True ProtocolConflict"),
        ("d", "Programmed", "False Invalid"),
        ("tcp", "Accepted", "False UnsupportedProtocol"),
        ("tls", "ResolvedRefs", "False InvalidCertificateRef"),
        ("theirs", "ResolvedRefs", "False RefNotPermitted"),
        ("kinds", "ResolvedRefs", "False InvalidRouteKinds"),
    ] {
        assert_eq!(of(name, kind), wanted, "{name} {kind}");
    }
    assert_eq!(reason(&status["conditions"], "Accepted"), "True ListenersNotValid");
    assert_eq!(status["conditions"][0]["observedGeneration"], 3);
    assert_eq!(built.needed[0].ports, [80, 84].into());
}

#[test]
fn a_listener_that_waits_for_its_certificate_keeps_its_port_and_its_status() {
    let listeners = json!([
        {"name": "web", "protocol": "HTTP", "port": 80},
        {"name": "tls", "protocol": "HTTPS", "port": 443, "tls": {"certificateRefs": [{"name": "s"}]}},
    ]);
    let built = built_with(gateway(listeners), vec![], || Known::Unknown);
    assert_eq!(built.needed[0].ports, [80, 443].into());
    assert_eq!(built.entrances.len(), 1);
    assert!(!built.told.iter().any(|told| told.path.contains("/gateways/")));
}

#[test]
fn a_rule_that_would_change_how_messages_end_answers_500() {
    let listeners = json!([{"name": "web", "protocol": "HTTP", "port": 80}]);
    let filter = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["Content-Length"]}});
    let to = json!({"name": "a", "port": 80});
    let of_backend = json!({"name": "a", "port": 80, "filters": [filter]});
    let spec = json!({"parentRefs": [{"name": "gw"}], "rules": [
        {"matches": [{"path": {"type": "PathPrefix", "value": "/rule"}}], "filters": [filter], "backendRefs": [to]},
        {"matches": [{"path": {"type": "PathPrefix", "value": "/backend"}}], "backendRefs": [of_backend]}]});
    let built = built(gateway(listeners), vec![route("n", "r", spec)]);
    let conditions = &status(&built, "httproutes", "r")["parents"][0]["conditions"];
    assert_eq!(reason(conditions, "Accepted"), "False UnsupportedValue");
    let target = |path: &str| {
        let (path, headers) = (Path::of(path).unwrap(), HeaderMap::new());
        let asked = Asked { host: "h", path: &path, method: &Method::GET, headers: &headers, query: None };
        let routes = built.entrances[0].1.listeners.fitting("h").next().unwrap();
        match &routes.find(&asked).unwrap().action.target {
            Target::Answer(status) => status.as_u16(),
            Target::Backends(all) if all[0].backend.is_none() => 500,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((target("/rule"), target("/backend")), (500, 500));
}

#[test]
fn a_namespace_has_so_many_gateways_and_a_route_so_many_parents() {
    let listeners = json!([{"name": "web", "protocol": "HTTP", "port": 80}]);
    let named = |number: usize| {
        let mut one = (*gateway(listeners.clone())).clone();
        one.metadata.name = Some(format!("gw{number:02}"));
        Arc::new(one)
    };
    let parents: Vec<Value> = (0..40).map(|port| json!({"name": "gw00", "port": port + 1})).collect();
    let spec = json!({"parentRefs": parents, "rules": []});
    let built = built_of((0..21).map(named).collect(), vec![route("n", "r", spec)], || Known::Missing);
    assert_eq!(built.needed.len(), OF_NAMESPACE);
    assert_eq!(reason(&status(&built, "gateways", "gw20")["conditions"], "Accepted"), "False Invalid");
    assert_eq!(status(&built, "httproutes", "r")["parents"].as_array().unwrap().len(), PARENTS);
}

#[test]
fn routes_belong_where_hosts_and_namespaces_let_them() {
    let listeners = json!([{"name": "web", "protocol": "HTTP", "port": 80, "hostname": "*.example"}]);
    let to = |parents: Value, hosts: Value| json!({"parentRefs": parents, "hostnames": hosts, "rules": [{"backendRefs": [{"name": "a", "port": 80}]}]});
    let own = json!([{"name": "gw"}]);
    let others = json!([{"name": "gw", "namespace": "n"}]);
    let built = built(
        gateway(listeners),
        vec![
            route("n", "fits", to(own.clone(), json!(["x.y.example", "else.where"]))),
            route("n", "nowhere", to(own.clone(), json!(["else.where"]))),
            route("n", "section", to(json!([{"name": "gw", "sectionName": "none"}]), json!([]))),
            route("o", "foreign", to(others, json!([]))),
            route(
                "n",
                "missing",
                json!({"parentRefs": own, "hostnames": ["m.example"], "rules": [
                {"backendRefs": [{"name": "none", "port": 80}]}]}),
            ),
        ],
    );
    let of = |name: &str, kind: &str| reason(&status(&built, "httproutes", name)["parents"][0]["conditions"], kind);
    assert_eq!(of("fits", "Accepted"), "True Accepted");
    assert_eq!(of("nowhere", "Accepted"), "False NoMatchingListenerHostname");
    assert_eq!(of("section", "Accepted"), "False NoMatchingParent");
    assert_eq!(of("foreign", "Accepted"), "False NotAllowedByListeners");
    assert_eq!(
        (of("missing", "Accepted").as_str(), of("missing", "ResolvedRefs").as_str()),
        ("True Accepted", "False BackendNotFound")
    );
    assert_eq!(status(&built, "gateways", "gw")["listeners"][0]["attachedRoutes"], 2);
    let (_, entrance) = &built.entrances[0];
    let goes = |host: &str| {
        let (path, headers) = (Path::of("/p").unwrap(), HeaderMap::new());
        let asked = Asked { host, path: &path, method: &Method::GET, headers: &headers, query: None };
        let found = entrance.listeners.fitting(host).next()?.find(&asked)?;
        let Target::Backends(all) = &found.action.target else { panic!("{:?}", found.action.target) };
        Some(all[0].backend.is_some())
    };
    assert_eq!((goes("x.y.example"), goes("m.example")), (Some(true), Some(false)));
    assert_eq!((goes("else.where"), goes("z.example")), (None, None));
}
