//! Tests of upstream's conformance list that are younger than the suite of `docs/conformance.md`. Each has the name of
//! its test there.

mod chunking;
mod conversion;
mod discovery;
mod events;
mod field_validation;
mod flow_control;
mod lifecycle;
mod namespaces;
mod policies;
mod quotas;
mod storage;
mod subject_reviews;
mod webhooks;
mod workloads;

use serde_json::{Value, json};

use crate::Api;

/// A resource of the whole cluster, by the paths at which it must be found.
struct Resource {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    subresources: &'static [&'static str],
}

impl Resource {
    fn path(&self) -> String {
        format!("/apis/{}/{}/{}", self.group, self.version, self.plural)
    }

    /// Discovery tells of the group, the version, the resource and what it has.
    async fn is_discovered(&self, api: &Api) {
        let Resource { group, version, plural, .. } = self;
        let groups = api.get("/apis").await.ok();
        let found = groups["groups"].as_array().expect("groups").iter().find(|found| found["name"] == *group);
        let versions = found.expect("the group")["versions"].clone();
        assert!(versions.as_array().expect("versions").iter().any(|found| found["version"] == *version), "{versions}");
        assert_eq!(api.get(&format!("/apis/{group}")).await.ok()["kind"], "APIGroup");
        let resources = api.get(&format!("/apis/{group}/{version}")).await.ok()["resources"].clone();
        let wanted = self.subresources.iter().map(|subresource| format!("{plural}/{subresource}"));
        for name in wanted.chain([(*plural).to_owned()]) {
            assert!(resources.as_array().expect("resources").iter().any(|r| r["name"] == *name), "{name}: {resources}");
        }
    }

    /// Everything that the API does with objects is done with these: `make` makes the spec of one.
    async fn supports_all_operations(&self, api: &Api, make: impl Fn() -> Value) {
        self.is_discovered(api).await;
        let path = self.path();
        let object = |name: &str| {
            let mut object = make();
            object["metadata"] = json!({"name": name, "labels": {"test": "operations"}});
            object
        };
        let one = format!("{path}/a");
        let made = api.post(&path, &object("a")).await.ok();
        assert_eq!(api.get(&one).await.ok()["metadata"]["uid"], made["metadata"]["uid"]);
        for name in ["b", "c"] {
            api.post(&path, &object(name)).await.ok();
        }
        let selected = format!("{path}?labelSelector=test%3Doperations");
        let listed = api.get(&selected).await.ok();
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(3));

        let version = listed["metadata"]["resourceVersion"].as_str().expect("a version");
        let patched = api.patch("merge-patch", &one, &json!({"metadata": {"annotations": {"patched": "true"}}})).await;
        assert_eq!(patched.ok()["metadata"]["annotations"]["patched"], "true");
        // Controllers write to some kinds too, as soon as they see an object.
        let watched = format!("{path}?fieldSelector=metadata.name%3Da&watch=1&resourceVersion={version}");
        let event = api.event(&watched, |event| event["object"]["metadata"]["annotations"]["patched"] == "true").await;
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("MODIFIED"), &json!("a")));

        let updated = api.replace(&one, |object| object["metadata"]["annotations"]["updated"] = "true".into()).await;
        assert_eq!(updated["metadata"]["annotations"]["updated"], "true");
        self.status_is_its_own(api, &one).await;

        api.delete(&one).await.ok();
        assert_eq!(api.get(&one).await.status, 404);
        api.delete(&selected).await.ok();
        assert_eq!(api.get(&selected).await.ok()["items"], json!([]));
    }

    /// The status is read, patched and replaced for itself.
    async fn status_is_its_own(&self, api: &Api, one: &str) {
        if !self.subresources.contains(&"status") {
            return;
        }
        let path = format!("{one}/status");
        let read = api.get(&path).await.ok();
        let condition = |status: &str| {
            json!([{"type": "Tested", "status": status, "reason": "Test", "message": "as the test says",
                "lastTransitionTime": "2024-01-01T00:00:00Z"}])
        };
        let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"conditions": condition("True")}});
        let patched = api.patch("merge-patch", &path, &patch).await.ok();
        assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
        assert_eq!(patched["status"]["conditions"][0]["status"], "True");
        let replaced = api.replace(&path, |object| object["status"]["conditions"] = condition("False")).await;
        assert_eq!(replaced["status"]["conditions"][0]["status"], "False");
        assert_eq!(replaced["spec"], read["spec"]);
    }
}
