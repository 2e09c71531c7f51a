//! Lists in pieces.

use serde_json::{Value, json};

use crate::{Answer, Api};

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";
const COUNT: usize = 60;

async fn with_templates() -> Api {
    let api = Api::new().await;
    for number in 0..COUNT {
        let spec = json!({"containers": [{"name": "test", "image": "test2"}]});
        let template = json!({"metadata": {"name": format!("template-{number:04}")}, "template": {"spec": spec}});
        api.post(TEMPLATES, &template).await.ok();
    }
    api
}

async fn page(api: &Api, limit: usize, token: &str) -> Answer {
    api.get(&format!("{TEMPLATES}?limit={limit}&continue={}", token.replace('=', "%3D"))).await
}

fn token(list: &Value) -> String {
    list["metadata"]["continue"].as_str().unwrap_or_default().to_owned()
}

/// Reads what is left from a token on, and checks each page; `found` are known already.
async fn the_rest(api: &Api, mut list: Value, mut found: usize, limit: usize) {
    let revision = list["metadata"]["resourceVersion"].clone();
    loop {
        assert_eq!(list["metadata"]["resourceVersion"], revision);
        let items = list["items"].as_array().expect("items");
        assert!(items.len() <= limit);
        for item in items {
            assert_eq!(item["metadata"]["name"], format!("template-{found:04}"));
            found += 1;
        }
        let token = token(&list);
        if token.is_empty() {
            assert_eq!(list["metadata"].get("remainingItemCount"), None);
            break;
        }
        assert_eq!(list["metadata"]["remainingItemCount"], COUNT - found);
        list = page(api, limit, &token).await.ok();
    }
    assert_eq!(found, COUNT);
}

#[tokio::test]
async fn should_return_chunks_of_results_for_list_calls() {
    let api = with_templates().await;
    for limit in [1, 6, 17, COUNT] {
        let first = page(&api, limit, "").await.ok();
        the_rest(&api, first, 0, limit).await;
    }
    let whole = page(&api, COUNT + 1, "").await.ok();
    assert_eq!(whole["items"].as_array().map(Vec::len), Some(COUNT));
}

#[tokio::test]
async fn should_support_continue_listing_from_the_last_key_if_the_original_version_has_been_compacted_away() {
    let api = with_templates().await;
    let first = page(&api, 6, "").await.ok();
    // So much is changed that nobody knows any more what was there.
    let large = "x".repeat(200_000);
    let path = format!("{TEMPLATES}/template-{:04}", COUNT - 1);
    for number in 0..100 {
        let patch = json!({"metadata": {"annotations": {"large": large, "number": number.to_string()}}});
        api.patch("merge-patch", &path, &patch).await.ok();
    }
    let expired = page(&api, 6, &token(&first)).await;
    assert_eq!((expired.status.as_u16(), &expired.json()["reason"]), (410, &json!("Expired")));
    let inconsistent = token(&expired.json());
    assert!(!inconsistent.is_empty(), "{}", expired.text);
    let second = page(&api, 6, &inconsistent).await.ok();
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["items"].as_array().map(Vec::len), Some(6));
    the_rest(&api, second, 6, 6).await;
}

/// The first page was, as the token says, so long ago that upstream's servers would have forgotten what was there.
#[tokio::test]
async fn a_list_goes_on_exactly_for_some_minutes_only() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let api = with_templates().await;
    let first = page(&api, 6, "").await.ok();
    let begun = |ago: u64| {
        let mut told: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token(&first)).unwrap()).unwrap();
        told["begun"] = (told["begun"].as_u64().unwrap() - ago).into();
        URL_SAFE_NO_PAD.encode(told.to_string())
    };
    let second = page(&api, 6, &begun(200)).await.ok();
    // Later pages are as old as the first.
    let third = token(&second);
    assert_ne!(third, token(&first));
    let expired = page(&api, 6, &begun(301)).await;
    assert_eq!(expired.status.as_u16(), 410, "{}", expired.text);
    let rest = page(&api, 6, &token(&expired.json())).await.ok();
    the_rest(&api, rest, 6, 6).await;
}
