//! Custom resources: follows the CustomResourceDefinitions, settles their names, and serves the kinds that they define.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>

mod api_services;
mod cleanup;
mod names;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use coracle_api::custom::{self, Defined};
use coracle_api::status::Status;
use coracle_api::strategy::crd::condition;
use coracle_api::{Kind, kinds, meta};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::object::Object;
use crate::objects::Objects;
use crate::operation::Operation;

/// How often what went wrong is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The kind of definitions; it is always there.
fn definitions() -> &'static Arc<Kind> {
    kinds::by_resource("apiextensions.k8s.io", "v1", "customresourcedefinitions").expect("the kind is in the table")
}

/// Serves what is defined so far, and goes on following the definitions until the server is dropped.
pub(crate) async fn start(objects: &Arc<Objects>) -> Result<()> {
    let cache = objects.storage.cache(definitions()).map_err(|status| anyhow!(status.message))?;
    let mut changed = cache.subscribe();
    let mut controller = Controller::default();
    controller.settle(objects, &mut changed).await;
    // Those that were left behind when the server ended.
    api_services::follow(objects).await?;
    let objects = Arc::downgrade(objects);
    drop(cache);
    tokio::spawn(async move {
        loop {
            // Closed with the cache, which goes with the server.
            if let Ok(Err(_)) = tokio::time::timeout(AGAIN, changed.changed()).await {
                break;
            }
            let Some(objects) = objects.upgrade() else { break };
            controller.settle(&objects, &mut changed).await;
        }
    });
    Ok(())
}

/// What is known of the definitions.
#[derive(Default)]
struct Controller {
    known: HashMap<String, Known>,
    /// The definitions that wait for a name of a group.
    waiting: HashMap<(String, String), BTreeSet<String>>,
    /// Names of groups that nobody has any more, and those who wait for them do not know yet.
    freed: Vec<(String, String)>,
    /// Something could not be done: all is looked at again.
    failed: bool,
}

/// What is known of one definition.
struct Known {
    revision: u64,
    uid: String,
    group: String,
    /// Its `status.acceptedNames`.
    names: Value,
    /// The names that it wants and others have.
    waits: Vec<String>,
    serves: Option<Serves>,
    cleaning: bool,
}

/// What is served for a definition.
struct Serves {
    /// The digest of what of the definition it was made from, which may be large.
    made_of: [u8; 32],
    terminating: bool,
    stored: Arc<Kind>,
}

/// What is to be served for a definition, and is not served yet.
struct Newly {
    defined: Defined,
    serves: Serves,
    /// It is made of other words than what is served now, if anything is: its objects are to be read anew.
    is_other: bool,
}

impl Controller {
    /// Looks at the definitions until there is nothing left to do.
    async fn settle(&mut self, objects: &Arc<Objects>, changed: &mut watch::Receiver<()>) {
        loop {
            changed.mark_unchanged();
            if let Err(error) = self.round(objects).await {
                tracing::warn!("custom resources: {error:#}");
                self.failed = true;
            }
            if self.failed {
                return;
            }
            // Whoever waits for what has been given up just now is next.
            if self.freed.is_empty() && !changed.has_changed().unwrap_or(false) {
                return;
            }
        }
    }

    async fn round(&mut self, objects: &Arc<Objects>) -> Result<()> {
        let cache = objects.storage.cache(definitions()).map_err(failed)?;
        let snapshot = cache.snapshot();
        let there: HashMap<&str, &str> = snapshot.range("", None).map(|object| (object.name(), object.uid())).collect();
        // What a round that failed has changed, and did not tell of, is told of now.
        let mut changes = self.forget(objects, &there) || self.failed;
        let is_new =
            |object: &Object| self.known.get(object.name()).is_none_or(|known| known.revision != object.revision());
        let freed = std::mem::take(&mut self.freed);
        let woken = freed.iter().filter_map(|name| self.waiting.get(name)).flatten();
        let woken: HashSet<&str> = woken.map(String::as_str).collect();
        let news: Vec<(String, Value)> = snapshot
            .range("", None)
            .filter(|object| self.failed || is_new(object) || woken.contains(object.name()))
            .map(|object| (object.name().to_owned(), object.value()))
            .collect();
        drop(snapshot);
        self.failed = false;
        let mut added = Vec::new();
        for (name, definition) in news {
            match self.look_at(objects, &name, definition).await {
                Ok(Some(defined)) => {
                    changes |= defined.served.is_empty();
                    added.extend(defined.served);
                }
                Ok(None) => {}
                // One that cannot be served does not keep others from it.
                Err(error) => {
                    tracing::warn!("failed to serve {name}: {error:#}");
                    self.failed = true;
                }
            }
        }
        if !added.is_empty() {
            objects.storage.kinds.insert(added);
            changes = true;
        }
        if changes {
            api_services::follow(objects).await?;
        }
        Ok(())
    }

    /// Looks at one definition; what is to be served for it, if that is not served yet and its objects have been read.
    async fn look_at(&mut self, objects: &Arc<Objects>, name: &str, mut definition: Value) -> Result<Option<Defined>> {
        self.note(name, &definition);
        if !meta::is_deleting(&definition) {
            self.settle_names(objects, name, &mut definition).await?;
        }
        let mut anew = None;
        if let Some(Newly { defined, serves, is_other }) = self.newly_defined(name, &definition) {
            if is_other {
                objects.storage.caches.add(&*objects.storage.store, &defined.stored).await?;
                if defined.served.is_empty() {
                    objects.storage.kinds.remove(&defined.stored.group, &defined.stored.plural);
                }
                anew = Some(defined);
            } else {
                // What is stored stays as it is, and so does who watches it.
                objects.storage.kinds.insert(defined.served);
            }
            // Not before it is: what is known to be served is what has to be taken away once the definition goes.
            if let Some(known) = self.known.get_mut(name) {
                known.serves = Some(serves);
            }
        }
        if meta::is_deleting(&definition) {
            self.clean(objects, name);
        }
        let revision = meta::resource_version(&definition).parse().unwrap_or(0);
        if let Some(known) = self.known.get_mut(name) {
            known.revision = revision;
        }
        Ok(anew)
    }

    /// Serves no more what is no longer defined, or defined anew.
    fn forget(&mut self, objects: &Arc<Objects>, there: &HashMap<&str, &str>) -> bool {
        let is_gone = |(name, known): &(&String, &Known)| there.get(name.as_str()) != Some(&known.uid.as_str());
        let gone: Vec<String> = self.known.iter().filter(is_gone).map(|(name, _)| name.clone()).collect();
        for name in &gone {
            let Some(known) = self.known.remove(name) else { continue };
            self.wait(name, &known.group, &known.waits, &[]);
            self.free(&known.group, &known.names, &Value::Null);
            if let Some(serves) = known.serves {
                objects.storage.remove_kind(&serves.stored.group, &serves.stored.plural);
                objects.storage.caches.remove(&serves.stored);
            }
        }
        !gone.is_empty()
    }

    fn note(&mut self, name: &str, definition: &Value) {
        let known = self.known.entry(name.to_owned()).or_insert_with(|| Known {
            revision: 0,
            uid: meta::uid(definition).to_owned(),
            group: meta::text(definition, &["spec", "group"]).to_owned(),
            names: Value::Null,
            waits: Vec::new(),
            serves: None,
            cleaning: false,
        });
        let accepted = &definition["status"]["acceptedNames"];
        let (group, waited) = (known.group.clone(), std::mem::take(&mut known.waits));
        let had = std::mem::replace(&mut known.names, accepted.clone());
        let waits = names::missing(&definition["spec"]["names"], accepted);
        self.wait(name, &group, &waited, &waits);
        self.free(&group, &had, accepted);
        if let Some(known) = self.known.get_mut(name) {
            known.waits = waits;
        }
    }

    /// Notes for which names of its group a definition waits, and for which it did before.
    fn wait(&mut self, name: &str, group: &str, before: &[String], now: &[String]) {
        for wanted in before.iter().filter(|wanted| !now.contains(wanted)) {
            let key = (group.to_owned(), wanted.clone());
            if let Some(waiting) = self.waiting.get_mut(&key) {
                waiting.remove(name);
                if waiting.is_empty() {
                    self.waiting.remove(&key);
                }
            }
        }
        for wanted in now.iter().filter(|wanted| !before.contains(wanted)) {
            self.waiting.entry((group.to_owned(), wanted.clone())).or_default().insert(name.to_owned());
        }
    }

    /// Notes the names that a definition had and has no more, if others wait for them.
    fn free(&mut self, group: &str, before: &Value, now: &Value) {
        for name in names::missing(before, now) {
            let key = (group.to_owned(), name);
            if self.waiting.contains_key(&key) {
                self.freed.push(key);
            }
        }
    }

    /// Gives a definition the names that it wants and that are free, and says so in its status.
    async fn settle_names(&mut self, objects: &Arc<Objects>, name: &str, definition: &mut Value) -> Result<()> {
        let group = meta::text(definition, &["spec", "group"]).to_owned();
        let others = self.known.iter().filter(|(other, known)| *other != name && known.group == group);
        let mut taken = names::Taken::of(others.map(|(_, known)| &known.names));
        taken.add_built_in(kinds::built_in(), &group);
        let mut settled = definition.clone();
        names::settle(&mut settled, &taken);
        if settled["status"] != definition["status"] {
            let mut make = |current: &Value| {
                let mut new = current.clone();
                names::settle(&mut new, &taken);
                Ok(new)
            };
            let written = objects.update(&Operation::status_by_server(definitions()), name, &mut make).await;
            match written {
                Ok(bytes) => *definition = serde_json::from_slice(&bytes)?,
                // It has been deleted meanwhile, which comes next.
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(failed(status)),
            }
        }
        self.note(name, definition);
        Ok(())
    }

    /// What is to be served for a definition, if that is not served yet.
    fn newly_defined(&self, name: &str, definition: &Value) -> Option<Newly> {
        if !condition::holds(definition, "Established") {
            return None;
        }
        let terminating = condition::holds(definition, "Terminating");
        let mut made_of = Sha256::new();
        for part in [&definition["spec"], &definition["status"]["acceptedNames"]] {
            made_of.update(part.to_string());
        }
        let made_of = made_of.finalize().into();
        let same = self.known.get(name)?.serves.as_ref().filter(|serves| serves.made_of == made_of);
        if same.is_some_and(|serves| serves.terminating == terminating) {
            return None;
        }
        let is_other = same.is_none();
        let defined = custom::kinds(definition)?;
        // Whatever its status says, which is not written by this server alone.
        if names::is_built_in(kinds::built_in(), &defined.stored) {
            return None;
        }
        let serves = Serves { made_of, terminating, stored: defined.stored.clone() };
        Some(Newly { defined, serves, is_other })
    }

    /// Begins to delete the objects of a definition that has been deleted.
    fn clean(&mut self, objects: &Arc<Objects>, name: &str) {
        let Some(known) = self.known.get_mut(name).filter(|known| !known.cleaning) else { return };
        known.cleaning = true;
        let stored = known.serves.as_ref().map(|serves| serves.stored.clone());
        tokio::spawn(cleanup::run(Arc::downgrade(objects), name.to_owned(), stored));
    }
}

fn failed(status: Status) -> anyhow::Error {
    anyhow!(status.message)
}
