//! Which plugins are asked: those that usually are, but for what options say.

use anyhow::{Result, bail, ensure};

/// The plugin that counts what namespaces use, which is no part of the list: it has a say where objects are stored.
pub(super) const RESOURCE_QUOTA: &str = "ResourceQuota";
/// Those that nobody is asked about unless that is wanted.
const USUALLY_OFF: [&str; 1] = ["OwnerReferencesPermissionEnforcement"];

/// Options by which plugins are named as upstream names them.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Asked besides the usual ones.
    pub enable: Vec<String>,
    /// Not asked.
    pub disable: Vec<String>,
    /// Pods are connected by plugins that are none of ours, whose matter network policies are.
    pub foreign_network: bool,
}

impl Options {
    /// # Errors
    /// A plugin is not known, or is to be both.
    pub fn check(&self, known: &[&str]) -> Result<()> {
        for name in self.enable.iter().chain(&self.disable) {
            let mut known = known.to_vec();
            known.sort_unstable();
            if !known.contains(&name.as_str()) {
                bail!("admission-control plugin \"{name}\" is unknown: there are {}", known.join(", "));
            }
        }
        let both = self.enable.iter().find(|name| self.disable.contains(name));
        ensure!(both.is_none(), "{both:?} in enable-admission-plugins and disable-admission-plugins overlapped");
        Ok(())
    }

    /// Whether a plugin is asked. One without a name is a part of the server.
    pub fn selects(&self, name: &str) -> bool {
        let is_among = |names: &[String]| names.iter().any(|own| own == name);
        !is_among(&self.disable) && (!USUALLY_OFF.contains(&name) || is_among(&self.enable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_asked_as_options_say() {
        let options = |enable: &[&str], disable: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Options { enable: owned(enable), disable: owned(disable), foreign_network: false }
        };
        let known = ["Priority", USUALLY_OFF[0]];
        let usual = Options::default();
        assert!(usual.selects("Priority") && usual.selects("") && !usual.selects(USUALLY_OFF[0]));
        let other = options(&[USUALLY_OFF[0]], &["Priority"]);
        assert!(other.check(&known).is_ok() && other.selects(USUALLY_OFF[0]) && !other.selects("Priority"));
        let unknown = options(&[], &["Priorities"]).check(&known).unwrap_err().to_string();
        assert!(unknown.starts_with("admission-control plugin \"Priorities\" is unknown"), "{unknown}");
        assert!(options(&["Priority"], &["Priority"]).check(&known).is_err());
    }
}
