//! What one request leaves in the log. Whoever works on it adds what it knows; the last one who holds it ends it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use coracle_api::meta::format_micro_time;
use coracle_api::status::Status;
use coracle_metrics::Counter;
use futures::StreamExt;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, Response};
use http_body_util::BodyStream;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;

use super::Auditor;
use super::body::{self, TooLong};
use super::event::{Event, ObjectReference};
use super::policy::{Decision, Level, Stage};
use crate::auth::User;
use crate::authz::{self, Attributes};
use crate::body::Body;
use crate::notes::Notes;

/// The longest name of a program and of a request that are written down, in bytes.
const MAX_AGENT: usize = 1024;
const MAX_ID: usize = 64;
/// Addresses of proxies that are written down.
const MAX_SOURCES: usize = 64;

/// A request as it came.
pub(crate) struct Asked<'a> {
    pub id: &'a str,
    pub uri: &'a str,
    pub headers: &'a HeaderMap,
    /// Where it came from; nowhere if it came from a part of this process.
    pub from: Option<IpAddr>,
    pub what: &'a Attributes<'a>,
    /// Whether its answer may go on for long.
    pub long_running: bool,
    pub received: Timestamp,
}

/// What one request leaves in the log.
pub(crate) struct Trail {
    auditor: Arc<Auditor>,
    decision: Decision,
    event: Mutex<Event>,
    notes: Arc<Notes>,
    long_running: bool,
    ended: AtomicBool,
}

impl Auditor {
    /// Begins the trail of a request, if one is wanted; `user` is nobody where that is not known.
    pub fn begin(
        self: &Arc<Auditor>,
        asked: &Asked<'_>,
        user: Option<&User>,
        notes: &Arc<Notes>,
    ) -> Option<Arc<Trail>> {
        let decision = self.policy.decide(user, asked.what);
        self.counts.levels.with([decision.level.as_str()], Counter::inc);
        if decision.level == Level::None {
            return None;
        }
        let agent = asked.headers.get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: decision.level,
            audit_id: shortened(asked.id, MAX_ID, ""),
            stage: Stage::RequestReceived,
            request_uri: asked.uri.to_owned(),
            verb: asked.what.verb.to_owned(),
            user: user.map_or_else(|| json!({}), User::info),
            impersonated_user: None,
            source_ips: sources(asked.headers, asked.from),
            user_agent: shortened(&agent.unwrap_or_default(), MAX_AGENT, "...TRUNCATED"),
            object_ref: asked.what.is_resource.then(|| reference(asked.what)),
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: format_micro_time(asked.received),
            stage_timestamp: String::new(),
            annotations: Default::default(),
        };
        Some(Arc::new(Trail {
            auditor: self.clone(),
            decision,
            event: Mutex::new(event),
            notes: notes.clone(),
            long_running: asked.long_running,
            ended: AtomicBool::new(false),
        }))
    }
}

impl Trail {
    /// Writes down that the request was received.
    ///
    /// # Errors
    /// It is to be refused, as that could not be written down.
    pub async fn received(&self) -> Result<(), Status> {
        if self.tell(Stage::RequestReceived).await {
            return Ok(());
        }
        self.auditor.reject();
        Err(Status::internal("failed to store audit event"))
    }

    /// Whether all of an answer is written down.
    pub fn wants_answer(&self) -> bool {
        self.decision.level == Level::RequestResponse && !self.long_running
    }

    /// Notes as whom the request is made.
    pub fn acts_as(&self, user: &User) {
        self.event.lock().impersonated_user = Some(user.info());
    }

    /// Notes what the authorizers said.
    pub fn decided(&self, decision: &authz::Decision) {
        let told = if decision.is_allowed() { "allow" } else { "forbid" };
        self.notes.annotate("authorization.k8s.io/decision", told);
        self.notes.annotate("authorization.k8s.io/reason", decision.reason().to_string());
    }

    /// Notes what was sent.
    pub fn sent(&self, headers: &HeaderMap, body: &Bytes) {
        let Some(value) = body::sent(headers, body) else { return };
        let mut event = self.event.lock();
        if let Some(reference) = &mut event.object_ref {
            reference.complete(&value);
        }
        if self.decision.level >= Level::Request {
            event.request_object = self.object(body::written(value, self.decision.omit_managed_fields));
        }
    }

    /// Notes that nobody knows who made the request, and what they tried to show it.
    pub fn unauthenticated(&self, headers: &HeaderMap, has_certificate: bool) {
        let scheme = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.split(' ').next());
        let scheme = scheme.map(str::to_lowercase).filter(|scheme| matches!(scheme.as_str(), "basic" | "bearer"));
        let tried: Vec<String> = scheme.into_iter().chain(has_certificate.then(|| "x509".into())).collect();
        let message = match tried.is_empty() {
            true => "Authentication failed, no credentials provided".to_owned(),
            false => format!("Authentication failed, attempted: {}", tried.join(", ")),
        };
        self.event.lock().response_status = Some(json!({"metadata": {}, "message": message}));
    }

    /// Writes down how the request ended; the trail of one whose answer goes on ends with that. A request of which nobody
    /// knows who made it ends before it was received.
    pub async fn answered(self: Arc<Trail>, response: Response<Body>, is_known: bool) -> Response<Body> {
        if !is_known {
            self.code(response.status().as_u16());
            self.end(Stage::ResponseStarted).await;
            return response;
        }
        let (parts, mut body) = response.into_parts();
        self.status(parts.status.as_u16(), parts.extensions.get::<Status>());
        if self.wants_answer() {
            let object = body::answered(&parts.headers, &mut body, self.decision.omit_managed_fields);
            self.event.lock().response_object = self.object(object);
        }
        if !self.long_running {
            self.end(Stage::ResponseComplete).await;
            return Response::from_parts(parts, body);
        }
        self.tell(Stage::ResponseStarted).await;
        let body = match body {
            // Whoever drops the stream drops what it holds.
            Body::Stream(_) => Body::Stream(Box::pin(BodyStream::new(body).map(move |frame| {
                let _held = &self;
                frame
            }))),
            body => body,
        };
        Response::from_parts(parts, body)
    }

    fn code(&self, code: u16) {
        let mut event = self.event.lock();
        event.response_status.get_or_insert_with(|| json!({"metadata": {}}))["code"] = code.into();
    }

    /// What of the answer is always written down.
    fn status(&self, code: u16, status: Option<&Status>) {
        if let Some(status) = status {
            let mut told = status.to_value();
            for field in ["kind", "apiVersion"] {
                told.as_object_mut().map(|told| told.remove(field));
            }
            told["metadata"] = json!({});
            self.event.lock().response_status = Some(told);
        }
        self.code(code);
    }

    fn object<T>(&self, object: Result<Option<T>, TooLong>) -> Option<T> {
        object.unwrap_or_else(|TooLong| {
            self.notes.annotate("audit.k8s.io/truncated", "true");
            None
        })
    }

    async fn end(&self, stage: Stage) {
        self.ended.store(true, Ordering::Release);
        self.tell(stage).await;
    }

    /// Writes an entry; whether the request may go on.
    async fn tell(&self, stage: Stage) -> bool {
        match self.line(stage) {
            Some(line) => self.auditor.write(line).await,
            None => true,
        }
    }

    fn line(&self, stage: Stage) -> Option<Vec<u8>> {
        if self.decision.omit_stages.contains(&stage) {
            return None;
        }
        let mut event = self.event.lock();
        event.stage = stage;
        event.stage_timestamp = format_micro_time(Timestamp::now());
        event.annotations = self.notes.annotations();
        Some(event.line())
    }
}

impl Drop for Trail {
    /// The end of an answer that went on, of a client that left, or of the code.
    fn drop(&mut self) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        let stage = match std::thread::panicking() {
            true => {
                let status = Status::internal("APIServer panicked");
                self.status(status.code, Some(&status));
                Stage::Panic
            }
            false => Stage::ResponseComplete,
        };
        {
            let closed =
                || json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200});
            self.event.lock().response_status.get_or_insert_with(closed);
        }
        if let Some(line) = self.line(stage) {
            self.auditor.write_later(&line);
        }
    }
}

fn reference(what: &Attributes<'_>) -> ObjectReference {
    ObjectReference {
        resource: what.resource.into(),
        namespace: what.namespace.into(),
        name: what.name.into(),
        api_group: what.group.into(),
        api_version: what.version.into(),
        subresource: what.subresource.into(),
        ..ObjectReference::default()
    }
}

/// At most so many bytes of a text, with a sign that there were more.
fn shortened(text: &str, max: usize, sign: &str) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max.saturating_sub(sign.len()));
    format!("{}{sign}", text.get(..end).unwrap_or_default())
}

/// Where a request came from, as those before this server say, who may say what they want, and then as this one sees.
fn sources(headers: &HeaderMap, from: Option<IpAddr>) -> Vec<String> {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let forwarded = of("x-forwarded-for").split(',').filter_map(|address| address.trim().parse().ok());
    let mut sources: Vec<IpAddr> = forwarded.take(MAX_SOURCES).collect();
    let real: Option<IpAddr> = of("x-real-ip").parse().ok();
    sources.extend(real.filter(|real| !sources.contains(real)));
    sources.extend(from.map(|from| from.to_canonical()).filter(|from| sources.last() != Some(from)));
    sources.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn sources_are_those_of_proxies_and_the_last_one() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1, nonsense,192.0.2.2"));
        headers.insert("x-real-ip", HeaderValue::from_static("192.0.2.1"));
        let from = |text: &str| Some(text.parse().unwrap());
        assert_eq!(sources(&headers, from("::ffff:192.0.2.2")), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(sources(&headers, from("192.0.2.9")), ["192.0.2.1", "192.0.2.2", "192.0.2.9"]);
        assert!(sources(&HeaderMap::new(), None).is_empty());
    }

    /// A trail that goes into a file, and the file.
    fn trail(dir: &std::path::Path) -> (Arc<Trail>, std::path::PathBuf) {
        let (policy, log) = (dir.join("policy"), dir.join("log"));
        std::fs::write(&policy, "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}").unwrap();
        let rotation =
            crate::audit::Rotation { max_size: 1 << 20, max_backups: 0, max_age: Default::default(), compress: false };
        let target = crate::audit::Target::File(log.clone(), rotation);
        let backend = crate::audit::Backend { target, mode: Default::default(), buffer: 10 };
        let options = crate::audit::Options { policy: Some(policy), backends: vec![backend] };
        let auditor = Auditor::open(&options, Default::default());
        let asked = Asked {
            id: "i",
            uri: "/",
            headers: &HeaderMap::new(),
            from: None,
            what: &Attributes::path("get", "/"),
            long_running: false,
            received: Timestamp::now(),
        };
        let auditor = auditor.unwrap().unwrap();
        (auditor.begin(&asked, None, &Arc::default()).unwrap(), log)
    }

    /// The stage and the code of the one entry that is written.
    fn written(log: &std::path::Path) -> (String, u64) {
        loop {
            let text = std::fs::read_to_string(log).unwrap();
            if let Some(line) = text.strip_suffix('\n') {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                let stage = event["stage"].as_str().unwrap().to_owned();
                return (stage, event["responseStatus"]["code"].as_u64().unwrap());
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[test]
    fn a_request_whose_code_fails_and_one_whose_client_leaves_are_written_down() {
        let dir = tempfile::tempdir().unwrap();
        let (left, log) = trail(dir.path());
        drop(left);
        assert_eq!(written(&log), ("ResponseComplete".to_owned(), 200));
        let dir = tempfile::tempdir().unwrap();
        let (failing, log) = trail(dir.path());
        let failed = std::thread::spawn(move || {
            let _held = failing;
            panic!("as the test says");
        });
        assert!(failed.join().is_err());
        assert_eq!(written(&log), ("Panic".to_owned(), 500));
    }

    #[test]
    fn a_text_is_cut_where_a_letter_ends() {
        assert_eq!(shortened("aä", 2, ""), "a");
        assert_eq!(shortened("abcdef", 5, ".."), "abc..");
        assert_eq!(shortened("ab", 2, ".."), "ab");
    }
}
