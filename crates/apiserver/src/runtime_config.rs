//! Which versions of the built-in kinds are served.
//! <https://kubernetes.io/docs/reference/using-api/#enabling-or-disabling>
//!
//! Stable ones are, others only where the option `--runtime-config` says so, as with upstream. What is not served is still
//! stored and known within the server.

use anyhow::{Context, Result, bail, ensure};
use coracle_api::{Kind, Registry, kinds};

/// The settings of `--runtime-config`.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    settings: Vec<Setting>,
}

/// Whether what a key names is served.
#[derive(Clone, Debug)]
struct Setting {
    key: Key,
    served: bool,
}

/// What a setting is about. A later one wins over those before it, whichever order they were given in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// `api/all`
    All,
    /// `api/ga`, `api/beta`, `api/alpha`
    Maturity(Maturity),
    /// `GROUP/VERSION`
    Version(String, String),
    /// `GROUP/VERSION/RESOURCE`
    Resource(String, String, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Maturity {
    Stable,
    Beta,
    Alpha,
}

impl Maturity {
    fn of(version: &str) -> Maturity {
        match (version.contains("alpha"), version.contains("beta")) {
            (true, _) => Maturity::Alpha,
            (_, true) => Maturity::Beta,
            _ => Maturity::Stable,
        }
    }
}

impl RuntimeConfig {
    /// Reads settings, each `KEY=true`, `KEY=false` or `KEY`.
    ///
    /// # Errors
    /// A key or value makes no sense, or names a group or version that there is not.
    pub fn parse(texts: &[String]) -> Result<RuntimeConfig> {
        let settings: Result<Vec<Setting>> = texts.iter().map(|text| setting(text, kinds::built_in())).collect();
        let mut settings = settings?;
        settings.sort_by(|a, b| a.key.cmp(&b.key));
        let nothing = matches!(settings.as_slice(), [Setting { key: Key::All, served: false }]);
        ensure!(!nothing, "invalid key with only api/all=false");
        Ok(RuntimeConfig { settings })
    }

    /// What of a registry is served.
    pub(crate) fn registry(&self, all: &Registry) -> Registry {
        all.retain(|kind| self.serves(kind))
    }

    fn serves(&self, kind: &Kind) -> bool {
        let said = self.settings.iter().rev().find(|setting| setting.key.names(kind));
        // The core group cannot be turned off: nothing works without it.
        kind.group.is_empty() || said.map_or(Maturity::of(&kind.version) == Maturity::Stable, |setting| setting.served)
    }
}

impl Key {
    fn names(&self, kind: &Kind) -> bool {
        let is_of = |group: &str, version: &str| kind.group == group && kind.version == version;
        match self {
            Key::All => true,
            Key::Maturity(maturity) => Maturity::of(&kind.version) == *maturity,
            Key::Version(group, version) => is_of(group, version),
            Key::Resource(group, version, resource) => is_of(group, version) && kind.plural == *resource,
        }
    }
}

fn setting(text: &str, known: &Registry) -> Result<Setting> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let served = match value {
        "" | "true" => true,
        "false" => false,
        _ => bail!("invalid value of {key}: {value}, it is true or false"),
    };
    let key = read(key, known).with_context(|| format!("runtime-config {text}"))?;
    Ok(Setting { key, served })
}

fn read(key: &str, known: &Registry) -> Result<Key> {
    let key = match key.split('/').collect::<Vec<_>>().as_slice() {
        ["api", "all"] => return Ok(Key::All),
        ["api", "ga"] => return Ok(Key::Maturity(Maturity::Stable)),
        ["api", "beta"] => return Ok(Key::Maturity(Maturity::Beta)),
        ["api", "alpha"] => return Ok(Key::Maturity(Maturity::Alpha)),
        [group, version] => Key::Version((*group).into(), (*version).into()),
        [group, version, resource] => Key::Resource((*group).into(), (*version).into(), (*resource).into()),
        _ => bail!("invalid key: it is api/all, api/ga, api/beta, api/alpha, GROUP/VERSION or GROUP/VERSION/RESOURCE"),
    };
    let (Key::Version(group, version) | Key::Resource(group, version, _)) = &key else { return Ok(key) };
    ensure!(known.group(group).is_some(), "unknown api groups {group}");
    ensure!(known.serves(group, version), "group version {group}/{version} that has not been registered");
    if let Key::Resource(_, _, resource) = &key {
        let there = known.by_resource(group, version, resource).is_some();
        ensure!(there, "resource {resource} of {group}/{version} that has not been registered");
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "admissionregistration.k8s.io";

    fn served(settings: &[&str]) -> Registry {
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        RuntimeConfig::parse(&settings).expect("settings").registry(kinds::built_in())
    }

    #[test]
    fn stable_versions_are_served_and_others_where_that_is_wanted() {
        let usual = served(&[]);
        assert!(usual.kinds().iter().all(|kind| Maturity::of(&kind.version) == Maturity::Stable));
        assert_eq!(usual.group(GROUP).expect("the group").versions, ["v1"]);
        for wanted in ["api/beta=true", "admissionregistration.k8s.io/v1beta1", "api/all=true"] {
            let registry = served(&[wanted]);
            assert!(registry.by_resource(GROUP, "v1beta1", "mutatingadmissionpolicies").is_some(), "{wanted}");
            assert_eq!(registry.group(GROUP).expect("the group").versions, ["v1", "v1beta1"]);
        }
    }

    #[test]
    fn what_is_named_more_exactly_wins() {
        let one = served(&["admissionregistration.k8s.io/v1beta1/mutatingadmissionpolicies=false", "api/beta=true"]);
        assert!(one.by_resource(GROUP, "v1beta1", "mutatingadmissionpolicies").is_none());
        assert!(one.by_resource(GROUP, "v1beta1", "mutatingadmissionpolicybindings").is_some());
        let few = served(&["batch/v1=true", "api/all=false"]);
        assert!(few.serves("batch", "v1") && few.serves("", "v1") && !few.serves("apps", "v1"));
        assert!(few.group("apps").is_none() && few.group("batch").is_some());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, why) in [
            ("api/all=false", "invalid key with only api/all=false"),
            ("batch/v1=maybe", "invalid value of batch/v1: maybe"),
            ("batch/v7", "group version batch/v7 that has not been registered"),
            ("bach/v1", "unknown api groups bach"),
            ("batch/v1/pods", "resource pods of batch/v1 that has not been registered"),
            ("batch", "invalid key"),
        ] {
            let refused = RuntimeConfig::parse(&[text.into()]).expect_err(text);
            assert!(format!("{refused:#}").contains(why), "{refused:#}");
        }
    }
}
