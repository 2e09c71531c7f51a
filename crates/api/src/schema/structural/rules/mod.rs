//! `x-kubernetes-validations`: rules in the Common Expression Language, compiled once for a definition.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>

mod declared;
mod evaluate;
mod field_path;
mod rule;

use std::sync::Arc;

use serde_json::Value;
use smol_str::SmolStr;

pub use declared::Declared;
pub use field_path::find as find_field;
pub use rule::{Fault, REASONS, Rule};

use super::{Additional, Structural};
use crate::meta::list;

/// The keyword.
pub const RULES: &str = "x-kubernetes-validations";

/// The rules at and below one place of a schema; places without any are left out.
#[derive(Debug)]
pub struct Rules {
    /// What the rules know of the place; nothing where only places below have rules.
    declared: Option<Arc<Declared>>,
    /// Those of the place. One that does not compile has been refused with its definition; should it be there, it fails.
    rules: Vec<Result<Rule, String>>,
    properties: Vec<(SmolStr, Rules)>,
    items: Option<Box<Rules>>,
    values: Option<Box<Rules>>,
}

impl Rules {
    /// Compiles the rules of a schema that is given as JSON and as what it says.
    pub fn compile(given: &Value, schema: &Structural) -> Option<Rules> {
        has_rules(given).then(|| compile(given, schema, Declared::new(schema, true), true))?
    }
}

/// Whether there are rules at or below a place.
fn has_rules(given: &Value) -> bool {
    !list(given, &[RULES]).is_empty()
        || given["properties"].as_object().into_iter().flatten().any(|(_, below)| has_rules(below))
        || has_object(given, "items")
        || has_object(given, "additionalProperties")
}

fn has_object(given: &Value, key: &str) -> bool {
    given[key].is_object() && has_rules(&given[key])
}

fn compile(given: &Value, schema: &Structural, of: Option<Arc<Declared>>, is_object: bool) -> Option<Rules> {
    let rules = list(given, &[RULES]);
    let of = of.or_else(|| if rules.is_empty() { None } else { Declared::new(schema, is_object) });
    let compiled = |rule: &Value| match &of {
        Some(of) => Rule::new(rule, schema, of).map_err(|fault| match fault {
            Fault::Rule(text) | Fault::Message(text) => text,
        }),
        None => Err("failed to convert to declType for CEL validation rules".to_owned()),
    };
    let below = |given: &Value, schema: &Structural, of: Option<&Arc<Declared>>| {
        compile(given, schema, of.cloned(), schema.embedded)
    };
    let properties = schema.properties.iter().filter_map(|(name, schema)| {
        let of = of.as_ref().and_then(|of| of.field(name));
        Some((name.clone(), below(&given["properties"][name.as_str()], schema, of)?))
    });
    let items = schema.items.as_deref();
    let items = items.and_then(|schema| below(&given["items"], schema, of.as_ref().and_then(|of| of.items())));
    let values = match &schema.additional {
        Additional::Schema(schema) => {
            below(&given["additionalProperties"], schema, of.as_ref().and_then(|of| of.values()))
        }
        _ => None,
    };
    let rules = Rules {
        rules: rules.iter().map(compiled).collect(),
        properties: properties.collect(),
        items: items.map(Box::new),
        values: values.map(Box::new),
        declared: of.filter(|_| !rules.is_empty()),
    };
    let is_empty =
        rules.rules.is_empty() && rules.properties.is_empty() && rules.items.is_none() && rules.values.is_none();
    (!is_empty).then_some(rules)
}
