//! WATCH: a stream that pulls changes from the ring.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use coracle_api::Kind;
use coracle_api::field::{FieldError, Path};
use coracle_api::protobuf;
use coracle_api::status::Status;
use coracle_metrics::{Counter, Histogram};
use futures::stream;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::list::Selection;
use super::present::present;
use crate::body::Body;
use crate::cache::{Change, Follower, Snapshot};
use crate::context::{Answer, Context};
use crate::conversion::Conversions;
use crate::metrics::METRICS;
use crate::negotiate::{Encoding, Output, Shape};
use crate::object::Object;
use crate::request::Query;
use crate::version::{in_version, message};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// Changes pulled from the ring at a time.
const BATCH: usize = 256;
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Frames below this many bytes are joined.
const SMALL: usize = 16 << 10;

/// Answers a watch.
pub(super) fn watch(cx: &Context<'_>) -> Answer {
    let selection = Selection::of(cx)?;
    if cx.output.encoding == Encoding::Yaml {
        return Err(Status::not_acceptable(&[JSON, "application/json;stream=watch", PROTOBUF]));
    }
    let cache = cx.cache()?.clone();
    let wanted = cx.query.revision()?;
    let initial = cx.query.get("sendInitialEvents").is_some().then(|| cx.query.flag("sendInitialEvents"));
    let bookmarks = cx.query.flag("allowWatchBookmarks");
    check_options(&cx.query)?;
    let seconds = cx.query.number("timeoutSeconds")?.filter(|seconds| *seconds != 0);
    // One that was to have ended before it began tells nothing.
    let over = seconds.is_some_and(i64::is_negative);
    let mut initial_events = None;
    let view = View {
        counted: Counted::of(&cx.target.kind),
        kind: cx.target.kind.clone(),
        output: cx.output,
        query: Query::parse(cx.parts.uri.query()),
    };
    let from = if initial.unwrap_or(wanted == 0) {
        let snapshot = cache.snapshot();
        if wanted > snapshot.revision {
            return Err(crate::cache::too_large(wanted, snapshot.revision));
        }
        snapshot.check(&selection.prefix, None)?;
        let revision = snapshot.revision;
        let bookmark = initial == Some(true) && bookmarks;
        initial_events = Some(Initial { snapshot, last: None, converted: VecDeque::new(), bookmark });
        revision
    } else {
        let newest = cache.revision();
        if wanted > newest {
            return Err(crate::cache::too_large(wanted, newest));
        }
        if wanted == 0 { newest } else { wanted }
    };
    // A revision that is gone is told as the first event, as upstream does.
    let state = Watcher {
        conversions: view.kind.webhook.is_some().then(|| cx.conversions().clone()),
        follower: cache.follow(selection.part(), from),
        selection,
        view,
        initial: initial_events.filter(|_| !over),
        pulled: VecDeque::new(),
        pieces: VecDeque::new(),
        position: from,
        bookmarks,
        ends: from_now(lifetime(seconds)),
        bookmark_due: from_now(BOOKMARK_EVERY),
        over,
    };
    let content_type = if state.view.output.encoding == Encoding::Protobuf { PROTOBUF } else { JSON };
    let frames = stream::unfold(state, |mut watcher| async move { watcher.next().await.map(|frame| (frame, watcher)) });
    let mut response = Response::new(Body::stream(frames));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// How long a watch lasts: as long as asked for, at most a year; otherwise 30 to 60 minutes, so that not all clients
/// of a restarted server come back in the same second.
fn lifetime(seconds: Option<i64>) -> Duration {
    match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
        Some(seconds) => Duration::from_secs(seconds).min(LONGEST),
        None => Duration::from_secs(1800 + u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * 7),
    }
}

fn from_now(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or(now)
}

/// Checks the options of a watch against each other.
fn check_options(query: &Query) -> Result<(), Status> {
    let path = Path::new("resourceVersionMatch");
    let (matching, initial) = (query.get("resourceVersionMatch"), query.get("sendInitialEvents").is_some());
    let mut errors = Vec::new();
    if initial && matching != Some("NotOlderThan") {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(&path, why));
    }
    if let Some(matching) = matching {
        if !initial {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(&path, why));
        }
        if matching != "NotOlderThan" {
            errors.push(FieldError::not_supported(&path, matching, &["NotOlderThan"]));
        }
        if query.get("continue").is_some() {
            errors.push(FieldError::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
        }
    }
    super::list::invalid_options(errors)
}

/// The objects that are there when a watch begins, shown one by one as the connection takes them.
struct Initial {
    snapshot: Snapshot,
    /// The one shown, or given to a webhook, last.
    last: Option<Object>,
    /// Those that a webhook converted, and that are not shown yet.
    converted: VecDeque<Object>,
    /// Whether a bookmark says that all were shown.
    bookmark: bool,
}

impl Initial {
    fn next(&mut self, selection: &Selection) -> Option<Object> {
        let mut objects = self.snapshot.range(&selection.prefix, self.last.as_ref().map(Object::key));
        let object = objects.find(|object| selection.matches(object)).cloned()?;
        self.last = Some(object.clone());
        Some(object)
    }

    /// The next objects that a webhook converts; false if there are none.
    async fn convert(&mut self, conversions: &Conversions, view: &View, selection: &Selection) -> Result<bool, Status> {
        let objects = self.snapshot.range(&selection.prefix, self.last.as_ref().map(Object::key));
        let objects = objects.filter(|object| selection.may_match(object));
        let objects: Vec<Object> = objects.take(BATCH).cloned().collect();
        let Some(last) = objects.last() else { return Ok(false) };
        self.last = Some(last.clone());
        conversions.objects(&view.kind, &objects).await?;
        self.converted.extend(objects.iter().filter_map(|object| object.version(&view.kind)));
        Ok(true)
    }
}

/// A watch holds a snapshot while it begins, afterwards changes of the ring of its resource (at most [`BATCH`], and few
/// large ones), and one frame at a time: what a client does not take is not made.
struct Watcher {
    /// Asks the webhook that converts what is shown, if there is one.
    conversions: Option<Arc<Conversions>>,
    follower: Follower,
    selection: Selection,
    view: View,
    initial: Option<Initial>,
    /// Changes that were taken from the ring and not shown yet.
    pulled: VecDeque<Arc<Change>>,
    /// What is left of a large frame.
    pieces: VecDeque<Bytes>,
    /// The revision up to which the client knows everything.
    position: u64,
    bookmarks: bool,
    ends: Instant,
    bookmark_due: Instant,
    over: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.gather() {
                return Some(frame);
            }
            if self.over {
                return None;
            }
            match self.convert_initial().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(status) => {
                    self.over = true;
                    return Some(self.view.error(&status));
                }
            }
            let global = self.follower.cache().revision();
            match self.follower.changes(self.position, BATCH) {
                Ok(changes) => {
                    match changes.last() {
                        Some(last) => self.position = last.revision,
                        None => self.position = self.position.max(global),
                    }
                    if let Err(status) = self.convert(&changes).await {
                        self.over = true;
                        return Some(self.view.error(&status));
                    }
                    self.pulled = changes.into();
                    if !self.pulled.is_empty() {
                        continue;
                    }
                }
                Err(status) => {
                    self.over = true;
                    return Some(self.view.error(&status));
                }
            }
            if self.follower.cache().has_ended() {
                return None;
            }
            // Everything up to the position has been sent.
            let now = Instant::now();
            if self.ends <= now {
                self.over = true;
                return self.bookmarks.then(|| self.view.bookmark(self.position, false));
            }
            if self.bookmarks && self.bookmark_due <= now {
                self.bookmark_due = from_now(BOOKMARK_EVERY);
                return Some(self.view.bookmark(self.position, false));
            }
            // Who follows a part sleeps through other changes: before a bookmark it looks how far everything is.
            tokio::select! {
                more = self.follower.changed() => if !more { return None },
                () = sleep_until(self.ends) => {}
                () = sleep_until(self.bookmark_due), if self.bookmarks => {}
            }
        }
    }

    /// Lets a webhook convert what is shown next of the objects that are there when the watch begins; whether there is more
    /// to show.
    async fn convert_initial(&mut self) -> Result<bool, Status> {
        let (Some(conversions), Some(initial)) = (&self.conversions, &mut self.initial) else { return Ok(false) };
        if !initial.convert(conversions, &self.view, &self.selection).await? {
            let Some(Initial { snapshot, bookmark: true, .. }) = self.initial.take() else { return Ok(false) };
            let frame = self.view.bookmark(snapshot.revision, true);
            self.pieces.push_back(frame);
        }
        Ok(true)
    }

    /// Lets a webhook convert the objects of changes.
    async fn convert(&self, changes: &[Arc<Change>]) -> Result<(), Status> {
        let Some(conversions) = &self.conversions else { return Ok(()) };
        let covered = changes.iter().filter(|change| self.selection.covers(change.key()));
        let objects = covered.flat_map(|change| change.now.iter().chain(&change.before));
        let objects: Vec<Object> = objects.filter(|object| self.selection.may_match(object)).cloned().collect();
        conversions.objects(&self.view.kind, &objects).await
    }

    /// The next bytes that wait: small frames joined, so that a burst takes few writes; the body of a large one as
    /// everybody shares it.
    fn gather(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop_front() {
            return Some(piece);
        }
        let mut joined = BytesMut::new();
        while joined.len() < SMALL
            && let Some(frame) = self.waiting()
        {
            joined.extend_from_slice(&frame.head);
            if frame.body.len() >= SMALL {
                self.pieces = frame.body.pieces();
                self.pieces.push_back(Bytes::from_static(frame.tail));
                self.pieces.retain(|piece| !piece.is_empty());
                break;
            }
            frame.body.write(&mut joined);
            joined.extend_from_slice(frame.tail);
        }
        Some(joined.freeze()).filter(|joined| !joined.is_empty())
    }

    /// The next event that needs no waiting.
    fn waiting(&mut self) -> Option<Frame> {
        if self.conversions.is_some()
            && let Some(initial) = &mut self.initial
        {
            while let Some(object) = initial.converted.pop_front() {
                if self.selection.matches(&object) {
                    return Some(self.view.frame("ADDED", &object));
                }
            }
            return None;
        }
        if let Some(mut initial) = self.initial.take() {
            if let Some(object) = initial.next(&self.selection) {
                self.initial = Some(initial);
                return Some(self.view.frame("ADDED", &object));
            }
            if initial.bookmark {
                return Some(Frame::whole(self.view.bookmark(initial.snapshot.revision, true)));
            }
        }
        while let Some(change) = self.pulled.pop_front() {
            if let Some(frame) = self.frame(&change) {
                return Some(frame);
            }
        }
        None
    }

    /// An object as the watcher selects and shows it.
    fn shown<'a>(&self, object: &'a Option<Object>) -> Option<Cow<'a, Object>> {
        match (&self.conversions, object) {
            (_, None) => None,
            (None, Some(object)) => Some(Cow::Borrowed(object)),
            (Some(_), Some(object)) => object.version(&self.view.kind).map(Cow::Owned),
        }
    }

    /// What the client sees of a change: an object that no longer matches is gone for it.
    fn frame(&self, change: &Change) -> Option<Frame> {
        if !self.selection.covers(change.key()) {
            return None;
        }
        let (now, before) = (self.shown(&change.now), self.shown(&change.before));
        let now = now.as_deref().filter(|object| self.selection.matches(object));
        let before = before.as_deref().filter(|object| self.selection.matches(object));
        match (now, before) {
            (Some(now), None) => Some(self.view.frame("ADDED", now)),
            (Some(now), Some(_)) => Some(self.view.frame("MODIFIED", now)),
            (None, Some(before)) => {
                let last = match &change.gone {
                    Some(gone) if self.conversions.is_none() => gone.clone(),
                    // It lives on but left the selection, or a webhook converted it: its last matching state, at the new
                    // revision.
                    _ => before.at_revision(change.revision),
                };
                Some(self.view.frame("DELETED", &last))
            }
            (None, None) => None,
        }
    }
}

/// The bytes of one event.
struct Frame {
    head: Vec<u8>,
    body: Shown,
    tail: &'static [u8],
}

/// An object of an event.
enum Shown {
    /// As it is stored, and shared with the cache.
    Stored(Object),
    Made(Bytes),
}

impl Shown {
    fn len(&self) -> usize {
        match self {
            Shown::Stored(object) => object.len(),
            Shown::Made(bytes) => bytes.len(),
        }
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Shown::Stored(object) => object.pieces(|piece| out.extend_from_slice(piece)),
            Shown::Made(bytes) => out.extend_from_slice(bytes),
        }
    }

    /// Without copying it.
    fn pieces(self) -> VecDeque<Bytes> {
        match self {
            Shown::Stored(object) => object.shared_pieces().into(),
            Shown::Made(bytes) => [bytes].into(),
        }
    }
}

impl Frame {
    fn whole(bytes: Bytes) -> Frame {
        Frame { head: Vec::new(), body: Shown::Made(bytes), tail: b"" }
    }
}

/// How a client wants to see events.
struct View {
    kind: Arc<Kind>,
    output: Output,
    query: Query,
    counted: Counted,
}

/// What is counted of the events of a kind.
struct Counted {
    events: Arc<Counter>,
    sizes: Arc<Histogram>,
}

impl Counted {
    fn of(kind: &Kind) -> Counted {
        let labels = [&*kind.group, &*kind.version, &*kind.plural];
        Counted { events: METRICS.watch_events.get(labels), sizes: METRICS.watch_event_sizes.get(labels) }
    }

    /// One of so many bytes is sent.
    fn sent(&self, size: usize) {
        self.events.inc();
        self.sizes.observe(size as f64);
    }
}

impl View {
    fn frame(&self, event: &str, object: &Object) -> Frame {
        if self.output.encoding == Encoding::Protobuf {
            let body = message(&self.kind, object);
            let head = protobuf::watch_head(event, self.kind.api_version(), &self.kind.kind, body.len());
            self.counted.sent(body.len());
            return Frame { head, body: Shown::Made(body), tail: b"" };
        }
        let is_made = self.kind.webhook.is_some();
        let as_stored = self.output.shape == Shape::Object && (self.kind.is_storage_version() || is_made);
        let made = match as_stored {
            true => None,
            false => present(&self.kind, self.output, &self.query, in_version(&self.kind, object.json())).ok(),
        };
        let body = made.map_or_else(|| Shown::Stored(object.clone()), Shown::Made);
        self.counted.sent(body.len());
        Frame { head: format!("{{\"type\":\"{event}\",\"object\":").into_bytes(), body, tail: b"}\n" }
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, api_version) = match self.output.shape {
            Shape::Partial => ("PartialObjectMetadata", self.output.meta_version),
            Shape::Table => ("Table", self.output.meta_version),
            Shape::Object => (&*self.kind.kind, self.kind.api_version()),
        };
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        self.whole("BOOKMARK", &object)
    }

    fn error(&self, status: &Status) -> Bytes {
        self.whole("ERROR", &status.to_value())
    }

    /// An event whose object is not a stored one.
    fn whole(&self, event: &str, object: &Value) -> Bytes {
        match self.output.encoding {
            Encoding::Protobuf => {
                protobuf::watch_frame(event, &protobuf::encode_object(object).unwrap_or_default()).into()
            }
            _ => format!("{}\n", json!({"type": event, "object": object})).into(),
        }
    }
}
