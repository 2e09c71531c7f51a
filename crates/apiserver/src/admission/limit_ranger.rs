//! Containers that say nothing get what the namespace has for them, and nothing is outside of its bounds.
//! <https://kubernetes.io/docs/concepts/policy/limit-range/>

use std::sync::Arc;

use coracle_api::meta;
use coracle_api::status::Status;
use coracle_policy::limit_range::{check_claim, check_pod, complete_pod, message};
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once};
use crate::object::Object;
use crate::operation::{Operation, Verb};
use crate::storage::{Storage, core};

pub(super) struct LimitRanger(pub Arc<Storage>);

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, op: &Operation) -> bool {
        match (op.verb, &*op.kind.kind, op.subresource) {
            _ if !op.kind.group.is_empty() => false,
            (Verb::Create, "Pod" | "PersistentVolumeClaim", "") => true,
            (Verb::Update, "Pod", "resize") | (Verb::Update, "PersistentVolumeClaim", "") => true,
            _ => false,
        }
    }

    fn admit<'a>(&'a self, request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        if request.op.verb != Verb::Create || &*request.op.kind.kind != "Pod" {
            return at_once(Ok(()));
        }
        let ranges = self.ranges(object);
        at_once(ranges.map(|ranges| ranges.iter().for_each(|range| complete_pod(range, object))))
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        at_once(self.check(request, object))
    }
}

impl LimitRanger {
    /// The limit ranges of the namespace of an object.
    fn ranges(&self, object: &Value) -> Result<Vec<Value>, Status> {
        let snapshot = self.0.cache(core("limitranges"))?.snapshot();
        let prefix = format!("{}/", meta::namespace(object));
        snapshot.check(&prefix, None)?;
        Ok(snapshot.range(&prefix, None).map(Object::value).collect())
    }

    fn check(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if request.old.is_some_and(meta::is_deleting) {
            return Ok(());
        }
        let kind = &request.op.kind;
        let check = if &*kind.kind == "Pod" { check_pod } else { check_claim };
        for range in self.ranges(object)? {
            if let Some(why) = message(check(&range, object)) {
                return Err(Status::forbidden("", &kind.plural, meta::name(object), &why));
            }
        }
        Ok(())
    }
}
