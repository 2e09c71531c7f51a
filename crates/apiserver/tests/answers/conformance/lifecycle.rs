//! What the younger tests do with every object of a kind: it is made, read, patched, listed, replaced and deleted, and others
//! in its place are deleted together.

use serde_json::{Value, json};

use crate::Api;

/// Where the objects of a kind are; `spec` makes one without metadata.
pub(super) struct Kind<'a, F: Fn() -> Value> {
    pub(super) path: &'a str,
    pub(super) spec: F,
}

impl<F: Fn() -> Value> Kind<'_, F> {
    /// The path of an object.
    pub(super) fn one(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The path of those that have a label.
    pub(super) fn labelled(&self, label: &str) -> String {
        format!("{}?labelSelector={label}", self.path)
    }

    /// Makes an object with the label `test`.
    pub(super) async fn make(&self, api: &Api, name: &str) -> Value {
        let mut object = (self.spec)();
        object["metadata"]["name"] = name.into();
        object["metadata"]["labels"]["test"] = "lifecycle".into();
        let made = api.post(self.path, &object).await.ok();
        let read = api.get(&self.one(name)).await.ok();
        assert_eq!((&read["metadata"]["name"], &read["metadata"]["uid"]), (&json!(name), &made["metadata"]["uid"]));
        made
    }

    /// Adds a label by a patch.
    pub(super) async fn patch(&self, api: &Api, name: &str) {
        let label = json!({"metadata": {"labels": {name: "patched"}}});
        let patched = api.patch("merge-patch", &self.one(name), &label).await.ok();
        assert_eq!(patched["metadata"]["labels"][name], "patched");
        self.found(api, &format!("{name}=patched"), 1).await;
    }

    /// Adds a label by an update.
    pub(super) async fn update(&self, api: &Api, name: &str) {
        let add = |object: &mut Value| object["metadata"]["labels"][name] = "updated".into();
        let updated = api.replace(&self.one(name), add).await;
        assert_eq!(updated["metadata"]["labels"][name], "updated");
        self.found(api, &format!("{name}=updated"), 1).await;
    }

    /// Lists those that have a label.
    pub(super) async fn found(&self, api: &Api, label: &str, count: usize) -> Value {
        let list = api.get(&self.labelled(&label.replace('=', "%3D"))).await.ok();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(count), "{label}: {list}");
        list
    }

    /// Deletes an object, and takes the finalizers off that protect it, as there are no controllers here.
    pub(super) async fn delete(&self, api: &Api, name: &str) {
        api.delete(&self.one(name)).await.ok();
        self.let_go(api, name).await;
        assert_eq!(api.get(&self.one(name)).await.status, 404);
    }

    async fn let_go(&self, api: &Api, name: &str) {
        if api.get(&self.one(name)).await.status == 200 {
            let patch = json!({"metadata": {"finalizers": null}});
            api.patch("merge-patch", &self.one(name), &patch).await.ok();
        }
    }

    /// Deletes all that have a label.
    pub(super) async fn delete_all(&self, api: &Api, label: &str) {
        let label = label.replace('=', "%3D");
        api.delete(&self.labelled(&label)).await.ok();
        let left = api.get(&self.labelled(&label)).await.ok();
        for object in left["items"].as_array().into_iter().flatten() {
            assert!(object["metadata"]["deletionTimestamp"].is_string(), "{object}");
            self.let_go(api, object["metadata"]["name"].as_str().unwrap_or_default()).await;
        }
        assert_eq!(api.get(&self.labelled(&label)).await.ok()["items"], json!([]));
    }

    /// All of it.
    pub(super) async fn lives(&self, api: &Api) {
        self.make(api, "one").await;
        self.patch(api, "one").await;
        self.found(api, "test=lifecycle", 1).await;
        self.delete(api, "one").await;
        for name in ["two", "three"] {
            self.make(api, name).await;
            self.update(api, name).await;
        }
        self.found(api, "test=lifecycle", 2).await;
        self.delete_all(api, "test=lifecycle").await;
    }
}
