//! What is special about each kind: defaults, validation, what updates may change, selectable fields,
//! and the columns of its table.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};
use smol_str::SmolStr;

use crate::field::{self, FieldError, Path};
use crate::meta;

pub mod access_review;
mod admission_match;
pub mod admission_policy;
pub mod api_service;
pub mod common;
pub mod component_status;
pub mod config_map;
pub mod controller_revision;
pub mod crd;
pub mod cron_job;
pub mod csr;
pub mod custom_resource;
pub mod daemon_set;
pub mod deployment;
pub mod endpoint_slice;
pub mod endpoints;
pub mod event;
pub mod flowcontrol;
pub mod hpa;
pub mod ingress;
pub mod job;
pub mod lease;
pub mod limit_range;
pub mod mutating_policy;
pub mod namespace;
pub mod network_policy;
pub mod node;
pub mod pdb;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
pub mod pod_template;
pub mod priority_class;
pub mod rbac;
pub mod replica_set;
pub mod resource;
pub mod resource_quota;
pub mod runtime_class;
pub mod secret;
pub mod service;
pub mod service_account;
pub mod service_cidr;
pub mod stateful_set;
pub mod storage;
pub mod webhook;
pub mod workload;

/// A column of a table, as kubectl prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Heading.
    pub name: SmolStr,
    /// What it shows; empty for what the name says.
    pub description: SmolStr,
    /// OpenAPI type: `string`, `integer`, `number`, `boolean` or `date`.
    pub ty: &'static str,
    /// OpenAPI format; `name` marks the name.
    pub format: &'static str,
    /// 0 for always, 1 for wide output only.
    pub priority: i32,
}

impl Column {
    /// A column of a type and format.
    pub const fn new(name: &'static str, ty: &'static str, format: &'static str, priority: i32) -> Column {
        let description = SmolStr::new_static("");
        Column { name: SmolStr::new_static(name), description, ty, format, priority }
    }
}

/// Where a scale's numbers are in an object.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalePaths {
    /// Fields that lead to the replicas that are wanted.
    pub spec_replicas: Vec<SmolStr>,
    /// Fields that lead to the replicas that there are.
    pub status_replicas: Vec<SmolStr>,
    /// Fields that lead to the selector of the pods, a string; empty where there is none.
    pub label_selector: Vec<SmolStr>,
}

/// A column that is always shown.
pub const fn column(name: &'static str) -> Column {
    Column::new(name, "string", "", 0)
}

/// A column of numbers that is always shown.
pub const fn int_column(name: &'static str) -> Column {
    Column::new(name, "integer", "", 0)
}

/// A column that is shown in wide output only.
pub const fn wide(name: &'static str) -> Column {
    Column::new(name, "string", "", 1)
}

/// The column of the name.
pub const NAME: Column = Column::new("Name", "string", "name", 0);
/// The column of the age.
pub const AGE: Column = column("Age");

/// What is special about a kind. Every method has the answer that is right for most kinds.
///
/// The order of a write: `default`, the server's admission, `prepare_create` or `prepare_update`, the allocation of
/// addresses, `validate`, `validate_create` or `validate_update`. Name and UID are set by then. Metadata is checked
/// separately, by [`crate::meta_validate`].
pub trait Strategy: Send + Sync {
    /// Fills in what the client left out. Runs on everything that is written; must be idempotent.
    fn default(&self, _obj: &mut Value) {}

    /// Whether the kind has a status that only its subresource writes.
    fn has_status(&self) -> bool {
        false
    }

    /// The status of a new object, of the kinds that have one.
    fn empty_status(&self) -> Value {
        Value::Object(Map::new())
    }

    /// Whether `metadata.generation` counts the changes of what the user wants.
    fn has_generation(&self) -> bool {
        false
    }

    /// Clears what a client cannot set on create.
    fn prepare_create(&self, obj: &mut Value) {
        prepare_create(self, obj);
    }

    /// Keeps what a client cannot change through the main resource.
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        prepare_update(self, new, old);
    }

    /// Keeps what a client cannot change through the subresource `status`.
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        prepare_status_update(new, old);
    }

    /// What users should know of a new or changed object that is valid.
    fn warnings(&self, _obj: &Value) -> Vec<String> {
        Vec::new()
    }

    /// What the user of an object that was `old` before should know besides.
    fn warnings_on_change(&self, _new: &Value, _old: &Value) -> Vec<String> {
        Vec::new()
    }

    /// What the user of a new object should know besides.
    fn warnings_on_create(&self, _obj: &Value) -> Vec<String> {
        Vec::new()
    }

    /// What users of the kind should know, whatever they do with it.
    fn deprecation(&self) -> Option<&str> {
        None
    }

    /// Checks a new object, and what must hold on every update.
    fn validate(&self, _obj: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Checks what only a new object must fulfil; [`Strategy::validate`] is called as well.
    fn validate_create(&self, _obj: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Keeps what a client cannot change through another subresource than `status`: everything, until a kind says what
    /// a subresource of it writes.
    fn prepare_subresource(&self, _subresource: &str, new: &mut Value, old: &Value) {
        new.clone_from(old);
    }

    /// Checks a change through another subresource than `status`.
    fn validate_subresource(&self, _subresource: &str, new: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate(new)
    }

    /// Checks that a change is allowed; [`Strategy::validate`] is called as well.
    fn validate_update(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Checks a change through the subresource `status`.
    fn validate_status_update(&self, _new: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Values of [`Strategy::supported_fields`], in their order.
    fn selectable_fields<'a>(&self, _obj: &'a Value) -> Vec<Cow<'a, str>> {
        Vec::new()
    }

    /// Paths of all that [`Strategy::selectable_fields`] reads, so that the rest of an object need not be; empty for everything
    /// but its metadata, which it never reads.
    fn selected_from(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the checks of one object can take so long that nobody else must wait for them.
    fn validates_slowly(&self) -> bool {
        false
    }

    /// Fields that field selectors may name, besides `metadata.name` and `metadata.namespace`, which every kind has.
    /// Kinds that are not built in say so by [`Strategy::field_number`] and [`Strategy::has_fields`] alone.
    fn supported_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// The place of a field among those of [`Strategy::selectable_fields`].
    fn field_number(&self, field: &str) -> Option<usize> {
        self.supported_fields().iter().position(|name| *name == field)
    }

    /// Whether the kind has such fields at all.
    fn has_fields(&self) -> bool {
        !self.supported_fields().is_empty()
    }

    /// Where the subresource `scale` finds its numbers, where that is not where the workloads of the table have them.
    fn scale_paths(&self) -> Option<&ScalePaths> {
        None
    }

    /// Seconds that a deleted object is given to end gracefully; `None` for kinds that go at once.
    fn default_grace_seconds(&self, _obj: &Value) -> Option<i64> {
        None
    }

    /// Whether what depends on a deleted object stays, unless the deletion or the object says otherwise.
    /// <https://kubernetes.io/docs/concepts/architecture/garbage-collection/#orphaned-dependents>
    fn orphans_dependents(&self) -> bool {
        false
    }

    /// What is told to whoever deletes an object and does not say what becomes of what depends on it.
    fn warning_on_deletion(&self) -> Option<&'static str> {
        None
    }

    /// Whether a deletion that is done at once is answered with the object, and not with a Status.
    fn is_answered_when_deleted(&self) -> bool {
        false
    }

    /// How long an object is kept after it was last written; `None` for ever.
    fn ttl(&self) -> Option<Duration> {
        None
    }

    /// What becomes of an object whose deletion has begun, by this request if it is the first, besides its metadata.
    fn mark_deleted(&self, _obj: &mut Value, _is_first: bool) {}

    /// Whether a deleted object has something left to wait for besides its finalizers and its grace period.
    fn outlives_deletion(&self, _obj: &Value) -> bool {
        false
    }

    /// Whether a PUT to a name that is not there creates the object.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update may leave out the resource version.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Checks the name; `prefix` says that it is a `generateName`. Returns what is wrong with it.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        field::dns1123_subdomain(&masked(name, prefix))
    }

    /// Columns of the table.
    fn columns(&self) -> &[Column] {
        const { &[NAME, Column::new("Created At", "date", "", 0)] }
    }

    /// Cells of the table, one for every column.
    fn row(&self, obj: &Value, _now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), obj["metadata"]["creationTimestamp"].clone()]
    }
}

/// A kind without anything special.
pub struct Plain;

impl Strategy for Plain {}

/// A `generateName` may end where a name may not.
pub fn masked(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(rest) if prefix && !rest.is_empty() => format!("{rest}a"),
        _ => name.to_owned(),
    }
}

/// The usual [`Strategy::prepare_create`]: the status of a new object, generation 1.
pub fn prepare_create<S: Strategy + ?Sized>(strategy: &S, obj: &mut Value) {
    if strategy.has_status() {
        meta::as_object(obj).insert("status".into(), strategy.empty_status());
    }
    if strategy.has_generation() {
        meta::set_generation(obj, 1);
    }
}

/// The usual [`Strategy::prepare_update`]: the status stays, the generation counts changes of
/// everything but metadata and status.
pub fn prepare_update<S: Strategy + ?Sized>(strategy: &S, new: &mut Value, old: &Value) {
    if strategy.has_status() {
        keep(new, old, "status");
    }
    let generation = meta::generation(old);
    if strategy.has_generation() {
        let changed = differs_outside_metadata(new, old);
        meta::set_generation(new, if changed { generation + 1 } else { generation });
    } else if generation > 0 {
        meta::set_generation(new, generation);
    }
}

/// The usual [`Strategy::prepare_status_update`]: everything but status and metadata stays. Labels, annotations,
/// finalizers and owners may change along with the status.
pub fn prepare_status_update(new: &mut Value, old: &Value) {
    let (Some(map), Some(old_map)) = (new.as_object_mut(), old.as_object()) else { return };
    map.retain(|key, _| old_map.contains_key(key) || key == "status");
    for (key, value) in old_map {
        if !matches!(key.as_str(), "status" | "metadata") {
            map.insert(key.clone(), value.clone());
        }
    }
}

/// Undoes changes of metadata that come with a status, for the kinds that do not take them.
pub fn keep_metadata(new: &mut Value, old: &Value, fields: &[&str]) {
    let metadata = meta::metadata_mut(new);
    for field in fields {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert((*field).into(), value.clone()),
            None => metadata.remove(*field),
        };
    }
}

/// The metadata that clients write.
pub const CLIENT_METADATA: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];

/// Puts the old value of a top-level field into the new object.
pub fn keep(new: &mut Value, old: &Value, field: &str) {
    let Some(map) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(value) => map.insert(field.into(), value.clone()),
        None => map.remove(field),
    };
}

fn differs_outside_metadata(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new != old };
    let relevant = |key: &&String| !matches!(key.as_str(), "metadata" | "status" | "apiVersion" | "kind");
    new.keys().chain(old.keys()).filter(relevant).any(|key| new.get(key) != old.get(key))
}

/// An error when a field differs: `field is immutable`.
pub fn immutable(errors: &mut Vec<FieldError>, path: &Path, new: &Value, old: &Value) {
    if new != old {
        errors.push(FieldError::invalid(path, new, "field is immutable"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::kinds;

    #[test]
    fn a_subresource_that_a_kind_does_not_know_writes_nothing() {
        let old = json!({"metadata": {"name": "a"}, "spec": {"a": 1}, "status": {"b": 1}});
        let written =
            json!({"metadata": {"name": "a", "labels": {"l": "v"}}, "spec": {"a": 2}, "status": {"b": 2}, "data": {}});
        for kind in kinds::built_in().kinds() {
            let mut new = written.clone();
            kind.strategy.prepare_subresource("another", &mut new, &old);
            assert_eq!(new, old, "{}", kind.kind);
        }
    }
}
