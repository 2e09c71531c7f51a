//! One list and one watch of a resource, kept up for ever: what informers and other followers have in common.

use std::time::{Duration, Instant};

use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Client;
use kube::api::{ListParams, Request, WatchParams};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Backoff;
use crate::patch::{is_gone, is_not_found};

const PAGE_SIZE: u32 = 500;

/// What is followed.
#[derive(Clone)]
pub struct Source {
    /// Who asks.
    pub client: Client,
    /// The path of the collection, as [`kube::Api::resource_url`] has it.
    pub url: String,
    /// Selects by labels.
    pub labels: Option<String>,
    /// Selects by fields.
    pub fields: Option<String>,
    /// Whether the server is asked for the metadata of objects only.
    pub metadata_only: bool,
}

/// An object as a follower wants to have it.
pub trait Followed: Sized + Send {
    /// Reads an object from its JSON.
    ///
    /// # Errors
    /// The text is none: everything is listed and watched anew after a while.
    fn read(text: &str) -> serde_json::Result<Self>;

    /// Its resource version.
    fn version(&self) -> Option<&str>;
}

/// Who follows. Everything is told in the order in which it happened.
pub trait Follower: Send + Sync {
    /// What it is told of.
    type Object: Followed;

    /// These are all that there are now. The first thing that it is told, and told anew when the server forgot what happened.
    fn replace(&self, objects: Vec<Self::Object>);

    /// An object is new, or changed.
    fn put(&self, object: Self::Object);

    /// An object is gone, and was this before.
    fn remove(&self, object: Self::Object);
}

/// A [`Follower`] whatever it is told of: all kinds are followed by one program, and only what reads them is made for each.
pub(crate) trait Feed: Send + Sync {
    /// A list begins.
    fn list(&self) -> Box<dyn List + Send + '_>;

    /// Takes in an event of a watch; `version` becomes that from which to go on.
    fn change(&self, kind: &str, object: &str, version: &mut String) -> serde_json::Result<()>;
}

/// A list on its way, which is told of when it is whole.
pub(crate) trait List {
    /// One object of it.
    fn add(&mut self, object: &str) -> serde_json::Result<()>;

    /// It begins anew.
    fn clear(&mut self);

    /// It is whole.
    fn end(self: Box<Self>);
}

impl<F: Follower> Feed for F {
    fn list(&self) -> Box<dyn List + Send + '_> {
        Box::new(Listed { follower: self, objects: Vec::new() })
    }

    fn change(&self, kind: &str, object: &str, version: &mut String) -> serde_json::Result<()> {
        let object = F::Object::read(object)?;
        if let Some(new) = object.version() {
            new.clone_into(version);
        }
        match kind {
            "DELETED" => self.remove(object),
            _ => self.put(object),
        }
        Ok(())
    }
}

struct Listed<'a, F: Follower> {
    follower: &'a F,
    objects: Vec<F::Object>,
}

impl<F: Follower> List for Listed<'_, F> {
    fn add(&mut self, object: &str) -> serde_json::Result<()> {
        self.objects.push(F::Object::read(object)?);
        Ok(())
    }

    fn clear(&mut self) {
        self.objects.clear();
    }

    fn end(self: Box<Self>) {
        self.follower.replace(self.objects);
    }
}

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    metadata: ListMeta,
    items: Option<Vec<Box<RawValue>>>,
}

/// One line of a watch.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// The object of a bookmark: nothing but its version is sure.
#[derive(Deserialize)]
struct Bookmark {
    metadata: ListMeta,
}

/// Lists and watches for ever. After a break the watch resumes where it ended; when the server forgot that revision,
/// everything is listed anew. Nothing is repeated on a timer.
pub fn follow<F: Follower>(source: &Source, follower: &F) -> impl Future<Output = ()> + Send {
    keep_fed(source, follower)
}

/// As [`follow`].
pub(crate) async fn keep_fed(source: &Source, feed: &dyn Feed) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(15));
    let mut told = false;
    loop {
        match list(source, feed).await {
            Ok(version) => {
                told = false;
                backoff.reset();
                watch(source, feed, version, &mut backoff).await;
            }
            // Whoever starts parts without their rights would wait for ever and not know for what.
            Err(kube::Error::Api(status)) if status.code == 403 && !told => {
                told = true;
                tracing::warn!(url = source.url, "it may not be listed, trying again: {}", status.message);
                backoff.sleep().await;
            }
            Err(error) => {
                tracing::debug!(url = source.url, %error, "list failed, trying again");
                backoff.sleep().await;
            }
        }
    }
}

/// Tells of all that there are; the revision of the list.
async fn list(source: &Source, feed: &dyn Feed) -> kube::Result<String> {
    let mut params = ListParams {
        label_selector: source.labels.clone(),
        field_selector: source.fields.clone(),
        limit: Some(PAGE_SIZE),
        ..ListParams::default()
    };
    let mut list = feed.list();
    loop {
        let request = Request::new(&source.url);
        let request = if source.metadata_only { request.list_metadata(&params) } else { request.list(&params) };
        let page: Page = match source.client.request(request.map_err(kube::Error::BuildRequest)?).await {
            // The revision of the first page was compacted: only one big page is sure to be consistent.
            Err(error) if is_gone(&error) && params.continue_token.is_some() => {
                list.clear();
                params.continue_token = None;
                params.limit = None;
                continue;
            }
            other => other?,
        };
        for item in page.items.into_iter().flatten() {
            list.add(item.get()).map_err(kube::Error::SerdeError)?;
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => {
                list.end();
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
    }
}

/// Watches from a revision, resuming after breaks; returns when only a new list can help.
async fn watch(source: &Source, feed: &dyn Feed, mut version: String, backoff: &mut Backoff) {
    let params = WatchParams {
        label_selector: source.labels.clone(),
        field_selector: source.fields.clone(),
        bookmarks: true,
        ..WatchParams::default()
    };
    loop {
        let started = Instant::now();
        let mut progress = false;
        let outcome = async {
            let request = Request::new(&source.url);
            let request = match source.metadata_only {
                true => request.watch_metadata(&params, &version),
                false => request.watch(&params, &version),
            };
            let request = request.map_err(kube::Error::BuildRequest)?;
            let mut lines = source.client.request_stream(request).await?.lines();
            while let Some(line) = lines.try_next().await.map_err(kube::Error::ReadEvents)? {
                take(feed, &line, &mut version)?;
                progress = true;
            }
            Ok(())
        }
        .await;
        match outcome {
            Err(error) if is_gone(&error) || is_not_found(&error) => {
                tracing::debug!(url = source.url, %error, "the watch cannot go on, listing anew");
                // Whoever is told at once that it is gone, again and again, does not list without a pause.
                if !progress {
                    backoff.sleep().await;
                }
                return;
            }
            // Breaks are daily business; an answer that is no list of events is not.
            Err(kube::Error::SerdeError(error)) if !error.is_eof() => {
                tracing::warn!(url = source.url, %error, "a watch's events cannot be read, resuming");
            }
            Err(error) => tracing::debug!(url = source.url, %error, "watch failed, resuming"),
            Ok(()) => {}
        }
        if progress || started.elapsed() > Duration::from_secs(5) {
            backoff.reset();
        }
        backoff.sleep().await;
    }
}

/// Takes in one line of a watch; `version` becomes that from which to go on.
fn take(feed: &dyn Feed, line: &str, version: &mut String) -> kube::Result<()> {
    let line: Line<'_> = read(line)?;
    let text = line.object.get();
    if line.kind == "ERROR" {
        return Err(kube::Error::Api(read(text)?));
    }
    if line.kind == "BOOKMARK" {
        let bookmark: Bookmark = read(text)?;
        bookmark.metadata.resource_version.into_iter().for_each(|new| *version = new);
        return Ok(());
    }
    feed.change(line.kind, text, version).map_err(kube::Error::SerdeError)
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> kube::Result<T> {
    serde_json::from_str(text).map_err(kube::Error::SerdeError)
}
