//! Which custom resources there are: what a part that follows some of them waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::Client;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::task::AbortHandle;

use crate::follow::{Followed, Follower, Source, follow};

/// The definitions of the kinds of a group, followed: of each its name and versions are read. It ends with this value.
pub struct Definitions {
    known: Arc<Known>,
    task: AbortHandle,
}

struct Known {
    group: &'static str,
    kinds: &'static [(&'static str, &'static str)],
    definitions: Mutex<BTreeMap<String, Found>>,
    /// Those that were there when this began were told.
    began: AtomicBool,
    changed: Box<dyn Fn() + Send + Sync>,
}

/// What is known of a definition.
#[derive(Clone, Debug, Default, PartialEq)]
struct Found {
    uid: String,
    /// The versions that are served.
    served: BTreeSet<String>,
}

/// A definition: its name and versions are read.
#[derive(Deserialize)]
struct Definition {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    uid: String,
    resource_version: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Version {
    name: String,
    served: bool,
}

impl Definition {
    fn named(self) -> (String, Found) {
        let served = self.spec.versions.into_iter().filter(|version| version.served).map(|version| version.name);
        (self.metadata.name, Found { uid: self.metadata.uid, served: served.collect() })
    }
}

impl Followed for Definition {
    fn read(text: &str) -> serde_json::Result<Definition> {
        serde_json::from_str(text)
    }

    fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

impl Drop for Definitions {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Definitions {
    /// Follows the definitions of a group. `kinds` are plurals with the version in which each is read; one that is defined
    /// without it is told in the log. `changed` is called once all that there are were told, and with every change. Needs a
    /// tokio runtime, and the right to list and watch definitions; of one kind alone, the one of its name.
    pub fn follow(
        client: Client,
        group: &'static str,
        kinds: &'static [(&'static str, &'static str)],
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Definitions {
        let source = Source {
            client,
            url: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".into(),
            labels: None,
            fields: match kinds {
                [(plural, _)] => Some(format!("metadata.name={plural}.{group}")),
                _ => None,
            },
            // Versions are no metadata.
            metadata_only: false,
        };
        let known = Arc::new(Known::new(group, kinds, changed));
        let follower = known.clone();
        let task = tokio::spawn(async move { follow(&source, &*follower).await }).abort_handle();
        Definitions { known, task }
    }

    /// Whether all that there are were told.
    pub fn are_known(&self) -> bool {
        self.known.began.load(Ordering::Acquire)
    }

    /// Whether objects of a kind are served in the version in which they are read.
    pub fn serves(&self, plural: &str) -> bool {
        self.known.serves(plural)
    }

    /// The unique name of a definition that serves that version.
    pub fn uid(&self, plural: &str) -> Option<String> {
        self.serves(plural).then(|| self.known.found(plural).map(|found| found.uid)).flatten()
    }
}

impl Known {
    fn new(
        group: &'static str,
        kinds: &'static [(&'static str, &'static str)],
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Known {
        let (definitions, began) = (Mutex::default(), AtomicBool::new(false));
        Known { group, kinds, definitions, began, changed: Box::new(changed) }
    }

    fn take(&self, change: impl FnOnce(&mut BTreeMap<String, Found>)) {
        let (before, after) = {
            let mut definitions = self.definitions.lock();
            let before = definitions.clone();
            change(&mut definitions);
            (before, definitions.clone())
        };
        if after == before {
            return;
        }
        // Once for each change, and not for each look.
        for (plural, version) in self.kinds {
            let of = |all: &BTreeMap<String, Found>| all.get(&format!("{plural}.{}", self.group)).cloned();
            let now = of(&after);
            if now != of(&before) && now.is_some_and(|now| !now.served.contains(*version)) {
                tracing::warn!("the definition of {plural} does not serve {version}: they are left out");
            }
        }
        (self.changed)();
    }

    fn found(&self, plural: &str) -> Option<Found> {
        self.definitions.lock().get(&format!("{plural}.{}", self.group)).cloned()
    }

    fn serves(&self, plural: &str) -> bool {
        let version = self.kinds.iter().find(|(own, _)| *own == plural).map(|(_, version)| *version);
        self.found(plural).zip(version).is_some_and(|(found, version)| found.served.contains(version))
    }

    fn is_ours(&self, name: &str) -> bool {
        name.split_once('.').is_some_and(|(_, group)| group == self.group)
    }
}

impl Follower for Known {
    type Object = Definition;

    fn replace(&self, objects: Vec<Definition>) {
        let ours = objects.into_iter().filter(|object| self.is_ours(&object.metadata.name)).map(Definition::named);
        self.take(|known| *known = ours.collect());
        if !self.began.swap(true, Ordering::AcqRel) {
            (self.changed)();
        }
    }

    fn put(&self, object: Definition) {
        if self.is_ours(&object.metadata.name) {
            let (name, found) = object.named();
            self.take(|known| drop(known.insert(name, found)));
        }
    }

    fn remove(&self, object: Definition) {
        self.take(|known| drop(known.remove(&object.metadata.name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KINDS: &[(&str, &str)] = &[("gateways", "v1"), ("tlsroutes", "v1"), ("httproutes", "v1")];

    fn definition(plural: &str, versions: &[(&str, bool)]) -> Definition {
        let versions: Vec<_> =
            versions.iter().map(|(name, served)| json!({"name": name, "served": served, "schema": {}})).collect();
        let name = format!("{plural}.gateway.networking.k8s.io");
        let text = json!({"metadata": {"name": name, "uid": plural}, "spec": {"versions": versions}});
        Definition::read(&text.to_string()).unwrap()
    }

    #[test]
    fn a_kind_is_there_when_its_definition_serves_the_version_that_is_read() {
        let definitions = Known::new("gateway.networking.k8s.io", KINDS, || ());
        definitions.replace(vec![
            definition("gateways", &[("v1beta1", true), ("v1", true)]),
            definition("tlsroutes", &[("v1alpha2", true), ("v1", false)]),
        ]);
        assert!(
            definitions.serves("gateways") && !definitions.serves("tlsroutes") && !definitions.serves("httproutes")
        );
        definitions.put(definition("tlsroutes", &[("v1alpha2", true), ("v1", true)]));
        assert!(definitions.serves("tlsroutes"));
        definitions.remove(definition("tlsroutes", &[]));
        assert!(!definitions.serves("tlsroutes"));
    }
}
