//! Custom resources that a webhook converts: what the tests of CustomResourceConversionWebhook look at.

use serde_json::{Value, json};

use crate::Api;
use crate::admission_webhooks::Hooks;
use crate::conversion::{converted, first, in_two_versions, second, store_the_second};
use crate::custom::establish;

const V1: &str = "/apis/example.com/v1/namespaces/default/widgets";
const V2: &str = "/apis/example.com/v2/namespaces/default/widgets";

async fn served() -> Api {
    let api = Api::new().await;
    let hooks = Hooks::serve(&api, |_, request| {
        let objects = request["objects"].as_array().expect("objects").iter();
        let objects: Vec<Value> = objects.map(|object| converted(object, &request["desiredAPIVersion"])).collect();
        json!({"result": {"status": "Success"}, "convertedObjects": objects})
    })
    .await;
    establish(&api, &in_two_versions(&hooks, "v1")).await;
    api
}

#[tokio::test]
async fn should_be_able_to_convert_from_cr_v1_to_cr_v2() {
    let api = served().await;
    api.post(V1, &first("name1", "localhost:8080")).await.ok();
    let v2 = api.get(&format!("{V2}/name1")).await.ok();
    assert_eq!((&v2["spec"]["host"], &v2["spec"]["port"]), (&json!("localhost"), &json!("8080")));
}

#[tokio::test]
async fn should_be_able_to_convert_a_non_homogeneous_list_of_crs() {
    let api = served().await;
    api.post(V1, &first("name1", "localhost:8080")).await.ok();
    store_the_second(&api).await;
    api.post(V2, &second("name2", "there")).await.ok();
    let of = async |path: &str, version: &str| -> Vec<Value> {
        let list = api.get(path).await.ok();
        let items = list["items"].as_array().expect("items").clone();
        assert!(items.iter().all(|item| item["apiVersion"] == version), "{list}");
        items
    };
    let v1 = of(V1, "example.com/v1").await;
    assert_eq!([&v1[0]["spec"]["hostPort"], &v1[1]["spec"]["hostPort"]], ["localhost:8080", "there:2"]);
    let v2 = of(V2, "example.com/v2").await;
    assert_eq!([&v2[0]["spec"]["host"], &v2[1]["spec"]["host"]], ["localhost", "there"]);
}
