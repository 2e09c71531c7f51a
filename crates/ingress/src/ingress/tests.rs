//! What Ingresses become.

use coracle_client::Store;
use http::{HeaderMap, Method};
use k8s_openapi::api::networking::v1::IngressClass;
use serde_json::{Value, json};

use super::*;
use crate::backend::Forbidden;
use crate::proxy::self_signed;
use crate::route::Asked;
use crate::route::path::Path;

fn ingress(name: &str, age: u32, annotations: Value, spec: Value) -> Arc<Ingress> {
    let created = format!("2026-01-01T00:00:{:02}Z", 59 - age);
    let metadata = json!({"name": name, "namespace": "n", "creationTimestamp": created, "annotations": annotations});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap())
}

fn rule(host: &str, path: &str, kind: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}})
}

fn made(ingresses: Vec<Arc<Ingress>>) -> Built {
    made_with(ingresses, || Known::Missing)
}

fn made_with(ingresses: Vec<Arc<Ingress>>, known: impl Fn() -> Known) -> Built {
    let ports = json!({"ports": [{"port": 80}]});
    let services: Vec<k8s_openapi::api::core::v1::Service> = ["a", "b", "c"]
        .map(|name| {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"}, "spec": ports})).unwrap()
        })
        .into();
    let backends = Backends::new(Store::of(services, vec![]), Store::of(vec![], vec![]), Forbidden::default());
    let fallback = self_signed().unwrap();
    build(
        ingresses,
        &Means {
            backends: &backends,
            secrets: &|_| known(),
            shown: &|_, _| Some(fallback.clone()),
            fallback: fallback.clone(),
        },
    )
}

/// Where a request goes: a service, or a status.
fn goes(built: &Built, host: &str, path: &str) -> String {
    let headers = HeaderMap::new();
    let path = Path::of(path).unwrap();
    let asked = Asked { host, path: &path, method: &Method::GET, headers: &headers, query: None };
    let (_, entrance) = &built.entrances[0];
    let routes = entrance.listeners.fitting(host).next().unwrap();
    match routes.find(&asked).map(|found| &found.action.target) {
        None => "404".into(),
        Some(Target::Backends(all)) => all[0].backend.as_ref().unwrap().reference.service.name.clone(),
        Some(Target::Answer(status)) => status.as_u16().to_string(),
        Some(Target::Redirect(redirect)) => redirect.location.clone().unwrap(),
    }
}

#[test]
fn ingresses_of_one_host_are_one_and_the_oldest_wins() {
    let built = made(vec![
        ingress("new", 1, json!({}), json!({"rules": [rule("h", "/x", "Prefix", "a"), rule("h", "/y", "Exact", "a")]})),
        ingress("old", 2, json!({}), json!({"rules": [rule("h", "/x", "Prefix", "b")]})),
    ]);
    assert_eq!(goes(&built, "h", "/x/1"), "b");
    assert_eq!(goes(&built, "h", "/y"), "a");
    assert_eq!(goes(&built, "h", "/y/"), "404");
    assert_eq!(goes(&built, "other", "/x"), "404");
}

/// The same in another namespace.
fn moved(ingress: Arc<Ingress>, namespace: &str) -> Arc<Ingress> {
    let mut one = (*ingress).clone();
    one.metadata.namespace = Some(namespace.into());
    Arc::new(one)
}

#[test]
fn a_host_is_of_the_namespace_that_named_it_first() {
    let default = json!({"service": {"name": "c", "port": {"number": 80}}});
    let star = json!({"rules": [rule("*.h", "/", "Prefix", "a"), rule("A.H", "/y", "Prefix", "a")],
        "defaultBackend": default});
    let built = made(vec![
        ingress("own", 9, json!({}), json!({"rules": [rule("a.h", "/x", "Prefix", "b")]})),
        moved(ingress("theirs", 1, json!({}), star), "other"),
        moved(ingress("all", 1, json!({}), json!({"defaultBackend": default})), "other"),
    ]);
    assert_eq!(
        (goes(&built, "a.h", "/x"), goes(&built, "a.h", "/y"), goes(&built, "a.h", "/z")),
        ("b".into(), "404".into(), "404".into())
    );
    assert_eq!((goes(&built, "b.h", "/y"), goes(&built, "z", "/y")), ("a".into(), "c".into()));
    let told = built.faults.iter().filter(|(_, fault)| fault.contains("belongs to namespace n")).count();
    assert_eq!(told, 1);
}

#[test]
fn a_certificate_is_for_hosts_of_its_own_rules() {
    let tls = |hosts: Value, rules: &[&str]| {
        let rules: Vec<Value> = rules.iter().map(|host| rule(host, "/", "Prefix", "a")).collect();
        json!({"tls": [{"hosts": hosts, "secretName": "s"}], "rules": rules})
    };
    let waiting = |all| made_with(all, || Known::Unknown);
    let hosts = |built: &Built| {
        let Speaks::Https(certificates) = &built.entrances[1].1.speaks else { panic!("no TLS") };
        ["a.h", "b.h", "*.h", "c.d"].map(|host| certificates.named(host).is_some())
    };
    let all = vec![
        ingress("own", 9, json!({}), tls(json!(["*.h", "c.d"]), &["a.h"])),
        moved(ingress("theirs", 1, json!({}), tls(json!(["a.h", "b.h"]), &["*.h", "a.h"])), "other"),
    ];
    assert_eq!(hosts(&waiting(all)), [true, true, false, false]);
}

#[test]
fn a_default_backend_has_what_takes_no_rule() {
    let default = json!({"service": {"name": "c", "port": {"number": 80}}});
    let alone = ingress("alone", 1, json!({}), json!({"defaultBackend": default}));
    let rules = ingress("rules", 2, json!({}), json!({"rules": [rule("h", "/x", "Exact", "a")]}));
    let built = made(vec![alone, rules.clone()]);
    assert_eq!((goes(&built, "h", "/y"), goes(&built, "z", "/")), ("c".into(), "c".into()));
    let own = json!({"rules": [rule("g", "/x", "Exact", "a")], "defaultBackend": default});
    let built = made(vec![ingress("own", 1, json!({}), own), rules]);
    assert_eq!((goes(&built, "g", "/y"), goes(&built, "h", "/y")), ("c".into(), "404".into()));
}

#[test]
fn what_cannot_be_served_is_503_and_is_told() {
    let resource = json!({"resource": {"kind": "Bucket", "name": "b"}});
    let built = made(vec![
        ingress("r", 1, json!({}), json!({"defaultBackend": resource})),
        ingress("s", 1, json!({}), json!({"rules": [rule("h", "/", "Prefix", "none")]})),
    ]);
    assert_eq!(goes(&built, "x", "/"), "503");
    let faults: Vec<&str> = built.faults.iter().map(|(_, fault)| fault.as_str()).collect();
    assert_eq!(faults, ["backend Bucket/b is a resource, which is not supported", "service n/none is not there"]);
    let kept = json!({"nginx.ingress.kubernetes.io/auth-url": "http://x"});
    let built = made(vec![ingress("k", 1, kept, json!({"rules": [rule("h", "/", "Prefix", "a")]}))]);
    assert_eq!(goes(&built, "h", "/"), "503");
}

#[test]
fn what_waits_for_a_secret_waits_alone() {
    let auth =
        json!({"nginx.ingress.kubernetes.io/auth-type": "basic", "nginx.ingress.kubernetes.io/auth-secret": "s"});
    let all = vec![
        ingress("k", 1, auth, json!({"rules": [rule("h", "/", "Prefix", "a")]})),
        ingress("i", 1, json!({}), json!({"rules": [rule("g", "/", "Prefix", "b")]})),
    ];
    let built = made_with(all, || Known::Unknown);
    assert_eq!((goes(&built, "h", "/"), goes(&built, "g", "/")), ("503".into(), "b".into()));
}

#[test]
fn expressions_take_groups_into_the_path() {
    let annotations = json!({"nginx.ingress.kubernetes.io/rewrite-target": "/$2"});
    let spec = json!({"rules": [rule("h", "/v1(/|$)(.*)", "ImplementationSpecific", "a")]});
    let built = made(vec![ingress("i", 1, annotations, spec)]);
    assert_eq!(goes(&built, "h", "/V1/x"), "a");
    assert_eq!(goes(&built, "h", "/v2/x"), "404");
    assert_eq!(
        (template("/$2"), template("/a$1b$"), without_groups("/a$1")),
        ("/${2}".into(), "/a${1}b$$".into(), "/a".into())
    );
    let bad = json!({"rules": [rule("h", "/(", "ImplementationSpecific", "a")]});
    let regex = json!({"nginx.ingress.kubernetes.io/use-regex": "true"});
    assert_eq!(made(vec![ingress("i", 1, regex, bad)]).faults.len(), 1);
}

#[test]
fn classes_are_ours_by_their_controller() {
    let class = |name: &str, controller: &str| {
        let object = json!({"metadata": {"name": name}, "spec": {"controller": controller}});
        Arc::new(serde_json::from_value::<IngressClass>(object).unwrap())
    };
    let ours = class::ours(&[class("coracle", class::CONTROLLER), class("nginx", "k8s.io/ingress-nginx")]);
    let has = |annotations: Value, spec: Value| class::has_class(&ingress("i", 1, annotations, spec), &ours);
    assert!(has(json!({}), json!({"ingressClassName": "coracle"})));
    assert!(has(json!({"kubernetes.io/ingress.class": "coracle"}), json!({})));
    assert!(!has(json!({"kubernetes.io/ingress.class": "coracle"}), json!({"ingressClassName": "nginx"})));
    assert!(!has(json!({}), json!({})));
}
