//! What one request must not do to the server, or to the requests of others.

use serde_json::{Map, Value, json};

use super::Api;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn no_object_is_nested_deeper_than_it_can_be_read() {
    let api = Api::new().await;
    api.post(MAPS, &json!({"metadata": {"name": "a"}})).await.ok();
    // Each turn puts what there is into something of a hundred levels.
    let nested = (0..100).fold(json!({}), |inner, _| json!({"x": inner}));
    let turn = [
        json!({"op": "add", "path": "/t", "value": nested}),
        json!({"op": "move", "from": "/a", "path": format!("/t{}", "/x".repeat(101))}),
        json!({"op": "move", "from": "/t", "path": "/a"}),
    ];
    let patch = std::iter::once(json!({"op": "add", "path": "/a", "value": {}}));
    let patch: Value = patch.chain(std::iter::repeat_n(turn, 3000).flatten()).collect();
    assert_eq!(api.patch("json-patch", &format!("{MAPS}/a"), &patch).await.status, 413);

    // What may be anything goes as deep as it can be read again with who owns it.
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let revision = |name: &str, levels: usize| {
        let data = (0..levels).fold(json!({"y": 1}), |inner, _| json!({"x": inner}));
        json!({"metadata": {"name": name}, "revision": 1, "data": data})
    };
    let made = api.post(revisions, &revision("a", 97)).await.ok();
    assert_eq!(api.get(&format!("{revisions}/a")).await.ok(), made);
    api.patch("merge-patch", &format!("{revisions}/a"), &json!({"metadata": {"labels": {"a": "b"}}})).await.ok();
    assert_eq!(api.post(revisions, &revision("b", 100)).await.status, 400);
    let deeper = json!([{"op": "add", "path": format!("/data{}/x", "/x".repeat(96)), "value": {"z": {"z": {}}}}]);
    assert_eq!(api.patch("json-patch", &format!("{revisions}/a"), &deeper).await.status, 422);
    assert_eq!(api.get(revisions).await.ok()["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_object_of_very_many_labels_is_read_like_any_other() {
    let api = Api::new().await;
    let labels: Map<String, Value> = (0..40_000).map(|number| (format!("l{number}"), "v".into())).collect();
    api.post(MAPS, &json!({"metadata": {"name": "a", "labels": labels}})).await.ok();
    let found = api.get(&format!("{MAPS}?labelSelector=l39999%3Dv")).await.ok();
    assert_eq!(found["items"][0]["metadata"]["labels"]["l0"], "v");
}

#[tokio::test]
async fn what_is_wrong_in_very_many_places_is_told_of_the_first() {
    let api = Api::new().await;
    let labels: Map<String, Value> = (0..200_000).map(|number| (format!("-{number}"), "".into())).collect();
    for metadata in [
        json!({"name": "a", "labels": labels}),
        json!({"name": "a", "finalizers": vec!["a"; 700_000]}),
        json!({"name": "a", "ownerReferences": vec![json!({}); 1_000_000]}),
    ] {
        let answer = api.post(MAPS, &json!({"metadata": metadata})).await;
        assert_eq!(answer.status, 422);
        assert!(answer.text.len() < 2 << 20, "{}", answer.text.len());
    }
}
