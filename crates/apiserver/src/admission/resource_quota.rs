//! What a namespace uses is counted in its quotas by the transaction that writes the object: both are written, or neither.
//! So nothing that fails is charged, nothing goes without being given back, and writers side by side never use more than
//! there is. What cannot be seen here, such as a quota that is new, is counted by the controller.
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/>

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::meta;
use coracle_api::status::Status;
use coracle_policy::quota::{Charge, Resource, charge};
use coracle_store::{Compare, Op, Txn};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use crate::encode;
use crate::object::Object;
use crate::operation::{Operation, Verb};
use crate::storage::{Storage, core, store_key};

/// Locks that nobody holds are forgotten once there are so many.
const MAX_LOCKS: usize = 256;

/// The quotas of all namespaces.
pub(crate) struct ResourceQuota {
    storage: Arc<Storage>,
    /// Whether anything is counted.
    is_asked: bool,
    /// Who writes to a namespace with quotas does it alone: others would only find that the quota has changed, and begin
    /// anew.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// What is written together with an object.
#[derive(Default)]
pub(crate) struct Charged {
    compares: Vec<Compare>,
    ops: Vec<Op>,
    /// Held until it is written.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Charged {
    /// Adds it to the transaction that writes the object.
    pub fn claim(&self, txn: &mut Txn) {
        txn.compares.extend_from_slice(&self.compares);
        txn.ops.extend_from_slice(&self.ops);
    }
}

impl ResourceQuota {
    /// Those of a storage, if they are asked at all.
    pub fn new(storage: Arc<Storage>, is_asked: bool) -> ResourceQuota {
        ResourceQuota { storage, is_asked, locks: Mutex::default() }
    }

    /// Charges the namespace of an object for what it uses more than before, or gives back what it uses less.
    ///
    /// # Errors
    /// 403 when a quota has not enough left.
    pub async fn charge(&self, op: &Operation, old: Option<&Value>, new: Option<&Value>) -> Result<Charged, Status> {
        if !self.is_asked {
            return Ok(Charged::default());
        }
        let namespace = old.or(new).map(meta::namespace).unwrap_or_default();
        if !concerns(op, old, new) || !self.is_any()? || self.quotas(namespace)?.is_empty() {
            return Ok(Charged::default());
        }
        let kind = op.kind.storage();
        let resource = Resource { group: &kind.group, plural: &kind.plural };
        let charging = Charge { resource, old, new, now: op.now, may_refuse: may_refuse(op) };
        let turn = self.lock(namespace).lock_owned().await;
        let mut charged = Charged { _turn: Some(turn), ..Charged::default() };
        let name = old.or(new).map(meta::name).unwrap_or_default();
        let itself = |quota: &Object| op.kind.is("", "ResourceQuota") && quota.name() == name;
        for quota in self.quotas(namespace)? {
            // What a quota that goes says of quotas goes with it. Told of that, it would come back.
            if itself(&quota) {
                continue;
            }
            let mut value = quota.value();
            let used =
                charge(&value, &charging).map_err(|why| Status::forbidden(&kind.group, &kind.plural, name, &why))?;
            let Some(used) = used else { continue };
            value["status"]["used"] = used.to_value();
            let key = store_key(core("resourcequotas"), quota.namespace(), quota.name());
            charged.compares.push(Compare::ModRevision(key.clone(), quota.revision()));
            charged.ops.push(Op::Put { key, value: encode::for_store(&value, None).bytes, ttl: None });
        }
        Ok(charged)
    }

    /// Whether there is a quota anywhere.
    pub fn is_any(&self) -> Result<bool, Status> {
        let snapshot = self.storage.cache(core("resourcequotas"))?.snapshot();
        Ok(snapshot.len() > 0 || snapshot.check("", None).is_err())
    }

    fn quotas(&self, namespace: &str) -> Result<Vec<Object>, Status> {
        let snapshot = self.storage.cache(core("resourcequotas"))?.snapshot();
        let prefix = format!("{namespace}/");
        snapshot.check(&prefix, None)?;
        Ok(snapshot.range(&prefix, None).cloned().collect())
    }

    fn lock(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock();
        if locks.len() > MAX_LOCKS {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(namespace.to_owned()).or_default().clone()
    }
}

/// Whether a write can change what a namespace uses at all. Asked of every write.
fn concerns(op: &Operation, old: Option<&Value>, new: Option<&Value>) -> bool {
    let kind = op.kind.storage();
    let is_measured = kind.group.is_empty() && matches!(&*kind.plural, "pods" | "services" | "persistentvolumeclaims");
    let is_counted = old.is_some() != new.is_some();
    kind.namespaced && (is_counted || is_measured) && !(kind.group.is_empty() && kind.plural == "events")
}

/// Whether a quota may refuse the write. A status only tells how things are.
fn may_refuse(op: &Operation) -> bool {
    matches!(
        (op.verb, &*op.kind.plural, op.subresource),
        (Verb::Create, ..)
            | (Verb::Update, "pods", "resize")
            | (Verb::Update, "services" | "persistentvolumeclaims", "")
    )
}
