//! The API as it is on the wire: paths, status codes and JSON.

use std::sync::OnceLock;
use std::time::Duration;

use coracle_client::Remote;
use futures::StreamExt;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use tokio::runtime::Runtime;

/// The media type of a patch.
pub type PatchType = &'static str;
/// A merge patch (RFC 7386).
pub const MERGE: PatchType = "application/merge-patch+json";
/// A strategic merge patch.
pub const STRATEGIC: PatchType = "application/strategic-merge-patch+json";

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, where it is JSON.
    pub body: Value,
    /// The body as it came.
    pub text: String,
    /// The media type.
    pub content_type: String,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Panics
    /// When it is a failure.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text);
        self.body
    }

    /// Checks that it is a failure with a code, reason and message.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn is_failure(&self, code: u16, reason: &str, message: &str) {
        let seen = (self.status, self.body["reason"].as_str(), self.body["message"].as_str());
        assert_eq!(seen, (code, Some(reason), Some(message)), "{}", self.text);
        assert_eq!(self.body["kind"], "Status");
        assert_eq!(self.body["status"], "Failure");
        assert_eq!(self.body["code"], code);
    }
}

/// A client of one cluster. Calls block.
pub struct Api {
    client: kube::Client,
    remote: Remote,
}

/// The runtime that clients use.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("the runtime starts"))
}

/// Makes definitions of custom resources, and waits until these are served.
pub fn define(api: &Api, definitions: &[Value]) {
    const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for definition in definitions {
        let name = api.post(DEFINITIONS, definition).ok()["metadata"]["name"].as_str().unwrap().to_owned();
        crate::eventually("its resources are served", || {
            let conditions = api.get(&format!("{DEFINITIONS}/{name}")).ok()["status"]["conditions"].take();
            let is_served = |condition: &Value| condition["type"] == "Established" && condition["status"] == "True";
            conditions
                .as_array()
                .into_iter()
                .flatten()
                .any(is_served)
                .then_some(())
                .ok_or_else(|| conditions.to_string())
        });
    }
}

impl Api {
    /// A client.
    ///
    /// # Panics
    /// When the credentials are malformed.
    pub fn new(remote: &Remote) -> Api {
        let _in_runtime = runtime().enter();
        let client = coracle_client::remote(remote).expect("the credentials are well-formed");
        Api { client, remote: remote.clone() }
    }

    /// The same client for `kube`'s typed calls.
    pub fn kube(&self) -> kube::Client {
        self.client.clone()
    }

    /// Waits for a future of the client's runtime.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        runtime().block_on(future)
    }

    /// One request, `None` when no answer came.
    pub fn try_send(&self, request: Request<Vec<u8>>) -> Option<Answer> {
        let call = async {
            let response = self.client.send(request.map(Body::from)).await.ok()?;
            let status = response.status().as_u16();
            let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
            let content_type = content_type.unwrap_or_default().to_owned();
            let bytes = response.into_body().collect().await.ok()?.to_bytes();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null), text, content_type })
        };
        runtime().block_on(async { tokio::time::timeout(Duration::from_secs(60), call).await.ok().flatten() })
    }

    /// One request.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn send(&self, request: Request<Vec<u8>>) -> Answer {
        let line = format!("{} {}", request.method(), request.uri());
        self.try_send(request).unwrap_or_else(|| panic!("{line} got no answer"))
    }

    #[track_caller]
    fn with_body(&self, method: Method, path: &str, content_type: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        self.send(request.body(body.to_string().into_bytes()).expect("the request is well-formed"))
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.get_as(path, "application/json")
    }

    /// GET with an Accept header.
    #[track_caller]
    pub fn get_as(&self, path: &str, accept: &str) -> Answer {
        let request = Request::get(path).header("accept", accept).body(Vec::new());
        self.send(request.expect("the request is well-formed"))
    }

    /// POST.
    #[track_caller]
    pub fn post(&self, path: &str, object: &Value) -> Answer {
        self.with_body(Method::POST, path, "application/json", object)
    }

    /// PUT.
    #[track_caller]
    pub fn put(&self, path: &str, object: &Value) -> Answer {
        self.with_body(Method::PUT, path, "application/json", object)
    }

    /// PATCH.
    #[track_caller]
    pub fn patch(&self, path: &str, kind: PatchType, patch: &Value) -> Answer {
        self.with_body(Method::PATCH, path, kind, patch)
    }

    /// DELETE with options.
    #[track_caller]
    pub fn delete(&self, path: &str, options: &Value) -> Answer {
        self.with_body(Method::DELETE, path, "application/json", options)
    }

    /// Starts a watch, on a connection of its own: one that is not read would hold up the others on its connection.
    /// The path has its query already.
    ///
    /// # Panics
    /// When the server refuses.
    #[track_caller]
    pub fn watch(&self, path: &str) -> Watch {
        let request = Request::get(path).body(Body::empty()).expect("the request is well-formed");
        let own = Api::new(&self.remote);
        let response = runtime().block_on(own.client.send(request)).expect("the watch is answered");
        assert_eq!(response.status(), 200, "the watch is refused");
        Watch { body: response.into_body(), rest: Vec::new() }
    }
}

/// A watch, event by event.
pub struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event, `None` when the watch ended or nothing came in time.
    pub fn next(&mut self, patience: Duration) -> Option<Value> {
        let read = async {
            loop {
                if let Some(at) = self.rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.rest.drain(..=at).collect();
                    return serde_json::from_slice(&line).ok();
                }
                let frame = std::pin::pin!(http_body_util::BodyStream::new(&mut self.body)).next().await?.ok()?;
                self.rest.extend(frame.into_data().unwrap_or_default());
            }
        };
        runtime().block_on(async { tokio::time::timeout(patience, read).await.ok().flatten() })
    }

    /// The type and name of the next event.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn expect(&mut self) -> (String, String) {
        let event = self.next(Duration::from_secs(20)).expect("an event comes");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}
