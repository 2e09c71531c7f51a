//! Fields that nobody owns, whoever writes them.

use super::element::Element;
use super::set::{Entry, Set};

/// Fields at one place of an object, and what of them is owned by nobody.
pub type Mask = [(&'static str, Hidden)];

/// What of a field is owned by nobody.
#[derive(Clone, Copy, Debug)]
pub enum Hidden {
    /// The field and everything below it.
    All,
    /// The field itself, and what the mask says of the fields below it.
    Below(&'static Mask),
}

/// What the server keeps itself, so that nobody owns it.
pub(super) static SYSTEM: &Mask = &[
    ("apiVersion", Hidden::All),
    ("kind", Hidden::All),
    (
        "metadata",
        Hidden::Below(&[
            ("name", Hidden::All),
            ("namespace", Hidden::All),
            ("creationTimestamp", Hidden::All),
            ("selfLink", Hidden::All),
            ("uid", Hidden::All),
            ("clusterName", Hidden::All),
            ("generation", Hidden::All),
            ("managedFields", Hidden::All),
            ("resourceVersion", Hidden::All),
        ]),
    ),
];

/// Several masks, one step further down.
#[derive(Clone, Copy, Default)]
pub(super) struct Masks([Option<&'static Mask>; 2]);

impl Masks {
    pub fn new(system: &'static Mask, reset: &'static Mask) -> Self {
        Self([Some(system), Some(reset)])
    }

    /// The masks below a field; `None` when it is hidden altogether.
    pub fn enter(self, field: &str) -> Option<Masks> {
        let mut below = Masks::default();
        for (mask, inner) in self.0.iter().zip(&mut below.0) {
            let found = mask.iter().copied().flatten().find(|(name, _)| *name == field);
            match found {
                Some((_, Hidden::All)) => return None,
                Some((_, Hidden::Below(mask))) => *inner = Some(mask),
                None => {}
            }
        }
        Some(below)
    }

    /// Whether they are below a field that nobody owns itself.
    pub fn hide_place(self) -> bool {
        self.0.iter().any(Option::is_some)
    }
}

/// The set without what the mask hides.
pub(super) fn hide<'a>(set: &Set<'a>, mask: &Mask) -> Set<'a> {
    let kept = set.entries().iter().filter_map(|entry| {
        let hidden = match &entry.element {
            Element::Field(name) => mask.iter().find(|(hidden, _)| hidden == name),
            _ => None,
        };
        match hidden {
            None => Some(entry.clone()),
            Some((_, Hidden::All)) => None,
            Some((_, Hidden::Below(mask))) => {
                let below = hide(&entry.below, mask);
                Some(Entry { element: entry.element.clone(), member: false, below })
            }
        }
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::fields_v1;
    use serde_json::json;

    #[test]
    fn what_the_server_keeps_is_nobodys() {
        let fields = json!({"f:apiVersion": {}, "f:kind": {}, "f:metadata": {".": {}, "f:name": {}, "f:labels": {".": {}, "f:a": {}}}});
        let set = fields_v1::parse(&fields).expect("it parses");
        assert_eq!(fields_v1::print(&hide(&set, SYSTEM)), r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}}}}"#);
    }
}
