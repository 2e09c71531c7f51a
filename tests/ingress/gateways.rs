//! Gateways: the definitions come from upstream's Go module, and need Go on PATH.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::*;

const MODULE: &str = "sigs.k8s.io/gateway-api@v1.6.3";
const API: &str = "gateway.networking.k8s.io/v1";

/// Where the definitions are; tells why they are not.
fn definitions() -> Option<PathBuf> {
    let told = Command::new("go").args(["mod", "download", "-json", MODULE]).current_dir(std::env::temp_dir()).output();
    let told = told.ok().and_then(|told| serde_json::from_slice::<Value>(&told.stdout).ok());
    let found = told.and_then(|told| Some(PathBuf::from(told["Dir"].as_str()?).join("config/crd/standard")));
    if found.is_none() {
        skip(Lacks::Tool("there is no go on PATH, or its modules cannot be downloaded"));
    }
    found
}

fn create(namespace: &Namespace<'_>, plural: &str, name: &str, spec: Value) {
    namespace.api.post(&namespace.path_in(API, plural), &json!({"metadata": {"name": name}, "spec": spec})).ok();
}

/// A condition of a list of them, as its status and reason.
fn condition(conditions: &Value, kind: &str) -> String {
    let found = conditions.as_array().into_iter().flatten().find(|one| one["type"] == kind);
    found.map_or_else(String::new, |one| {
        format!("{} {}", one["status"].as_str().unwrap_or_default(), one["reason"].as_str().unwrap_or_default())
    })
}

#[test]
fn gateways_have_addresses_and_lead_by_their_routes() {
    let cluster = cluster!();
    let Some(definitions) = definitions() else { return };
    let namespace = cluster.namespace("gateways");
    let other = cluster.namespace("gateways-other");
    let kubectl = kubectl!(cluster, namespace);
    for file in fs::read_dir(definitions).unwrap() {
        let path = file.unwrap().path();
        if fs::read_to_string(&path).unwrap().contains("kind: CustomResourceDefinition") {
            kubectl.ok(&format!("create -f {}", path.display()));
        }
    }
    eventually("the class is made and accepted", || {
        let class = cluster.api().get(&format!("/apis/{API}/gatewayclasses/coracle"));
        match condition(&class.body["status"]["conditions"], "Accepted") {
            accepted if accepted == "True Accepted" => Ok(()),
            _ => Err(class.text),
        }
    });
    ["a", "b"].iter().for_each(|name| server(&namespace, name));
    server(&other, "c");
    let listeners = json!([
        {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "Same"}}},
        {"name": "udp", "protocol": "UDP", "port": 53},
    ]);
    create(&namespace, "gateways", "gw", json!({"gatewayClassName": "coracle", "listeners": listeners}));
    let parents = json!([{"name": "gw", "sectionName": "http"}]);
    let to = |name: &str| json!([{"name": name, "port": 80}]);
    let replaced = json!({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/header"}}});
    let header =
        json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "X-Set", "value": "yes"}]}});
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}});
    create(
        &namespace,
        "httproutes",
        "web",
        json!({"parentRefs": parents, "hostnames": ["gw.example"], "rules": [
            {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": to("a")},
            {"matches": [{"headers": [{"name": "x-to", "value": "b"}]}], "backendRefs": to("b")},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/show"}}], "filters": [replaced, header], "backendRefs": to("a")},
            {"matches": [{"path": {"type": "Exact", "value": "/moved"}}], "filters": [redirect]},
            {"matches": [{"path": {"type": "PathPrefix", "value": "/c"}}],
                "backendRefs": [{"name": "c", "namespace": "gateways-other", "port": 80}]},
        ]}),
    );
    let gateway = || namespace.api.get(&namespace.path_in(API, "gateways/gw")).ok();
    let at = eventually("it is programmed", || {
        let status = gateway()["status"].clone();
        match (condition(&status["conditions"], "Programmed").as_str(), status["addresses"][0]["value"].as_str()) {
            ("True Programmed", Some(address)) => Ok(address.to_owned()),
            _ => Err(status.to_string()),
        }
    });
    namespace.pod_ready("a");
    namespace.pod_ready("b");
    assert_eq!(eventually("a serves", || body(&at, "gw.example", "/")), "a");
    let ask = |path: &str, headers: &str| http(&at, "gw.example", path, headers).unwrap();
    assert_eq!(
        eventually("b serves", || match ask("/", "X-To: b\r\n") {
            answer if answer.status == 200 => Ok(answer.body),
            answer => Err(format!("{answer:?}")),
        }),
        "b"
    );
    assert_eq!(ask("/show?name=x-set", "X-Set: no\r\n").body, "yes");
    let moved = ask("/moved", "");
    assert_eq!((moved.status, moved.header("location")), (301, Some("https://gw.example/moved")));
    assert_eq!(http(&at, "other.example", "/", "").unwrap().status, 404);

    let route = || {
        namespace.api.get(&namespace.path_in(API, "httproutes/web")).ok()["status"]["parents"][0]["conditions"].clone()
    };
    assert_eq!(ask("/c", "").status, 500, "no grant lets the route refer to another namespace");
    eventually("and it is told so", || match condition(&route(), "ResolvedRefs") {
        told if told == "False RefNotPermitted" => Ok(()),
        other => Err(other),
    });
    let grant = json!({"metadata": {"name": "g"}, "spec": {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "gateways"}],
        "to": [{"group": "", "kind": "Service"}]}});
    other.api.post("/apis/gateway.networking.k8s.io/v1beta1/namespaces/gateways-other/referencegrants", &grant).ok();
    other.pod_ready("c");
    eventually("with a grant it may", || match ask("/c", "") {
        answer if answer.body == "/c is not served" => Ok(()),
        answer => Err(format!("{answer:?}")),
    });
    eventually("and it is told so", || match (condition(&route(), "ResolvedRefs"), condition(&route(), "Accepted")) {
        (resolved, accepted) if resolved == "True ResolvedRefs" && accepted == "True Accepted" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let status = gateway()["status"].clone();
    assert_eq!(
        (
            &status["listeners"][0]["attachedRoutes"],
            condition(&status["listeners"][1]["conditions"], "Accepted").as_str()
        ),
        (&json!(1), "False UnsupportedProtocol")
    );

    let strange = json!({"parentRefs": parents, "rules": [{"backendRefs": [{"name": "c", "port": 80}]}]});
    other
        .api
        .post(
            &other.path_in(API, "httproutes"),
            &json!({"metadata": {"name": "strange"}, "spec": {
        "parentRefs": [{"name": "gw", "namespace": "gateways"}], "rules": strange["rules"]}}),
        )
        .ok();
    eventually("a route of another namespace is not taken", || {
        let route = other.api.get(&other.path_in(API, "httproutes/strange")).ok();
        match condition(&route["status"]["parents"][0]["conditions"], "Accepted") {
            told if told == "False NotAllowedByListeners" => Ok(()),
            _ => Err(route["status"].to_string()),
        }
    });

    namespace.api.delete(&namespace.path_in(API, "gateways/gw"), &json!({})).ok();
    eventually("the address is free", || match http(&at, "gw.example", "/", "") {
        Err(_) => Ok(()),
        Ok(answer) => Err(format!("{answer:?}")),
    });
}
