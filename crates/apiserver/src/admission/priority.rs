//! The integer behind a pod's priority class. Two classes of the system always exist.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>

use std::sync::Arc;

use coracle_api::status::Status;
use coracle_api::{kinds, meta};
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once, makes};
use crate::object::Object;
use crate::operation::Operation;
use crate::storage::Storage;

pub(super) struct Priority(pub Arc<Storage>);

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, op: &Operation) -> bool {
        makes(op, "", "Pod")
    }

    fn admit<'a>(&'a self, _request: &'a Request<'a>, object: &'a mut Value) -> Verdict<'a> {
        at_once(priority(&self.0, object))
    }
}

fn priority(storage: &Storage, pod: &mut Value) -> Result<(), Status> {
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let classes =
        kinds::by_resource("scheduling.k8s.io", "v1", "priorityclasses").ok_or_else(Status::path_not_found)?;
    let classes = storage.cache(classes)?;
    let (class, value, policy) = if name.is_empty() {
        let default =
            classes.snapshot().range("", None).map(Object::value).find(|class| class["globalDefault"] == true);
        match default {
            Some(class) => {
                (meta::name(&class).to_owned(), class["value"].as_i64().unwrap_or(0), class["preemptionPolicy"].clone())
            }
            None => (String::new(), 0, Value::Null),
        }
    } else {
        let why = format!("no PriorityClass with name {name} was found");
        let class = classes.get(&name)?.ok_or_else(|| Status::forbidden("", "pods", meta::name(pod), &why))?.value();
        (name, class["value"].as_i64().unwrap_or(0), class["preemptionPolicy"].clone())
    };
    let given = pod["spec"]["priority"].as_i64();
    if given.is_some_and(|given| given != value) {
        let why = "the integer value of priority must not be provided in pod spec; priority admission controller computed it from the given PriorityClass name";
        return Err(Status::forbidden("", "pods", meta::name(pod), why));
    }
    if !class.is_empty() {
        pod["spec"]["priorityClassName"] = class.into();
    }
    pod["spec"]["priority"] = value.into();
    pod["spec"]["preemptionPolicy"] = policy.as_str().unwrap_or("PreemptLowerPriority").into();
    Ok(())
}
