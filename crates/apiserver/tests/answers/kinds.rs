//! Kinds that come and go while the server runs.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::kind::Kind;
use coracle_api::schema::id;
use coracle_api::strategy::Plain;
use coracle_store::{Compare, Op, Txn};
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::json;

use super::{Api, User};

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn kind(group: &str, version: &str, names: (&str, &str, &str)) -> Kind {
    let prefix = format!("{group}/{}", names.1);
    Kind::new(group, version, names, id::CORE_V1_CONFIG_MAP, Plain).stored_at(&prefix)
}

fn widget(version: &str) -> Kind {
    kind("example.com", version, ("Widget", "widgets", "widget")).short(&["wd"]).category("all")
}

async fn add(api: &Api, kinds: impl IntoIterator<Item = Kind>) {
    api.server.add_kinds(kinds.into_iter().map(Arc::new).collect()).await.expect("they are read");
}

#[tokio::test]
async fn a_kind_that_is_added_is_served_until_it_is_removed() {
    let api = Api::new().await;
    let mut changed = api.server.kinds().subscribe();
    let object = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    assert_eq!(api.post(WIDGETS, &object).await.status, 404);

    add(&api, [widget("v1")]).await;
    changed.changed().await.expect("the server lives");
    let made = api.post(WIDGETS, &object).await.ok();
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!("Widget"), &json!("example.com/v1")));
    let path = format!("{WIDGETS}/a");
    assert_eq!(api.get(&path).await.ok(), made);
    api.post(WIDGETS, &object).await.refused(409, "widgets.example.com \"a\" already exists");
    let list = api.get("/apis/example.com/v1/widgets").await.ok();
    assert_eq!((&list["kind"], list["items"].as_array().map(Vec::len)), (&json!("WidgetList"), Some(1)));
    let table = api.get_as(WIDGETS, "application/json;as=Table;g=meta.k8s.io;v=v1").await.ok();
    assert_eq!(table["rows"][0]["cells"][0], "a");
    api.patch("merge-patch", &path, &json!({"data": {"k": "w"}})).await.ok();
    let mut changed =
        api.patch("json-patch", &path, &json!([{"op": "add", "path": "/data/j", "value": "x"}])).await.ok();
    assert_eq!(changed["data"], json!({"j": "x", "k": "w"}));
    changed["data"]["j"] = "y".into();
    api.put(&path, &changed).await.ok();
    api.put(&path, &changed).await.refused(
        409,
        "Operation cannot be fulfilled on widgets.example.com \"a\": the object has been modified; please apply your changes to the latest version and try again",
    );
    let seen = api.first_event(&format!("{WIDGETS}?watch=1")).await;
    assert_eq!((&seen["type"], &seen["object"]["data"]["j"]), (&json!("ADDED"), &json!("y")));
    api.delete(&path).await.ok();
    assert_eq!(api.get(&path).await.status, 404);

    api.server.remove_kind("example.com", "widgets");
    api.post(WIDGETS, &object).await.refused(404, "the server could not find the requested resource");
    assert_eq!(api.get("/apis/example.com/v1").await.status, 404);
}

#[tokio::test]
async fn discovery_tells_of_the_kinds_that_are_served_now() {
    const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let api = Api::new().await;
    let groups = async || api.get("/apis").await.text.contains("example.com");
    let aggregated = async || api.get_as("/apis", AGGREGATED).await.text.contains("\"resource\":\"widgets\"");
    let described = async || api.get("/openapi/v3").await.text.contains("apis/example.com/v1");
    assert_eq!([groups().await, aggregated().await, described().await], [false; 3]);

    add(&api, [widget("v1"), widget("v1beta1")]).await;
    assert_eq!([groups().await, aggregated().await, described().await], [true; 3]);
    let group = api.get("/apis/example.com").await.ok();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(group["versions"][1]["groupVersion"], "example.com/v1beta1");
    let resource = &api.get("/apis/example.com/v1").await.ok()["resources"][0];
    assert_eq!((&resource["name"], &resource["shortNames"]), (&json!("widgets"), &json!(["wd"])));
    let document = api.get("/openapi/v3/apis/example.com/v1").await.ok();
    assert!(document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"].is_object());
    assert!(api.get("/openapi/v2").await.text.contains("/apis/example.com/v1/widgets"));

    add(&api, [widget("v1")]).await;
    assert_eq!(api.get("/apis/example.com").await.ok()["versions"].as_array().map(Vec::len), Some(1));
    api.server.remove_kind("example.com", "widgets");
    assert_eq!([groups().await, aggregated().await, described().await], [false; 3]);
    assert_eq!(api.get("/openapi/v3/apis/example.com/v1").await.status, 404);
}

#[tokio::test]
async fn a_watch_ends_when_its_kind_is_removed() {
    let api = Api::new().await;
    add(&api, [widget("v1")]).await;
    let request = Request::get(format!("{WIDGETS}?watch=1")).body(Full::new(bytes::Bytes::new()));
    let user = Arc::new(User::new("admin", &["system:masters"]));
    let mut body = api.server.handle(request.expect("a request"), Some(user)).await.into_body();
    api.post(WIDGETS, &json!({"metadata": {"name": "a"}})).await.ok();
    let first = body.frame().await.expect("an event").expect("it is read").into_data().expect("data");
    assert!(first.starts_with(b"{\"type\":\"ADDED\""));
    api.server.remove_kind("example.com", "widgets");
    let end = tokio::time::timeout(Duration::from_secs(60), body.frame()).await.expect("it ends");
    assert!(end.is_none());
}

#[tokio::test]
async fn what_is_stored_while_a_kind_is_added_is_there_once() {
    const OBJECTS: usize = 400;
    let api = Api::new().await;
    let store = api.store.clone();
    let (half, reached) = tokio::sync::oneshot::channel();
    let writer = tokio::spawn(async move {
        let mut half = Some(half);
        for number in 0..OBJECTS {
            let object = format!(
                r#"{{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"w{number}","namespace":"default","resourceVersion":"1","uid":"u"}}}}"#
            );
            let key: Arc<str> = format!("/registry/example.com/widgets/default/w{number}").into();
            let compares = vec![Compare::ModRevision(key.clone(), 0)];
            let ops = vec![Op::Put { key, value: object.clone().into(), ttl: None }];
            store.txn(Txn { compares, ops }).await.expect("it is written");
            if number == OBJECTS / 2 {
                half.take().map(|half| half.send(()));
            }
        }
    });
    reached.await.expect("half is written");
    add(&api, [widget("v1")]).await;
    let early = api.get(WIDGETS).await.ok()["items"].as_array().map_or(0, Vec::len);
    assert!(early > OBJECTS / 2, "{early}");
    writer.await.expect("all is written");
    assert_eq!(api.get(WIDGETS).await.ok()["items"].as_array().map(Vec::len), Some(OBJECTS));

    api.server.remove_kind("example.com", "widgets");
    add(&api, [widget("v1")]).await;
    assert_eq!(api.get(WIDGETS).await.ok()["items"].as_array().map(Vec::len), Some(OBJECTS));
}

#[tokio::test]
async fn a_kind_of_another_group_has_nothing_of_a_built_in_one_but_its_name() {
    let api = Api::new().await;
    let events = kind("events.example.com", "v1", ("Event", "events", "event"));
    let autoscalers = ("HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler");
    let stored = Arc::new(kind("autoscaling.example.com", "v2", autoscalers));
    let served = kind("autoscaling.example.com", "v1", autoscalers).stored_as(stored.clone());
    add(&api, [events, Kind::clone(&stored), served]).await;

    let object = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    api.post("/apis/events.example.com/v1/namespaces/default/events", &object).await.ok();
    let kept = api.store.get("/registry/events.example.com/events/default/a", None).await.expect("it is read");
    assert_eq!(kept.expect("it is there").expires(), None);

    let path =
        |version: &str| format!("/apis/autoscaling.example.com/{version}/namespaces/default/horizontalpodautoscalers");
    let made = api.post(&path("v1"), &object).await.ok();
    assert_eq!((&made["apiVersion"], &made["data"]), (&json!("autoscaling.example.com/v1"), &object["data"]));
    let other = api.get(&format!("{}/a", path("v2"))).await.ok();
    assert_eq!((&other["apiVersion"], &other["data"]), (&json!("autoscaling.example.com/v2"), &object["data"]));
}
