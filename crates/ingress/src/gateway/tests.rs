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
    built_of_class(json!({"controllerName": CONTROLLER}), gateway, routes)
}

fn built_of_class(class: Value, gateway: Arc<Gateway>, routes: Vec<AnyRoute>) -> Built {
    built_with(&backends(), class, gateway, routes)
}

fn backends() -> Backends {
    let service = json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {"ports": [
        {"port": 80}, {"name": "tls", "port": 443, "appProtocol": "https"}]}});
    let services: Vec<Service> = vec![serde_json::from_value(service).unwrap()];
    Backends::new(
        Store::of(services, vec![]),
        Store::of(vec![], vec![]),
        Store::of(vec![], vec![]),
        Forbidden::default(),
    )
}

fn built_with(backends: &Backends, class: Value, gateway: Arc<Gateway>, routes: Vec<AnyRoute>) -> Built {
    built_all(backends, class, vec![gateway], routes, || Known::Missing)
}

fn built_of(gateways: Vec<Arc<Gateway>>, routes: Vec<AnyRoute>, known: impl Fn() -> Known) -> Built {
    built_all(&backends(), json!({"controllerName": CONTROLLER}), gateways, routes, known)
}

fn built_all(
    backends: &Backends,
    class: Value,
    gateways: Vec<Arc<Gateway>>,
    routes: Vec<AnyRoute>,
    known: impl Fn() -> Known,
) -> Built {
    let class = json!({"metadata": {"name": "coracle"}, "spec": class});
    let objects = Objects { classes: vec![Arc::new(serde_json::from_value(class).unwrap())], gateways, routes };
    let means = Means {
        backends,
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
    // Those without a certificate have their ports nevertheless.
    assert_eq!(built.needed[0].ports, [80, 84, 443, 444].into());
    assert!(built.entrances.iter().all(|(door, _)| !matches!(door, Door::Gateway(_, 443 | 444))));
}

#[test]
fn a_listener_that_waits_for_its_certificate_keeps_its_port_and_its_status() {
    let listeners = json!([
        {"name": "web", "protocol": "HTTP", "port": 80},
        {"name": "tls", "protocol": "HTTPS", "port": 443, "tls": {"certificateRefs": [{"name": "s"}]}},
    ]);
    let built = built_of(vec![gateway(listeners)], vec![], || Known::Unknown);
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

fn gateway_of(spec: Value) -> Arc<Gateway> {
    let metadata = json!({"name": "gw", "namespace": "n", "uid": "u", "generation": 3});
    let mut object = json!({"metadata": metadata, "spec": {"gatewayClassName": "coracle",
        "listeners": [{"name": "web", "protocol": "HTTP", "port": 80}]}});
    spec.as_object().unwrap().iter().for_each(|(name, value)| object["spec"][name] = value.clone());
    Arc::new(serde_json::from_value(object).unwrap())
}

fn web() -> Arc<Gateway> {
    gateway_of(json!({}))
}

#[test]
fn a_gateway_that_cannot_be_followed_is_not_served_and_keeps_its_service() {
    let well = json!({"controllerName": CONTROLLER});
    let parameters = json!({"group": "g", "kind": "K", "name": "p"});
    let class = json!({"controllerName": CONTROLLER, "parametersRef": parameters});
    let address = |kind: &str, value: &str| json!({"type": kind, "value": value});
    let two = json!([address("IPAddress", "10.0.0.1"), address("IPAddress", "10.0.0.2")]);
    for (class, spec, reason_of_it) in [
        (&class, json!({}), "False InvalidParameters"),
        (&well, json!({"infrastructure": {"parametersRef": parameters}}), "False InvalidParameters"),
        (&well, json!({"tls": {"backend": {"clientCertificateRef": {"name": "s"}}}}), "False Invalid"),
        (&well, json!({"addresses": [address("Hostname", "a.b")]}), "False UnsupportedAddress"),
    ] {
        let built = built_of_class(class.clone(), gateway_of(spec.clone()), vec![]);
        let status = status(&built, "gateways", "gw");
        assert_eq!(reason(&status["conditions"], "Accepted"), reason_of_it, "{spec}");
        assert_eq!(reason(&status["conditions"], "Programmed"), "False Invalid", "{spec}");
        assert_eq!(reason(&status["listeners"][0]["conditions"], "Programmed"), "False Invalid", "{spec}");
        assert!(built.entrances.is_empty() && built.needed.len() == 1, "{spec}");
    }
    for addresses in [json!([address("IPAddress", "10.0.0.9")]), two] {
        let built = built(gateway_of(json!({"addresses": addresses})), vec![]);
        let conditions = &status(&built, "gateways", "gw")["conditions"];
        assert_eq!(reason(conditions, "Accepted"), "True Accepted");
        assert_eq!(reason(conditions, "Programmed"), "False AddressNotUsable");
    }
}

#[test]
fn a_class_says_what_there_is() {
    let built = built(gateway(json!([])), vec![]);
    let told = built.told.iter().find(|told| told.path.ends_with("/gatewayclasses/coracle")).unwrap();
    let names: Vec<&str> =
        told.status["supportedFeatures"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names.contains(&"HTTPRoute"), "{names:?}");
}

#[test]
fn what_browsers_are_told_comes_from_a_filter() {
    let cors = |methods: Value| {
        let filter = json!({"type": "CORS", "cors": {"allowOrigins": ["https://a.b:443"], "allowMethods": methods,
            "allowCredentials": true}});
        let rule = json!({"filters": [filter], "backendRefs": [{"name": "a", "port": 80}]});
        let open = gateway(json!([{"name": "web", "protocol": "HTTP", "port": 80}]));
        built(open, vec![route("n", "r", json!({"parentRefs": [{"name": "gw"}], "rules": [rule]}))])
    };
    let (host, path, headers) = ("h", Path::of("/").unwrap(), HeaderMap::new());
    let asked = Asked { host, path: &path, method: &Method::GET, headers: &headers, query: None };
    let well = cors(json!(["GET", "PUT"]));
    let routes = well.entrances[0].1.listeners.fitting(host).next().unwrap();
    let told = routes.find(&asked).unwrap().action.policy.cors.clone().unwrap();
    assert_eq!(told.methods.as_ref().unwrap(), "GET, PUT");
    assert_eq!((&told.headers, &told.origins, told.echoes), (&None, &vec!["https://a.b".to_owned()], true));
    let wrong = cors(json!(["no method"]));
    let conditions = &status(&wrong, "httproutes", "r")["parents"][0]["conditions"];
    assert_eq!(reason(conditions, "Accepted"), "False UnsupportedValue");
}

#[test]
fn who_asks_for_certificates_of_clients_is_not_served_without() {
    let tls = json!({"certificateRefs": [{"name": "s"}]});
    let own = json!({"certificateRefs": [{"name": "s"}], "frontendValidation": {"caCertificateRefs": []}});
    let listener =
        |name: &str, port: u16, tls: &Value| json!({"name": name, "protocol": "HTTPS", "port": port, "tls": tls});
    let validation = json!({"validation": {"caCertificateRefs": [{"kind": "ConfigMap", "name": "ca"}]}});
    let of = |frontend: Value| {
        let listeners = json!([listener("a", 443, &tls), listener("b", 8443, &tls), listener("c", 9443, &own)]);
        let built = built(gateway_of(json!({"listeners": listeners, "tls": {"frontend": frontend}})), vec![]);
        let listeners = status(&built, "gateways", "gw")["listeners"].clone();
        [0, 1, 2].map(|at: usize| reason(&listeners[at]["conditions"], "Accepted"))
    };
    let (open, shut) = ("True Accepted", "False UnsupportedValue");
    assert_eq!(of(json!({"default": validation})), [shut, shut, shut]);
    assert_eq!(of(json!({"default": {}, "perPort": [{"port": 8443, "tls": validation}]})), [open, shut, shut]);
    assert_eq!(of(json!({"default": validation, "perPort": [{"port": 443, "tls": {}}]})), [open, shut, shut]);
}

/// What becomes of requests for these paths.
fn answers(built: &Built, paths: &[&str]) -> Vec<&'static str> {
    let (_, entrance) = &built.entrances[0];
    let goes = |path: &&str| {
        let (path, headers) = (Path::of(path).unwrap(), HeaderMap::new());
        let asked = Asked { host: "h", path: &path, method: &Method::GET, headers: &headers, query: None };
        match entrance.listeners.fitting("h").next().unwrap().find(&asked).map(|found| &found.action.target) {
            Some(Target::Backends(_)) => "served",
            Some(Target::Answer(status)) if *status == 500 => "500",
            other => panic!("{other:?}"),
        }
    };
    paths.iter().map(goes).collect()
}

#[test]
fn what_cannot_be_followed_fails_in_its_place_and_lets_nobody_by() {
    let at = |path: &str| json!([{"path": {"type": "PathPrefix", "value": path}}]);
    let to = json!([{"name": "a", "port": 80}]);
    let all = json!({"matches": at("/"), "backendRefs": to});
    let of = |rule: Value| {
        let mut own = json!({"matches": at("/own"), "backendRefs": to});
        rule.as_object().unwrap().iter().for_each(|(name, value)| own[name] = value.clone());
        let parents = json!([{"name": "gw"}]);
        let built = built(web(), vec![route("n", "r", json!({"parentRefs": parents, "rules": [own, all]}))]);
        let conditions = &status(&built, "httproutes", "r")["parents"][0]["conditions"];
        let partial = conditions.as_array().unwrap().iter().any(|one| one["type"] == "PartiallyInvalid");
        let attached = status(&built, "gateways", "gw")["listeners"][0]["attachedRoutes"].as_i64().unwrap();
        (answers(&built, &["/own", "/x"]), reason(conditions, "Accepted"), partial, attached)
    };
    let header = |value: &str| json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": value}]}});
    for rule in [
        json!({"retry": {"attempts": 11}}),
        json!({"sessionPersistence": {}}),
        json!({"timeouts": {"request": "soon"}}),
        json!({"filters": [header("a\nb")]}),
        json!({"filters": [{"type": "ExtensionRef"}]}),
        json!({"backendRefs": [{"name": "a", "port": 80, "filters": [{"type": "URLRewrite"}]}]}),
    ] {
        assert_eq!(of(rule.clone()), (vec!["500", "served"], "True Accepted".into(), true, 1), "{rule}");
    }
    // Nobody knows what it takes, so that nothing is served.
    let unknown = json!({"matches": [{"path": {"type": "RegularExpression", "value": "/own/("}}]});
    assert_eq!(of(unknown), (vec!["500", "500"], "False UnsupportedValue".into(), false, 0));
    assert_eq!(of(json!({"filters": [header("b")]})), (vec!["served", "served"], "True Accepted".into(), false, 1));
}

#[test]
fn what_a_route_names_is_heard_of_when_it_comes() {
    let backends = backends();
    let parents = json!([{"name": "gw"}]);
    let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "copy", "port": 80}}});
    let spec = json!({"parentRefs": parents, "rules": [{"filters": [mirror], "backendRefs": [{"name": "later", "port": 80}]}]});
    let built = built_with(&backends, json!({"controllerName": CONTROLLER}), web(), vec![route("n", "r", spec)]);
    backends.retain_used();
    for name in ["later", "copy"] {
        assert!(backends.changed(&ObjectKey::new("n", name)), "{name}");
    }
    drop(built);
    backends.retain_used();
    assert!(!backends.changed(&ObjectKey::new("n", "later")));
}

fn other_kind(name: &str, kind: &'static str, rules: Rules, hosts: &[&str]) -> AnyRoute {
    let hostnames = hosts.iter().map(|host| (*host).to_owned()).collect();
    AnyRoute { kind, rules, hostnames, ..route("n", name, json!({"parentRefs": [{"name": "gw"}]})) }
}

fn calls(name: &str, port: u16, hosts: &[&str]) -> AnyRoute {
    let rules = serde_json::from_value(json!([{"backendRefs": [{"name": "a", "port": port}]}])).unwrap();
    AnyRoute { at: ("v1", "grpcroutes"), ..other_kind(name, "GRPCRoute", Rules::Grpc(rules), hosts) }
}

#[test]
fn of_two_kinds_for_one_host_the_older_route_is_taken() {
    let http = route("n", "r", json!({"parentRefs": [{"name": "gw"}], "hostnames": ["*.a"], "rules": [{}]}));
    let built =
        built(web(), vec![http, calls("same", 80, &["x.a"]), calls("none", 80, &[]), calls("other", 80, &["b"])]);
    let of = |name: &str| reason(&status(&built, "grpcroutes", name)["parents"][0]["conditions"], "Accepted");
    assert_eq!(
        [of("same"), of("none"), of("other")],
        ["False NotAllowedByListeners", "False NotAllowedByListeners", "True Accepted"]
    );
    assert_eq!(status(&built, "gateways", "gw")["listeners"][0]["attachedRoutes"], 2);
}

#[test]
fn calls_go_over_tls_where_the_service_says_so() {
    let speaks = |port: u16| {
        let backends = backends();
        let route = calls("r", port, &[]);
        let means = Means {
            backends: &backends,
            secrets: &|_| Known::Missing,
            shown: &|_, _| None,
            grants: &[],
            namespaces: &|_| None,
            addresses: &|_| vec![],
        };
        let made = routes::make(&route, &means);
        let Target::Backends(all) = &made.routes[0].action.target else { panic!("no backends") };
        all[0].backend.as_ref().unwrap().endpoints().protocol
    };
    assert_eq!((speaks(80), speaks(443)), (crate::backend::Protocol::H2c, crate::backend::Protocol::H2));
}

#[test]
fn a_share_of_connections_that_leads_nowhere_is_nobody_elses() {
    let rules = json!([{"backendRefs": [{"name": "a", "port": 80}, {"name": "none", "port": 80, "weight": 3}]}]);
    let route = other_kind("r", "TLSRoute", Rules::Tls(serde_json::from_value(rules).unwrap()), &["h"]);
    let route = AnyRoute { at: ("v1", "tlsroutes"), ..route };
    let listener = json!([{"name": "tls", "protocol": "TLS", "port": 443, "tls": {"mode": "Passthrough"}}]);
    let built = built(gateway(listener), vec![route]);
    let Speaks::Tls(hosts) = &built.entrances[0].1.speaks else { panic!("no TLS") };
    let shares: Vec<u32> = hosts.fitting("h").next().unwrap().iter().map(|(weight, _)| *weight).collect();
    assert_eq!((shares, built.awaited.len()), (vec![1, 3], 1));
}

#[test]
fn without_gateways_routes_belong_to_none() {
    let entry = |by: &str| json!({"parentRef": {"name": "gw"}, "controllerName": by, "conditions": []});
    let mut told = route("n", "r", json!({"parentRefs": [{"name": "gw"}]}));
    told.status = json!({"parents": [entry(CONTROLLER), entry("other/one")]});
    let mut others = route("n", "o", json!({"parentRefs": [{"name": "gw"}]}));
    others.status = json!({"parents": [entry("other/one")]});
    let written = at_rest(&Objects { routes: vec![told, others], ..Objects::default() });
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].status, json!({"parents": [entry("other/one")]}));
}

#[test]
fn a_selector_takes_namespaces_by_their_labels() {
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    for (selector, wanted) in [
        (json!({}), true),
        (json!({"matchLabels": {"team": "a"}}), true),
        (json!({"matchLabels": {"team": "b"}}), false),
        (json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]}), true),
        (json!({"matchExpressions": [{"key": "team", "operator": "Strange"}]}), false),
    ] {
        assert_eq!(selects(&serde_json::from_value(selector.clone()).unwrap(), &labels), wanted, "{selector}");
    }
}
