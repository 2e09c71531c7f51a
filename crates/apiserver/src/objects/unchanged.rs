//! What policies and webhooks cannot change of an object, however they are asked: where it is, how the server knows it, and
//! that its managed fields can be read.

use coracle_api::apply::is_too_long;
use coracle_api::apply::managed::Managed;
use coracle_api::meta::{metadata_mut, namespace};
use coracle_api::status::Status;
use serde_json::Value;

use crate::notes::Notes;
use crate::operation::{fields, put_fields};

/// What the server says of an object.
const SYSTEM: [&str; 4] = ["creationTimestamp", "generation", "selfLink", "uid"];
/// What only deletion says of it; that of an object which is there is validated.
const DELETION: [&str; 2] = ["deletionTimestamp", "deletionGracePeriodSeconds"];

/// How an object was before others were asked about it.
pub(super) struct Unchanged {
    is_new: bool,
    namespace: String,
    system: [Option<Value>; SYSTEM.len()],
    managed: Option<Value>,
}

impl Unchanged {
    /// Of an object that is new, or of the new state of one.
    pub fn of(object: &Value, is_new: bool) -> Unchanged {
        let system = SYSTEM.map(|field| object["metadata"].get(field).cloned());
        Unchanged { is_new, namespace: namespace(object).to_owned(), system, managed: fields(object).cloned() }
    }

    /// Undoes what was changed of it. What others say of an object that is there is left to validation, which tells of it.
    ///
    /// # Errors
    /// A new object was moved to another namespace than the one that its maker may make it in.
    pub fn restore(self, object: &mut Value, notes: &Notes) -> Result<(), Status> {
        if self.is_new && namespace(object) != self.namespace {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(why));
        }
        let metadata = metadata_mut(object);
        for (field, value) in SYSTEM.into_iter().zip(self.system).filter(|(field, _)| self.is_new || *field != "uid") {
            match value {
                Some(value) => metadata.insert(field.to_owned(), value),
                None => metadata.remove(field),
            };
        }
        if self.is_new {
            DELETION.iter().for_each(|field| drop(metadata.remove(*field)));
        }
        match fields(object).map(are_empty) {
            Some(Err(why)) => {
                notes.warn(format!(
                    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated \
                     mutating admission controller; please fix your requests: {why}"
                ));
                put_fields(object, self.managed);
            }
            Some(Ok(true)) => put_fields(object, None),
            Some(Ok(false)) | None => {}
        }
        Ok(())
    }
}

/// Whether nobody owns anything by managed fields.
///
/// # Errors
/// They cannot be read, or are more than are taken from anyone.
fn are_empty(fields: &Value) -> Result<bool, String> {
    if is_too_long(fields) {
        return Err("too many entries".into());
    }
    Managed::parse(fields).map(|managed| managed.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn managed_fields_that_cannot_be_read_or_are_too_many_stay_as_they_were() {
        let entry = |number: usize| {
            json!({"manager": format!("m{number}"), "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {"f:a": {}}}})
        };
        let before = json!({"metadata": {"name": "a", "managedFields": [entry(0)]}});
        for (given, stays) in [
            ((0..10_000).map(entry).collect::<Value>(), true),
            (json!([{"manager": "m", "operation": "Nothing"}]), true),
            ((0..20).map(entry).collect(), false),
        ] {
            let (notes, mut object) = (Notes::default(), before.clone());
            let unchanged = Unchanged::of(&object, false);
            object["metadata"]["managedFields"] = given.clone();
            unchanged.restore(&mut object, &notes).expect("it may be so");
            let expected = if stays { &before["metadata"]["managedFields"] } else { &given };
            assert_eq!(&object["metadata"]["managedFields"], expected);
        }
    }
}
