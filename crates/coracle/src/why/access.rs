//! How an API server is reached, as a kubeconfig says it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coracle_client::Remote;
use serde_json::Value;

use crate::kubeconfig;

/// A server, and the namespace that is meant.
pub struct Access {
    pub remote: Remote,
    pub namespace: String,
}

impl Access {
    /// What a context of a kubeconfig says.
    ///
    /// # Errors
    /// There is no such file or context, or something in it is missing or not supported.
    pub fn read(file: Option<&Path>, context: Option<&str>) -> Result<Access> {
        let path = file.map_or_else(kubeconfig::path, |file| Ok(file.to_owned()))?;
        let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        let directory = path.parent().map(Path::to_owned).unwrap_or_default();
        Access::of(&serde_saphyr::from_str(&text)?, context, &directory)
            .with_context(|| format!("the kubeconfig {}", path.display()))
    }

    fn of(config: &Value, context: Option<&str>, directory: &Path) -> Result<Access> {
        let name = context.or(config["current-context"].as_str()).unwrap_or_default();
        let context = entry(config, "contexts", name).with_context(|| format!("has no context {name:?}"))?;
        let of = |list: &str, field: &str| {
            let name = context["context"][field].as_str().unwrap_or_default();
            entry(config, list, name).with_context(|| format!("has no {field} {name:?}"))
        };
        let cluster = &of("clusters", "cluster")?["cluster"];
        let user = &of("users", "user")?["user"];
        if !user["exec"].is_null() || !user["auth-provider"].is_null() {
            bail!(
                "the user of the context {name:?} has a plugin, which is not supported: use a certificate or a token"
            );
        }
        let pem = |from: &Value, field: &str| -> Result<Option<Vec<u8>>> {
            if let Some(data) = from[format!("{field}-data")].as_str() {
                return Ok(Some(STANDARD.decode(data).with_context(|| format!("{field}-data is not base64"))?));
            }
            let Some(file) = from[field].as_str() else { return Ok(None) };
            let path: PathBuf = directory.join(file);
            Ok(Some(std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?))
        };
        let token = match (user["token"].as_str(), user["tokenFile"].as_str()) {
            (Some(token), _) => Some(token.to_owned()),
            (None, Some(file)) => Some(std::fs::read_to_string(directory.join(file))?.trim().to_owned()),
            (None, None) => None,
        };
        let remote = Remote {
            server: cluster["server"].as_str().context("the cluster has no server")?.to_owned(),
            ca_pem: pem(cluster, "certificate-authority")?.context("the cluster names no certificate authority")?,
            client_cert_pem: pem(user, "client-certificate")?,
            client_key_pem: pem(user, "client-key")?,
            token,
            ..Remote::default()
        };
        let namespace = context["context"]["namespace"].as_str().unwrap_or("default").to_owned();
        Ok(Access { remote, namespace })
    }
}

fn entry<'a>(config: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    config[list].as_array()?.iter().find(|entry| entry["name"] == name)
}
