//! `metadata.managedFields`: who owns which fields of an object.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::fields_v1;
use super::set::Set;

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By applying a configuration.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// As it is written in `managedFields`.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// What tells the entries of an object apart. An applier has one entry, whatever version it applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    /// Name of the manager.
    pub manager: Cow<'a, str>,
    /// How it came to own the fields.
    pub operation: Operation,
    /// Group and version that an update was made in; empty for an applier.
    pub api_version: Cow<'a, str>,
    /// Subresource that was written; empty for the object itself.
    pub subresource: Cow<'a, str>,
}

impl Ord for Id<'_> {
    /// As upstream orders the JSON of them: one with a subresource comes before the one without.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |id: &Self| (id.operation, id.subresource.is_empty());
        let texts = |id: &Id<'_>| (id.manager.to_string(), id.api_version.to_string(), id.subresource.to_string());
        self.manager
            .cmp(&other.manager)
            .then_with(|| key(self).cmp(&key(other)))
            .then_with(|| texts(self).cmp(&texts(other)))
    }
}

impl PartialOrd for Id<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The fields of one manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Whose they are.
    pub id: Id<'a>,
    /// Group and version in which the fields are named.
    pub api_version: Cow<'a, str>,
    /// When the set was last changed by its manager.
    pub time: Option<Cow<'a, str>>,
    /// The fields.
    pub fields: Set<'a>,
}

/// All entries of an object, by their identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed<'a> {
    entries: Vec<Entry<'a>>,
}

impl<'a> Managed<'a> {
    /// Reads the list `managedFields`.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn parse(list: &'a Value) -> Result<Self, String> {
        let mut managed = Managed::default();
        for (at, item) in list.as_array().into_iter().flatten().enumerate() {
            managed.put(entry(at, item)?);
        }
        Ok(managed)
    }

    /// Reads the managed fields of an object. What cannot be read is as if it were not there.
    pub fn of(object: &'a Value) -> Self {
        Self::parse(crate::meta::at(object, &["metadata", "managedFields"])).unwrap_or_default()
    }

    /// Whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, in no order that means anything.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    pub(super) fn entries_mut(&mut self) -> &mut Vec<Entry<'a>> {
        &mut self.entries
    }

    /// The entry of that identity.
    pub fn get(&self, id: &Id<'_>) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.id == *id)
    }

    /// Adds an entry in the place of the one of the same identity, if there is one.
    pub fn put(&mut self, entry: Entry<'a>) {
        match self.entries.iter_mut().find(|known| known.id == entry.id) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// Takes out the entry of that identity.
    pub fn take(&mut self, id: &Id<'_>) -> Option<Entry<'a>> {
        let at = self.entries.iter().position(|entry| entry.id == *id)?;
        Some(self.entries.swap_remove(at))
    }

    /// The list as JSON, in upstream's order; empty when nobody owns anything.
    pub fn print(&mut self) -> String {
        self.entries.retain(|entry| !entry.fields.is_empty());
        if self.entries.is_empty() {
            return String::new();
        }
        self.entries.sort_by(Entry::order);
        let mut out = String::with_capacity(512);
        out.push('[');
        for entry in &self.entries {
            if out.len() > 1 {
                out.push(',');
            }
            entry.head().print(&mut out, |out| fields_v1::print_to(&entry.fields, out));
        }
        out.push(']');
        out
    }
}

impl Entry<'_> {
    pub(super) fn seconds(&self) -> i64 {
        self.time.as_deref().and_then(crate::meta::parse_time).map_or(0, jiff::Timestamp::as_second)
    }

    /// Appliers come first, then the older entries.
    fn order(&self, other: &Self) -> Ordering {
        let rest = |entry: &Self| {
            (entry.id.manager.to_string(), entry.api_version.to_string(), entry.id.subresource.to_string())
        };
        self.id
            .operation
            .cmp(&other.id.operation)
            .then_with(|| self.seconds().cmp(&other.seconds()))
            .then_with(|| rest(self).cmp(&rest(other)))
    }

    fn head(&self) -> Head<'_> {
        Head {
            manager: &self.id.manager,
            operation: self.id.operation,
            api_version: &self.api_version,
            subresource: &self.id.subresource,
            time: self.time.as_deref(),
        }
    }
}

/// What an entry says besides its fields.
pub(super) struct Head<'a> {
    pub manager: &'a str,
    pub operation: Operation,
    pub api_version: &'a str,
    pub subresource: &'a str,
    pub time: Option<&'a str>,
}

impl Head<'_> {
    /// Appends the entry as JSON with sorted keys, as objects are stored.
    pub fn print(&self, out: &mut String, fields: impl FnOnce(&mut String)) {
        out.push_str("{\"apiVersion\":");
        text(self.api_version, out);
        out.push_str(",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
        fields(out);
        out.push_str(",\"manager\":");
        text(self.manager, out);
        out.push_str(",\"operation\":\"");
        out.push_str(self.operation.name());
        out.push('"');
        for (name, value) in [("subresource", self.subresource), ("time", self.time.unwrap_or_default())] {
            if !value.is_empty() {
                // Writing to a string cannot fail.
                let _ = write!(out, ",\"{name}\":");
                text(value, out);
            }
        }
        out.push('}');
    }
}

fn text(text: &str, out: &mut String) {
    super::element::json_string("", text, out);
}

fn entry(at: usize, item: &Value) -> Result<Entry<'_>, String> {
    static NOTHING: Value = Value::Null;
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".into()),
    };
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        return Err("apiVersion must not be empty".into());
    }
    match text("fieldsType") {
        "FieldsV1" => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
        other => {
            return Err(format!("invalid fieldsType {} in managed fields entry {at}", crate::field::quote(other)));
        }
    }
    let fields = item.get("fieldsV1").unwrap_or(&NOTHING);
    let fields = fields_v1::parse(fields)
        .map_err(|error| format!("error decoding versioned set from entry {at}: error decoding set: {error}"))?;
    let id = Id {
        manager: text("manager").into(),
        operation,
        api_version: if operation == Operation::Apply { "".into() } else { api_version.into() },
        subresource: text("subresource").into(),
    };
    let time = item.get("time").and_then(Value::as_str).map(Cow::Borrowed);
    Ok(Entry { id, api_version: api_version.into(), time, fields })
}

/// Whether a client wants to have the managed fields forgotten: by an empty list, or a list of one empty entry.
pub(super) fn is_reset(list: &Value) -> bool {
    match list.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_printed_in_upstreams_order() {
        let item = |manager: &str, operation: &str, time: &str| {
            json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
                "time": time, "fieldsV1": {"f:data": {"f:a": {}}}})
        };
        let list = json!([
            item("z", "Update", "2024-01-01T00:00:00Z"),
            item("b", "Update", "2024-01-02T00:00:00Z"),
            item("a", "Update", "2024-01-02T00:00:00Z"),
            item("x", "Apply", "2024-01-03T00:00:00Z"),
        ]);
        let printed: Value =
            serde_json::from_str(&Managed::parse(&list).expect("it parses").print()).expect("it is JSON");
        let managers: Vec<_> =
            printed.as_array().expect("it is a list").iter().map(|entry| &entry["manager"]).collect();
        assert_eq!(managers, ["x", "z", "a", "b"]);
        assert_eq!(printed[0], list[3]);
    }

    #[test]
    fn what_is_malformed_is_told_as_upstream_does() {
        let error = |item: Value| Managed::parse(&json!([item])).expect_err("it is malformed");
        assert_eq!(error(json!({})), "operation must be `Apply` or `Update`");
        assert_eq!(error(json!({"operation": "Apply"})), "apiVersion must not be empty");
        assert_eq!(
            error(json!({"operation": "Apply", "apiVersion": "v1"})),
            "missing fieldsType in managed fields entry 0"
        );
        assert_eq!(
            error(json!({"operation": "Apply", "apiVersion": "v1", "fieldsType": "x"})),
            "invalid fieldsType \"x\" in managed fields entry 0"
        );
        let fields = json!({"operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f": {}}});
        assert!(error(fields).contains("error decoding set"));
        assert!(is_reset(&json!([])) && is_reset(&json!([{}])));
        assert!(!is_reset(&Value::Null) && !is_reset(&json!([{}, {}])));
    }
}
