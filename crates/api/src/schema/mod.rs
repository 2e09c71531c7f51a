//! Schemas: what fields objects have. Those of the built-in kinds are tables generated from upstream's own (see
//! `crates/api-gen`), with the lookups over them; those of custom resources are [`structural`].

pub mod descriptions;
pub mod enums;
pub mod expression_types;
pub mod structural;
#[rustfmt::skip]
mod tables;

use std::sync::Arc;

use structural::Definition;
pub use structural::Structural;

/// Names of the definitions that code refers to.
pub mod id {
    pub use super::tables::*;
}

/// A definition, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DefId(pub u16);

/// One definition: an object with fields.
#[derive(Debug)]
pub struct Def {
    /// OpenAPI name, for example `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// Group, version and kind, when it is an object kind.
    pub gvk: Option<(&'static str, &'static str, &'static str)>,
    /// Whether server-side apply treats it as one value.
    pub atomic: bool,
    /// The fields, sorted by name. Empty for a free-form object.
    pub fields: &'static [Field],
}

/// One field of a definition.
#[derive(Debug)]
pub struct Field {
    /// JSON name.
    pub name: &'static str,
    /// Type.
    pub ty: Ty,
    /// Whether OpenAPI lists it as required.
    pub required: bool,
    /// Protobuf field numbers, from the outer message inwards; more than one for a field of an inlined
    /// message. Empty where the field has none.
    pub pb: &'static [u32],
    /// How a list merges in server-side apply.
    pub list: ListType,
    /// The keys of a [`ListType::Map`].
    pub list_keys: &'static [&'static str],
    /// Whether a strategic merge patch merges the list or map instead of replacing it.
    pub patch_merge: bool,
    /// Whether a strategic merge patch drops the fields that it does not name (unions).
    pub patch_retain_keys: bool,
    /// The key by which a strategic merge patch finds a list item.
    pub merge_key: Option<&'static str>,
    /// Default as a JSON literal.
    pub default: Option<&'static str>,
    /// Whether server-side apply treats the map or object as one value.
    pub atomic: bool,
    /// Whether an optional object is there, if only empty, wherever its parent is: its Go type is no pointer.
    pub held: bool,
}

impl Field {
    /// A field without any marker.
    pub const EMPTY: Field = Field {
        name: "",
        ty: Ty::Any,
        required: false,
        pb: &[],
        list: ListType::None,
        list_keys: &[],
        patch_merge: false,
        patch_retain_keys: false,
        merge_key: None,
        default: None,
        atomic: false,
        held: false,
    };
}

/// The schema of a kind.
#[derive(Clone, Debug)]
pub enum Schema {
    /// A built-in kind's, of the generated tables.
    Generated(DefId),
    /// A custom resource's, of its definition.
    Structural(Arc<Definition>),
}

impl Schema {
    /// The generated definition.
    pub fn generated(&self) -> Option<DefId> {
        match self {
            Schema::Generated(def) => Some(*def),
            Schema::Structural(_) => None,
        }
    }

    /// The schema of a custom resource.
    pub fn structural(&self) -> Option<&Arc<Definition>> {
        match self {
            Schema::Generated(_) => None,
            Schema::Structural(schema) => Some(schema),
        }
    }
}

impl From<DefId> for Schema {
    fn from(def: DefId) -> Schema {
        Schema::Generated(def)
    }
}

impl From<Arc<Definition>> for Schema {
    fn from(schema: Arc<Definition>) -> Schema {
        Schema::Structural(schema)
    }
}

/// How a list merges in server-side apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Not a list, or not said: atomic.
    #[default]
    None,
    /// One value.
    Atomic,
    /// A set of scalars.
    Set,
    /// Items found by keys.
    Map,
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    /// A string.
    String,
    /// A boolean.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Double,
    /// A 32-bit integer or a string.
    IntOrString,
    /// A quantity.
    Quantity,
    /// An RFC 3339 time of whole seconds.
    Time,
    /// An RFC 3339 time of microseconds.
    MicroTime,
    /// Bytes in base64.
    Bytes,
    /// An object without schema.
    Object,
    /// Any JSON value.
    Any,
    /// An object of the definition.
    Ref(DefId),
    /// A list.
    Array(&'static Ty),
    /// A map with string keys.
    Map(&'static Ty),
}

impl DefId {
    /// The definition.
    pub fn def(self) -> &'static Def {
        &tables::DEFS[usize::from(self.0).min(tables::DEFS.len() - 1)]
    }
}

impl Def {
    /// The field of that JSON name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        let fields: &'static [Field] = self.fields;
        // Most names differ in the first byte, which is told without a call.
        let first = name.as_bytes().first();
        let order = |f: &Field| f.name.as_bytes().first().cmp(&first).then_with(|| f.name.cmp(name));
        fields.binary_search_by(order).ok().and_then(|i| fields.get(i))
    }

    /// The last part of the name: the Go type's name.
    pub fn type_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

/// All definitions, sorted by name.
pub fn defs() -> &'static [Def] {
    &tables::DEFS
}

/// The definition of that OpenAPI name.
pub fn by_name(name: &str) -> Option<DefId> {
    tables::DEFS.binary_search_by(|d| d.name.cmp(name)).ok().and_then(|i| u16::try_from(i).ok()).map(DefId)
}

/// The definition of that group, version and kind.
pub fn by_gvk(group: &str, version: &str, kind: &str) -> Option<DefId> {
    tables::DEFS
        .iter()
        .position(|d| d.gvk == Some((group, version, kind)))
        .and_then(|i| u16::try_from(i).ok())
        .map(DefId)
}

/// Follows JSON field names through definitions, lists and maps: `["spec", "containers", "image"]`.
pub fn walk(def: DefId, path: &[&str]) -> Option<&'static Field> {
    let mut def = def;
    let (last, outer) = path.split_last()?;
    for name in outer {
        def = referenced(def.def().field(name)?.ty)?;
    }
    def.def().field(last)
}

/// The definition that a type refers to, through lists and maps.
pub fn referenced(ty: Ty) -> Option<DefId> {
    match ty {
        Ty::Ref(id) => Some(id),
        Ty::Array(inner) | Ty::Map(inner) => referenced(*inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_complete() {
        assert!(defs().windows(2).all(|w| w[0].name < w[1].name));
        assert!(defs().iter().all(|d| d.fields.windows(2).all(|w| w[0].name < w[1].name)));
        assert_eq!(by_name("io.k8s.api.core.v1.Pod"), Some(id::CORE_V1_POD));
        assert_eq!(by_gvk("apps", "v1", "Deployment"), Some(id::APPS_V1_DEPLOYMENT));
        let ports = walk(id::CORE_V1_POD, &["spec", "containers", "ports"]).expect("the field is there");
        assert_eq!(ports.merge_key, Some("containerPort"));
        assert_eq!(ports.list_keys, ["containerPort", "protocol"]);
        let probe = walk(id::CORE_V1_POD, &["spec", "containers", "livenessProbe", "httpGet"]);
        assert_eq!(probe.map(|f| f.pb), Some(&[1, 2][..]));
    }
}
