//! LIST: selection, pages, and the pieces of the answer.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::{Bytes, BytesMut};
use coracle_api::Kind;
use coracle_api::field::{FieldError, Path};
use coracle_api::protobuf;
use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::status::Status;
use coracle_api::table::{self, Include, ListMeta, Look};
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::body::Body;
use crate::cache::{By, Part, Snapshot};
use crate::context::{Answer, Context};
use crate::negotiate::{self, Encoding, Output, Shape};
use crate::object::Object;
use crate::request::Query;
use crate::version::{in_version, message};

/// Room for a piece of a list, and the bytes after which it is handed to the connection: the last item seldom needs
/// more than the room that is left then.
const ROOM: usize = 128 << 10;
const PIECE: usize = 112 << 10;

/// Which objects a list, watch or deletion of a collection is about.
pub(super) struct Selection {
    labels: Option<LabelSelector>,
    fields: Option<FieldSelector>,
    /// The start of their keys: a namespace, one name, or nothing.
    pub prefix: String,
    name: Option<String>,
    kind: Arc<Kind>,
}

impl Selection {
    pub fn of(cx: &Context<'_>) -> Result<Selection, Status> {
        // Only watches end by it, but it must make sense everywhere.
        cx.query.number("timeoutSeconds")?;
        let labels =
            cx.query.get("labelSelector").map(LabelSelector::parse).transpose().map_err(Status::bad_request)?;
        // Fields are numbered as the objects in the cache have them, whose definition may have changed just now.
        let kind = match cx.query.get("fieldSelector") {
            Some(_) if is_made(&cx.target.kind) => cx.target.kind.clone(),
            Some(_) => cx.cache()?.kind.clone(),
            None => cx.target.kind.storage().clone(),
        };
        let fields = match cx.query.get("fieldSelector") {
            Some(text) => {
                let selector = FieldSelector::parse(text).map_err(Status::bad_request)?;
                // Of a kind of several versions, both the stored one and that which is asked have the field.
                let has = |kind: &Kind, field: &str| kind.strategy.field_number(field).is_some();
                selector
                    .check(|field| has(&kind, field) && has(&cx.target.kind, field))
                    .map_err(Status::bad_request)?;
                Some(selector)
            }
            None => None,
        };
        let prefix = cx.target.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        Ok(Selection { labels, fields, prefix, name: cx.target.name.clone(), kind })
    }

    /// Whether a key lies in the namespace.
    pub fn covers(&self, key: &str) -> bool {
        key.starts_with(&self.prefix)
    }

    /// A part of the resource in which all lies that may match, if there is a small one.
    pub fn part(&self) -> Option<Part> {
        let exact = |field: &str| self.fields.as_ref().and_then(|selector| selector.exact(field));
        let name = self.name.as_deref().or(exact("metadata.name"));
        let namespace = self.prefix.strip_suffix('/').or(exact("metadata.namespace"));
        match (name, namespace) {
            (Some(name), _) if !self.kind.namespaced => Some(Part::of(By::Key, name)),
            (Some(name), Some(namespace)) => Some(Part::of(By::Key, &format!("{namespace}/{name}"))),
            _ => Part::of_node(&self.kind, |field| exact(field).map(Into::into))
                .or(namespace.filter(|_| self.kind.namespaced).map(|namespace| Part::of(By::Namespace, namespace))),
        }
    }

    /// Whether an object may match in whatever version: name and namespace are the same in all.
    pub fn may_match(&self, object: &Object) -> bool {
        let is = |field: &str, value: &str| {
            let wanted = self.fields.as_ref().and_then(|selector| selector.exact(field));
            wanted.is_none_or(|wanted| wanted == value)
        };
        self.name.as_deref().is_none_or(|name| object.name() == name)
            && is("metadata.name", object.name())
            && is("metadata.namespace", object.namespace().unwrap_or_default())
    }

    pub fn matches(&self, object: &Object) -> bool {
        self.name.as_deref().is_none_or(|name| object.name() == name)
            && self.labels.as_ref().is_none_or(|selector| selector.matches_with(|key| object.label(key)))
            && self
                .fields
                .as_ref()
                .is_none_or(|selector| selector.matches_with(|field| object.field(&self.kind, field)))
    }

    /// Those of the objects that match, in the version of the request where a webhook makes it.
    ///
    /// # Errors
    /// The webhook gives no answer that counts.
    pub async fn select(
        &self,
        cx: &Context<'_>,
        objects: impl Iterator<Item = &Object>,
    ) -> Result<Vec<Object>, Status> {
        let kind = &cx.target.kind;
        if kind.webhook.is_none() {
            return Ok(objects.filter(|object| self.matches(object)).cloned().collect());
        }
        let objects: Vec<Object> = objects.filter(|object| self.may_match(object)).cloned().collect();
        cx.conversions().objects(kind, &objects).await?;
        Ok(objects.iter().filter_map(|object| object.version(kind)).filter(|object| self.matches(object)).collect())
    }

    fn is_everything(&self) -> bool {
        self.labels.is_none() && self.fields.is_none() && self.name.is_none()
    }
}

/// Where a list goes on: the revision it is exact at, and the last key given. Without a revision it goes on with what is
/// there by then.
struct Continue {
    revision: Option<u64>,
    after: String,
    /// When the first page was cut, in seconds since 1970. Tokens of other servers do not say.
    begun: Option<u64>,
}

/// How long after its first page a list goes on exactly: as long as upstream's servers keep history at least.
const EXACT: u64 = 5 * 60;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Continue {
    fn parse(token: &str) -> Result<Continue, Status> {
        let bytes = BASE64.decode(token).ok();
        let value: Option<Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let parsed = value.and_then(|value| {
            let revision = Some(value["rv"].as_i64()?).filter(|revision| *revision != -1).map(u64::try_from);
            let (after, begun) = (value["start"].as_str()?.to_owned(), value["begun"].as_u64());
            Some(Continue { revision: revision.transpose().ok()?, after, begun })
        });
        parsed.ok_or_else(|| Status::bad_request("continue key is not valid: it was not made by this server"))
    }

    fn token(&self) -> String {
        let revision = self.revision.map_or(json!(-1), Value::from);
        let mut token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": self.after});
        if let Some(begun) = self.begun {
            token["begun"] = begun.into();
        }
        BASE64.encode(token.to_string())
    }
}

/// A page of a list.
struct Page {
    revision: u64,
    objects: Vec<Object>,
    next: Option<Continue>,
    remaining: Option<u64>,
}

/// Answers a list.
pub(super) fn list(cx: &Context<'_>) -> Answer {
    check_options(&cx.query)?;
    let selection = Selection::of(cx)?;
    if selection.is_everything() && is_as_stored(cx) {
        let snapshot = at_revision(&*cx.cache()?, cx.query.revision()?, cx.query.get("resourceVersionMatch"))?;
        snapshot.check(&selection.prefix, None)?;
        let meta = ListMeta { resource_version: snapshot.revision.to_string(), ..ListMeta::default() };
        let head = head(cx.target.kind.list_kind(), cx.target.kind.api_version(), &meta);
        return Ok(pieces(Pieces::new(head, Whole { snapshot, prefix: selection.prefix, last: None })));
    }
    let (cut, limit) = (Cut::of(cx, &selection)?, limit(cx)?);
    let page = cut.page(&selection, cut.objects(&selection).filter(|object| selection.matches(object)), limit);
    show(cx, &page)
}

/// The same of a kind that a webhook converts.
pub(super) async fn converted(cx: &Context<'_>) -> Answer {
    check_options(&cx.query)?;
    let selection = Selection::of(cx)?;
    let (cut, limit) = (Cut::of(cx, &selection)?, limit(cx)?);
    // Only if all match it is known beforehand which are on the page.
    let page = match selection.is_everything() {
        true => {
            let mut page = cut.page(&selection, cut.objects(&selection), limit);
            page.objects = selection.select(cx, page.objects.iter()).await?;
            page
        }
        false => cut.page(&selection, selection.select(cx, cut.objects(&selection)).await?.iter(), limit),
    };
    show(cx, &page)
}

/// Answers with a page.
fn show(cx: &Context<'_>, page: &Page) -> Answer {
    let meta = ListMeta {
        resource_version: page.revision.to_string(),
        continue_token: page.next.as_ref().map(Continue::token).unwrap_or_default(),
        remaining_item_count: page.remaining.filter(|_| page.next.is_some()).map(|remaining| remaining as i64),
    };
    let kind = &cx.target.kind;
    if cx.output.shape == Shape::Table {
        let rows: Vec<Bytes> = page.objects.iter().map(|object| in_version(kind, object.json())).collect();
        let bytes = table(kind, &cx.query, cx.output, rows.iter().map(AsRef::as_ref), &meta)?;
        return Ok(negotiate::document(StatusCode::OK, cx.output.encoding, bytes));
    }
    let (list_kind, api_version) = match cx.output.shape {
        Shape::Partial => ("PartialObjectMetadataList", cx.output.meta_version),
        _ => (kind.list_kind(), kind.api_version()),
    };
    if cx.output.encoding == Encoding::Protobuf {
        let messages = page.objects.iter().map(|object| message(kind, object));
        let body = protobuf::encode_list(api_version, list_kind, &meta.to_value(), messages);
        return Ok(negotiate::respond(StatusCode::OK, protobuf::MEDIA_TYPE, body));
    }
    let head = head(list_kind, api_version, &meta);
    let items: Vec<Bytes> = match cx.output.shape {
        Shape::Partial => page
            .objects
            .iter()
            .map(|object| partial(&object.json(), cx.output.meta_version))
            .collect::<Result<_, _>>()?,
        _ => page.objects.iter().map(|object| in_version(kind, object.json())).collect(),
    };
    if cx.output.encoding == Encoding::Yaml {
        let whole: BytesMut = Pieces::new(head, items.into_iter()).flatten().collect();
        return Ok(negotiate::document(StatusCode::OK, Encoding::Yaml, whole.freeze()));
    }
    Ok(pieces(Pieces::new(head, items.into_iter())))
}

/// Whether the answer is one page of the bytes that are stored.
fn is_as_stored(cx: &Context<'_>) -> bool {
    let kind = &cx.target.kind;
    let output = &cx.output;
    let whole = output.shape == Shape::Object && output.encoding == Encoding::Json && kind.is_storage_version();
    whole && cx.query.get("limit").is_none() && cx.query.get("continue").is_none()
}

fn head(list_kind: &str, api_version: &str, meta: &ListMeta) -> Vec<u8> {
    let meta = meta.to_value();
    format!(r#"{{"kind":"{list_kind}","apiVersion":"{api_version}","metadata":{meta},"items":["#).into_bytes()
}

fn pieces(pieces: Pieces<impl Items + Send + 'static>) -> Response<Body> {
    let length = pieces.length;
    let mut response = Response::new(Body::Pieces(Box::new(pieces), length));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn limit(cx: &Context<'_>) -> Result<usize, Status> {
    Ok(match cx.query.number("limit")? {
        Some(limit) if limit > 0 => limit as usize,
        _ => usize::MAX,
    })
}

/// What a page is cut from: a snapshot, behind a key.
struct Cut {
    snapshot: Snapshot,
    after: Option<String>,
    /// When the first page was, as a token of it says.
    begun: Option<u64>,
}

impl Cut {
    fn of(cx: &Context<'_>, selection: &Selection) -> Result<Cut, Status> {
        let wanted = cx.query.revision()?;
        // Pages of what was at a revision, unless another one will do as well.
        let is_paged = wanted > 0 && limit(cx)? < usize::MAX;
        let matching = cx.query.get("resourceVersionMatch").or(if is_paged { Some("Exact") } else { None });
        let cache = cx.cache()?;
        let (snapshot, after) = match cx.query.get("continue") {
            Some(token) => {
                if wanted > 0 {
                    return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
                }
                let position = Continue::parse(token)?;
                (continued(&cache, &position)?, Some(position))
            }
            None => (at_revision(&cache, wanted, matching)?, None),
        };
        // One that goes on with what is there by now begins anew.
        let begun = after.as_ref().filter(|position| position.revision.is_some()).map(|position| position.begun);
        let (begun, after) = (begun.unwrap_or_else(|| Some(now())), after.map(|position| position.after));
        snapshot.check(&selection.prefix, after.as_deref())?;
        Ok(Cut { snapshot, after, begun })
    }

    fn objects(&self, selection: &Selection) -> impl Iterator<Item = &Object> + use<'_> {
        self.snapshot.range(&selection.prefix, self.after.as_deref())
    }

    fn page<'a>(&self, selection: &Selection, mut found: impl Iterator<Item = &'a Object>, limit: usize) -> Page {
        let revision = self.snapshot.revision;
        let mut objects: Vec<Object> = Vec::new();
        objects.extend(found.by_ref().take(limit).cloned());
        let left = if objects.len() < limit { 0 } else { found.count() as u64 };
        let last = objects.last().filter(|_| left > 0);
        let next =
            last.map(|last| Continue { revision: Some(revision), after: last.key().to_owned(), begun: self.begun });
        let remaining = selection.is_everything().then_some(left);
        Page { revision, objects, next, remaining }
    }
}

/// Whether a webhook makes what is shown of a kind out of what is stored.
fn is_made(kind: &Kind) -> bool {
    kind.webhook.is_some() && !kind.is_storage_version()
}

/// What a page is cut from. A client that comes too late for an exact one is given a token for the others as they are now.
fn continued(cache: &crate::cache::Cache, position: &Continue) -> Result<Snapshot, Status> {
    let Some(revision) = position.revision else {
        return Ok(cache.snapshot());
    };
    let too_late = || Status {
        continue_token: Continue { revision: None, after: position.after.clone(), begun: None }.token(),
        ..Status::expired(TOO_LATE)
    };
    if position.begun.is_some_and(|begun| now().saturating_sub(begun) > EXACT) {
        return Err(too_late());
    }
    cache.snapshot_at(revision).map_err(|status| if status.code == 410 { too_late() } else { status })
}

const TOO_LATE: &str = "The provided continue parameter is too old to display a consistent list result. You can start a \
new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
deleted between the time the first chunk was returned and now may show up in the list.";

fn at_revision(cache: &crate::cache::Cache, wanted: u64, matching: Option<&str>) -> Result<Snapshot, Status> {
    match matching {
        Some("Exact") => cache.snapshot_at(wanted),
        _ => {
            let snapshot = cache.snapshot();
            if wanted > snapshot.revision {
                return Err(crate::cache::too_large(wanted, snapshot.revision));
            }
            Ok(snapshot)
        }
    }
}

/// Checks the options of a list against each other.
pub(super) fn check_options(query: &Query) -> Result<(), Status> {
    let path = Path::new("resourceVersionMatch");
    let mut errors = Vec::new();
    let forbidden = |why: &str| FieldError::forbidden(&path, why);
    if let Some(matching) = query.get("resourceVersionMatch") {
        let version = query.get("resourceVersion");
        if version.is_none() {
            errors.push(forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if query.get("continue").is_some() {
            errors.push(forbidden("resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.push(FieldError::not_supported(&path, matching, &["Exact", "NotOlderThan", ""]));
        }
        if matching == "Exact" && version == Some("0") {
            errors.push(forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
        }
    }
    if query.get("sendInitialEvents").is_some() {
        errors.push(FieldError::forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list"));
    }
    invalid_options(errors)
}

/// The answer to options of a list or watch that do not fit.
pub(super) fn invalid_options(errors: Vec<FieldError>) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", "ListOptions", "", errors)) }
}

/// The items of a list, given a few at a time.
trait Items {
    /// How many there are, and their bytes together.
    fn size(&self) -> (usize, usize);

    /// Gives items to `each` until it has enough; whether there are more.
    fn some(&mut self, each: &mut dyn FnMut(Item<'_>) -> bool) -> bool;
}

/// One item of a list.
enum Item<'a> {
    Stored(&'a Object),
    Made(&'a [u8]),
}

impl Items for std::vec::IntoIter<Bytes> {
    fn size(&self) -> (usize, usize) {
        (self.len(), self.as_slice().iter().map(Bytes::len).sum())
    }

    fn some(&mut self, each: &mut dyn FnMut(Item<'_>) -> bool) -> bool {
        self.find(|item| !each(Item::Made(item))).is_some()
    }
}

/// All objects of a snapshot below a prefix. To take hold of each of them would cost more than to copy them.
struct Whole {
    snapshot: Snapshot,
    prefix: String,
    /// The last one given.
    last: Option<Object>,
}

impl Items for Whole {
    fn size(&self) -> (usize, usize) {
        let objects = self.snapshot.range(&self.prefix, None);
        objects.fold((0, 0), |(count, bytes), object| (count + 1, bytes + object.len()))
    }

    fn some(&mut self, each: &mut dyn FnMut(Item<'_>) -> bool) -> bool {
        let mut objects = self.snapshot.range(&self.prefix, self.last.as_ref().map(Object::key));
        let last = objects.find(|object| !each(Item::Stored(object))).cloned();
        self.last = last;
        self.last.is_some()
    }
}

/// A list's bytes, made in pieces of about [`PIECE`] bytes as the connection takes them.
struct Pieces<I> {
    head: Vec<u8>,
    items: I,
    begun: bool,
    done: bool,
    length: u64,
}

const TAIL: &[u8] = b"]}\n";

impl<I: Items> Pieces<I> {
    fn new(head: Vec<u8>, items: I) -> Pieces<I> {
        let (count, bytes) = items.size();
        let length = head.len() + bytes + count.saturating_sub(1) + TAIL.len();
        Pieces { head, items, begun: false, done: false, length: length as u64 }
    }
}

impl<I: Items> Iterator for Pieces<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut piece = BytesMut::with_capacity(ROOM.min(self.length as usize));
        piece.extend_from_slice(&std::mem::take(&mut self.head));
        let begun = &mut self.begun;
        let more = self.items.some(&mut |item| {
            if std::mem::replace(begun, true) {
                piece.extend_from_slice(b",");
            }
            match item {
                Item::Stored(object) => object.pieces(|part| piece.extend_from_slice(part)),
                Item::Made(bytes) => piece.extend_from_slice(bytes),
            }
            piece.len() < PIECE
        });
        if !more {
            piece.extend_from_slice(TAIL);
            self.done = true;
        }
        Some(piece.freeze())
    }
}

/// An object of which only the metadata are wanted, as they are.
#[derive(Deserialize)]
struct Described<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// The metadata of an object as PartialObjectMetadata.
pub(super) fn partial(bytes: &[u8], api_version: &str) -> Result<Bytes, Status> {
    let Described { metadata } = serde_json::from_slice(bytes).map_err(Status::internal)?;
    let metadata = metadata.map_or("null", RawValue::get);
    Ok(format!(r#"{{"apiVersion":"{api_version}","kind":"PartialObjectMetadata","metadata":{metadata}}}"#).into())
}

/// Objects as a Table.
pub(super) fn table<'a>(
    kind: &Kind,
    query: &Query,
    output: Output,
    objects: impl Iterator<Item = &'a [u8]>,
    meta: &ListMeta,
) -> Result<Bytes, Status> {
    Ok(table::render(kind, objects, look(query, output)?, meta).into())
}

/// How a client wants its tables.
pub(super) fn look(query: &Query, output: Output) -> Result<Look<'static>, Status> {
    let wanted = query.get("includeObject").unwrap_or_default();
    let include = Include::parse(wanted)
        .ok_or_else(|| Status::bad_request(format!("unrecognized includeObject value: \"{wanted}\"")))?;
    Ok(Look { include, api_version: output.meta_version, now: Timestamp::now() })
}
