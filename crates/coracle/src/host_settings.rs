//! Kernel parameters of the host that clusters need, and how they were before the first of them came.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coracle_values::addresses::Family;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::files::{temporary, write_until_boot};

/// In a directory that a reboot empties, as it resets the parameters.
const FILE: &str = "/run/coracle/host-settings";
const PARAMETERS: &str = "/proc/sys";

/// A parameter that clusters hold.
#[derive(Debug, Serialize, Deserialize)]
struct Held {
    before: String,
    now: String,
    holders: BTreeSet<String>,
    /// What the kernel sets with it, as far as it had the value of now before: forwarding of all links is that of each.
    #[serde(default)]
    beneath: BTreeSet<String>,
}

type Settings = BTreeMap<String, Held>;
type Parameters = Vec<(String, String)>;

const LISTENS: &str = "accept_ra";

/// Has this host pass packets of families on, for a cluster, and sets further parameters, such as
/// `("net/ipv4/conf/all/send_redirects", "0")`.
///
/// # Errors
/// The kernel has no IPv6, or a parameter cannot be set.
pub fn hold(cluster: &str, families: impl Iterator<Item = Family>, more: &[(&str, &str)]) -> Result<()> {
    let families: Vec<Family> = families.collect();
    let mut parameters = Parameters::new();
    if families.contains(&Family::V6) {
        if !Path::new(PARAMETERS).join("net/ipv6/conf").exists() {
            bail!("this kernel has no IPv6: it was started with ipv6.disable=1, or made without (CONFIG_IPV6)");
        }
        // Before packets are passed on: the kernel forgets the routers of links that are not told so.
        parameters.extend(listen(&coracle_network::host::advertised_links()?));
    }
    let forwarding = families.iter().map(|family| (coracle_network::host::forwarding(*family), "1"));
    parameters.extend(forwarding.chain(more.iter().copied()).map(|(name, value)| (name.into(), value.into())));
    Store::new(FILE, PARAMETERS).hold(cluster, parameters)
}

/// A host that passes packets of IPv6 on takes no routes from its own routers any more, unless a link is told to go on with that.
fn listen(links: &BTreeSet<String>) -> impl Iterator<Item = (String, String)> {
    links.iter().map(|link| (format!("net/ipv6/conf/{link}/{LISTENS}"), "2".to_owned()))
}

/// Sets back what a cluster held, as far as no other one holds it and nobody has changed it since.
pub fn release(cluster: &str) -> Result<()> {
    Store::new(FILE, PARAMETERS).release(cluster)
}

struct Store {
    file: PathBuf,
    parameters: PathBuf,
}

impl Store {
    fn new(file: impl Into<PathBuf>, parameters: impl Into<PathBuf>) -> Store {
        Store { file: file.into(), parameters: parameters.into() }
    }

    fn hold(&self, cluster: &str, mut parameters: Parameters) -> Result<()> {
        self.change(|settings| {
            let mut missing = Vec::new();
            for (name, value) in &parameters {
                if let Some(held) = settings.get_mut(name) {
                    held.holders.insert(cluster.to_owned());
                    continue;
                }
                match self.read(name)? {
                    Some(before) if !is_of_link(name) || self.listened(name, &before)? => {
                        let beneath = if before == *value { BTreeSet::new() } else { self.beneath(name, value)? };
                        let (now, holders) = (value.clone(), BTreeSet::from([cluster.to_owned()]));
                        settings.insert(name.clone(), Held { before, now, holders, beneath });
                    }
                    // A link goes at any time, and one that did not listen is left alone.
                    _ if is_of_link(name) => missing.push(name.clone()),
                    _ => bail!("this kernel has no parameter {}", name.replace('/', ".")),
                }
            }
            parameters.retain(|(name, _)| !missing.contains(name));
            // Where another cluster has links listen, they are no others for this one.
            if parameters.iter().any(|(name, _)| name == coracle_network::host::forwarding(Family::V6)) {
                for (_, held) in settings.iter_mut().filter(|(name, _)| is_of_link(name)) {
                    held.holders.insert(cluster.to_owned());
                }
            }
            Ok(())
        })?;
        // Only once it is written down how they were: a kill in between changes nothing.
        for (name, value) in &parameters {
            if self.read(name)?.is_some_and(|now| now != *value) {
                self.write(name, value)?;
            }
        }
        Ok(())
    }

    /// Whether a link, which has a value of `accept_ra`, takes routes: not one that passes packets on.
    fn listened(&self, name: &str, value: &str) -> Result<bool> {
        let forwards = self.read(&name.replace(LISTENS, "forwarding"))?;
        Ok(value == "1" && forwards.is_some_and(|forwards| forwards == "0"))
    }

    /// The parameters of links that have a value already which a parameter gives all of them.
    fn beneath(&self, name: &str, value: &str) -> Result<BTreeSet<String>> {
        let links = match name {
            "net/ipv4/ip_forward" => "net/ipv4/conf",
            "net/ipv6/conf/all/forwarding" => "net/ipv6/conf",
            _ => return Ok(BTreeSet::new()),
        };
        let directory = fs::read_dir(self.path(links)).with_context(|| format!("failed to list {links}"))?;
        let names = directory.flatten().filter_map(|link| link.file_name().into_string().ok());
        let names = names.filter(|link| link != "all").map(|link| format!("{links}/{link}/forwarding"));
        let mut beneath = BTreeSet::new();
        for name in names {
            if self.read(&name)?.is_some_and(|now| now == value) {
                beneath.insert(name);
            }
        }
        Ok(beneath)
    }

    fn release(&self, cluster: &str) -> Result<()> {
        if self.record()?.is_empty() {
            return Ok(());
        }
        self.change(|settings| {
            let mut result = Ok(());
            settings.values_mut().for_each(|held| {
                held.holders.remove(cluster);
            });
            let unheld = settings.iter().filter(|(_, held)| held.holders.is_empty());
            let mut names: Vec<String> = unheld.map(|(name, _)| name.clone()).collect();
            // Links listen until packets are no longer passed on, or the kernel forgets their routers.
            names.sort_by_key(|name| is_of_link(name));
            for name in names {
                // What cannot be set back now stays written down for the next one who tries.
                match settings.get(&name).map_or(Ok(()), |held| self.set_back(&name, held)) {
                    Ok(()) => drop(settings.remove(&name)),
                    Err(error) => result = Err(error),
                }
            }
            result
        })
    }

    /// Sets a parameter back, unless somebody else changed it meanwhile or the kernel no longer has it.
    fn set_back(&self, name: &str, held: &Held) -> Result<()> {
        if held.before == held.now || self.read(name)?.is_none_or(|now| now != held.now) {
            return Ok(());
        }
        let mut beneath = Vec::new();
        for link in &held.beneath {
            // Who changed it meanwhile wants it so.
            if self.read(link)?.is_some_and(|now| now == held.now) {
                beneath.push(link);
            }
        }
        self.write(name, &held.before)?;
        beneath.into_iter().try_for_each(|link| self.write(link, &held.now))
    }

    /// What is written down; nothing if there is no file. One that cannot be read is no absence of one: what is set
    /// now would be taken for what was there before, and the host never be set back.
    fn record(&self) -> Result<Settings> {
        let file = self.file.display();
        let bytes = match fs::read(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Settings::new()),
            read => read.with_context(|| format!("failed to read {file}"))?,
        };
        serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{file} should say which kernel parameters clusters hold and how they were before, and cannot be \
                 understood; look at it, and remove it to go on with the parameters as they are now"
            )
        })
    }

    fn change(&self, change: impl FnOnce(&mut Settings) -> Result<()>) -> Result<()> {
        let directory = self.file.parent().context("the settings have a directory")?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        // The directory is always there to be locked, the file is replaced.
        let lock = fs::File::open(directory)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut settings = self.record()?;
        let result = change(&mut settings);
        if settings.is_empty() {
            let _ = fs::remove_file(&self.file);
            let _ = fs::remove_file(temporary(&self.file));
            return result;
        }
        write_until_boot(&self.file, &serde_json::to_vec(&settings)?, 0o600)?;
        result
    }

    fn path(&self, name: &str) -> PathBuf {
        self.parameters.join(Path::new(name))
    }

    /// The value of a parameter; `None` if there is none, as of a link that has gone.
    fn read(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.path(name)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {name}")),
        }
    }

    /// Sets a parameter; one of a link that has gone meanwhile needs nothing.
    fn write(&self, name: &str, value: &str) -> Result<()> {
        match fs::OpenOptions::new().write(true).truncate(true).open(self.path(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            opened => opened.and_then(|mut file| file.write_all(value.as_bytes())),
        }
        .with_context(|| format!("failed to set {} to {value}", name.replace('/', ".")))
    }
}

/// Whether a parameter is one that has a link listen to routers.
fn is_of_link(name: &str) -> bool {
    name.ends_with(LISTENS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Parameters {
        vec![(name.to_owned(), "1".to_owned())]
    }

    /// A kernel with links that have values of `accept_ra` and `forwarding`.
    fn kernel(links: &[(&str, &str, &str)]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        for (link, accepts, forwards) in links {
            let path = dir.path().join("net/ipv6/conf").join(link);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("accept_ra"), accepts).unwrap();
            fs::write(path.join("forwarding"), forwards).unwrap();
        }
        let store = Store::new(dir.path().join("run/settings"), dir.path());
        (dir, store)
    }

    fn with_links(links: &[&str]) -> Parameters {
        let links = links.iter().map(|link| (*link).to_owned()).collect();
        listen(&links).chain([("net/ipv6/conf/all/forwarding".to_owned(), "1".to_owned())]).collect()
    }

    #[test]
    fn links_listen_until_the_last_cluster_goes_whoever_came_first() {
        // Whether the second one sees the link or its routes are gone.
        for seen in [&["up0"][..], &[]] {
            let (_dir, store) = kernel(&[("all", "1", "0"), ("up0", "1", "0")]);
            let value = || store.read("net/ipv6/conf/up0/accept_ra").unwrap().unwrap();
            store.hold("a", with_links(&["up0"])).unwrap();
            store.hold("four", of("net/ipv6/conf/all/accept_redirects")).unwrap_err();
            assert_eq!(value(), "2");
            store.write("net/ipv6/conf/up0/forwarding", "1").unwrap();
            store.hold("b", with_links(seen)).unwrap();
            store.release("a").unwrap();
            assert_eq!(value(), "2");
            store.release("b").unwrap();
            assert_eq!(value(), "1");
        }
    }

    #[test]
    fn links_that_have_gone_or_that_did_not_listen_are_left_alone() {
        let (_dir, store) = kernel(&[("all", "1", "0"), ("off", "0", "0"), ("router", "1", "1"), ("up0", "1", "0")]);
        store.hold("a", with_links(&["gone", "off", "router", "up0"])).unwrap();
        let values =
            ["off", "router", "up0"].map(|link| store.read(&format!("net/ipv6/conf/{link}/accept_ra")).unwrap());
        assert_eq!(values, ["0", "1", "2"].map(|value| Some(value.to_owned())));
        fs::remove_dir_all(store.path("net/ipv6/conf/up0")).unwrap();
        store.hold("b", with_links(&["up0"])).unwrap();
        ["a", "b"].into_iter().for_each(|cluster| store.release(cluster).unwrap());
        assert!(!store.file.exists() && !store.path("net/ipv6/conf/up0").exists());
    }

    #[test]
    fn links_that_forwarded_before_do_so_afterwards() {
        let (_dir, store) =
            kernel(&[("all", "1", "0"), ("default", "1", "1"), ("a0", "1", "1"), ("b0", "1", "1"), ("c0", "1", "0")]);
        let links = ["default", "a0", "b0", "c0"].map(|link| format!("net/ipv6/conf/{link}/forwarding"));
        // As the kernel does.
        let spread = |value: &str| links.iter().for_each(|link| store.write(link, value).unwrap());
        store.hold("a", with_links(&[])).unwrap();
        spread("1");
        // Somebody has it otherwise.
        store.write(&links[2], "0").unwrap();
        let record = store.record().unwrap();
        let held = &record["net/ipv6/conf/all/forwarding"];
        assert_eq!(held.beneath, [0, 1, 2].map(|link| links[link].clone()).into());
        store.release("a").unwrap();
        assert_eq!(store.read("net/ipv6/conf/all/forwarding").unwrap().as_deref(), Some("0"));
    }

    #[test]
    fn the_last_cluster_sets_back_what_the_first_one_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("run/settings"), dir.path());
        let forward = dir.path().join("forward");
        fs::write(&forward, "0\n").unwrap();
        store.hold("a", of("forward")).unwrap();
        store.hold("b", of("forward")).unwrap();
        store.release("a").unwrap();
        assert_eq!(fs::read_to_string(&forward).unwrap(), "1");
        store.release("a").unwrap();
        store.release("b").unwrap();
        assert_eq!(fs::read_to_string(&forward).unwrap(), "0");
        assert!(!dir.path().join("run/settings").exists());
    }

    #[test]
    fn a_parameter_is_changed_only_once_it_is_written_down_how_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("run/settings"), dir.path());
        fs::write(dir.path().join("forward"), "0").unwrap();
        // The record cannot be written.
        fs::create_dir_all(dir.path().join("run/settings/x")).unwrap();
        assert!(store.hold("a", of("forward")).is_err());
        assert_eq!(fs::read_to_string(dir.path().join("forward")).unwrap(), "0");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("run/settings"), dir.path());
        let forward = dir.path().join("forward");
        fs::write(&forward, "0").unwrap();
        store.hold("a", of("forward")).unwrap();
        let record = fs::read(dir.path().join("run/settings")).unwrap();
        fs::write(dir.path().join("run/settings"), &record[..record.len() / 2]).unwrap();
        for result in [store.hold("b", of("forward")), store.release("a")] {
            let error = format!("{:#}", result.unwrap_err());
            assert!(error.contains("run/settings should say which kernel parameters"), "{error}");
        }
        fs::write(dir.path().join("run/settings"), &record).unwrap();
        store.release("a").unwrap();
        assert_eq!(fs::read_to_string(&forward).unwrap(), "0");
    }

    #[test]
    fn what_cannot_be_set_back_now_is_set_back_later() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("run/settings"), dir.path());
        let forward = dir.path().join("forward");
        fs::write(&forward, "0").unwrap();
        store.hold("a", of("forward")).unwrap();
        fs::remove_file(&forward).unwrap();
        fs::create_dir(&forward).unwrap();
        assert!(store.release("a").is_err());
        fs::remove_dir(&forward).unwrap();
        fs::write(&forward, "1").unwrap();
        store.release("b").unwrap();
        assert_eq!(fs::read_to_string(&forward).unwrap(), "0");
        assert!(!dir.path().join("run/settings").exists());
    }

    #[test]
    fn what_somebody_else_set_meanwhile_or_had_before_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("run/settings"), dir.path());
        for (name, before, after) in [("had", "1", "1"), ("changed", "0", "2")] {
            fs::write(dir.path().join(name), before).unwrap();
            store.hold("a", of(name)).unwrap();
            if after == "2" {
                fs::write(dir.path().join(name), after).unwrap();
            }
            store.release("a").unwrap();
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), after);
        }
    }
}
