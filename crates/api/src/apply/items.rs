//! Which list items are which: the element that names an item.

use std::borrow::Cow;

use serde_json::Value;

use super::element::Element;
use super::node::{Merge, Node};

/// Why an item has no element, in upstream's words.
pub(super) type NoElement = String;

/// The element that names an item of a set or a list-map.
///
/// # Errors
/// When the item is of a type that cannot be in such a list, or has none of the keys.
pub(super) fn element<'a, N: Node<'a>>(
    merge: Merge<'a, N::Key>,
    items: N,
    item: &'a Value,
) -> Result<Element<'a>, NoElement> {
    match merge {
        Merge::Atomic => Err("invalid indexing of non-associative list".into()),
        Merge::Set => set_item(item),
        Merge::Map(names) => map_keys(names, items, item)
            .map(|keys| Element::Key(keys.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())),
    }
}

fn set_item(item: &Value) -> Result<Element<'_>, NoElement> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
        scalar => Ok(Element::Value(Cow::Borrowed(scalar))),
    }
}

/// The keys of an item, sorted by name.
fn map_keys<'n, 'v, N: Node<'n>>(
    names: &'n [N::Key],
    items: N,
    item: &'v Value,
) -> Result<Vec<(&'n str, Cow<'v, Value>)>, NoElement>
where
    'n: 'v,
{
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut keys: Vec<(&'n str, Cow<'v, Value>)> = Vec::with_capacity(names.len());
    for name in names {
        let name = name.as_ref();
        match map.get(name) {
            Some(value) => keys.push((name, Cow::Borrowed(value))),
            None => keys.extend(items.default(name).map(|value| (name, value))),
        }
    }
    if keys.is_empty() {
        let names: Vec<_> = names.iter().map(|name| crate::field::quote(name.as_ref())).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    keys.sort_by(|a, b| a.0.cmp(b.0));
    Ok(keys)
}

/// The element that names an item, which outlives the item.
///
/// # Errors
/// As [`element`].
pub(super) fn owned_element<'n, N: Node<'n>>(
    merge: Merge<'n, N::Key>,
    items: N,
    item: &Value,
) -> Result<Element<'static>, NoElement> {
    let owned = |value: &Value| Cow::Owned(value.clone());
    match merge {
        Merge::Atomic => Err("invalid indexing of non-associative list".into()),
        Merge::Set => set_item(item).map(|_| Element::Value(owned(item))),
        Merge::Map(names) => map_keys(names, items, item).map(|keys| {
            Element::Key(keys.into_iter().map(|(name, value)| (Cow::Owned(name.to_owned()), owned(&value))).collect())
        }),
    }
}

/// The items of a list that have an element, in the order of their elements; items of the same element keep theirs.
pub(super) fn sorted<'a, N: Node<'a>>(
    merge: Merge<'a, N::Key>,
    items: N,
    list: &'a [Value],
) -> Vec<(Element<'a>, &'a Value)> {
    let named = list.iter().filter_map(|item| Some((element(merge, items, item).ok()?, item)));
    let mut named: Vec<_> = named.collect();
    if !named.is_sorted_by(|a, b| a.0 <= b.0) {
        named.sort_by(|a, b| a.0.cmp(&b.0));
    }
    named
}
