//! What expressions know of a schema before they are evaluated: types, and how large values can be.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_cel::estimate::Sizes;
use coracle_cel::{ListKind, Type, TypeSource};
use smol_str::SmolStr;

use super::super::{self as structural, Additional, Structural};
use crate::schema::ListType;

/// The most bytes of a request, and so of an object.
const MAX_REQUEST: u64 = 3 << 20;
/// The most octets of a name of an object, counted as those of any text of 253 code points.
const MAX_NAME: u64 = 4 * 253;

/// A place of a schema as expressions see it.
#[derive(Debug)]
pub struct Declared {
    /// Its type.
    pub ty: Type,
    /// The most octets, items or entries of a value.
    largest: u64,
    /// The fewest bytes of a value in JSON.
    smallest: u64,
    below: Below,
}

#[derive(Debug)]
enum Below {
    Nothing,
    Fields(Arc<Fields>),
    Items(Arc<Declared>),
    Values(Arc<Declared>),
}

/// The fields of an object.
#[derive(Debug)]
struct Fields {
    name: String,
    fields: HashMap<SmolStr, Arc<Declared>>,
}

impl TypeSource for Fields {
    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, property: &str) -> Option<Type> {
        Some(self.fields.get(property)?.ty.clone())
    }
}

impl Declared {
    /// What a schema declares; nothing if expressions cannot see its values. At the root, and where an object is embedded,
    /// type and names are there.
    pub fn new(schema: &Structural, is_object: bool) -> Option<Arc<Declared>> {
        declare(schema, is_object, "selfType")
    }

    fn scalar(ty: Type, smallest: u64, largest: u64) -> Declared {
        Declared { ty, largest, smallest, below: Below::Nothing }
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Arc<Declared>> {
        if let Below::Fields(fields) = &self.below { fields.fields.get(name) } else { None }
    }

    /// The items of a list.
    pub fn items(&self) -> Option<&Arc<Declared>> {
        if let Below::Items(items) = &self.below { Some(items) } else { None }
    }

    /// The values of a map.
    pub fn values(&self) -> Option<&Arc<Declared>> {
        if let Below::Values(values) = &self.below { Some(values) } else { None }
    }

    /// How often values of this size fit into one object: how often a rule runs at most where no schema says less.
    pub fn most_often(&self) -> u64 {
        MAX_REQUEST / self.smallest.saturating_add(1)
    }
}

/// The sizes of `self` and `oldSelf`.
impl Sizes for Declared {
    fn largest(&self, path: &[Arc<str>]) -> Option<u64> {
        let mut at = self;
        for name in path.get(1..)? {
            at = match (&**name, &at.below) {
                ("@keys", Below::Values(_)) => return Some(0),
                ("@items", Below::Items(below)) | ("@values", Below::Values(below)) => below,
                (name, Below::Fields(fields)) => fields.fields.get(name)?,
                _ => return None,
            };
        }
        Some(at.largest)
    }
}

fn declare(schema: &Structural, is_object: bool, name: &str) -> Option<Arc<Declared>> {
    if schema.int_or_string {
        let largest =
            schema.checks.as_deref().and_then(|checks| checks.max_length).map(|length| length.saturating_mul(4));
        return Some(Arc::new(Declared::scalar(Type::Dyn, 1, largest.unwrap_or(MAX_REQUEST - 2))));
    }
    Some(Arc::new(match schema.ty {
        structural::Type::Any => return None,
        structural::Type::Array => list(schema, name)?,
        structural::Type::Object => match &schema.additional {
            Additional::Schema(values) => map(schema, values, name)?,
            _ => object(schema, is_object, name),
        },
        structural::Type::String => text(schema),
        structural::Type::Integer => Declared::scalar(Type::Int, 1, 1),
        structural::Type::Number => Declared::scalar(Type::Double, 1, 1),
        structural::Type::Boolean => Declared::scalar(Type::Bool, 4, 1),
    }))
}

fn list(schema: &Structural, name: &str) -> Option<Declared> {
    let below = schema.items.as_deref()?;
    let item = declare(below, below.embedded, &format!("{name}.@items"))?;
    let kind = match schema.list {
        ListType::Set => ListKind::Set,
        ListType::Map => ListKind::Map(schema.list_keys.iter().map(SmolStr::to_string).collect()),
        _ => ListKind::Atomic,
    };
    let limit = schema.checks.as_deref().and_then(|checks| checks.max_items);
    Some(Declared {
        ty: Type::list_of_kind(item.ty.clone(), kind),
        largest: limit.unwrap_or((MAX_REQUEST - 2) / item.smallest.saturating_add(1)),
        smallest: 2,
        below: Below::Items(item),
    })
}

fn map(schema: &Structural, values: &Structural, name: &str) -> Option<Declared> {
    let value = declare(values, values.embedded, &format!("{name}.@values"))?;
    let limit = schema.checks.as_deref().and_then(|checks| checks.max_properties);
    Some(Declared {
        ty: Type::map(Type::String, value.ty.clone()),
        largest: limit.unwrap_or((MAX_REQUEST - 2) / value.smallest.saturating_add(6)),
        smallest: 2,
        below: Below::Values(value),
    })
}

fn object(schema: &Structural, is_object: bool, name: &str) -> Declared {
    let mut smallest = 2_u64;
    let mut fields = HashMap::new();
    for (field, below) in &schema.properties {
        let Some(declared) = declare(below, below.embedded, &format!("{name}.{field}")) else { continue };
        let required = schema.checks.as_deref().is_some_and(|checks| checks.required.contains(field));
        if required && below.default.is_none() {
            smallest = smallest.saturating_add(field.len() as u64 + 4).saturating_add(declared.smallest);
        }
        fields.insert(field.clone(), declared);
    }
    if is_object {
        let word = || Arc::new(Declared::scalar(Type::String, 2, MAX_REQUEST - 2));
        let name_of = || Arc::new(Declared::scalar(Type::String, 2, MAX_NAME));
        let names = [("name", name_of()), ("generateName", name_of())];
        let metadata = of_fields(format!("{name}.metadata"), names.map(|(name, word)| (name.into(), word)).into(), 2);
        fields.extend([
            ("apiVersion".into(), word()),
            ("kind".into(), word()),
            ("metadata".into(), Arc::new(metadata)),
        ]);
    }
    of_fields(name.to_owned(), fields, smallest)
}

fn of_fields(name: String, fields: HashMap<SmolStr, Arc<Declared>>, smallest: u64) -> Declared {
    let fields = Arc::new(Fields { name, fields });
    Declared { ty: Type::Object(fields.clone()), largest: 1, smallest, below: Below::Fields(fields) }
}

fn text(schema: &Structural) -> Declared {
    let checks = schema.checks.as_deref();
    let limit = checks.and_then(|checks| checks.max_length);
    match checks.map_or("", |checks| checks.format.as_str()) {
        "byte" => Declared::scalar(Type::Bytes, 2, limit.unwrap_or(MAX_REQUEST - 2)),
        "duration" => Declared::scalar(Type::Duration, 3, 32),
        "date" => Declared::scalar(Type::Timestamp, 12, 12),
        "date-time" => Declared::scalar(Type::Timestamp, 21, 32),
        _ => {
            let values = checks.map(|checks| checks.values.iter().filter_map(|value| value.as_str()).map(str::len));
            let longest = values.and_then(Iterator::max).map(|length| length as u64);
            // A limit counts code points, each of up to four octets.
            let limit = limit.map(|length| length.saturating_mul(4)).or(longest);
            Declared::scalar(Type::String, 2, limit.unwrap_or(MAX_REQUEST - 2))
        }
    }
}
