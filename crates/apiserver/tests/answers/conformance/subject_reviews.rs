//! Service accounts, and reviews of what they may do.

use coracle_apiserver::auth::User;
use http::Method;
use serde_json::json;

use crate::Api;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

#[tokio::test]
async fn should_update_a_service_account() {
    let api = Api::new().await;
    let mut account = api.post(ACCOUNTS, &json!({"metadata": {"name": "tested"}})).await.ok();
    account["automountServiceAccountToken"] = true.into();
    account["metadata"]["labels"] = json!({"changed": "true"});
    let path = format!("{ACCOUNTS}/tested");
    assert_eq!(api.put(&path, &account).await.ok()["automountServiceAccountToken"], true);
    assert_eq!(api.get(&path).await.ok()["metadata"]["labels"]["changed"], "true");
}

#[tokio::test]
async fn should_support_subject_review_api_operations() {
    let api = Api::new().await;
    api.post(ACCOUNTS, &json!({"metadata": {"name": "tested"}})).await.ok();
    let name = "system:serviceaccount:default:tested";
    let role = json!({"metadata": {"name": "reader"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    api.post(&format!("{rbac}/roles"), &role).await.ok();
    let binding = json!({"metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "tested", "namespace": "default"}]});
    api.post(&format!("{rbac}/rolebindings"), &binding).await.ok();
    for resource in ["configmaps", "secrets"] {
        let groups = json!(["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:default"]);
        let attributes =
            json!({"verb": "list", "group": "", "version": "v1", "resource": resource, "namespace": "default"});
        let spec = json!({"user": name, "groups": groups, "resourceAttributes": attributes});
        let whole = api.post(&format!("{REVIEWS}/subjectaccessreviews"), &json!({"spec": spec})).await.ok();
        let local = json!({"metadata": {"namespace": "default"}, "spec": spec});
        let local = api.post(&format!("{REVIEWS}/namespaces/default/localsubjectaccessreviews"), &local).await.ok();
        let headers = [("impersonate-user", name)];
        let path = format!("/api/v1/namespaces/default/{resource}");
        let admin = User::new("admin", &["system:masters"]);
        let asked = api.call_by(admin, Method::GET, &path, &headers, String::new()).await;
        let allowed = json!(asked.status == 200);
        assert_eq!([&whole["status"]["allowed"], &local["status"]["allowed"]], [&allowed; 2], "{resource}");
        assert_eq!(allowed, resource == "configmaps");
    }
}
