//! How a node learns whom to trust: the config map `cluster-info`, which everybody may read, says where the cluster is and who
//! its authority is, the bootstrap token vouches for it, and the digest of the authority's key for that.
//! <https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-join/>

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coracle_client::{Backoff, Remote, unverified};
use coracle_pki::{BootstrapToken, pinned};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::write_atomically;

const FILE: &str = "joined.json";
/// How long a token that a server does not know may take to come: it may have been made a moment ago.
const UNKNOWN: Duration = Duration::from_secs(10);
/// How long, and how often, a server is looked for that begins at the same time.
const SOON: Duration = Duration::from_secs(2);
const OFTEN: Duration = Duration::from_millis(10);
/// The longest config map that is read.
const LONGEST: usize = 1 << 20;

/// The cluster that this node belongs to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// Where its API server answers.
    pub server: String,
    /// Its authority, in PEM.
    pub authority: String,
}

impl Joined {
    /// What an earlier run has written down.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(dir: &Path) -> Result<Option<Joined>> {
        let file = dir.join(FILE);
        match std::fs::read(&file) {
            Ok(bytes) => {
                let joined = serde_json::from_slice(&bytes);
                joined.map(Some).with_context(|| format!("{}: remove it to join anew", file.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", file.display())),
        }
    }

    /// Writes it down.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_atomically(&dir.join(FILE), &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// The same cluster at another place, which is written down.
    pub fn at(mut self, server: Option<String>, dir: &Path) -> Result<Joined> {
        if let Some(server) = server.filter(|server| *server != self.server) {
            self.server = server;
            self.write(dir)?;
        }
        Ok(self)
    }

    /// How its API is reached, as nobody.
    pub fn remote(&self) -> Remote {
        Remote { server: self.server.clone(), ca_pem: self.authority.clone().into_bytes(), ..Remote::default() }
    }
}

/// Learns whom to trust; waits for a server that does not answer, and for a moment for one that does not know the token.
///
/// # Errors
/// The token is not the cluster's, or the authority is not the one with the digest.
pub async fn discover(server: &str, token: &BootstrapToken, hashes: &[String]) -> Result<Joined> {
    if hashes.is_empty() {
        tracing::warn!(
            "the authority of the cluster is believed for the token alone: whoever else has it could stand in for the cluster; \
             --discovery-token-ca-cert-hash prevents that"
        );
    }
    let maps: Api<ConfigMap> = Api::namespaced(unverified(server)?, "kube-public");
    let (started, mut backoff) = (Instant::now(), Backoff::new(SOON, Duration::from_secs(10)));
    let mut unknown: Option<Instant> = None;
    loop {
        match maps.get("cluster-info").await {
            Ok(map) => match read(&map, token)? {
                Some(authority) => {
                    return Ok(Joined { server: server.to_owned(), authority: pinned(&authority, hashes)? });
                }
                None if unknown.get_or_insert_with(Instant::now).elapsed() > UNKNOWN => bail!(
                    "the cluster at {server} does not know the token {}: it may have expired, or never been made there; \
                     `coracle token create` makes one",
                    token.id
                ),
                None => {
                    tokio::time::sleep(OFTEN).await;
                    continue;
                }
            },
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                bail!("{server} does not let anybody read the config map kube-public/cluster-info: {}", status.message)
            }
            Err(_) if started.elapsed() < SOON => {
                tokio::time::sleep(OFTEN).await;
                continue;
            }
            Err(error) => tracing::warn!("waiting for {server}: {error}"),
        }
        backoff.sleep().await;
    }
}

/// The authority that the config map names, if the token vouches for it.
fn read(map: &ConfigMap, token: &BootstrapToken) -> Result<Option<String>> {
    let data = |key: &str| map.data.as_ref().and_then(|data| data.get(key)).filter(|text| text.len() <= LONGEST);
    let kubeconfig = data("kubeconfig").context("the config map kube-public/cluster-info has no kubeconfig")?;
    let Some(signature) = data(&format!("jws-kubeconfig-{}", token.id)) else { return Ok(None) };
    if !token.vouches(kubeconfig, signature) {
        bail!(
            "what the server says of its cluster is not signed with the token {}: the token is wrong, or somebody stands in \
             for the cluster",
            token.id
        );
    }
    let config: Value = serde_saphyr::from_str(kubeconfig).context("the kubeconfig in cluster-info is not YAML")?;
    let authority = config["clusters"][0]["cluster"]["certificate-authority-data"].as_str();
    let authority = STANDARD.decode(authority.context("the kubeconfig in cluster-info names no authority")?);
    Ok(Some(String::from_utf8(authority.context("the authority in cluster-info is not base64")?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_pki::Authority;

    fn signed(content: &str, token: &BootstrapToken) -> ConfigMap {
        let data = [
            ("kubeconfig".to_owned(), content.to_owned()),
            (format!("jws-kubeconfig-{}", token.id), token.sign(content)),
        ];
        ConfigMap { data: Some(data.into()), ..ConfigMap::default() }
    }

    #[test]
    fn an_authority_is_believed_when_the_token_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap().certificate;
        let encoded = STANDARD.encode(&authority);
        let kubeconfig = format!("clusters:\n- cluster:\n    certificate-authority-data: {encoded}\n");
        let token: BootstrapToken = "abcdef.0123456789abcdef".parse().unwrap();
        let map = signed(&kubeconfig, &token);
        assert_eq!(read(&map, &token).unwrap().as_deref(), Some(&*authority));
        assert_eq!(read(&map, &"zzzzzz.0123456789abcdef".parse().unwrap()).unwrap(), None, "not signed with it yet");
        let wrong = read(&map, &"abcdef.0123456789abcdeX".to_lowercase().parse().unwrap()).unwrap_err().to_string();
        assert!(wrong.contains("not signed with the token abcdef"), "{wrong}");
        let mut changed = map;
        changed.data.as_mut().unwrap().insert("kubeconfig".into(), kubeconfig.replace("clusters", "clusterz"));
        assert!(read(&changed, &token).is_err());
    }
}
