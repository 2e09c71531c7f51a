//! Bodies on their way: bounded, and never waited for without end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::going::Going;
use super::pool::{Key, Pool, Sender};
use super::room::Taken;

/// What became of the body of a request.
#[derive(Debug, Default)]
pub struct Fate {
    fault: AtomicU8,
    parts: AtomicU64,
}

impl Fate {
    const TOO_LARGE: u8 = 1;
    const SLOW: u8 = 2;

    /// The status that says what was wrong with it, if something was.
    pub fn status(&self) -> Option<http::StatusCode> {
        match self.fault.load(Ordering::Relaxed) {
            Self::TOO_LARGE => Some(http::StatusCode::PAYLOAD_TOO_LARGE),
            Self::SLOW => Some(http::StatusCode::REQUEST_TIMEOUT),
            _ => None,
        }
    }

    /// How many parts of it have come.
    pub fn parts(&self) -> u64 {
        self.parts.load(Ordering::Relaxed)
    }
}

/// How long one may wait for the next part.
struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Patience {
    fn new(limit: Duration) -> Patience {
        Patience { limit, timer: None, is_running: false }
    }

    fn came(&mut self) {
        self.is_running = false;
    }

    /// Whether the wait is over.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let limit = self.limit;
        if limit == Duration::MAX {
            return false;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.is_running {
            timer.as_mut().reset(Instant::now() + limit);
            self.is_running = true;
        }
        timer.as_mut().poll(cx).is_ready()
    }
}

/// The body of a request, as a backend gets it.
pub struct RequestBody {
    from: From,
    /// What came of it already, and the room that this has.
    held: Bytes,
    room: Option<Arc<Taken>>,
    /// Bytes that may still come.
    left: u64,
    patience: Patience,
    fate: Option<Arc<Fate>>,
}

enum From {
    Client(Incoming),
    Memory(Option<Bytes>),
}

impl RequestBody {
    /// None.
    pub fn empty() -> RequestBody {
        Self::of(Bytes::new())
    }

    /// One that is there already.
    pub fn of(bytes: Bytes) -> RequestBody {
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        RequestBody::from(From::Memory(bytes), u64::MAX, Duration::MAX, None)
    }

    /// What a client sends: so many bytes at most (0 is no bound), none later than so long after the one before.
    pub fn from_client(body: Incoming, max: u64, patience: Duration, fate: Arc<Fate>) -> RequestBody {
        let left = if max == 0 { u64::MAX } else { max };
        RequestBody::from(From::Client(body), left, patience, Some(fate))
    }

    fn from(from: From, left: u64, patience: Duration, fate: Option<Arc<Fate>>) -> RequestBody {
        RequestBody { from, held: Bytes::new(), room: None, left, patience: Patience::new(patience), fate }
    }

    /// The rest of one of which this came already. The room is given back once that is sent.
    pub fn behind(self, held: Bytes, room: Arc<Taken>) -> RequestBody {
        RequestBody { room: Some(room).filter(|_| !held.is_empty()), held, ..self }
    }

    /// A part of what came already, of its own, so that the rest takes no memory for longer.
    fn next_held(&mut self) -> Option<Bytes> {
        const PART: usize = 64 << 10;
        let length = self.held.len().min(PART);
        let part = Bytes::copy_from_slice(self.held.get(..length).filter(|part| !part.is_empty())?);
        self.held.advance(length);
        if self.held.is_empty() {
            (self.held, self.room) = (Bytes::new(), None);
        }
        Some(part)
    }

    fn fail(&self, how: u8, why: &'static str) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.fate.iter().for_each(|fate| fate.fault.store(how, Ordering::Relaxed));
        Poll::Ready(Some(Err(io::Error::other(why))))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Some(part) = this.next_held() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        let body = match &mut this.from {
            From::Memory(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            From::Client(body) => body,
        };
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending if this.patience.is_over(cx) => this.fail(Fate::SLOW, "the client is silent"),
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(io::Error::other(error)))),
            Poll::Ready(Some(Ok(frame))) => {
                this.patience.came();
                if let Some(fate) = &this.fate {
                    fate.parts.fetch_add(1, Ordering::Relaxed);
                }
                let length = frame.data_ref().map_or(0, Buf::remaining) as u64;
                match this.left.checked_sub(length) {
                    Some(left) => this.left = left,
                    None => return this.fail(Fate::TOO_LARGE, "the body is too large"),
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            From::Memory(bytes) => bytes.is_none(),
            From::Client(body) => self.held.is_empty() && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let body = match &self.from {
            From::Memory(bytes) => return SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            From::Client(body) => body.size_hint(),
        };
        let held = self.held.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(held));
        body.upper().and_then(|upper| upper.checked_add(held)).into_iter().for_each(|upper| hint.set_upper(upper));
        hint
    }
}

/// A connection that is in use until an answer has ended.
pub struct Used {
    /// The connections of this thread.
    pub pool: Arc<Pool>,
    /// The endpoint.
    pub key: Key,
    /// The connection.
    pub sender: Option<Sender>,
}

impl Used {
    fn give_back(&mut self) {
        if let Some(sender) = self.sender.take() {
            self.pool.put(self.key, sender);
        }
    }
}

/// The body of an answer, as the client gets it.
pub struct ResponseBody {
    from: Answer,
    going: Option<Going>,
}

enum Answer {
    Memory(Option<Bytes>),
    Backend { body: Incoming, used: Used, patience: Patience, ends: Option<Pin<Box<Sleep>>> },
}

impl ResponseBody {
    /// One that is there already.
    pub fn of(bytes: Bytes, going: Option<Going>) -> ResponseBody {
        ResponseBody { from: Answer::Memory(Some(bytes).filter(|bytes| !bytes.is_empty())), going }
    }

    /// What a backend sends, none of it later than so long after what came before, or than `ends`.
    pub fn from_backend(
        body: Incoming,
        mut used: Used,
        patience: Duration,
        ends: Option<Instant>,
        going: Going,
    ) -> ResponseBody {
        let has_ended = body.is_end_stream();
        if has_ended {
            used.give_back();
        }
        let ends = ends.filter(|_| !has_ended).map(|at| Box::pin(tokio::time::sleep_until(at)));
        let patience = Patience::new(patience);
        ResponseBody { from: Answer::Backend { body, used, patience, ends }, going: Some(going) }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let is_late = match &mut this.from {
            Answer::Backend { ends: Some(ends), .. } => ends.as_mut().poll(cx).is_ready(),
            _ => false,
        };
        let polled = match &mut this.from {
            Answer::Memory(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Answer::Backend { used, .. } if is_late => {
                used.sender = None;
                Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the request has had its time"))))
            }
            Answer::Backend { body, used, patience, .. } => match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending if patience.is_over(cx) => {
                    used.sender = None;
                    Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the backend is silent"))))
                }
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    patience.came();
                    if body.is_end_stream() {
                        used.give_back();
                    }
                    Poll::Ready(Some(Ok(frame)))
                }
                Poll::Ready(Some(Err(error))) => {
                    used.sender = None;
                    Poll::Ready(Some(Err(io::Error::other(error))))
                }
                Poll::Ready(None) => {
                    used.give_back();
                    Poll::Ready(None)
                }
            },
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(going)) = (&polled, &mut this.going) {
            going.sent(frame.data_ref().map_or(0, Buf::remaining) as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            Answer::Memory(bytes) => bytes.is_none(),
            Answer::Backend { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            Answer::Memory(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Answer::Backend { body, .. } => body.size_hint(),
        }
    }
}
