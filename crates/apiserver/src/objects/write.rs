//! The one path of all writes that make or change an object. What was sent is decoded by whoever answers the request; here
//! it is
//!
//! 1. converted to the version in which the write is done ([`Operation::worked`]), and completed by the defaults of its kind,
//! 2. marked with who owns which of its fields,
//! 3. changed and refused by admission,
//! 4. rid of what this write cannot change,
//! 5. given addresses and ports,
//! 6. validated, by its kind and then by admission,
//! 7. charged to the quotas of its namespace, and
//! 8. converted to the version that is stored, and stored, unless another writer was faster: then all of it begins anew.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Kind;
use coracle_api::status::Status;
use coracle_api::{meta, meta_validate};
use coracle_store::{Compare, Op, Outcome, Txn};
use serde_json::Value;

use super::unchanged::Unchanged;
use super::{ATTEMPTS, Objects, delete, shown_anew};
use crate::admission::Request;
use crate::encode::{self, Encoded};
use crate::object::Object;
use crate::operation::{Operation, Part, put_fields, take_fields, tree};
use crate::services::{Allocation, ip_address, is_service};
use crate::storage::store_key;
use crate::version::{between, in_version_value};

/// Attempts at a generated name that is not taken.
const NAMES: usize = 8;
/// Letters of generated names: none that make words or look alike.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;

/// What became of an attempt.
enum Attempt {
    /// The object as it is now, in the version of the request.
    Done(Bytes),
    /// There is one of that name, which shall not be there.
    Taken,
    /// Another writer changed the object, or was given the same addresses and ports.
    Outrun,
}

/// What a write comes with besides the object.
struct Completed {
    /// The managed fields as JSON, unless the object has them.
    managed: Option<String>,
    /// The addresses and ports of a service.
    allocation: Option<Allocation>,
}

impl Completed {
    /// Whether a write changes nothing. `apart` are the managed fields that the old object does not have itself.
    fn is_same(&self, new: &Value, old: &mut Value, apart: Option<&str>) -> bool {
        let Some(text) = &self.managed else { return new == old };
        match apart {
            Some(before) => new == old && (text == before || tree(text) == tree(before)),
            None => {
                let fields = take_fields(old);
                let is_same = new == old && fields == tree(text);
                put_fields(old, fields);
                is_same
            }
        }
    }
}

impl Objects {
    /// Makes an object of a version of its kind; answers with what was stored, in that version.
    pub async fn create(&self, op: &Operation, mut object: Value) -> Result<Bytes, Status> {
        // What is no number is no version that anything was ever stored with, and does not matter; nor does any where nothing is stored.
        if !op.dry_run && meta::resource_version(&object).parse::<u64>().is_ok_and(|version| version != 0) {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let kind = op.worked();
        complete_form(op, &mut object);
        let generated = meta::name(&object).is_empty() && !meta::generate_name(&object).is_empty();
        // Another attempt begins with what was sent.
        let repeats = generated || is_service(kind) || self.quotas.is_any()?;
        let mut names = 0;
        for _ in 0..ATTEMPTS {
            let mut new = if repeats { object.clone() } else { std::mem::take(&mut object) };
            if generated {
                meta::set_name(&mut new, &generate_name(meta::generate_name(&object)));
            }
            set_system_fields(op, kind, &mut new);
            let completed = self.complete(op, None, None, &mut new).await?;
            let name = meta::name(&new);
            match self.store(op, None, &new, &completed).await? {
                Attempt::Done(bytes) => return Ok(bytes),
                Attempt::Outrun if repeats => {}
                Attempt::Outrun => return Err(outrun(kind, name)),
                Attempt::Taken if !generated => return Err(Status::already_exists(&kind.group, &kind.plural, name)),
                Attempt::Taken => {
                    names += 1;
                    if names == NAMES {
                        return Err(Status::generate_name_conflict(&kind.group, &kind.plural, name));
                    }
                }
            }
        }
        Err(outrun(kind, meta::name(&object)))
    }

    /// Changes an existing object: `make` gives the new object (in the version of the request) from the current one. A
    /// resource version in it must be the current one; without one, the change is made anew when another writer was faster.
    pub async fn update(
        &self,
        op: &Operation,
        key: &str,
        make: &mut (dyn FnMut(&Value) -> Result<Value, Status> + Send),
    ) -> Result<Bytes, Status> {
        let kind = &op.kind;
        let cache = self.storage.cache(kind)?;
        let name = key.rsplit('/').next().unwrap_or_default();
        for _ in 0..ATTEMPTS {
            let current = cache.get(key)?.ok_or_else(|| Status::not_found(&kind.group, &kind.plural, name))?;
            let (mut old, apart) = match self.keeps_fields_apart(op, &current) {
                true => current.value_without_fields(),
                false => (self.conversions.object(op.worked(), current.clone()).await?, None),
            };
            // Of built-in kinds only, which are converted at once.
            let requested = (op.worked() != kind).then(|| in_version_value(kind, old.clone()));
            let shown = requested.as_ref().unwrap_or(&old);
            let mut new = self.conversions.settle(kind, &op.awaited, &mut || make(shown)).await?;
            check_preconditions(kind, &current, &new)?;
            complete_form(op, &mut new);
            keep_system_fields(&mut new, &old);
            let completed = self.complete(op, Some(&old), apart.as_deref(), &mut new).await?;
            // What was stored in another form is stored anew.
            if current.is_stored_as(kind.storage()) && completed.is_same(&new, &mut old, apart.as_deref()) {
                return shown_anew(op, &whole(&old, apart.as_deref()));
            }
            match self.store(op, Some((&current, &old)), &new, &completed).await? {
                Attempt::Done(bytes) => return Ok(bytes),
                Attempt::Taken | Attempt::Outrun => {}
            }
        }
        Err(Status::modified(&kind.group, &kind.plural, name))
    }

    /// Whether an object is changed without a tree of its managed fields, which are most of it: nobody looks at them who makes
    /// the new one or is asked about it.
    fn keeps_fields_apart(&self, op: &Operation, current: &Object) -> bool {
        let kind = op.kind.storage();
        let is_as_stored = Arc::ptr_eq(op.worked(), kind) && Arc::ptr_eq(&op.kind, kind) && current.is_stored_as(kind);
        op.fields_apart && is_as_stored && kind.webhook.is_none() && !self.admission.shows_all(op)
    }

    /// The steps between the first and the last, the same for a new object and for one that was `old` before, whose managed
    /// fields may be apart from it.
    async fn complete(
        &self,
        op: &Operation,
        old: Option<&Value>,
        apart: Option<&str>,
        new: &mut Value,
    ) -> Result<Completed, Status> {
        let kind = op.worked();
        let mut managed = match op.kind.webhook {
            None => op.own(&self.storage.kinds, old, apart, new),
            Some(_) => {
                let mut owned = || {
                    let mut owned = new.clone();
                    if let Some(text) = op.own(&self.storage.kinds, old, None, &mut owned) {
                        put_fields(&mut owned, tree(&text));
                    }
                    Ok(owned)
                };
                *new = self.conversions.settle(&op.kind, &op.awaited, &mut owned).await?;
                None
            }
        };
        let shows_all = self.admission.shows_all(op);
        if let Some(text) = managed.take_if(|_| shows_all) {
            put_fields(new, tree(&text));
        }
        let unchanged = shows_all.then(|| Unchanged::of(new, old.is_none()));
        let request = Request::new(op, old);
        self.admission.admit(&request, new).await?;
        if let Some(unchanged) = unchanged {
            unchanged.restore(new, &op.notes)?;
        }
        prepare(op, kind, old, new);
        let allocation = match op.part {
            Part::Main => self.services.allocate(&self.storage, kind, new, old).await?,
            _ => None,
        };
        match kind.strategy.validates_slowly() {
            true => self.validate_slowly(op, old, new).await?,
            false => validate(op, kind, old, new)?,
        }
        self.admission.validate(&request, new).await?;
        Ok(Completed { managed, allocation })
    }

    /// Validates on a thread on which nobody waits.
    async fn validate_slowly(&self, op: &Operation, old: Option<&Value>, new: &Value) -> Result<(), Status> {
        let _few_at_a_time = self.slow.acquire().await.map_err(Status::internal)?;
        let (op, old, new) = (op.clone(), old.cloned(), new.clone());
        let check = move || validate(&op, op.worked(), old.as_ref(), &new);
        tokio::task::spawn_blocking(check).await.map_err(Status::internal)?
    }

    /// The last step. One whose deletion has begun, and that nothing holds any more, goes instead.
    async fn store(
        &self,
        op: &Operation,
        old: Option<(&Object, &Value)>,
        new: &Value,
        Completed { managed, allocation }: &Completed,
    ) -> Result<Attempt, Status> {
        let kind = op.kind.storage();
        let finished = old.is_some() && delete::is_finished(kind, new);
        let (before, after) = (old.map(|(_, value)| value), Some(new).filter(|_| !finished));
        let charged = self.quotas.charge(op, before, after).await?;
        if op.dry_run {
            let is_taken = old.is_none() && self.storage.cache(kind)?.get(&key_of(new))?.is_some();
            return if is_taken {
                Ok(Attempt::Taken)
            } else {
                shown_anew(op, &whole(new, managed.as_deref())).map(Attempt::Done)
            };
        }
        let key = store_key(kind, namespace(new), meta::name(new));
        let revision = old.map_or(0, |(object, _)| object.revision());
        let compares = vec![Compare::ModRevision(key.clone(), revision)];
        let stored = match finished || op.worked() == kind {
            true => None,
            false => Some(self.conversions.value(op.worked(), kind, new.clone()).await?),
        };
        let Encoded { bytes, hole } = encode::for_store(stored.as_ref().unwrap_or(new), managed.as_deref());
        let write = match finished {
            true => Op::Delete { key },
            false => Op::Put { key, value: bytes.clone(), ttl: kind.strategy.ttl() },
        };
        let mut txn = Txn { compares, ops: vec![write] };
        if let Some(allocation) = allocation.as_ref().filter(|_| !finished) {
            allocation.claim(&mut txn);
        }
        ip_address::follow(&self.storage, kind, before, after, &mut txn)?;
        charged.claim(&mut txn);
        match self.storage.commit(txn).await? {
            Outcome::Committed { .. } if finished => shown_anew(op, &whole(new, managed.as_deref())).map(Attempt::Done),
            Outcome::Committed { revision } => {
                let shown = encode::shown(&bytes, hole, revision);
                self.conversions.bytes(&op.kind, shown).await.map(Attempt::Done)
            }
            Outcome::Conflict { current, .. } if old.is_none() && !current.first().is_some_and(Option::is_none) => {
                Ok(Attempt::Taken)
            }
            Outcome::Conflict { .. } => Ok(Attempt::Outrun),
        }
    }
}

/// The first step: the version in which the write is done, with defaults.
fn complete_form(op: &Operation, object: &mut Value) {
    let kind = op.worked();
    *object = between(&op.kind, kind, object.take());
    meta::set_type(object, kind.api_version(), &kind.kind);
    kind.strategy.default(object);
}

/// Undoes what the write cannot change; who owns what is no part of that.
fn prepare(op: &Operation, kind: &Kind, old: Option<&Value>, new: &mut Value) {
    let fields = take_fields(new);
    match (op.part, old) {
        (_, None) => kind.strategy.prepare_create(new),
        (Part::Main, Some(old)) => kind.strategy.prepare_update(new, old),
        (Part::Status, Some(old)) => kind.strategy.prepare_status_update(new, old),
        (Part::Subresource(name), Some(old)) => kind.strategy.prepare_subresource(name, new, old),
        (Part::Whole, Some(_)) => {}
    }
    put_fields(new, fields);
}

fn validate(op: &Operation, kind: &Kind, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    let strategy = &kind.strategy;
    let mut errors = match old {
        None => meta_validate::validate(kind, new),
        Some(old) => meta_validate::validate_update(kind, new, old),
    };
    match (op.part, old) {
        (_, None) => {
            errors.extend(strategy.validate(new));
            errors.extend(strategy.validate_create(new));
        }
        (Part::Main, Some(old)) => {
            errors.extend(strategy.validate(new));
            errors.extend(strategy.validate_update(new, old));
        }
        (Part::Status, Some(old)) => errors.extend(strategy.validate_status_update(new, old)),
        (Part::Subresource(name), Some(old)) => errors.extend(strategy.validate_subresource(name, new, old)),
        (Part::Whole, Some(_)) => errors.extend(strategy.validate(new)),
    }
    let name = meta::name(old.unwrap_or(new));
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&kind.group, &kind.kind, name, errors)) }
}

/// The object with its managed fields, which may be beside it.
fn whole<'a>(object: &'a Value, managed: Option<&str>) -> Cow<'a, Value> {
    let mut object = Cow::Borrowed(object);
    if let Some(text) = managed {
        put_fields(object.to_mut(), tree(text));
    }
    object
}

fn key_of(object: &Value) -> String {
    crate::storage::key(namespace(object), meta::name(object))
}

fn namespace(object: &Value) -> Option<&str> {
    Some(meta::namespace(object)).filter(|namespace| !namespace.is_empty())
}

/// A new object that could not be stored beside what others wrote.
fn outrun(kind: &Kind, name: &str) -> Status {
    let why = "what it was given or charged for was changed by others again and again; please try again";
    Status::conflict(&kind.group, &kind.plural, name, why)
}

/// A change may say which object it is about, and how that was.
fn check_preconditions(kind: &Kind, current: &Object, new: &Value) -> Result<(), Status> {
    let (version, uid) = (meta::resource_version(new), meta::uid(new));
    if !version.is_empty() && version != "0" && version != current.revision().to_string() {
        return Err(Status::modified(&kind.group, &kind.plural, current.name()));
    }
    if !uid.is_empty() && *uid != *current.uid() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", current.uid());
        return Err(Status::conflict(&kind.group, &kind.plural, current.name(), &why));
    }
    Ok(())
}

/// What the server says of a new object.
fn set_system_fields(op: &Operation, kind: &Kind, object: &mut Value) {
    let metadata = meta::metadata_mut(object);
    for ours in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        metadata.remove(ours);
    }
    if !kind.namespaced {
        metadata.remove("namespace");
    }
    meta::set_uid(object, &uuid::Uuid::new_v4().to_string());
    meta::set_creation_timestamp(object, op.now);
}

/// What no client can change.
fn keep_system_fields(new: &mut Value, old: &Value) {
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "namespace",
        "selfLink",
        "generateName",
    ];
    let metadata = meta::metadata_mut(new);
    for field in kept {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
}

fn generate_name(prefix: &str) -> String {
    const MAX: usize = 63 - SUFFIX;
    let mut prefix = prefix;
    while prefix.len() > MAX {
        let end = prefix.char_indices().next_back().map_or(0, |(at, _)| at);
        prefix = &prefix[..end];
    }
    let random = uuid::Uuid::new_v4();
    let suffix = random.as_bytes()[..SUFFIX].iter().map(|byte| ALPHABET[usize::from(*byte) % ALPHABET.len()] as char);
    prefix.chars().chain(suffix).collect()
}
