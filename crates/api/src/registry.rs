//! What is served at one moment: every kind in every version, found by group, version and plural or kind.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smol_str::SmolStr;

use crate::kind::Kind;

/// An API group with its versions, the preferred one first.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Name; empty for the core group.
    pub name: SmolStr,
    /// Versions, the preferred one first.
    pub versions: Vec<SmolStr>,
    /// The priority among the groups, as its APIServices tell it; the greater comes first. The group of APIServices
    /// itself has none.
    pub priority: Option<u32>,
}

/// The priority of groups that are not built in, as upstream's.
const CUSTOM_PRIORITY: u32 = 1000;

/// The kinds served at one moment. It never changes: a change makes another one, of the next revision, that shares the
/// kinds with it, so whoever holds one sees the same kinds from first to last.
#[derive(Clone, Debug)]
pub struct Registry {
    revision: u64,
    /// Sorted by group, version and plural.
    by_resource: Vec<Arc<Kind>>,
    /// Where in `by_resource` a resource is: every request asks, some plugins of admission too.
    places: HashTable<u32>,
    hasher: RandomState,
    /// Sorted by group, version and kind.
    by_kind: Vec<Arc<Kind>>,
    /// The groups that are there whatever else comes and goes, and what they are at least served in.
    fixed: Arc<[Group]>,
    groups: Vec<Group>,
}

type Key<'a> = (&'a str, &'a str, &'a str);

fn resource(kind: &Arc<Kind>) -> Key<'_> {
    (&kind.group, &kind.version, &kind.plural)
}

fn name(kind: &Arc<Kind>) -> Key<'_> {
    (&kind.group, &kind.version, &kind.kind)
}

impl Registry {
    /// The registry of kinds whose groups are told in their order.
    pub fn new(kinds: Vec<Arc<Kind>>, groups: Vec<Group>) -> Registry {
        Registry::at(0, kinds, groups.into())
    }

    fn at(revision: u64, kinds: Vec<Arc<Kind>>, fixed: Arc<[Group]>) -> Registry {
        let (mut by_resource, mut by_kind) = (kinds.clone(), kinds);
        by_resource.sort_by(|a, b| resource(a).cmp(&resource(b)));
        by_kind.sort_by(|a, b| name(a).cmp(&name(b)));
        let groups = groups(&fixed, &by_resource);
        let (mut places, hasher) = (HashTable::with_capacity(by_resource.len()), RandomState::default());
        for (place, kind) in (0..).zip(&by_resource) {
            let hash = |place: &u32| by_resource.get(*place as usize).map_or(0, |kind| hasher.hash_one(resource(kind)));
            places.insert_unique(hasher.hash_one(resource(kind)), place, hash);
        }
        Registry { revision, by_resource, places, hasher, by_kind, fixed, groups }
    }

    /// Counts the changes since the server started.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// With kinds, each resource of which is served in the versions given and in no others.
    pub fn with(&self, kinds: impl IntoIterator<Item = Arc<Kind>>) -> Registry {
        let new: Vec<Arc<Kind>> = kinds.into_iter().collect();
        let mut replaced: Vec<(&str, &str)> = new.iter().map(|kind| (&*kind.group, &*kind.plural)).collect();
        replaced.sort_unstable();
        let stays = |kind: &&Arc<Kind>| replaced.binary_search(&(&*kind.group, &*kind.plural)).is_err();
        let kinds = self.by_resource.iter().filter(stays).chain(&new).cloned().collect();
        Registry::at(self.revision + 1, kinds, self.fixed.clone())
    }

    /// Those of the kinds that are to stay; a group or version of which nothing stays goes, too.
    pub fn retain(&self, stays: impl Fn(&Kind) -> bool) -> Registry {
        let kinds: Vec<_> = self.by_resource.iter().filter(|kind| stays(kind)).cloned().collect();
        let is_there =
            |group: &str, version: &str| kinds.iter().any(|kind| kind.group == group && kind.version == version);
        let fixed = self.fixed.iter().map(|group| {
            let versions = group.versions.iter().filter(|version| is_there(&group.name, version));
            Group { versions: versions.cloned().collect(), ..group.clone() }
        });
        let fixed = fixed.filter(|group| kinds.iter().any(|kind| kind.group == group.name)).collect();
        Registry::at(self.revision + 1, kinds, fixed)
    }

    /// Without a resource in any version.
    pub fn without(&self, group: &str, plural: &str) -> Registry {
        let stays = |kind: &&Arc<Kind>| (&*kind.group, &*kind.plural) != (group, plural);
        Registry::at(self.revision + 1, self.by_resource.iter().filter(stays).cloned().collect(), self.fixed.clone())
    }

    /// The kind served at that resource.
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let asked = (group, version, plural);
        let is_it = |place: &u32| self.by_resource.get(*place as usize).is_some_and(|kind| resource(kind) == asked);
        let place = self.places.find(self.hasher.hash_one(asked), is_it)?;
        self.by_resource.get(*place as usize)
    }

    /// The kind of that name.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Kind>> {
        let found = self.by_kind.binary_search_by(|other| name(other).cmp(&(group, version, kind)));
        self.by_kind.get(found.ok()?)
    }

    /// Every kind in every version, sorted by group, version and plural.
    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.by_resource
    }

    /// The kinds of a group and version, sorted by plural.
    pub fn kinds_of(&self, group: &str, version: &str) -> &[Arc<Kind>] {
        let from = self.by_resource.partition_point(|kind| (&*kind.group, &*kind.version) < (group, version));
        let to = self.by_resource.partition_point(|kind| (&*kind.group, &*kind.version) <= (group, version));
        self.by_resource.get(from..to).unwrap_or_default()
    }

    /// Every API group in upstream's order of priority, the core group first.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Whether a group is served in a version.
    pub fn serves(&self, group: &str, version: &str) -> bool {
        !self.kinds_of(group, version).is_empty()
    }
}

/// The groups of kinds: those that are fixed, with the versions that have come besides, then the others by name.
fn groups(fixed: &[Group], kinds: &[Arc<Kind>]) -> Vec<Group> {
    let mut out = fixed.to_vec();
    for kinds in kinds.chunk_by(|a, b| a.group == b.group) {
        let Some(first) = kinds.first() else { continue };
        let mut versions: Vec<SmolStr> = kinds.iter().map(|kind| kind.version.clone()).collect();
        versions.dedup();
        versions.sort_by(|a, b| compare_versions(a, b));
        match out.iter_mut().find(|group| group.name == first.group) {
            Some(group) => {
                versions.retain(|version| !group.versions.contains(version));
                group.versions.extend(versions);
            }
            None => out.push(Group { name: first.group.clone(), versions, priority: Some(CUSTOM_PRIORITY) }),
        }
    }
    out
}

/// Orders versions as clients prefer them: stable ones before betas before alphas, of these the newest first, and what
/// is not called so behind, by name.
/// <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#version-priority>
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (maturity(a), maturity(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major and minor number of a version: `(1, 2, 3)` of `v2beta3`.
fn maturity(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(digits);
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0 && !text.starts_with(['+', '0']));
    let major = number(major)?;
    match (rest, rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        ("", ..) => Some((2, major, 0)),
        (_, Some(minor), _) => Some((1, major, number(minor)?)),
        (_, _, Some(minor)) => Some((0, major, number(minor)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use crate::schema::id;
    use crate::strategy::Plain;

    fn widget(version: &str, plural: &str) -> Arc<Kind> {
        let names = ("Widget", plural, "widget");
        Arc::new(Kind::new("example.com", version, names, id::CORE_V1_CONFIG_MAP, Plain))
    }

    #[test]
    fn kinds_come_and_go_and_whoever_holds_a_registry_sees_the_same_kinds() {
        let before = kinds::built_in();
        let with = before.with([widget("v1beta1", "widgets"), widget("v1", "widgets")]);
        assert!(before.by_resource("example.com", "v1", "widgets").is_none() && !before.serves("example.com", "v1"));
        assert_eq!(with.by_kind("example.com", "v1beta1", "Widget").unwrap().plural, "widgets");
        assert_eq!(with.group("example.com").unwrap().versions, ["v1", "v1beta1"]);
        assert_eq!(with.kinds().len(), before.kinds().len() + 2);
        assert!(with.by_resource("apps", "v1", "deployments").is_some());

        let one = with.with([widget("v2", "widgets")]);
        let versions: Vec<&str> =
            ["v1", "v1beta1", "v2"].into_iter().filter(|v| one.serves("example.com", v)).collect();
        assert_eq!(versions, ["v2"]);
        let none = one.without("example.com", "widgets");
        assert_eq!((none.kinds(), none.groups()), (before.kinds(), before.groups()));
        assert_eq!([before, &with, &one, &none].map(Registry::revision), [0, 1, 2, 3]);
    }

    #[test]
    fn versions_are_preferred_as_upstream_does() {
        let mut versions = [
            "v1alpha1",
            "foo10",
            "v10",
            "v2",
            "v11beta2",
            "v1",
            "v12alpha1",
            "v3beta1",
            "foo1",
            "v10beta3",
            "v11alpha2",
        ];
        versions.sort_by(|a, b| compare_versions(a, b));
        let expected = [
            "v10",
            "v2",
            "v1",
            "v11beta2",
            "v10beta3",
            "v3beta1",
            "v12alpha1",
            "v11alpha2",
            "v1alpha1",
            "foo1",
            "foo10",
        ];
        assert_eq!(versions, expected);
    }
}
