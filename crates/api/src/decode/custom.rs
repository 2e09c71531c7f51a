//! Brings an object of a custom resource into the form of its schema: metadata are read as every object's are, unknown
//! fields go, and what is not given gets its default.

use serde_json::Value;

use super::{MAX_UNKNOWN, Misfit, Walker};
use crate::json::Place;
use crate::schema::id;
use crate::schema::structural::{Node, Structural};

/// Returns the paths of unknown fields.
pub(super) fn fit(schema: &Structural, object: &mut Value) -> Result<Vec<String>, Misfit> {
    let mut walker = Walker { unknown: Vec::new() };
    metadata(&mut walker, Node::root(schema), object, &Place::Root)?;
    let unknown = &mut walker.unknown;
    schema.prune(object, &mut |place| {
        if unknown.len() < MAX_UNKNOWN {
            unknown.push(place.told());
        }
    });
    schema.fill(object);
    Ok(walker.unknown)
}

/// Reads the metadata of the object and of those embedded in it.
fn metadata(walker: &mut Walker, node: Node<'_>, value: &mut Value, place: &Place<'_>) -> Result<(), Misfit> {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                let place = Place::Key(place, key);
                if node.is_object() && key == "metadata" {
                    if !value.is_null() {
                        walker.object(id::META_V1_OBJECT_META, value, &place, "ObjectMeta")?;
                    }
                } else if let Some((node, _)) = node.field(key)
                    && node.schema().has_embedded()
                {
                    metadata(walker, node, value, &place)?;
                }
            }
        }
        Value::Array(items) => {
            let Some(node) = node.items() else { return Ok(()) };
            for (index, item) in items.iter_mut().enumerate() {
                metadata(walker, node, item, &Place::Item(place, index))?;
            }
        }
        _ => {}
    }
    Ok(())
}
