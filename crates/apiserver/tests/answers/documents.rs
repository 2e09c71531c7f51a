//! Documents that describe the API.

use http_body_util::BodyExt;

use crate::Api;

/// The bytes of an answer, as they lie in memory.
async fn bytes(api: &Api, path: &str, accept: &str) -> bytes::Bytes {
    let request = http::Request::get(path).header("accept", accept);
    let request = request.body(http_body_util::Full::new(bytes::Bytes::new())).expect("a request");
    let admin = coracle_apiserver::auth::User::new("admin", &["system:masters"]);
    let mut body = api.server.handle(request, Some(std::sync::Arc::new(admin))).await.into_body();
    body.frame().await.expect("a piece").expect("no error").into_data().expect("data")
}

#[tokio::test]
async fn a_document_is_made_once() {
    let api = Api::new().await;
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let paths =
        [("/apis", aggregated), ("/api", aggregated), ("/openapi/v3", "*/*"), ("/openapi/v3/apis/apps/v1", "*/*")];
    for (path, accept) in paths {
        let (first, second) = (bytes(&api, path, accept).await, bytes(&api, path, accept).await);
        assert_eq!(first.as_ptr(), second.as_ptr(), "{path}");
    }
}

#[tokio::test]
async fn nobody_waits_while_a_document_is_made_for_another() {
    let api = Api::new().await;
    // Nothing else in this process asks for it.
    let document = api.get("/openapi/v3/apis/node.k8s.io/v1");
    tokio::pin!(document);
    tokio::select! {
        biased;
        _ = &mut document => panic!("the document was made where requests are answered"),
        version = api.get("/version") => assert_eq!(version.status, 200),
    }
    assert_eq!(document.await.ok()["info"]["title"], "Kubernetes");
}

#[tokio::test]
async fn a_client_that_has_a_document_is_not_sent_it_again() {
    let api = Api::new().await;
    for path in ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1"] {
        let answer = api.get(path).await;
        let tag = answer.headers["etag"].to_str().expect("text").to_owned();
        let again = api.call(http::Method::GET, path, &[("if-none-match", &tag)], String::new()).await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
    }
    assert_eq!(api.get("/openapi/v3/apis/apps/v7").await.status, 404);
}

#[tokio::test]
async fn the_version_has_the_form_that_clients_read() {
    let version = Api::new().await.get("/version").await.ok();
    let commit = version["gitCommit"].as_str().expect("text");
    assert!(!commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{version}");
    assert!(version["gitVersion"].as_str().is_some_and(|text| text.starts_with('v')), "{version}");
}

#[tokio::test]
async fn what_is_described_without_a_name_is_there() {
    let api = Api::new().await;
    let document = api.get("/openapi/v2").await.ok();
    let paths = document["paths"].as_object().expect("there are paths");
    let mut seen = 0;
    for path in paths.keys().filter(|path| path.ends_with('/')) {
        assert_eq!(api.get(path).await.status, 200, "{path}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
    let watched = paths.keys().filter(|path| path.contains("/watch/")).count();
    assert!(watched >= 100, "{watched}");
}
