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
    made_with(ingresses, &|_| Known::Missing)
}

fn made_with(ingresses: Vec<Arc<Ingress>>, secrets: &dyn Fn(&ObjectKey) -> Known) -> Built {
    let ports = json!({"ports": [{"port": 80}]});
    let services: Vec<k8s_openapi::api::core::v1::Service> = ["a", "b", "c"]
        .map(|name| {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"}, "spec": ports})).unwrap()
        })
        .into();
    let backends = Backends::new(
        Store::of(services, vec![]),
        Store::of(vec![], vec![]),
        Store::of(vec![], vec![]),
        Forbidden::default(),
    );
    let fallback = self_signed().unwrap();
    build(
        ingresses,
        &Means { backends: &backends, secrets, shown: &|_, _| Some(fallback.clone()), fallback: fallback.clone() },
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
    let waiting = |all| made_with(all, &|_| Known::Unknown);
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
    let built = made_with(all, &|_| Known::Unknown);
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
    let open = ingress("o", 2, json!({}), json!({"rules": [rule("h", "/", "Prefix", "a")]}));
    let built = made(vec![ingress("i", 1, regex, bad), open]);
    assert_eq!(built.faults.len(), 1);
    // The older one has the same path.
    assert_eq!(goes(&built, "h", "/x"), "a");
    assert_eq!((before_expression("/a/b(c"), before_expression("/(")), ("/a/", "/"));
}

#[test]
fn what_seems_an_expression_and_is_none_is_told() {
    let with = |path: &str, kind: &str, target: &str| {
        let annotations = json!({"nginx.ingress.kubernetes.io/rewrite-target": target});
        made(vec![ingress("i", 1, annotations, json!({"rules": [rule("h", path, kind, "a")]}))]).faults.len()
    };
    assert_eq!(with("/a(/|$)(.*)", "Prefix", "/$2"), 1);
    assert_eq!(with("/a", "Exact", "/$1"), 1);
    assert_eq!(with("/a.html", "Prefix", "/"), 0);
    assert_eq!(with("/a(/|$)(.*)", "ImplementationSpecific", "/$2?x=$1"), 0);
}

#[test]
fn canaries_are_as_if_they_were_not_there() {
    let annotations = json!({"nginx.ingress.kubernetes.io/canary": "true"});
    let built = made(vec![
        ingress("canary", 2, annotations, json!({"rules": [rule("h", "/", "Prefix", "b")]})),
        ingress("own", 1, json!({}), json!({"rules": [rule("h", "/", "Prefix", "a")]})),
    ]);
    assert_eq!((goes(&built, "h", "/"), built.faults.len()), ("a".into(), 1));
}

#[test]
fn an_ingress_with_too_many_paths_is_closed() {
    let paths = |count: usize, kind: &str| {
        let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
        let one = |number| json!({"path": format!("/{number}"), "pathType": kind, "backend": backend});
        let paths: Vec<Value> = (0..count).map(one).collect();
        let regex = json!({"nginx.ingress.kubernetes.io/use-regex": "true"});
        made(vec![ingress("i", 1, regex, json!({"rules": [{"host": "h", "http": {"paths": paths}}]}))])
    };
    assert_eq!(goes(&paths(PATHS, "Prefix"), "h", "/7"), "a");
    for built in [paths(PATHS + 1, "Prefix"), paths(EXPRESSIONS + 1, "ImplementationSpecific")] {
        assert_eq!((goes(&built, "h", "/7"), built.faults.len()), ("503".into(), 1));
    }
}

#[test]
fn an_expression_beyond_what_a_host_may_have_leaves_nothing_to_others() {
    let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
    let one = |path: String| json!({"path": path, "pathType": "ImplementationSpecific", "backend": backend});
    let mut paths: Vec<Value> = (0..50).map(|number| one(format!("/e{number}/.*"))).collect();
    paths.push(one("/secret/x.*".into()));
    let regex = json!({"nginx.ingress.kubernetes.io/use-regex": "true"});
    let built = made(vec![
        ingress("i", 1, regex, json!({"rules": [{"host": "h", "http": {"paths": paths}}]})),
        ingress("rest", 2, json!({}), json!({"rules": [rule("h", "/", "Prefix", "b")]})),
    ]);
    assert_eq!(
        (goes(&built, "h", "/e7/y"), goes(&built, "h", "/secret/x1"), goes(&built, "h", "/z")),
        ("a".into(), "503".into(), "b".into())
    );
    assert_eq!(built.faults.len(), 1);
}

#[test]
fn clients_are_sent_to_https_where_their_host_has_a_certificate() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap();
    let data = |text: String| k8s_openapi::ByteString(text.into_bytes());
    let data = [("tls.crt".to_owned(), data(certificate.pem())), ("tls.key".to_owned(), data(key.serialize_pem()))];
    let secret = Arc::new(Secret { data: Some(data.into()), ..Secret::default() });
    let has = |key: &ObjectKey| if key.name == "there" { Known::Here(secret.clone()) } else { Known::Missing };
    let tls = |host: &str, secret: &str| json!([{"hosts": [host], "secretName": secret}]);
    let off = json!({"nginx.ingress.kubernetes.io/ssl-redirect": "false"});
    let any = json!({"rules": [rule("", "/", "Prefix", "a")], "tls": tls("own.example", "none")});
    let own = json!({"rules": [rule("*.example", "/", "Prefix", "a")], "tls": tls("*.example", "there")});
    let built = made_with(
        vec![
            ingress("certificates", 3, json!({}), own),
            ingress("missing", 2, json!({}), json!({"tls": tls("gone.other", "none")})),
            ingress("any", 1, json!({}), any),
            ingress("off", 1, off, json!({"rules": [rule("off.example", "/", "Prefix", "a")]})),
        ],
        &has,
    );
    let is_sent = |host: &str, path: &str| {
        let (headers, path) = (HeaderMap::new(), Path::of(path).unwrap());
        let asked = Asked { host, path: &path, method: &Method::GET, headers: &headers, query: None };
        let (_, entrance) = &built.entrances[0];
        let found = entrance.listeners.fitting(host).next().unwrap().find(&asked).unwrap();
        found.action.policy.to_https.takes(host, &path.compared)
    };
    assert!(is_sent("a.example", "/") && is_sent("own.example", "/"));
    for (host, path) in [
        ("a.b.example", "/"),
        ("gone.other", "/"),
        ("off.example", "/"),
        ("a.example", "/.well-known/acme-challenge/x"),
    ] {
        assert!(!is_sent(host, path), "{host}{path}");
    }
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
    // Both can be there, as only creating is checked; the annotation counts.
    assert!(has(json!({"kubernetes.io/ingress.class": "coracle"}), json!({"ingressClassName": "nginx"})));
    assert!(!has(json!({"kubernetes.io/ingress.class": "nginx"}), json!({"ingressClassName": "coracle"})));
    assert!(!has(json!({}), json!({})));
}
