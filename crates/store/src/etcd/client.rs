//! Asks the cluster: a member that answers, and another one when it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;
use tonic::metadata::AsciiMetadataValue;

use super::config::{Config, Endpoint};
use super::connection::Connection;
use super::failure::{Failure, failure};
use super::messages::{Answer, AuthenticateRequest, AuthenticateResponse, ResponseHeader};
use crate::{Error, Result};

/// How long a member has to answer what may be asked again. Reads wait for a leader meanwhile.
const READ: Duration = Duration::from_secs(3);
/// How long it has to answer a write. Members give up after 7 s by default, and then say so.
const WRITE: Duration = Duration::from_secs(10);
/// How long members are tried that cannot do it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before they are tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// Tokens asked for at most for one request.
const TOKENS: usize = 2;

/// Whether a request does harm when it is made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It may be made again.
    Freely,
    /// It must be made once at most.
    Never,
}

/// The way to a cluster.
pub struct Client {
    endpoints: Vec<Endpoint>,
    tls: Arc<rustls::ClientConfig>,
    user: Option<(String, String)>,
    current: tokio::sync::Mutex<Current>,
    /// The cluster that answered first; 0 before.
    cluster: AtomicU64,
    /// Why nobody answers, if so.
    down: Mutex<Option<Error>>,
    /// Why this instance cannot go on.
    failed: watch::Sender<Option<Error>>,
}

/// The connection in use.
#[derive(Default)]
struct Current {
    connection: Option<Connection>,
    /// The endpoint to begin with when there is none.
    next: usize,
}

impl Client {
    /// A way to a cluster that was not tried yet.
    ///
    /// # Errors
    /// What is configured cannot be used.
    pub fn new(config: &Config) -> Result<Client> {
        Ok(Client {
            endpoints: config.members()?,
            tls: config.tls()?,
            user: config.user.clone(),
            current: tokio::sync::Mutex::default(),
            cluster: AtomicU64::new(0),
            down: Mutex::new(None),
            failed: watch::channel(None).0,
        })
    }

    /// Why nobody answers, if so.
    pub fn down(&self) -> Option<Error> {
        self.failed.borrow().clone().or_else(|| self.down.lock().clone())
    }

    /// Waits until this instance cannot go on; answers why.
    pub async fn failed(&self) -> Error {
        let mut failed = self.failed.subscribe();
        match failed.wait_for(Option::is_some).await.map(|error| error.clone()) {
            Ok(Some(error)) => error,
            _ => Error::Closed("the store was closed".into()),
        }
    }

    /// From now on nothing is asked any more.
    pub fn fail(&self, error: Error) {
        tracing::error!(%error, "the store cannot go on");
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert(error);
            first
        });
    }

    /// Asks for something. A `revision` is named in what is told of failures.
    ///
    /// # Errors
    /// As [`Failure`]: what surely was not made is told apart from what may have been. [`Failure::NoLease`] and
    /// [`Failure::LargeAnswer`] are the caller's to treat; of the others only [`Failure::Refused`] comes back.
    pub async fn ask<A, B>(&self, method: &'static str, message: A, repeat: Repeat, revision: u64) -> Result<B, Failure>
    where
        A: Message + Clone + Send + Sync + 'static,
        B: Answer,
    {
        let (start, mut tokens) = (Instant::now(), 0);
        let limit = if repeat == Repeat::Freely { READ } else { WRITE };
        loop {
            if let Some(error) = &*self.failed.borrow() {
                return Err(Failure::Refused(error.clone()));
            }
            let connection = self.connection(start).await.map_err(Failure::Refused)?;
            let why = match timeout(limit, connection.ask(method, message.clone())).await {
                Ok(Ok(answer)) => return self.check(answer).map_err(Failure::Refused),
                Ok(Err(status)) => failure(&status, revision),
                Err(_) => Failure::Lost(format!("no answer within {limit:?}")),
            };
            let why = match why {
                Failure::Token(why) => {
                    tokens += 1;
                    if self.user.is_none() || tokens > TOKENS {
                        return Err(Failure::Refused(Error::Refused(why)));
                    }
                    self.leave(&connection, false).await;
                    continue;
                }
                Failure::Lost(why) | Failure::InDoubt(why) if repeat == Repeat::Never => {
                    self.leave(&connection, true).await;
                    return Err(Failure::Refused(Error::Unknown(why)));
                }
                Failure::Elsewhere(why) | Failure::Lost(why) | Failure::InDoubt(why) => {
                    self.leave(&connection, true).await;
                    why
                }
                Failure::Busy(why) => why,
                other => return Err(other),
            };
            if start.elapsed() >= PATIENCE {
                return Err(Failure::Refused(self.note_down(why)));
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks a member of the caller's choice for answers without end. `number` counts on when it cannot.
    pub async fn stream<A, B>(
        &self,
        method: &'static str,
        message: A,
        number: &mut usize,
    ) -> Result<Streaming<B>, Failure>
    where
        A: Message + Send + Sync + 'static,
        B: Answer,
    {
        let at = *number % self.endpoints.len();
        let opened = async {
            let connection = self.open(at).await.map_err(Failure::Elsewhere)?;
            let asked = timeout(READ, connection.stream(method, message)).await;
            let silent = || Failure::Elsewhere(format!("no answer within {READ:?}"));
            asked.map_err(|_| silent())?.map_err(|status| failure(&status, 0))
        };
        let opened = opened.await;
        if opened.is_err() {
            *number = at + 1;
        }
        opened
    }

    /// Checks that an answer is from the same cluster as all before.
    ///
    /// # Errors
    /// It is not: revisions mean something else there.
    pub fn check<B: Answer>(&self, answer: B) -> Result<B> {
        let id = answer.header().map_or(0, |header: &ResponseHeader| header.cluster_id);
        let known = self.cluster.load(Ordering::Relaxed);
        if known != id && id != 0 {
            let first = self.cluster.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed);
            if let Err(known) = first.or_else(|known| if known == id { Ok(id) } else { Err(known) }) {
                let why = format!("it answered as cluster {id:x}, and before as cluster {known:x}");
                let error = Error::Closed(why);
                self.fail(error.clone());
                return Err(error);
            }
        }
        if self.down.lock().take().is_some() {
            tracing::info!("etcd answers again");
        }
        Ok(answer)
    }

    /// Notes that nobody answers, until someone does.
    pub fn note_down(&self, why: String) -> Error {
        let error = Error::Unavailable(why);
        let before = self.down.lock().replace(error.clone());
        if before.is_none() {
            tracing::warn!(%error, "etcd does not answer");
        }
        error
    }

    /// The connection in use, or a new one to the first member that answers.
    async fn connection(&self, since: Instant) -> Result<Connection> {
        loop {
            let mut current = self.current.lock().await;
            if let Some(connection) = current.connection.as_ref().filter(|connection| !connection.is_closed()) {
                return Ok(connection.clone());
            }
            current.connection = None;
            let mut why = String::new();
            for _ in 0..self.endpoints.len() {
                match self.open(current.next).await {
                    Ok(connection) => {
                        tracing::debug!(endpoint = %self.endpoints[current.next].url, "connected to etcd");
                        return Ok(current.connection.insert(connection).clone());
                    }
                    Err(error) => {
                        tracing::debug!("failed to connect to etcd: {error}");
                        current.next = (current.next + 1) % self.endpoints.len();
                        why = error;
                    }
                }
            }
            drop(current);
            if since.elapsed() >= PATIENCE {
                return Err(self.note_down(why));
            }
            sleep(PAUSE).await;
        }
    }

    /// Uses a connection no more, nor its member if it is `bad`.
    async fn leave(&self, connection: &Connection, bad: bool) {
        let mut current = self.current.lock().await;
        if current.connection.as_ref().is_some_and(|used| used.is_same(connection)) {
            current.connection = None;
            current.next = (connection.endpoint + usize::from(bad)) % self.endpoints.len();
        }
    }

    async fn open(&self, number: usize) -> Result<Connection, String> {
        let mut connection = Connection::open(number, &self.endpoints[number], &self.tls).await?;
        if let Some((name, password)) = self.user.clone() {
            let request = AuthenticateRequest { name, password };
            let asked = connection.ask("/etcdserverpb.Auth/Authenticate", request);
            let answer: AuthenticateResponse = match timeout(READ, asked).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(status)) if status.message().contains("authentication is not enabled") => return Ok(connection),
                Ok(Err(status)) => return Err(format!("the user of etcd is not known there: {}", status.message())),
                Err(_) => return Err(format!("no answer within {READ:?}")),
            };
            let token = AsciiMetadataValue::try_from(answer.token);
            connection.token = Some(token.map_err(|_| "etcd's token cannot be sent back".to_owned())?);
        }
        Ok(connection)
    }
}
