//! Server-side apply as KEP-555 and Kubernetes' documentation specify it: who owns what after which writes.

use coracle_api::Kind;
use coracle_api::apply::{Reset, Writer, apply, update};
use coracle_api::kinds::by_kind;
use coracle_api::meta;
use coracle_api::status::Status;
use serde_json::{Value, json};

/// An object that is written step by step, a second apart.
struct World {
    kind: &'static Kind,
    object: Option<Value>,
    seconds: i64,
}

impl World {
    fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { kind: by_kind(group, version, kind).expect("the kind is there"), object: None, seconds: 1_700_000_000 }
    }

    fn writer<'a>(&mut self, manager: &'a str, version: &'a str, subresource: &'a str) -> Writer<'a> {
        self.seconds += 1;
        let now = jiff::Timestamp::from_second(self.seconds).expect("the time is in range");
        Writer { manager, api_version: version, subresource, reset: Reset::of(self.kind, subresource), now }
    }

    fn typed(&self, mut object: Value) -> Value {
        meta::set_type(&mut object, self.kind.api_version(), &self.kind.kind);
        object
    }

    fn apply(&mut self, manager: &str, force: bool, object: Value) -> Result<(), Status> {
        let version = self.kind.api_version();
        let (object, writer) = (self.typed(object), self.writer(manager, version, ""));
        let out = apply(self.kind, self.object.as_ref(), &object, &writer, force)?;
        self.object = Some(out);
        Ok(())
    }

    fn write(&mut self, manager: &str, subresource: &str, object: Value) {
        let version = self.kind.api_version();
        let (mut object, writer) = (self.typed(object), self.writer(manager, version, subresource));
        update(self.kind, self.object.as_ref(), &mut object, &writer);
        self.object = Some(object);
    }

    /// Changes the object as it is, managed fields included.
    fn change(&mut self, manager: &str, subresource: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.object().clone();
        change(&mut object);
        self.write(manager, subresource, object);
    }

    fn object(&self) -> &Value {
        self.object.as_ref().expect("there is an object")
    }

    fn managed(&self) -> &[Value] {
        meta::list(self.object(), &["metadata", "managedFields"])
    }

    fn fields(&self, manager: &str) -> Value {
        let entry = self.managed().iter().find(|entry| entry["manager"] == manager);
        entry.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
    }

    fn time(&self, manager: &str) -> Value {
        let entry = self.managed().iter().find(|entry| entry["manager"] == manager);
        entry.map(|entry| entry["time"].clone()).unwrap_or_default()
    }
}

fn config_map() -> World {
    World::new("", "v1", "ConfigMap")
}

fn deployment() -> World {
    World::new("apps", "v1", "Deployment")
}

fn data(data: Value) -> Value {
    json!({"metadata": {"name": "x"}, "data": data})
}

fn owned(keys: &[&str]) -> Value {
    let keys = keys.iter().map(|key| (format!("f:{key}"), json!({})));
    json!({"f:data": Value::Object(keys.collect())})
}

#[test]
fn an_applier_owns_what_it_applies() {
    let mut world = config_map();
    world.apply("a", false, data(json!({"x": "1", "y": "2"}))).expect("it applies");
    assert_eq!(world.object()["data"], json!({"x": "1", "y": "2"}));
    let expected = json!([{"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": owned(&["x", "y"]), "manager": "a",
        "operation": "Apply", "time": "2023-11-14T22:13:21Z"}]);
    assert_eq!(world.object()["metadata"]["managedFields"], expected);
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut world = config_map();
    world.apply("a", false, data(json!({"x": "1"}))).expect("it applies");
    let before = world.object().clone();
    world.apply("a", false, data(json!({"x": "1"}))).expect("it applies");
    assert_eq!(*world.object(), before);
}

#[test]
fn what_is_applied_no_longer_goes_unless_another_applier_wants_it() {
    let mut world = config_map();
    world.apply("a", false, data(json!({"x": "1", "y": "2", "z": "3"}))).expect("it applies");
    world.apply("b", false, data(json!({"y": "2"}))).expect("values are shared");
    world.apply("a", false, data(json!({"z": "3"}))).expect("it applies");
    assert_eq!(world.object()["data"], json!({"y": "2", "z": "3"}));
    assert_eq!((world.fields("a"), world.fields("b")), (owned(&["z"]), owned(&["y"])));
    world.apply("b", false, data(json!({}))).expect("it applies");
    assert_eq!(world.object()["data"], json!({"z": "3"}));
    assert_eq!(world.managed().len(), 2, "an empty map is owned too");
}

#[test]
fn an_empty_configuration_gives_everything_up() {
    let mut world = config_map();
    world.apply("a", false, data(json!({"x": "1"}))).expect("it applies");
    world.apply("a", false, json!({"metadata": {"name": "x"}})).expect("it applies");
    assert!(world.managed().is_empty());
    assert!(world.object().get("data").is_none_or(Value::is_null));
}

#[test]
fn other_values_conflict_unless_forced() {
    let mut world = config_map();
    world.apply("a", false, data(json!({"x": "1"}))).expect("it applies");
    let status = world.apply("b", false, data(json!({"x": "2", "y": "1"}))).expect_err("it conflicts");
    assert_eq!((status.code, &*status.reason), (409, "Conflict"));
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"a\": .data.x");
    assert_eq!(world.object()["data"], json!({"x": "1"}));
    world.apply("b", true, data(json!({"x": "2", "y": "1"}))).expect("it is forced");
    assert_eq!(world.object()["data"], json!({"x": "2", "y": "1"}));
    assert_eq!(world.managed().len(), 1);
    assert_eq!(world.fields("b"), owned(&["x", "y"]));
}

#[test]
fn an_update_owns_what_it_changes() {
    let mut world = config_map();
    world.apply("a", false, data(json!({"x": "1", "y": "2"}))).expect("it applies");
    let applied_at = world.time("a");
    world.change("edit", "", |object| object["data"]["x"] = json!("3"));
    assert_eq!((world.fields("a"), world.fields("edit")), (owned(&["y"]), owned(&["x"])));
    assert_eq!(world.time("a"), applied_at);
    let edited_at = world.time("edit");
    world.change("edit", "", |_| {});
    assert_eq!(world.time("edit"), edited_at, "what changes nothing moves no time");
    let status = world.apply("a", false, data(json!({"x": "1", "y": "2"}))).expect_err("it conflicts");
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"edit\" using v1: .data.x");
    world.change("edit", "", |object| object["data"] = json!({"y": "2"}));
    assert_eq!(world.fields("edit"), Value::Null, "what is removed is nobody's");
}

#[test]
fn the_creator_owns_what_it_creates_but_not_what_the_server_keeps() {
    let mut world = deployment();
    let object = json!({"metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 1, "labels": {"app": "web"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "25%"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
            {"name": "nginx", "image": "nginx", "resources": {}}], "securityContext": {}}}}, "status": {"replicas": 1}});
    world.write("kubectl-create", "", object);
    let expected = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:replicas": {}, "f:selector": {},
        "f:strategy": {"f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
        "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {
            "k:{\"name\":\"nginx\"}": {".": {}, "f:name": {}, "f:image": {}, "f:resources": {}}}, "f:securityContext": {}}}}});
    assert_eq!(world.fields("kubectl-create"), expected);
}

#[test]
fn items_of_several_appliers_live_side_by_side() {
    let containers =
        |list: Value| json!({"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": list}}}});
    let mut world = deployment();
    world.apply("a", false, containers(json!([{"name": "a", "image": "1"}]))).expect("it applies");
    world.apply("b", false, containers(json!([{"name": "b", "image": "1"}]))).expect("it applies");
    world.apply("c", false, containers(json!([{"name": "a", "command": ["x"]}]))).expect("it applies");
    let list = |world: &World| world.object()["spec"]["template"]["spec"]["containers"].clone();
    assert_eq!(list(&world), json!([{"name": "a", "image": "1", "command": ["x"]}, {"name": "b", "image": "1"}]));
    world.apply("a", false, containers(json!([]))).expect("it applies");
    assert_eq!(list(&world), json!([{"name": "a", "command": ["x"]}, {"name": "b", "image": "1"}]));
    world.apply("b", false, json!({"metadata": {"name": "x"}})).expect("it applies");
    assert_eq!(list(&world), json!([{"name": "a", "command": ["x"]}]));
}

#[test]
fn the_status_is_owned_by_who_writes_the_subresource() {
    let mut world = deployment();
    world.write("create", "", json!({"metadata": {"name": "x"}, "spec": {"replicas": 1}, "status": {"replicas": 9}}));
    world.change("manager", "status", |object| {
        object["status"] = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]})
    });
    let entry = &world.managed()[1];
    assert_eq!((&entry["manager"], &entry["subresource"]), (&json!("manager"), &json!("status")));
    let expected = json!({"f:status": {"f:replicas": {}, "f:conditions": {".": {}, "k:{\"type\":\"Available\"}": {
        ".": {}, "f:type": {}, "f:status": {}}}}});
    assert_eq!(entry["fieldsV1"], expected);
    world
        .apply("a", false, json!({"metadata": {"name": "x"}, "status": {"replicas": 5}}))
        .expect("what is reset is no conflict");
    assert_eq!(world.fields("a"), Value::Null);
}

#[test]
fn what_was_there_before_has_a_manager_of_its_own() {
    let mut world = config_map();
    world.write("old", "", data(json!({"x": "1"})));
    world.change("any", "", |object| object["metadata"]["managedFields"] = json!([{}]));
    assert!(world.managed().is_empty(), "one empty entry resets");
    world.change("any", "", |object| object["data"]["y"] = json!("2"));
    assert!(world.managed().is_empty(), "nothing is tracked until somebody applies");
    let status = world.apply("a", false, data(json!({"x": "2"}))).expect_err("it conflicts");
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x");
    world.apply("a", false, data(json!({"x": "1"}))).expect("it applies");
    assert_eq!(world.fields("a"), owned(&["x"]));
    assert_eq!(world.fields("before-first-apply"), json!({"f:data": {".": {}, "f:x": {}, "f:y": {}}}));
}

#[test]
fn kubectl_moves_from_the_clients_side_to_the_servers() {
    const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let mut world = config_map();
    let mut object = data(json!({"x": "1", "y": "1"}));
    object["metadata"]["annotations"] = json!({LAST: world.typed(data(json!({"x": "1", "y": "1"}))).to_string()});
    world.write("kubectl-client-side-apply", "", object);
    world.apply("other", false, data(json!({"x": "2"}))).expect_err("only kubectl owns what it applied");
    world.apply("kubectl", false, data(json!({"x": "2"}))).expect("its own values are no conflict");
    assert_eq!(world.object()["data"]["x"], "2");
    let last: Value = serde_json::from_str(meta::annotation(world.object(), LAST)).expect("it is JSON");
    assert_eq!(last["data"], json!({"x": "2"}));
    world.change("edit", "", |object| object["data"]["x"] = json!("3"));
    world.apply("kubectl", false, data(json!({"x": "2"}))).expect_err("what another changed since is one");
}

#[test]
fn a_client_that_knows_no_managed_fields_does_not_delete_them() {
    let mut world = config_map();
    world.apply("a", false, data(json!({"x": "1"}))).expect("it applies");
    world.write("old-client", "", data(json!({"x": "1", "y": "2"})));
    assert_eq!((world.fields("a"), world.fields("old-client")), (owned(&["x"]), owned(&["y"])));
    world.change("any", "", |object| object["metadata"]["managedFields"][0]["fieldsV1"] = json!({"oops": {}}));
    assert_eq!(world.fields("a"), owned(&["x"]), "what is malformed is not taken");
    world.change("any", "", |object| object["metadata"]["managedFields"].as_array_mut().expect("a list").truncate(1));
    assert_eq!(world.managed().len(), 1, "a client may give up what others own");
}

#[test]
fn the_times_move_only_with_the_set() {
    let mut world = config_map();
    world.apply("a", false, data(json!({"x": "1"}))).expect("it applies");
    let before = world.time("a");
    world.apply("a", false, data(json!({"x": "1"}))).expect("it applies");
    assert_eq!(world.time("a"), before);
    world.apply("a", false, data(json!({"x": "2"}))).expect("it applies");
    assert_ne!(world.time("a"), before);
}

#[test]
fn fields_are_owned_in_the_version_they_were_written_in() {
    let spec = |spec: Value| json!({"metadata": {"name": "x"}, "spec": spec});
    let mut world = World::new("autoscaling", "v1", "HorizontalPodAutoscaler");
    world.apply("a", false, spec(json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}))).expect("it applies");
    let v1 = world.kind;
    world.kind = by_kind("autoscaling", "v2", "HorizontalPodAutoscaler").expect("the kind is there");
    let mut object = world.object().clone();
    coracle_api::convert::convert(v1, world.kind, &mut object);
    world.object = Some(object);
    let status = world.apply("b", false, spec(json!({"maxReplicas": 4}))).expect_err("it conflicts");
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"a\": .spec.maxReplicas");
    world.change("edit", "", |object| {
        object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = json!(60)
    });
    assert_eq!(world.fields("a"), json!({"f:spec": {"f:maxReplicas": {}}}));
    world.change("edit", "", |object| object["metadata"]["managedFields"][0]["apiVersion"] = json!("autoscaling/v7"));
    assert_eq!(world.fields("a"), Value::Null, "a version that is not there is forgotten");
}

#[test]
fn what_cannot_be_applied_is_refused_as_upstream_does() {
    let mut world = deployment();
    let status = world
        .apply("a", false, json!({"metadata": {"name": "x", "namespace": "y"}, "spec": {"foo": 1}}))
        .expect_err("it fails");
    let text =
        "failed to create typed patch object (y/x; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema";
    assert_eq!((status.code, status.message.as_str()), (500, text));
    let mut world = config_map();
    let status =
        world.apply("a", false, json!({"metadata": {"name": "x", "managedFields": []}})).expect_err("it fails");
    assert_eq!((status.code, status.message.as_str()), (400, "metadata.managedFields must be nil"));
    let status = world.apply("a", false, data(json!({"x": 1}))).expect_err("it fails");
    assert!(
        status
            .message
            .starts_with("failed to create typed patch object (/x; /v1, Kind=ConfigMap): .data.x: expected string")
    );
}
