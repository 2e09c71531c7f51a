//! Kernel parameters of the host that clusters need, and how they were before the first of them came.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use coracle_values::addresses::Family;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::files::{temporary, write_atomically};

/// In a directory that a reboot empties, as it resets the parameters.
const FILE: &str = "/run/coracle/host-settings";

/// A parameter that clusters hold.
#[derive(Debug, Serialize, Deserialize)]
struct Held {
    before: String,
    now: String,
    holders: BTreeSet<String>,
}

type Settings = BTreeMap<String, Held>;

/// What has this host pass packets of families on. One that passes packets of IPv6 on takes no routes from its own routers any
/// more, unless it is told to go on with that (`accept_ra` 2).
///
/// # Errors
/// The kernel has no IPv6.
pub fn forwarding(families: impl Iterator<Item = Family>) -> Result<Vec<(String, String)>> {
    const LINKS: &str = "/proc/sys/net/ipv6/conf";
    let mut parameters = Vec::new();
    for family in families {
        if family == Family::V6 {
            let links = fs::read_dir(LINKS).context(
                "this kernel has no IPv6: it was started with ipv6.disable=1, or made without (CONFIG_IPV6)",
            )?;
            let listens = |link: &String| {
                fs::read_to_string(format!("{LINKS}/{link}/accept_ra")).is_ok_and(|value| value.trim() == "1")
            };
            let links = links.flatten().filter_map(|link| link.file_name().into_string().ok());
            let own = links.filter(|link| link != "all" && link != "default").filter(listens);
            parameters.extend(own.map(|link| (format!("net/ipv6/conf/{link}/accept_ra"), "2".to_owned())));
        }
        parameters.push((coracle_network::host::forwarding(family).to_owned(), "1".to_owned()));
    }
    Ok(parameters)
}

/// Sets parameters for a cluster, such as `("net/ipv4/ip_forward", "1")`.
pub fn hold(cluster: &str, parameters: &[(String, String)]) -> Result<()> {
    let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (&**name, &**value)).collect();
    Store::new(FILE, "/proc/sys").hold(cluster, &parameters)
}

/// Sets back what a cluster held, as far as no other one holds it and nobody has changed it since.
pub fn release(cluster: &str) -> Result<()> {
    Store::new(FILE, "/proc/sys").release(cluster)
}

struct Store {
    file: PathBuf,
    parameters: PathBuf,
}

impl Store {
    fn new(file: impl Into<PathBuf>, parameters: impl Into<PathBuf>) -> Store {
        Store { file: file.into(), parameters: parameters.into() }
    }

    fn hold(&self, cluster: &str, parameters: &[(&str, &str)]) -> Result<()> {
        self.change(|settings| {
            for (name, value) in parameters {
                let before = self.read(name)?;
                let held = settings.entry((*name).to_owned()).or_insert_with(|| Held {
                    before: before.clone(),
                    now: (*value).to_owned(),
                    holders: BTreeSet::new(),
                });
                held.holders.insert(cluster.to_owned());
            }
            Ok(())
        })?;
        // Only once it is written down how they were: a kill in between changes nothing.
        for (name, value) in parameters {
            if self.read(name)? != *value {
                self.write(name, value)?;
            }
        }
        Ok(())
    }

    fn release(&self, cluster: &str) -> Result<()> {
        if self.record()?.is_empty() {
            return Ok(());
        }
        self.change(|settings| {
            let mut result = Ok(());
            settings.retain(|name, held| {
                held.holders.remove(cluster);
                if !held.holders.is_empty() {
                    return true;
                }
                // What cannot be set back now stays written down for the next one who tries.
                let failed = self.set_back(name, held).err();
                let keep = failed.is_some();
                result = failed.map_or(std::mem::replace(&mut result, Ok(())), Err);
                keep
            });
            result
        })
    }

    /// Sets a parameter back, unless somebody else changed it meanwhile or the kernel no longer has it.
    fn set_back(&self, name: &str, held: &Held) -> Result<()> {
        if held.before == held.now || !self.path(name).try_exists()? || self.read(name)? != held.now {
            return Ok(());
        }
        self.write(name, &held.before)
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
        write_atomically(&self.file, &serde_json::to_vec(&settings)?, 0o600)?;
        result
    }

    fn path(&self, name: &str) -> PathBuf {
        self.parameters.join(Path::new(name))
    }

    fn read(&self, name: &str) -> Result<String> {
        let text = fs::read_to_string(self.path(name)).with_context(|| format!("failed to read {name}"))?;
        Ok(text.trim().to_owned())
    }

    fn write(&self, name: &str, value: &str) -> Result<()> {
        fs::write(self.path(name), value)
            .with_context(|| format!("failed to set {} to {value}", name.replace('/', ".")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cluster_sets_back_what_the_first_one_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("run/settings"), dir.path());
        let forward = dir.path().join("forward");
        fs::write(&forward, "0\n").unwrap();
        store.hold("a", &[("forward", "1")]).unwrap();
        store.hold("b", &[("forward", "1")]).unwrap();
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
        assert!(store.hold("a", &[("forward", "1")]).is_err());
        assert_eq!(fs::read_to_string(dir.path().join("forward")).unwrap(), "0");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("run/settings"), dir.path());
        let forward = dir.path().join("forward");
        fs::write(&forward, "0").unwrap();
        store.hold("a", &[("forward", "1")]).unwrap();
        let record = fs::read(dir.path().join("run/settings")).unwrap();
        fs::write(dir.path().join("run/settings"), &record[..record.len() / 2]).unwrap();
        for result in [store.hold("b", &[("forward", "1")]), store.release("a")] {
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
        store.hold("a", &[("forward", "1")]).unwrap();
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
            store.hold("a", &[(name, "1")]).unwrap();
            if after == "2" {
                fs::write(dir.path().join(name), after).unwrap();
            }
            store.release("a").unwrap();
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), after);
        }
    }
}
