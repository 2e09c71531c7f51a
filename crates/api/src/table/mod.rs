//! Tables: what `kubectl get` asks for instead of the objects themselves.

pub mod duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::strategy::Column;

/// What each row carries of its object: the query parameter `includeObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// The metadata.
    #[default]
    Metadata,
    /// The object.
    Object,
    /// Nothing.
    None,
}

impl Include {
    /// Parses the query parameter; empty is the default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            "None" => Some(Self::None),
            _ => None,
        }
    }
}

/// The metadata of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListMeta {
    /// The revision that the list was read at.
    pub resource_version: String,
    /// Token of the next page; empty on the last one.
    pub continue_token: String,
    /// How many objects follow the page, if that is known.
    pub remaining_item_count: Option<i64>,
}

impl ListMeta {
    /// As an object, without the fields that are not set.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        if !self.resource_version.is_empty() {
            out.insert("resourceVersion".into(), self.resource_version.clone().into());
        }
        if !self.continue_token.is_empty() {
            out.insert("continue".into(), self.continue_token.clone().into());
        }
        if let Some(count) = self.remaining_item_count {
            out.insert("remainingItemCount".into(), count.into());
        }
        Value::Object(out)
    }
}

fn column_value(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.ty, "format": column.format,
        "description": description(column), "priority": column.priority,
    })
}

fn description(column: &Column) -> String {
    match &*column.name {
        _ if !column.description.is_empty() => column.description.to_string(),
        "Name" => {
            crate::schema::descriptions::of_field("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "name").into()
        }
        "Age" | "Created At" => crate::schema::descriptions::of_field(
            "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
            "creationTimestamp",
        )
        .into(),
        other => format!("{other} of the object."),
    }
}

/// How a table is rendered.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What each row carries of its object.
    pub include: Include,
    /// The group and version of the table, `meta.k8s.io/v1` or its predecessor `v1beta1`.
    pub api_version: &'a str,
    /// What ages are counted to.
    pub now: Timestamp,
}

/// Renders a Table of the objects, given as JSON in the version of `kind`. What does not parse becomes an empty row.
pub fn render<'a>(kind: &Kind, objects: impl Iterator<Item = &'a [u8]>, look: Look<'_>, meta: &ListMeta) -> Vec<u8> {
    let rows = objects.map(|bytes| {
        let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
        (kind.strategy.row(&object, look.now), object)
    });
    render_rows(kind.strategy.columns(), rows, look, meta)
}

/// Renders a Table of rows, each with its cells and its object.
pub fn render_rows(
    columns: &[Column],
    rows: impl Iterator<Item = (Vec<Value>, Value)>,
    look: Look<'_>,
    meta: &ListMeta,
) -> Vec<u8> {
    let rows: Vec<Value> = rows.map(|(cells, object)| row(columns, cells, object, look)).collect();
    let definitions: Value = columns.iter().map(column_value).collect();
    let table = json!({
        "kind": "Table", "apiVersion": look.api_version, "metadata": meta.to_value(),
        "columnDefinitions": definitions, "rows": rows,
    });
    table.to_string().into_bytes()
}

fn row(columns: &[Column], mut cells: Vec<Value>, mut object: Value, look: Look<'_>) -> Value {
    cells.resize(columns.len(), Value::Null);
    let mut out = Map::from_iter([("cells".to_owned(), Value::Array(cells))]);
    match look.include {
        Include::None => {}
        Include::Object => {
            out.insert("object".into(), object);
        }
        Include::Metadata => {
            let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_else(|| json!({}));
            let partial =
                json!({"kind": "PartialObjectMetadata", "apiVersion": look.api_version, "metadata": metadata});
            out.insert("object".into(), partial);
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_cell_for_every_column() {
        let now = Timestamp::UNIX_EPOCH;
        for kind in crate::kinds::built_in().kinds() {
            for object in
                [json!({"metadata": {"name": "x"}, "spec": {}, "status": {}}), json!(null), json!({"spec": 1})]
            {
                assert_eq!(kind.strategy.row(&object, now).len(), kind.strategy.columns().len(), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_table_carries_partial_objects() {
        let kind = crate::kinds::by_kind("", "v1", "ConfigMap").expect("it is there");
        let object = br#"{"metadata":{"name":"x","creationTimestamp":"2024-01-01T00:00:00Z"},"data":{"a":"b"}}"#;
        let now = crate::meta::parse_time("2024-01-01T00:01:00Z").expect("it parses");
        let meta = ListMeta { resource_version: "7".into(), ..ListMeta::default() };
        let look = Look { include: Include::Metadata, api_version: "meta.k8s.io/v1", now };
        let bytes = render(kind, [&object[..]].into_iter(), look, &meta);
        let table: Value = serde_json::from_slice(&bytes).expect("it is JSON");
        assert_eq!(table["rows"][0]["cells"], json!(["x", 1, "60s"]));
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["metadata"]["resourceVersion"], "7");
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
    }
}
