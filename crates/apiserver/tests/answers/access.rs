//! Who may do what: roles, bindings, and the questions about them.

use coracle_apiserver::auth::User;
use http::Method;
use serde_json::{Value, json};

use super::{Answer, Api};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Someone's requests.
struct As<'a>(&'a Api, User);

impl As<'_> {
    async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.0.call_by(self.1.clone(), method, path, &[("content-type", "application/json")], body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Value::Null).await
    }

    async fn post(&self, path: &str, object: Value) -> Answer {
        self.call(Method::POST, path, object).await
    }
}

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources})
}

fn role(name: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, kind: &str, role: &str, subject: Value) -> Value {
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role});
    json!({"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"})
}

#[tokio::test]
async fn a_binding_counts_from_the_answer_to_its_creation_to_that_to_its_deletion() {
    let api = Api::new().await;
    let jane = As(&api, User::new("jane", &[]));
    let pods = "/api/v1/namespaces/default/pods";
    let refusal =
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    api.post(&format!("{RBAC}/clusterroles"), &role("reader", json!([rule(&["list"], &[""], &["pods"])]))).await.ok();
    for round in 0..20 {
        jane.get(pods).await.refused(403, refusal);
        let name = format!("reader-{round}");
        let object = binding(&name, "ClusterRole", "reader", user("jane"));
        let bindings = format!("{RBAC}/namespaces/default/rolebindings");
        api.post(&bindings, &object).await.ok();
        jane.get(pods).await.ok();
        assert_eq!(jane.get("/api/v1/namespaces/kube-system/pods").await.status, 403);
        assert_eq!(jane.get("/api/v1/pods").await.status, 403);
        api.delete(&format!("{bindings}/{name}")).await.ok();
    }
    jane.get(pods).await.refused(403, refusal);
    let lost = binding("lost", "ClusterRole", "lost", user("jane"));
    api.post(&format!("{RBAC}/clusterrolebindings"), &lost).await.ok();
    let why = format!("{refusal}: RBAC: clusterrole.rbac.authorization.k8s.io \"lost\" not found");
    jane.get(pods).await.refused(403, &why);
}

#[tokio::test]
async fn names_of_a_rule_allow_to_list_and_watch_by_that_name() {
    let api = Api::new().await;
    let mut named = rule(&["get", "list"], &[""], &["configmaps"]);
    named["resourceNames"] = json!(["a"]);
    api.post(&format!("{RBAC}/namespaces/default/roles"), &role("a", json!([named]))).await.ok();
    let bound = binding("a", "Role", "a", json!({"kind": "ServiceAccount", "name": "bot"}));
    api.post(&format!("{RBAC}/namespaces/default/rolebindings"), &bound).await.ok();
    let bot = As(&api, User::service_account("default", "bot"));
    let maps = "/api/v1/namespaces/default/configmaps";
    bot.get(&format!("{maps}?fieldSelector=metadata.name%3Da")).await.ok();
    assert_eq!(bot.get(&format!("{maps}/a")).await.status, 404);
    for path in ["", "/b", "?fieldSelector=metadata.name%3Db", "?fieldSelector=metadata.name%21%3Da"] {
        assert_eq!(bot.get(&format!("{maps}{path}")).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn everyone_finds_out_what_is_served_and_nothing_else() {
    let api = Api::new().await;
    let (jane, nobody) = (As(&api, User::new("jane", &[])), As(&api, User::anonymous()));
    for path in ["/api", "/apis", "/apis/apps/v1", "/openapi/v3", "/version", "/healthz"] {
        assert!(jane.get(path).await.status.is_success(), "{path}");
    }
    for path in ["/version", "/healthz", "/livez", "/readyz"] {
        assert!(nobody.get(path).await.status.is_success(), "{path}");
    }
    nobody.get("/api").await.refused(403, "forbidden: User \"system:anonymous\" cannot get path \"/api\"");
    jane.get("/metrics").await.refused(403, "forbidden: User \"jane\" cannot get path \"/metrics\"");
    jane.get("/openid/v1/jwks").await.refused(403, "forbidden: User \"jane\" cannot get path \"/openid/v1/jwks\"");
    As(&api, User::service_account("default", "bot")).get("/openid/v1/jwks").await.ok();
    assert!(As(&api, User::new("prometheus", &["system:monitoring"])).get("/metrics").await.status.is_success());
    let path = "/apis/example.com/v1/foos";
    let why = "foos.example.com is forbidden: User \"jane\" cannot list resource \"foos\" in API group \"example.com\" at the cluster scope";
    jane.get(path).await.refused(403, why);
    assert_eq!(api.get(path).await.status, 404);
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_have() {
    let api = Api::new().await;
    let writes = json!([
        rule(&["*"], &["rbac.authorization.k8s.io"], &["roles", "rolebindings", "clusterroles", "clusterrolebindings"]),
        rule(&["get", "list"], &["apps"], &["deployments"]),
    ]);
    // Every verb is also `escalate` and `bind`, so the rules name those that are needed.
    let mut writes = writes;
    writes[0]["verbs"] = json!(["get", "create", "update", "patch", "delete"]);
    api.post(&format!("{RBAC}/clusterroles"), &role("writer", writes)).await.ok();
    let bound = binding("writer", "ClusterRole", "writer", user("eve"));
    api.post(&format!("{RBAC}/clusterrolebindings"), &bound).await.ok();
    let eve = As(&api, User::new("eve", &[]));
    let roles = format!("{RBAC}/namespaces/default/roles");
    let held = role("held", json!([rule(&["get"], &["apps"], &["deployments"])]));
    eve.post(&roles, held.clone()).await.ok();
    let wide =
        json!([rule(&["get", "delete", "patch"], &["apps"], &["deployments"]), rule(&["get"], &[""], &["pods"])]);
    let lacks = "user \"eve\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}\n{APIGroups:[\"apps\"], Resources:[\"deployments\"], Verbs:[\"delete\" \"patch\"]}";
    let refusal =
        |resource: &str, name: &str| format!("{resource}.rbac.authorization.k8s.io \"{name}\" is forbidden: {lacks}");
    eve.post(&roles, role("wide", wide.clone())).await.refused(403, &refusal("roles", "wide"));
    // Neither by an update nor by a patch, nor by a PUT to a name that is not there.
    let mut new = api.get(&format!("{roles}/held")).await.ok();
    new["rules"] = wide.clone();
    eve.call(Method::PUT, &format!("{roles}/held"), new).await.refused(403, &refusal("roles", "held"));
    eve.call(Method::PUT, &format!("{roles}/new"), role("new", wide.clone()))
        .await
        .refused(403, &refusal("roles", "new"));
    let patch = json!({"rules": wide}).to_string();
    let headers = [("content-type", "application/merge-patch+json")];
    api.call_by(eve.1.clone(), Method::PATCH, &format!("{roles}/held"), &headers, patch)
        .await
        .refused(403, &refusal("roles", "held"));
    // A finalizer may be taken from a role that grants more than the user holds.
    api.post(&roles, &role("wide", wide.clone())).await.ok();
    let finalizers = json!({"metadata": {"finalizers": ["example.com/a"]}}).to_string();
    api.call_by(eve.1.clone(), Method::PATCH, &format!("{roles}/wide"), &headers, finalizers).await.ok();

    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    eve.post(&bindings, binding("held", "Role", "held", user("joe"))).await.ok();
    eve.post(&bindings, binding("wide", "Role", "wide", user("joe")))
        .await
        .refused(403, &refusal("rolebindings", "wide"));
    eve.post(&bindings, binding("lost", "Role", "lost", user("joe")))
        .await
        .refused(404, "roles.rbac.authorization.k8s.io \"lost\" not found");
    let all = binding("all", "ClusterRole", "cluster-admin", user("eve"));
    assert_eq!(eve.post(&format!("{RBAC}/clusterrolebindings"), all).await.status, 403);
    let aggregated = json!({"metadata": {"name": "gather"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    eve.post(&format!("{RBAC}/clusterroles"), aggregated).await.refused(
        403,
        "clusterroles.rbac.authorization.k8s.io \"gather\" is forbidden: must have cluster-admin privileges to use the aggregationRule",
    );

    // Who may bind a role, or escalate roles, need not hold what they grant.
    let mut may_bind = rule(&["bind"], &["rbac.authorization.k8s.io"], &["roles"]);
    may_bind["resourceNames"] = json!(["wide"]);
    let escalate = rule(&["escalate"], &["rbac.authorization.k8s.io"], &["roles"]);
    api.post(&format!("{RBAC}/clusterroles"), &role("granter", json!([may_bind, escalate]))).await.ok();
    let bound = binding("granter", "ClusterRole", "granter", user("eve"));
    api.post(&format!("{RBAC}/clusterrolebindings"), &bound).await.ok();
    eve.post(&bindings, binding("wide", "Role", "wide", user("joe"))).await.ok();
    eve.post(&roles, role("wider", wide)).await.ok();
    assert_eq!(eve.post(&bindings, binding("wider", "Role", "wider", user("joe"))).await.status, 403);
    // And the role of a binding is for good.
    let mut changed = api.get(&format!("{bindings}/wide")).await.ok();
    changed["roleRef"]["name"] = "wider".into();
    let answer = api.put(&format!("{bindings}/wide"), &changed).await;
    assert!(answer.text.contains("cannot change roleRef"), "{}", answer.text);
}

#[tokio::test]
async fn a_put_that_creates_needs_the_right_to_create() {
    let api = Api::new().await;
    api.post(
        &format!("{RBAC}/clusterroles"),
        &role("updater", json!([rule(&["update"], &["coordination.k8s.io"], &["leases"])])),
    )
    .await
    .ok();
    let bound = binding("updater", "ClusterRole", "updater", user("jane"));
    api.post(&format!("{RBAC}/clusterrolebindings"), &bound).await.ok();
    let jane = As(&api, User::new("jane", &[]));
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/a";
    jane.call(Method::PUT, path, json!({"metadata": {"name": "a"}})).await.refused(
        403,
        "leases.coordination.k8s.io \"a\" is forbidden: User \"jane\" cannot create resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \"default\"",
    );
}

#[tokio::test]
async fn the_default_roles_are_there_and_what_was_changed_in_them_is_kept() {
    let api = Api::new().await;
    let edit = api.get(&format!("{RBAC}/clusterroles/edit")).await.ok();
    assert_eq!(edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"], "true");
    assert_eq!(edit["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
    assert_eq!(edit["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"], "true");
    let selector = json!([{"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}}]);
    assert_eq!(edit["aggregationRule"]["clusterRoleSelectors"], selector);
    let admin = api.get(&format!("{RBAC}/clusterrolebindings/cluster-admin")).await.ok();
    assert_eq!(admin["subjects"][0]["name"], "system:masters");
    let controller = api.get(&format!("{RBAC}/clusterrolebindings/system:controller:job-controller")).await.ok();
    assert_eq!(
        controller["subjects"],
        json!([{"kind": "ServiceAccount", "name": "job-controller", "namespace": "kube-system"}])
    );
    let public = format!("{RBAC}/namespaces/kube-public/roles/system:controller:bootstrap-signer");
    api.get(&public).await.ok();
}

#[tokio::test]
async fn components_may_what_their_roles_say() {
    let api = Api::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let kubelet = As(&api, User::new("system:node:a", &["system:nodes"]));
    kubelet.get("/api/v1/services").await.ok();
    assert_eq!(kubelet.get(deployments).await.status, 403);
    assert_eq!(kubelet.call(Method::DELETE, "/api/v1/nodes/b", Value::Null).await.status, 403);
    let controller = As(&api, User::service_account("kube-system", "deployment-controller"));
    controller.get(deployments).await.ok();
    assert_eq!(controller.get("/api/v1/secrets").await.status, 403);
    let manager = As(&api, User::new("system:kube-controller-manager", &[]));
    manager.get("/api/v1/secrets").await.ok();
    assert_eq!(manager.call(Method::DELETE, &format!("{deployments}/a"), Value::Null).await.status, 403);
    let proxy = As(&api, User::new("system:kube-proxy", &[]));
    proxy.get("/api/v1/services").await.ok();
    assert_eq!(proxy.get("/api/v1/secrets").await.status, 403);
}

#[tokio::test]
async fn access_reviews_say_why() {
    let api = Api::new().await;
    api.post(&format!("{RBAC}/clusterroles"), &role("reader", json!([rule(&["get"], &[""], &["pods"])]))).await.ok();
    let bound = binding("readers", "ClusterRole", "reader", json!({"kind": "Group", "name": "dev"}));
    api.post(&format!("{RBAC}/namespaces/default/rolebindings"), &bound).await.ok();
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let about = |namespace: &str| json!({"verb": "get", "resource": "pods", "namespace": namespace, "version": "v1"});
    let ask =
        |namespace: &str| json!({"spec": {"user": "jane", "groups": ["dev"], "resourceAttributes": about(namespace)}});
    let answer = api.post(reviews, &ask("default")).await.ok();
    assert_eq!(
        answer["status"],
        json!({"allowed": true, "reason": "RBAC: allowed by RoleBinding \"readers/default\" of ClusterRole \"reader\" to Group \"dev\""})
    );
    assert_eq!(api.post(reviews, &ask("other")).await.ok()["status"], json!({"allowed": false}));
    let mut selected = ask("other");
    selected["spec"]["resourceAttributes"]["fieldSelector"] =
        json!({"requirements": [{"key": "a", "operator": "Near"}]});
    selected["spec"]["resourceAttributes"]["labelSelector"] = json!({"rawSelector": "a in (b"});
    assert_eq!(
        api.post(reviews, &selected).await.ok()["status"]["evaluationError"],
        "spec.resourceAttributes.fieldSelector ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error"
    );
    api.post(reviews, &json!({"spec": {"user": "jane"}})).await.refused(
        422,
        ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
    );
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    assert_eq!(api.post(local, &ask("default")).await.ok()["status"]["allowed"], true);
    assert_eq!(api.post(local, &ask("other")).await.status, 422);
    let own = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let jane = As(&api, User::new("jane", &["dev"]));
    let answer = jane.post(own, json!({"spec": {"resourceAttributes": about("default")}})).await.ok();
    assert_eq!(answer["status"]["allowed"], true);
    let answer =
        jane.post(own, json!({"spec": {"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}})).await.ok();
    assert_eq!(answer["status"], json!({"allowed": false}));
    assert_eq!(jane.post(reviews, ask("default")).await.status, 403);
}

#[tokio::test]
async fn everyone_sees_their_own_rules() {
    let api = Api::new().await;
    api.post(&format!("{RBAC}/clusterroles"), &role("reader", json!([rule(&["get"], &[""], &["pods"])]))).await.ok();
    let bound = binding("readers", "ClusterRole", "reader", user("jane"));
    api.post(&format!("{RBAC}/namespaces/default/rolebindings"), &bound).await.ok();
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let jane = As(&api, User::new("jane", &[]));
    let status = jane.post(reviews, json!({"spec": {"namespace": "default"}})).await.ok()["status"].clone();
    let has = |list: &str, wanted: Value| status[list].as_array().expect("rules").contains(&wanted);
    assert!(has("resourceRules", rule(&["get"], &[""], &["pods"])), "{status}");
    let own = rule(&["create"], &["authorization.k8s.io"], &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]);
    assert!(has("resourceRules", own), "{status}");
    assert_eq!((&status["incomplete"], status.get("evaluationError")), (&json!(false), None));
    jane.post(reviews, json!({"spec": {}})).await.refused(400, "no namespace on request");
    let admin = api.post(reviews, &json!({"spec": {"namespace": "default"}})).await.ok();
    let everything = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    assert!(admin["status"]["resourceRules"].as_array().expect("rules").contains(&everything), "{admin}");
    let kubelet = As(&api, User::new("system:node:a", &["system:nodes"]));
    let status = kubelet.post(reviews, json!({"spec": {"namespace": "default"}})).await.ok()["status"].clone();
    assert_eq!(
        (&status["incomplete"], &status["evaluationError"]),
        (&json!(true), &json!("node authorizer does not support user rule resolution"))
    );
}

#[tokio::test]
async fn acting_as_someone_else_is_allowed_by_roles() {
    let api = Api::new().await;
    let mut as_bob = rule(&["impersonate"], &[""], &["users"]);
    as_bob["resourceNames"] = json!(["bob"]);
    api.post(&format!("{RBAC}/clusterroles"), &role("as-bob", json!([as_bob]))).await.ok();
    let bound = binding("as-bob", "ClusterRole", "as-bob", user("jane"));
    api.post(&format!("{RBAC}/clusterrolebindings"), &bound).await.ok();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let jane = User::new("jane", &[]);
    let call = |headers| api.call_by(jane.clone(), Method::POST, path, headers, "{}".into());
    let answer = call(&[("impersonate-user", "bob")]).await.ok();
    assert_eq!(answer["status"]["userInfo"]["username"], "bob");
    call(&[("impersonate-user", "bob"), ("impersonate-group", "system:masters")]).await.refused(
        403,
        "groups \"system:masters\" is forbidden: User \"jane\" cannot impersonate resource \"groups\" in API group \"\" at the cluster scope",
    );
}

#[tokio::test]
async fn a_stream_by_websocket_needs_what_one_by_post_needs() {
    let api = Api::new().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1";
    for (name, verbs) in [("looker", json!(["get"])), ("maker", json!(["get", "create"]))] {
        let rules = json!([{"verbs": verbs, "apiGroups": [""], "resources": ["pods/exec"]}]);
        api.post(&format!("{roles}/clusterroles"), &json!({"metadata": {"name": name}, "rules": rules})).await.ok();
        let binding = json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]});
        api.post(&format!("{roles}/clusterrolebindings"), &binding).await.ok();
    }
    let exec = async |user: &str| {
        let headers = [("upgrade", "websocket"), ("connection", "upgrade")];
        let path = "/api/v1/namespaces/default/pods/p/exec?command=id";
        api.call_by(User::new(user, &[]), Method::GET, path, &headers, String::new()).await
    };
    exec("looker").await.refused(
        403,
        "pods \"p\" is forbidden: User \"looker\" cannot create resource \"pods/exec\" in API group \"\" in the namespace \"default\"",
    );
    assert_eq!(exec("maker").await.status, 404);
}

#[tokio::test]
async fn a_review_may_name_a_subresource_within_the_resource() {
    let api = Api::new().await;
    let rules = json!([rule(&["get"], &[""], &["pods/log", "*/scale"])]);
    api.post(&format!("{RBAC}/clusterroles"), &role("logs", rules)).await.ok();
    api.post(&format!("{RBAC}/clusterrolebindings"), &binding("logs", "ClusterRole", "logs", user("jane"))).await.ok();
    let may = async |resource: &str, subresource: &str| {
        let what = json!({"verb": "get", "resource": resource, "subresource": subresource});
        let review = json!({"spec": {"user": "jane", "resourceAttributes": what}});
        let answer = api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        answer.ok()["status"]["allowed"] == true
    };
    assert!(may("pods", "log").await && may("pods/log", "").await && may("pods", "scale").await);
    // As a rule of all resources has it, not of one of them.
    assert!(may("*/scale", "").await && !may("pods/scale", "").await && !may("pods", "").await);
}
