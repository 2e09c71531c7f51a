//! Requests at once of users that are not the system's own.

use std::sync::Arc;

use bytes::Bytes;
use coracle_apiserver::auth::User;
use http::{Request, StatusCode};
use http_body_util::{Full, StreamBody};

use crate::Api;

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn review(api: &Api, user: &str) -> StatusCode {
    let request = Request::post(REVIEWS).body(Full::new(Bytes::from_static(b"{}"))).expect("a request");
    api.server.handle(request, Some(Arc::new(User::new(user, &[])))).await.status()
}

#[tokio::test]
async fn a_user_who_sends_every_body_slowly_keeps_no_other_out() {
    let api = Api::new().await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let server = api.server.clone();
        slow.spawn(async move {
            let endless =
                StreamBody::new(futures::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>());
            let request = Request::post(REVIEWS).body(endless).expect("a request");
            server.handle(request, Some(Arc::new(User::new("slow", &[])))).await.status()
        });
    }
    // Beyond its share it is refused, which says that the share is taken.
    assert_eq!(slow.join_next().await.expect("an answer").expect("an answer"), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(review(&api, "slow").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(review(&api, "other").await, StatusCode::CREATED);
    slow.abort_all();
    while slow.join_next().await.is_some() {}
    assert_eq!(review(&api, "slow").await, StatusCode::CREATED);
}
