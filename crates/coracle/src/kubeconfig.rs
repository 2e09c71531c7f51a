//! The user's kubeconfig: one context, cluster and user of ours, everything else untouched.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::cluster::write_atomically;

/// How to reach a cluster as its administrator.
pub struct Access<'a> {
    /// The name of context, cluster and user.
    pub context: &'a str,
    /// The URL of the API server.
    pub server: String,
    /// Base64 of PEM: authority, client certificate and key.
    pub authority: String,
    pub certificate: String,
    pub key: String,
}

/// The file that kubectl changes: the first of `$KUBECONFIG`, else `~/.kube/config`.
pub fn path() -> Result<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty())
    {
        return Ok(first);
    }
    let home = std::env::var_os("HOME")
        .context("neither KUBECONFIG nor HOME is set: set one, so that the kubeconfig can be written")?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

/// Adds or replaces our entries and makes our context current.
pub fn add(path: &Path, access: &Access<'_>) -> Result<()> {
    let mut config = read(path)?;
    merge(&mut config, access);
    write(path, &config)
}

/// Removes our entries; the current context only when it is ours.
pub fn remove(path: &Path, context: &str) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut config = read(path)?;
    let before = config.clone();
    for list in ["clusters", "contexts", "users"] {
        if let Some(Value::Array(entries)) = config.get_mut(list) {
            entries.retain(|entry| entry["name"] != context);
        }
    }
    if config.get("current-context").is_some_and(|current| current == context) {
        config.insert("current-context".into(), "".into());
    }
    if config == before { Ok(()) } else { write(path, &config) }
}

fn merge(config: &mut Map<String, Value>, access: &Access<'_>) {
    let name = access.context;
    config.entry("apiVersion").or_insert_with(|| "v1".into());
    config.entry("kind").or_insert_with(|| "Config".into());
    config.entry("preferences").or_insert_with(|| json!({}));
    let cluster = json!({"server": access.server, "certificate-authority-data": access.authority});
    let user = json!({"client-certificate-data": access.certificate, "client-key-data": access.key});
    replace(config, "clusters", name, json!({"name": name, "cluster": cluster}));
    replace(config, "contexts", name, json!({"name": name, "context": {"cluster": name, "user": name}}));
    replace(config, "users", name, json!({"name": name, "user": user}));
    config.insert("current-context".into(), name.into());
}

fn replace(config: &mut Map<String, Value>, list: &str, name: &str, entry: Value) {
    let entries = config.entry(list).or_insert_with(|| json!([]));
    if !entries.is_array() {
        *entries = json!([]);
    }
    if let Value::Array(entries) = entries {
        match entries.iter_mut().find(|entry| entry["name"] == name) {
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
    }
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
    };
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let advice = || format!("{} was left as it is: mend or move it, or set KUBECONFIG to another file", path.display());
    match serde_saphyr::from_str::<Value>(&text).context("it is not YAML").with_context(advice)? {
        Value::Object(map) => Ok(map),
        _ => bail!("{}: it is not a kubeconfig", advice()),
    }
}

fn write(path: &Path, config: &Map<String, Value>) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
    }
    write_atomically(path, to_yaml(config)?.as_bytes(), 0o600)
}

fn to_yaml(config: &Map<String, Value>) -> Result<String> {
    serde_saphyr::to_string(config).context("failed to write YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access<'static> {
        Access {
            context: "coracle",
            server: "https://10.90.0.2:6443".into(),
            authority: "QQ==".into(),
            certificate: "Qg==".into(),
            key: "Qw==".into(),
        }
    }

    #[test]
    fn other_entries_stay_and_ours_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: prod\ncontexts:\n- name: prod\n  context: {cluster: prod, user: me, namespace: x}\nclusters:\n- name: prod\n  cluster: {server: 'https://a'}\nusers:\n- name: me\n  user: {token: \"0123\"}\n";
        fs::write(&path, theirs).unwrap();
        let before = read(&path).unwrap();
        add(&path, &access()).unwrap();
        add(&path, &access()).unwrap();
        let with = read(&path).unwrap();
        assert_eq!(with["current-context"], "coracle");
        assert_eq!(with["contexts"].as_array().unwrap().len(), 2);
        remove(&path, "coracle").unwrap();
        let after = read(&path).unwrap();
        for list in ["contexts", "clusters", "users"] {
            assert_eq!(after[list], before[list]);
        }
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_does_not_parse_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, "a: [unclosed").unwrap();
        let error = add(&path, &access()).unwrap_err();
        assert!(error.to_string().contains("was left as it is"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: [unclosed");
    }
}
