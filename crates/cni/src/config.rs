//! Network configurations: a folder's first one, with the plugins of its chain.
//! <https://www.cni.dev/docs/spec/#section-1-network-configuration-format>

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::version::Version;

/// Most bytes of a file.
const MAX_FILE: u64 = 1 << 20;
/// Most plugins of a chain.
const MAX_PLUGINS: usize = 32;
/// Longest names of networks and plugins: they become names of files.
const MAX_NAME: usize = 200;

/// A chain of plugins, as a file describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// The network's name.
    pub name: String,
    /// The version in which its plugins are spoken to: the highest of those that it names.
    #[serde(rename = "cniVersion")]
    pub version: Version,
    /// Its plugins are not to be asked whether an attachment is as it should be.
    #[serde(rename = "disableCheck")]
    pub disable_check: bool,
    /// Its plugins are not to be told which attachments there are.
    #[serde(rename = "disableGC")]
    pub disable_gc: bool,
    /// The plugins, in the order in which they add.
    pub plugins: Vec<PluginConfig>,
}

/// One plugin of a chain, as it is written; it has a usable `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PluginConfig(pub Map<String, Value>);

impl PluginConfig {
    /// The name of its program.
    pub fn kind(&self) -> &str {
        self.0.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it takes a capability.
    pub fn takes(&self, capability: &str) -> bool {
        self.0.get("capabilities").and_then(|all| all.get(capability)).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The capabilities that it takes.
    pub fn capabilities(&self) -> impl Iterator<Item = &str> {
        let all = self.0.get("capabilities").and_then(Value::as_object).into_iter().flatten();
        all.filter(|(_, takes)| takes.as_bool() == Some(true)).map(|(name, _)| name.as_str())
    }

    /// A plugin's own object, of a list or of a file.
    fn new(value: Value) -> Result<PluginConfig, String> {
        let Value::Object(mut object) = value else { return Err("a plugin is not an object".into()) };
        let kind = match object.get("type") {
            Some(Value::String(kind)) if is_file_name(kind) => kind.clone(),
            Some(Value::String(kind)) => return Err(format!("the type {kind:?} is no name of a program")),
            _ => return Err("a plugin has no type, which names its program".into()),
        };
        match object.get("capabilities") {
            None | Some(Value::Null) => {}
            Some(Value::Object(all)) if all.values().all(Value::is_boolean) => {}
            Some(_) => return Err(format!("capabilities of the plugin {kind:?} are not all true or false")),
        }
        // Generated for each call: what a file says there is not for plugins.
        let reserved = |key: &str| key.starts_with("cni.dev/") || matches!(key, "runtimeConfig" | "prevResult");
        object.retain(|key, _| !reserved(key));
        Ok(PluginConfig(object))
    }
}

impl NetworkConfig {
    /// The first configuration of a folder by name: a `.conflist`, or a `.conf` or `.json` of one plugin. None when there
    /// is no such file.
    ///
    /// # Errors
    /// It cannot be used; the message names the file.
    pub fn first_of(folder: &Path) -> Result<Option<NetworkConfig>, String> {
        let found = match files(folder, &["conf", "conflist", "json"]) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("failed to list {}: {error}", folder.display())),
        };
        let Some(file) = found.first() else { return Ok(None) };
        let read = || {
            let is_list = file.extension().is_some_and(|extension| extension == "conflist");
            if is_list {
                NetworkConfig::of_list(read(file)?, Some(folder))
            } else {
                NetworkConfig::of_plugin(read(file)?)
            }
        };
        read().map(Some).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Of a list of plugins; with the folder, of those in the folder of the network's name too.
    fn of_list(value: Value, folder: Option<&Path>) -> Result<NetworkConfig, String> {
        let Value::Object(list) = value else { return Err("it is not a JSON object".into()) };
        let mut network = NetworkConfig::without_plugins(&list)?;
        let only_inlined = flag(&list, "loadOnlyInlinedPlugins")?;
        let inlined = match list.get("plugins") {
            None | Some(Value::Null) if only_inlined => {
                return Err("loadOnlyInlinedPlugins is true, and there are no plugins".into());
            }
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(plugins)) => plugins.clone(),
            Some(_) => return Err("plugins is not a list".into()),
        };
        network.plugins = inlined.into_iter().map(PluginConfig::new).collect::<Result<_, _>>()?;
        if let Some(folder) = folder.filter(|_| !only_inlined) {
            for file in files(&folder.join(&network.name), &["conf"]).unwrap_or_default() {
                let plugin = read(&file).and_then(PluginConfig::new);
                network.plugins.push(plugin.map_err(|error| format!("{}: {error}", file.display()))?);
            }
        }
        match network.plugins.len() {
            0 => Err("it has no plugins".into()),
            1..=MAX_PLUGINS => Ok(network),
            count => Err(format!("it has {count} plugins, more than {MAX_PLUGINS}")),
        }
    }

    /// Of a file of one plugin.
    fn of_plugin(value: Value) -> Result<NetworkConfig, String> {
        let Value::Object(object) = value else { return Err("it is not a JSON object".into()) };
        if !object.contains_key("type") && object.contains_key("plugins") {
            return Err("it is a list of plugins, which a file named .conflist has".into());
        }
        let network = NetworkConfig::without_plugins(&object)?;
        Ok(NetworkConfig { plugins: vec![PluginConfig::new(Value::Object(object))?], ..network })
    }

    fn without_plugins(object: &Map<String, Value>) -> Result<NetworkConfig, String> {
        let name = match object.get("name") {
            Some(Value::String(name)) if is_identifier(name) => name.clone(),
            Some(Value::String(name)) => {
                return Err(format!(
                    "the name {name:?} is not a letter or digit followed by letters, digits, underscores, dots and hyphens"
                ));
            }
            _ => return Err("the network has no name".into()),
        };
        Ok(NetworkConfig {
            name,
            version: version(object)?,
            disable_check: flag(object, "disableCheck")?,
            disable_gc: flag(object, "disableGC")?,
            plugins: Vec::new(),
        })
    }

    /// Whether a plugin of the chain takes a capability.
    pub fn takes(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.takes(capability))
    }
}

/// The highest version of those that a configuration names and that are spoken here.
fn version(object: &Map<String, Value>) -> Result<Version, String> {
    let named: Vec<&Value> = match object.get("cniVersions") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(named)) => named.iter().collect(),
        Some(_) => return Err("cniVersions is not a list".into()),
    };
    let named: Vec<&Value> = object.get("cniVersion").into_iter().chain(named).collect();
    if named.iter().any(|version| !version.is_string()) {
        return Err("a version of CNI is not a text".into());
    }
    let highest = named.iter().filter_map(|version| Version::parse(version.as_str()?)).max();
    let known = || Version::ALL.map(Version::as_str).join(", ");
    highest.ok_or_else(|| match &named[..] {
        [] => format!("it has no cniVersion, of which there are {}", known()),
        named => {
            let named: Vec<_> = named.iter().filter_map(|version| version.as_str()).collect();
            format!("its cniVersion {} is not spoken here: there are {}", named.join(", "), known())
        }
    })
}

/// A boolean, which old files have as a text.
fn flag(object: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(format!("{key} is neither true nor false")),
    }
}

fn is_file_name(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | ':');
    !text.is_empty() && text.len() <= MAX_NAME && text != "." && text != ".." && text.chars().all(is_plain)
}

/// What names of networks and IDs of containers are.
pub(crate) fn is_identifier(text: &str) -> bool {
    let begins = text.chars().next().is_some_and(|first| first.is_ascii_alphanumeric());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    begins && text.len() <= MAX_NAME && text.chars().all(is_plain)
}

/// The files of a folder that end so, by name.
fn files(folder: &Path, extensions: &[&str]) -> std::io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let ends = |file: &PathBuf| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension)) && !file.is_dir()
    };
    found.retain(ends);
    found.sort();
    Ok(found)
}

/// The JSON of a file.
fn read(file: &Path) -> Result<Value, String> {
    let failed = |error: std::io::Error| format!("it cannot be read: {error}");
    // A pipe would never end.
    if !fs::metadata(file).map_err(failed)?.is_file() {
        return Err("it is not a file".into());
    }
    let mut text = Vec::new();
    fs::File::open(file).map_err(failed)?.take(MAX_FILE + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it has more than {MAX_FILE} bytes"));
    }
    serde_json::from_slice(&text).map_err(|error| format!("it is not JSON: {error}"))
}

#[cfg(test)]
mod tests;
