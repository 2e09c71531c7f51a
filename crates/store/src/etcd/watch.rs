//! A feed from a cluster: one watch of all keys on one member after the other, each resumed where the last one ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;

use super::Inner;
use super::client::Repeat;
use super::failure::{Failure, failure};
use super::keys::{revision, signed};
use super::messages::{RangeRequest, RangeResponse, WatchCreateRequest, WatchRequest, WatchResponse};
use crate::feed::Subscriber;
use crate::{Error, Event, Result, Revision, Update};

/// How long a member has to begin.
const BEGIN: Duration = Duration::from_secs(3);
/// How long to wait between attempts, at first and at most.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long members are tried before a subscription is given up that was not begun.
const PATIENCE: Duration = Duration::from_secs(10);
/// Changes told at once, those of one revision together. In between others have their turn.
const PORTION: usize = 64;

/// How far a feed is, for those that look after it.
#[derive(Debug, Default)]
pub struct Place {
    /// The revision up to which it was told everything.
    told: AtomicU64,
    /// Told when the member at which it watches seems to be dead.
    move_on: Notify,
}

impl Place {
    pub fn told(&self) -> Revision {
        self.told.load(Ordering::Acquire)
    }

    /// Leaves the member.
    pub fn move_on(&self) {
        self.move_on.notify_one();
    }
}

/// Why a watch came to its end.
enum End {
    /// Another one can go on.
    Lost(String),
    /// None can.
    Over(Error),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        match failure {
            Failure::Refused(error) => End::Over(error),
            Failure::Elsewhere(why) | Failure::Busy(why) | Failure::Token(why) => End::Lost(why),
            Failure::Lost(why) | Failure::InDoubt(why) => End::Lost(why),
            Failure::NoLease | Failure::LargeAnswer => End::Lost("a change is too large".into()),
        }
    }
}

/// A feed of changes.
pub struct Watch {
    inner: Arc<Inner>,
    subscriber: Subscriber,
    place: Arc<Place>,
    /// The number of the endpoint to watch at.
    member: usize,
    /// Changes of the newest revision, of which more may come.
    partial: Vec<Event>,
}

impl Watch {
    /// Begins to watch behind a revision; what follows is told by [`Watch::run`].
    ///
    /// # Errors
    /// What follows the revision is gone, or nobody can be asked.
    pub async fn begin(
        inner: &Arc<Inner>,
        subscriber: Subscriber,
        after: Revision,
    ) -> Result<(Watch, Arc<Place>, Streaming<WatchResponse>)> {
        let place = Arc::new(Place { told: AtomicU64::new(after), move_on: Notify::new() });
        let inner = inner.clone();
        let mut watch = Watch { inner, subscriber, place: place.clone(), member: 0, partial: Vec::new() };
        let start = Instant::now();
        loop {
            match watch.open().await {
                Ok(stream) => return Ok((watch, place, stream)),
                Err(End::Over(error)) => return Err(error),
                Err(End::Lost(why)) if start.elapsed() >= PATIENCE => return Err(Error::Unavailable(why)),
                Err(End::Lost(_)) => sleep(PAUSE).await,
            }
        }
    }

    /// Tells what comes, at one member after the other.
    pub async fn run(mut self, mut stream: Streaming<WatchResponse>) {
        let mut pause = PAUSE;
        loop {
            let before = self.place.told();
            let mut end = self.follow(stream).await;
            if self.place.told() > before {
                pause = PAUSE;
            }
            stream = loop {
                match end {
                    End::Over(error) => return (self.subscriber.feed())(Update::Ended(error)),
                    End::Lost(why) => tracing::debug!("a watch of etcd is resumed after {}: {why}", self.place.told()),
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                match self.open().await {
                    Ok(stream) => break stream,
                    Err(next) => end = next,
                }
            };
        }
    }

    /// Watches behind what was told.
    async fn open(&mut self) -> Result<Streaming<WatchResponse>, End> {
        self.partial.clear();
        let after = self.place.told();
        let (key, range_end) = self.inner.keys.all();
        let start_revision = signed(after.saturating_add(1));
        let create = WatchCreateRequest { key, range_end, start_revision, progress_notify: true, fragment: true };
        let request = WatchRequest { create: Some(create) };
        let mut stream: Streaming<WatchResponse> =
            self.inner.client.stream("/etcdserverpb.Watch/Watch", request, &mut self.member).await?;
        let begun = match timeout(BEGIN, stream.message()).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None)) => return Err(self.lost("the watch ended before it began".into())),
            Ok(Err(status)) => return Err(self.failed(failure(&status, after))),
            Err(_) => return Err(self.lost(format!("no answer within {BEGIN:?}"))),
        };
        let begun = self.inner.client.check(begun).map_err(End::Over)?;
        if begun.canceled {
            return Err(self.canceled(&begun));
        }
        self.check_kept(after).await?;
        Ok(stream)
    }

    /// Checks that what comes behind a revision was there when the watch began. A watch that begins at the very revision up
    /// to which history was forgotten may miss a deletion on older versions, so the revision before must be readable too.
    async fn check_kept(&mut self, after: Revision) -> Result<(), End> {
        let read = RangeRequest { revision: signed(after.max(1)), keys_only: true, ..self.inner.mark() };
        let asked = self.inner.client.ask("/etcdserverpb.KV/Range", read, Repeat::Freely, after).await;
        asked.map(|_: RangeResponse| ()).map_err(|failure| match End::from(failure) {
            End::Over(error @ (Error::Compacted { .. } | Error::Future { .. } | Error::Closed(_))) => End::Over(error),
            End::Over(error) => End::Lost(error.to_string()),
            lost => lost,
        })
    }

    /// Tells what one watch says until it says no more.
    async fn follow(&mut self, mut stream: Streaming<WatchResponse>) -> End {
        let place = self.place.clone();
        loop {
            let answer = tokio::select! {
                answer = stream.message() => answer,
                () = place.move_on.notified() => return self.lost("it is silent".into()),
            };
            let answer = match answer {
                Ok(Some(answer)) => answer,
                Ok(None) => return self.lost("the watch ended".into()),
                Err(status) => return self.failed(failure(&status, place.told())),
            };
            let answer = match self.inner.client.check(answer) {
                Ok(answer) => answer,
                Err(error) => return End::Over(error),
            };
            if answer.canceled {
                return self.canceled(&answer);
            }
            self.take(&answer).await;
        }
    }

    async fn take(&mut self, answer: &WatchResponse) {
        let told = self.place.told();
        // A member that begins again may come with what is known already.
        let events = answer.events.iter().filter_map(|event| self.inner.keys.changed(event));
        let mut events: Vec<Event> =
            std::mem::take(&mut self.partial).into_iter().chain(events.filter(|event| event.revision > told)).collect();
        if answer.fragment {
            let newest = events.last().map_or(0, |event| event.revision);
            let whole = events.partition_point(|event| event.revision < newest);
            self.partial = events.split_off(whole);
        }
        let mut rest = &events[..];
        while !rest.is_empty() {
            let (portion, behind) = rest.split_at(portion(rest));
            self.subscriber.tell(portion);
            self.note(portion.last().map_or(0, |event| event.revision));
            rest = behind;
            tokio::task::yield_now().await;
        }
        let is_progress = answer.events.is_empty() && !answer.created && !answer.fragment && self.partial.is_empty();
        let now = answer.header.map_or(0, |header| revision(header.revision));
        if is_progress && now > told {
            (self.subscriber.feed())(Update::Progress(now));
            self.note(now);
        }
    }

    fn note(&self, told: Revision) {
        self.place.told.fetch_max(told, Ordering::AcqRel);
    }

    /// Another member is better from now on.
    fn lost(&mut self, why: String) -> End {
        self.member = self.member.wrapping_add(1);
        End::Lost(why)
    }

    fn failed(&mut self, failure: Failure) -> End {
        match End::from(failure) {
            End::Lost(why) => self.lost(why),
            over => over,
        }
    }

    fn canceled(&mut self, answer: &WatchResponse) -> End {
        let requested = self.place.told().saturating_add(1);
        match revision(answer.compact_revision) {
            0 if answer.cancel_reason.contains("permission denied") => {
                End::Over(Error::Refused(answer.cancel_reason.clone()))
            }
            0 => self.lost(answer.cancel_reason.clone()),
            oldest => End::Over(Error::Compacted { requested, oldest }),
        }
    }
}

/// How many changes to tell at once.
fn portion(events: &[Event]) -> usize {
    let Some(last) = events.get(PORTION.saturating_sub(1)) else { return events.len() };
    events.partition_point(|event| event.revision <= last.revision)
}

/// Something of a feed that panics is told: the process must not go on with caches that stand still.
pub struct Guard(pub Arc<Inner>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.client.fail(Error::Closed("a reader of changes failed".into()));
        }
    }
}
