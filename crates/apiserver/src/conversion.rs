//! Objects in another version of their kind than the one that they are in. Most are converted at once (`version`); a webhook
//! is asked about custom resources whose definition names one.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-conversion>

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::awaited::Awaited;
use coracle_api::conversion_review::{Question, ReviewVersion};
use coracle_api::status::Status;
use coracle_api::{Kind, convert, meta};
use parking_lot::Mutex;
use serde_json::Value;
use smol_str::SmolStr;
use tokio::time::timeout;

use crate::object::Object;
use crate::storage::Storage;
use crate::version::{between, in_version};
use crate::webhook_client::Client;

/// How long a webhook has for a review.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects, and about how many bytes of them, that a review has at most.
const OBJECTS: usize = 500;
const BYTES: usize = 4 << 20;
/// The longest answer that is read, in bytes.
const LONGEST: usize = 32 << 20;
/// Objects that are converted at the same time, so that nobody asks for what another has asked for already.
const GATES: usize = 256;
/// How often a computation may find that it is missing conversions.
const ROUNDS: usize = 32;

/// Converts objects.
pub(crate) struct Conversions {
    storage: Arc<Storage>,
    /// By where their objects are stored. Those that belong to no definition any more go when another one comes.
    webhooks: Mutex<HashMap<SmolStr, Known>>,
}

/// A webhook, and what of a definition it was made of.
type Known = (Weak<Value>, Arc<Webhook>);

/// One webhook.
struct Webhook {
    /// Where it is, or why nobody can be asked there.
    client: Result<Client, String>,
    version: Option<ReviewVersion>,
    gates: [tokio::sync::Mutex<()>; GATES],
}

impl Webhook {
    fn of(webhook: &Value) -> Webhook {
        Webhook {
            client: Client::of(&webhook["clientConfig"], LONGEST),
            version: ReviewVersion::of(webhook),
            gates: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        }
    }

    fn gate(&self, object: &Object) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        (object.key(), object.revision()).hash(&mut hasher);
        let number = usize::try_from(hasher.finish() % GATES as u64).unwrap_or(0);
        &self.gates[number.min(GATES - 1)]
    }

    /// Asks about objects none of which is in the version that is wanted.
    async fn ask(&self, storage: &Storage, to: &Kind, objects: &[Value]) -> Result<Vec<Value>, Status> {
        let version = self.version.ok_or_else(|| Status::internal("no supported conversion review versions"))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let question = Question { version, uid: &uid, to: to.api_version(), objects };
        let failed = |why: String| Status::internal(question.failed(&why));
        let client = self.client.as_ref().map_err(|why| failed(why.clone()))?;
        let answer = client.post(storage, question.review().to_string(), TIMEOUT).await.map_err(failed)?;
        let mut converted = question.answer(answer).map_err(Status::internal)?;
        converted.iter_mut().for_each(|object| convert::conform(to, object));
        Ok(converted)
    }
}

impl Conversions {
    /// Of what is in a storage.
    pub fn new(storage: Arc<Storage>) -> Conversions {
        Conversions { storage, webhooks: Mutex::default() }
    }

    fn webhook(&self, kind: &Kind, config: &Arc<Value>) -> Arc<Webhook> {
        let mut webhooks = self.webhooks.lock();
        if let Some((known, webhook)) = webhooks.get(&kind.storage_prefix)
            && known.as_ptr() == Arc::as_ptr(config)
        {
            return webhook.clone();
        }
        webhooks.retain(|_, (config, _)| config.strong_count() > 0);
        let webhook = Arc::new(Webhook::of(config));
        webhooks.insert(kind.storage_prefix.clone(), (Arc::downgrade(config), webhook.clone()));
        webhook
    }

    /// An object of one version in another one of its kind. One that a webhook converts says itself in which it is.
    ///
    /// # Errors
    /// The webhook gives no answer that counts.
    pub async fn value(&self, from: &Kind, to: &Arc<Kind>, value: Value) -> Result<Value, Status> {
        let Some(config) = &to.webhook else { return Ok(between(from, to, value)) };
        if meta::api_version(&value) == to.api_version() {
            return Ok(value);
        }
        let asked = self.webhook(to, config);
        let converted = asked.ask(&self.storage, to, std::slice::from_ref(&value)).await?;
        converted.into_iter().next().ok_or_else(|| Status::internal("nothing was converted"))
    }

    /// The same of stored bytes.
    pub async fn bytes(&self, to: &Arc<Kind>, bytes: Bytes) -> Result<Bytes, Status> {
        if to.webhook.is_none() || to.is_storage_version() {
            return Ok(in_version(to, bytes));
        }
        let value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
        let value = self.value(to.storage(), to, value).await?;
        serde_json::to_vec(&value).map(Bytes::from).map_err(Status::internal)
    }

    /// An object of a cache in a version of its kind.
    ///
    /// # Errors
    /// A webhook that is to convert it gives no answer that counts.
    pub async fn object(&self, to: &Arc<Kind>, object: Object) -> Result<Value, Status> {
        match &to.webhook {
            None => Ok(between(to.storage(), to, object.value())),
            Some(_) => {
                self.objects(to, std::slice::from_ref(&object)).await?;
                object.version(to).map(|object| object.value()).ok_or_else(|| unusable(to, &object))
            }
        }
    }

    /// Lets the webhook of a kind convert those objects of a cache that have not been before: each then has its
    /// [`Object::version`]. Does nothing for a kind that has no webhook.
    ///
    /// # Errors
    /// The webhook gives no answer that counts.
    pub async fn objects(&self, to: &Arc<Kind>, objects: &[Object]) -> Result<(), Status> {
        let Some(config) = &to.webhook else { return Ok(()) };
        let missing = |objects: &[Object]| -> Vec<Object> {
            objects.iter().filter(|object| object.version(to).is_none()).cloned().collect()
        };
        let wanted = missing(objects);
        let webhook = (!wanted.is_empty()).then(|| self.webhook(to, config));
        let mut rest = wanted.as_slice();
        while let (Some(webhook), Some(first)) = (&webhook, rest.first()) {
            let mut bytes = 0usize;
            let fits = |object: &&Object| {
                let fits = bytes < BYTES;
                bytes = bytes.saturating_add(object.len());
                fits
            };
            let (batch, others) = rest.split_at(rest.iter().take(OBJECTS).take_while(fits).count());
            rest = others;
            // Whoever waits for another's answer waits no longer than for one of their own.
            let alone = timeout(TIMEOUT, webhook.gate(first).lock()).await;
            let _alone = alone.map_err(|_| late(first))?;
            self.convert(webhook, to, &missing(batch)).await?;
        }
        Ok(())
    }

    async fn convert(&self, webhook: &Webhook, to: &Arc<Kind>, objects: &[Object]) -> Result<(), Status> {
        let take = |object: &Object, value: Value| match object.put_version(to, value) {
            Some(_) => Ok(()),
            None => Err(unusable(to, object)),
        };
        // What was stored in this version before it became another's needs no webhook.
        let (as_wanted, others): (Vec<&Object>, Vec<&Object>) =
            objects.iter().partition(|object| object.api_version() == to.api_version());
        for object in as_wanted {
            let mut value = object.value();
            convert::conform(to, &mut value);
            take(object, value)?;
        }
        if others.is_empty() {
            return Ok(());
        }
        let values: Vec<Value> = others.iter().map(|object| object.value()).collect();
        let converted = webhook.ask(&self.storage, to, &values).await?;
        others.into_iter().zip(converted).try_for_each(|(object, value)| take(object, value))
    }

    /// Computes something that may need conversions, again until none is missing.
    ///
    /// # Errors
    /// What it came to is one, or a webhook gives no answer that counts.
    pub async fn settle<T>(
        &self,
        kind: &Arc<Kind>,
        awaited: &Awaited,
        compute: &mut (dyn FnMut() -> Result<T, Status> + Send),
    ) -> Result<T, Status> {
        for _ in 0..ROUNDS {
            let computed = compute();
            let wanted = awaited.take_wanted();
            if wanted.is_empty() {
                return computed;
            }
            drop(computed);
            for (object, to) in wanted {
                let kinds = self.storage.kinds.snapshot();
                let (group, version) = to.rsplit_once('/').unwrap_or(("", &to));
                let served = match kind.api_version() == to {
                    true => Some(kind),
                    false => kinds.by_kind(group, version, &kind.kind),
                };
                let served = served.cloned().ok_or_else(|| Status::internal(format!("{to} is served no more")))?;
                let converted = self.value(kind, &served, object.clone()).await?;
                awaited.put((object, to), converted);
            }
        }
        Err(Status::internal("a write needs too many conversions"))
    }
}

fn late(object: &Object) -> Status {
    let of = object.value();
    let (version, kind) = (meta::api_version(&of), meta::kind(&of));
    Status::internal(format!("conversion webhook for {version}, Kind={kind} failed: context deadline exceeded"))
}

fn unusable(kind: &Kind, object: &Object) -> Status {
    Status::internal(format!("{} is no object of {} when it is converted", object.key(), kind.api_version()))
}
