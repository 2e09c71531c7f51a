//! The plugin that looks whether users may name owners of objects; it is asked only where that is wanted.

use coracle_apiserver::AdmissionOptions;
use coracle_apiserver::auth::User;
use http::Method;
use serde_json::{Value, json};

use crate::{Answer, Api};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";

async fn set_up(enable: &[&str]) -> Api {
    let enable = enable.iter().map(|name| (*name).to_owned()).collect();
    let api = Api::with(|config| config.admission = AdmissionOptions { enable, ..AdmissionOptions::default() }).await;
    for (name, verbs, resources) in [
        ("writer", json!(["create", "update"]), json!(["configmaps"])),
        ("deleter", json!(["create", "update", "delete"]), json!(["configmaps"])),
        ("finalizer", json!(["create", "update", "delete"]), json!(["configmaps", "secrets/finalizers"])),
    ] {
        let role =
            json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": resources, "verbs": verbs}]});
        api.post(&format!("{RBAC}/roles"), &role).await.ok();
        let binding = json!({"metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]});
        api.post(&format!("{RBAC}/rolebindings"), &binding).await.ok();
    }
    for name in ["a", "b", "c"] {
        api.post(MAPS, &json!({"metadata": {"name": name}})).await.ok();
    }
    api
}

async fn own(api: &Api, user: &str, name: &str, owner: Value) -> Answer {
    let object = json!({"metadata": {"name": name, "ownerReferences": [owner]}});
    let path = format!("{MAPS}/{name}");
    api.call_by(User::new(user, &[]), Method::PUT, &path, &[], object.to_string()).await
}

fn owner(kind: &str, blocks: bool) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "name": "o", "uid": "u1", "blockOwnerDeletion": blocks})
}

#[tokio::test]
async fn whoever_could_do_it_anyway_may_name_an_owner() {
    let api = set_up(&["OwnerReferencesPermissionEnforcement"]).await;
    own(&api, "writer", "a", owner("Secret", false))
        .await
        .refused(403, "configmaps \"a\" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>");
    own(&api, "deleter", "a", owner("Secret", false)).await.ok();
    // What stays as it is concerns nobody.
    own(&api, "writer", "a", owner("Secret", false)).await.ok();
    own(&api, "deleter", "b", owner("Secret", true)).await.refused(
        403,
        "configmaps \"b\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>",
    );
    own(&api, "finalizer", "b", owner("Secret", true)).await.ok();
    own(&api, "deleter", "b", owner("Secret", true)).await.ok();
    own(&api, "finalizer", "c", owner("Magic", true)).await.refused(
        403,
        "configmaps \"c\" is forbidden: cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Magic: no matches for kind \"Magic\" in version \"v1\"",
    );
    let new = json!({"metadata": {"name": "d", "ownerReferences": [owner("Secret", false)]}}).to_string();
    api.call_by(User::new("writer", &[]), Method::POST, MAPS, &[], new).await.ok();
}

#[tokio::test]
async fn nobody_is_asked_where_that_is_not_wanted() {
    let api = set_up(&[]).await;
    own(&api, "writer", "a", owner("Secret", true)).await.ok();
}
