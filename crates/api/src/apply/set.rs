//! Sets of field paths, and their algebra.

use std::cmp::Ordering;

use super::element::Element;
use super::node::{Node, Place};

/// A set of field paths, as a tree. The object itself is never a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set<'a> {
    /// Sorted by element; each is a member or has members below it.
    entries: Vec<Entry<'a>>,
}

/// What a [`Set`] has of one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The element.
    pub element: Element<'a>,
    /// Whether the path that ends here is a member.
    pub member: bool,
    /// The paths that go on from here.
    pub below: Set<'a>,
}

impl Entry<'_> {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

/// What becomes of an element that one or both of two sets have.
enum Pair<'s, 'a> {
    Left(&'s Entry<'a>),
    Right(&'s Entry<'a>),
    Both(&'s Entry<'a>, &'s Entry<'a>),
}

impl<'a> Set<'a> {
    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What it has, sorted by element.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|entry| usize::from(entry.member) + entry.below.len()).sum()
    }

    /// A set of one path.
    pub fn of(path: &[Element<'a>]) -> Self {
        let mut set = Set::default();
        for (n, element) in path.iter().rev().enumerate() {
            let mut outer = Set::default();
            outer.push(Entry { element: element.clone(), member: n == 0, below: set });
            set = outer;
        }
        set
    }

    /// Adds an entry. Cheap when it comes after all others, which is how walks find them.
    pub fn push(&mut self, entry: Entry<'a>) {
        if entry.is_empty() {
            return;
        }
        match self.entries.last() {
            Some(last) if last.element >= entry.element => self.insert(entry),
            _ => self.entries.push(entry),
        }
    }

    fn insert(&mut self, entry: Entry<'a>) {
        match self.entries.binary_search_by(|known| known.element.cmp(&entry.element)) {
            Ok(at) => {
                let known = &mut self.entries[at];
                known.member |= entry.member;
                known.below = known.below.union(&entry.below);
            }
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// What it has of an element.
    pub fn get<'s>(&'s self, element: &Element<'_>) -> Option<&'s Entry<'a>> {
        let at = self.entries.binary_search_by(|known| known.element.cmp(element)).ok()?;
        self.entries.get(at)
    }

    /// Whether the path is a member.
    pub fn contains(&self, path: &[Element<'_>]) -> bool {
        match path {
            [] => false,
            [last] => self.get(last).is_some_and(|entry| entry.member),
            [first, rest @ ..] => self.get(first).is_some_and(|entry| entry.below.contains(rest)),
        }
    }

    fn pairs<'s>(&'s self, other: &'s Set<'a>) -> impl Iterator<Item = Pair<'s, 'a>> {
        let (mut left, mut right) = (self.entries.iter().peekable(), other.entries.iter().peekable());
        std::iter::from_fn(move || {
            let order = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) => a.element.cmp(&b.element),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            Some(match order {
                Ordering::Less => Pair::Left(left.next()?),
                Ordering::Greater => Pair::Right(right.next()?),
                Ordering::Equal => Pair::Both(left.next()?, right.next()?),
            })
        })
    }

    /// The pairs of what this set has; of a much larger one the others are not looked at.
    fn pairs_of_own<'s>(&'s self, other: &'s Set<'a>) -> Box<dyn Iterator<Item = Pair<'s, 'a>> + 's> {
        if self.entries.len().saturating_mul(16) > other.entries.len() {
            return Box::new(self.pairs(other));
        }
        Box::new(self.entries.iter().map(|entry| match other.get(&entry.element) {
            Some(found) => Pair::Both(entry, found),
            None => Pair::Left(entry),
        }))
    }

    fn combine_own(&self, other: &Set<'a>, each: impl Fn(Pair<'_, 'a>) -> Option<Entry<'a>>) -> Set<'a> {
        Set { entries: self.pairs_of_own(other).filter_map(each).filter(|entry| !entry.is_empty()).collect() }
    }

    fn combine(&self, other: &Set<'a>, each: impl Fn(Pair<'_, 'a>) -> Option<Entry<'a>>) -> Set<'a> {
        Set { entries: self.pairs(other).filter_map(each).filter(|entry| !entry.is_empty()).collect() }
    }

    /// The paths that are in one of the two.
    pub fn union(&self, other: &Set<'a>) -> Set<'a> {
        self.combine(other, |pair| {
            Some(match pair {
                Pair::Left(entry) | Pair::Right(entry) => entry.clone(),
                Pair::Both(a, b) => {
                    Entry { element: a.element.clone(), member: a.member || b.member, below: a.below.union(&b.below) }
                }
            })
        })
    }

    /// The paths that are in both.
    pub fn intersection(&self, other: &Set<'a>) -> Set<'a> {
        self.combine_own(other, |pair| match pair {
            Pair::Both(a, b) => Some(Entry {
                element: a.element.clone(),
                member: a.member && b.member,
                below: a.below.intersection(&b.below),
            }),
            _ => None,
        })
    }

    /// The paths that are in this one only. What is below a path of the other stays.
    pub fn difference(&self, other: &Set<'a>) -> Set<'a> {
        self.combine_own(other, |pair| match pair {
            Pair::Left(entry) => Some(entry.clone()),
            Pair::Right(_) => None,
            Pair::Both(a, b) => Some(Entry {
                element: a.element.clone(),
                member: a.member && !b.member,
                below: a.below.difference(&b.below),
            }),
        })
    }

    /// The paths of this one that are neither in the other nor below a path of it.
    pub fn recursive_difference(&self, other: &Set<'a>) -> Set<'a> {
        self.combine(other, |pair| match pair {
            Pair::Left(entry) => Some(entry.clone()),
            Pair::Right(_) => None,
            Pair::Both(_, b) if b.member => None,
            Pair::Both(a, b) => Some(Entry {
                element: a.element.clone(),
                member: a.member,
                below: a.below.recursive_difference(&b.below),
            }),
        })
    }

    /// The set with every field that the schema names and that has members below it: whoever applies `spec.replicas`
    /// wants `spec` to be there, though nobody owns it.
    pub fn with_named_fields<'n, N: Node<'n>>(&self, node: Option<N>) -> Set<'a> {
        let entries = self.entries.iter().map(|entry| {
            let field = match &entry.element {
                Element::Field(name) => node.and_then(|node| node.field(name)),
                _ => None,
            };
            let inner = match (&entry.element, field, node.map(Node::place)) {
                (_, Some(field), _) => Some(field.node),
                (Element::Key(_), _, Some(Place::List(_, items))) => Some(items),
                _ => None,
            };
            let named = field.is_some_and(|field| field.named) && !entry.below.is_empty();
            Entry {
                element: entry.element.clone(),
                member: entry.member || named,
                below: entry.below.with_named_fields(inner),
            }
        });
        Set { entries: entries.collect() }
    }

    /// The set after the schema made one value of what were many: who owned a part now owns the whole.
    pub fn with_atomic_places<'n, N: Node<'n>>(self, node: N) -> Set<'a> {
        let mut entries = self.entries;
        for entry in &mut entries {
            let inner = match (&entry.element, node.place()) {
                (Element::Field(name), _) => node.field(name).map(|field| field.node),
                (_, Place::List(_, items)) => Some(items),
                _ => None,
            };
            let Some(inner) = inner else { continue };
            let below = std::mem::take(&mut entry.below);
            let atomic =
                matches!(inner.place(), Place::Map { atomic: true } | Place::List(super::node::Merge::Atomic, _));
            if atomic && !below.is_empty() {
                entry.member = true;
            } else {
                entry.below = below.with_atomic_places(inner);
            }
        }
        Set { entries }
    }

    /// Calls `each` with every member, those of an object before those below them.
    pub fn each(&self, each: &mut impl FnMut(&[&Element<'a>])) {
        fn walk<'s, 'a>(set: &'s Set<'a>, path: &mut Vec<&'s Element<'a>>, each: &mut impl FnMut(&[&Element<'a>])) {
            for entry in set.entries.iter().filter(|entry| entry.member) {
                path.push(&entry.element);
                each(path);
                path.pop();
            }
            for entry in &set.entries {
                path.push(&entry.element);
                walk(&entry.below, path, each);
                path.pop();
            }
        }
        walk(self, &mut Vec::new(), each);
    }
}

impl<'a> FromIterator<Entry<'a>> for Set<'a> {
    fn from_iter<T: IntoIterator<Item = Entry<'a>>>(entries: T) -> Self {
        let mut entries: Vec<_> = entries.into_iter().filter(|entry| !entry.is_empty()).collect();
        if !entries.is_sorted_by(|a, b| a.element < b.element) {
            entries.sort_by(|a, b| a.element.cmp(&b.element));
            entries.dedup_by(|next, first| {
                let twice = next.element == first.element;
                if twice {
                    first.member |= next.member;
                    first.below = first.below.union(&next.below);
                }
                twice
            });
        }
        Set { entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::fields_v1;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn set(value: &Value) -> Set<'_> {
        fields_v1::parse(value).expect("it parses")
    }

    #[test]
    fn the_algebra_is_upstreams() {
        let (a, b) =
            (json!({"f:a": {".": {}, "f:x": {}, "f:y": {}}, "f:b": {}}), json!({"f:a": {"f:x": {}}, "f:c": {}}));
        let (a, b) = (set(&a), set(&b));
        let text = |set: Set<'_>| fields_v1::print(&set);
        assert_eq!(text(a.union(&b)), r#"{"f:a":{".":{},"f:x":{},"f:y":{}},"f:b":{},"f:c":{}}"#);
        assert_eq!(text(a.intersection(&b)), r#"{"f:a":{"f:x":{}}}"#);
        assert_eq!(text(a.difference(&b)), r#"{"f:a":{".":{},"f:y":{}},"f:b":{}}"#);
        let whole = json!({"f:a": {}});
        assert_eq!(text(a.recursive_difference(&set(&whole))), r#"{"f:b":{}}"#);
        assert_eq!(text(a.difference(&set(&whole))), r#"{"f:a":{"f:x":{},"f:y":{}},"f:b":{}}"#);
        assert_eq!((a.len(), b.len()), (4, 2));
    }

    pub(crate) fn any_fields() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            "f:[a-c]",
            "v:[0-9]",
            r#"k:\{"name":"[a-b]"\}"#,
            r#"k:\{"port":[1-9][0-9]?\}"#,
            "i:[0-3]",
            Just(".".to_owned())
        ];
        Just(json!({})).prop_recursive(4, 24, 4, move |inner| {
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn the_laws_of_sets_hold(a in any_fields(), b in any_fields()) {
            let (a, b) = (set(&a), set(&b));
            let union = a.union(&b);
            prop_assert_eq!(&union, &b.union(&a));
            prop_assert_eq!(union.len() + a.intersection(&b).len(), a.len() + b.len());
            prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
            prop_assert!(a.difference(&a).is_empty());
            prop_assert!(a.recursive_difference(&b).difference(&a.difference(&b)).is_empty());
            union.each(&mut |path| {
                let path: Vec<_> = path.iter().map(|element| (*element).clone()).collect();
                assert!(union.contains(&path));
                assert!(a.contains(&path) || b.contains(&path));
                assert_eq!(Set::of(&path).len(), 1);
            });
        }
    }
}
