//! The kubelet's own certificates: asked for by CertificateSigningRequests, kept in `pki` of its directory, and renewed while
//! it runs.
//! <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/>

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use coracle_client::Backoff;
use coracle_pki::{Current, NewRequest, Pair, validity};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use kube::core::ObjectMeta;
use kube::{Client, ResourceExt};
use x509_parser::extensions::GeneralName;

use crate::config::KubeletConfig;
use crate::volumes::make_private;

/// How long a request may wait for its certificate before another one is made, as upstream's.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// One of the kubelet's certificates.
pub(crate) struct Kept {
    current: Arc<Current>,
    dir: PathBuf,
    /// The file's name.
    name: &'static str,
    signer: &'static str,
    usage: &'static str,
    node: String,
    dns_names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Kept {
    /// That of the kubelet's server.
    pub fn serving(config: &KubeletConfig) -> Kept {
        Kept {
            current: config.serving.clone(),
            dir: config.root_dir.join("pki"),
            name: "kubelet-server",
            signer: "kubernetes.io/kubelet-serving",
            usage: "server auth",
            node: config.node_name.clone(),
            dns_names: vec![config.node_name.clone()],
            addresses: config.node_ips(),
        }
    }

    /// That which it shows to the API server.
    pub fn client(root_dir: &Path, node: &str, current: Arc<Current>) -> Kept {
        Kept {
            current,
            dir: root_dir.join("pki"),
            name: "kubelet-client",
            signer: "kubernetes.io/kube-apiserver-client-kubelet",
            usage: "client auth",
            node: node.into(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// Takes the certificate that an earlier run has left, unless it has ended or is for another name or address; whether
    /// there was one.
    pub fn load(&self) -> bool {
        let found = Pair::load(&self.dir, self.name).and_then(|pair| match pair {
            Some(pair) if self.fits(&pair.certificate)? => self.current.replace(&pair).map(|()| true),
            _ => Ok(false),
        });
        found.unwrap_or_else(|error| {
            tracing::warn!(certificate = self.name, "an earlier certificate is not usable: {error:#}");
            false
        })
    }

    fn fits(&self, certificate: &str) -> Result<bool> {
        let (_, ends) = validity(certificate)?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes())?;
        let certificate = pem.parse_x509()?;
        let names = certificate.subject_alternative_name()?;
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let (mut dns_names, mut addresses) = (Vec::new(), Vec::new());
        for name in names {
            match name {
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.push(bytes.to_vec()),
                _ => {}
            }
        }
        let octets = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        Ok(ends > SystemTime::now()
            && self.dns_names == dns_names
            && self.addresses.iter().map(octets).collect::<Vec<_>>() == addresses)
    }

    /// Renews the certificate before it ends, for ever; one that was not asked for is replaced at once.
    pub async fn keep(self, client: Client, mut was_asked_for: bool) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60));
        loop {
            if let (true, Some(renewal)) = (was_asked_for, self.renewal()) {
                tokio::time::sleep(renewal).await;
            }
            match self.renew(&client).await {
                Ok(()) => {
                    was_asked_for = true;
                    backoff.reset();
                }
                Err(error) => {
                    tracing::warn!(certificate = self.name, "failed to get a certificate: {error:#}");
                    backoff.sleep().await;
                }
            }
        }
    }

    /// When to renew it: somewhere between seven and nine tenths of its life, so that nodes do not ask all at once.
    fn renewal(&self) -> Option<Duration> {
        let (begins, ends) = self.current.validity()?;
        let life = ends.duration_since(begins).unwrap_or_default();
        let share = f64::from((RandomState::new().hash_one(self.name) >> 32) as u32) / f64::from(u32::MAX);
        let due = begins.checked_add(life.mul_f64(0.7 + 0.2 * share))?;
        Some(due.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Gets another certificate, and uses it from then on.
    pub async fn renew(&self, client: &Client) -> Result<()> {
        let user = format!("system:node:{}", self.node);
        let new = NewRequest::new(&user, "system:nodes", &self.dns_names, &self.addresses)?;
        let request = CertificateSigningRequest {
            metadata: ObjectMeta { generate_name: Some("csr-".into()), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(new.request.into_bytes()),
                signer_name: self.signer.into(),
                usages: Some(vec!["digital signature".into(), self.usage.into()]),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        };
        let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
        let name = requests.create(&PostParams::default(), &request).await?.name_any();
        let certificate = tokio::time::timeout(PATIENCE, issued(&requests, &name))
            .await
            .with_context(|| format!("the request {name} was neither approved nor denied in {PATIENCE:?}"))?
            .with_context(|| format!("the request {name}"))?;
        let pair = Pair { certificate, key: new.key };
        self.current.replace(&pair)?;
        make_private(&self.dir).with_context(|| format!("failed to make {}", self.dir.display()))?;
        pair.save(&self.dir, self.name)?;
        tracing::info!(certificate = self.name, request = name, "there is a new certificate");
        Ok(())
    }
}

/// The certificate that a request gets.
async fn issued(requests: &Api<CertificateSigningRequest>, name: &str) -> Result<String> {
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        // From what there is now; a watch that ends begins anew.
        let Ok(events) = requests.watch(&params, "0").await else {
            backoff.sleep().await;
            continue;
        };
        let mut events = events.boxed();
        while let Ok(Some(event)) = events.try_next().await {
            match event {
                WatchEvent::Added(request) | WatchEvent::Modified(request) => {
                    if let Some(certificate) = answer_of(&request)? {
                        return Ok(certificate);
                    }
                }
                WatchEvent::Deleted(_) => bail!("was deleted"),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(_) => break,
            }
        }
        backoff.sleep().await;
    }
}

/// The certificate of a request, when it has one.
fn answer_of(request: &CertificateSigningRequest) -> Result<Option<String>> {
    let Some(status) = &request.status else { return Ok(None) };
    if let Some(certificate) = status.certificate.as_ref().filter(|certificate| !certificate.0.is_empty()) {
        return Ok(Some(String::from_utf8(certificate.0.clone()).context("got what is no text")?));
    }
    for condition in status.conditions.iter().flatten() {
        let why = condition.message.as_deref().unwrap_or_default();
        match condition.type_.as_str() {
            "Denied" => bail!("was denied: {why}"),
            "Failed" => bail!("failed: {why}"),
            _ => {}
        }
    }
    Ok(None)
}

/// The certificate by which a kubelet is known to the API server: that of an earlier run, or one that is asked for now by
/// `bootstrap`, a client that may ask for it (as one with a bootstrap token may).
///
/// # Errors
/// There is none yet, and the request was denied, or failed.
pub async fn client_certificate(bootstrap: &Client, root_dir: &Path, node: &str) -> Result<Arc<Current>> {
    let kept = Kept::client(root_dir, node, Current::empty());
    make_private(root_dir).with_context(|| format!("failed to make {}", root_dir.display()))?;
    if !kept.load() {
        kept.renew(bootstrap).await?;
    }
    Ok(kept.current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_pki::Authority;

    fn kept(dir: &Path, address: &str) -> Kept {
        Kept {
            addresses: vec![address.parse().unwrap()],
            dns_names: vec!["a".into()],
            dir: dir.to_owned(),
            ..Kept::client(dir, "a", Current::empty())
        }
    }

    #[test]
    fn a_certificate_of_an_earlier_run_is_used_while_it_fits() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let pair = authority.server("x", &[], &["a".into()], &["192.0.2.1".parse().unwrap()]).unwrap();
        pair.save(dir.path(), "kubelet-client").unwrap();
        for (address, fits) in [("192.0.2.1", true), ("192.0.2.2", false)] {
            let kept = kept(dir.path(), address);
            assert_eq!(kept.load(), fits, "{address}");
            assert_eq!(kept.current.ends().is_some(), fits, "{address}");
        }
        std::fs::remove_file(dir.path().join("kubelet-client.key")).unwrap();
        let kept = kept(dir.path(), "192.0.2.1");
        assert!(!kept.load());
        assert!(kept.current.ends().is_none());
    }

    #[test]
    fn a_certificate_is_renewed_late_in_its_life() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let kept = kept(dir.path(), "192.0.2.1");
        assert_eq!(kept.renewal(), None);
        kept.current.replace(&authority.server("x", &[], &[], &[]).unwrap()).unwrap();
        let days = kept.renewal().unwrap().as_secs() / 86_400;
        assert!((255..=329).contains(&days), "{days}");
    }

    #[test]
    fn a_request_that_is_denied_says_why() {
        let request = |status: serde_json::Value| {
            serde_json::from_value(
                serde_json::json!({"metadata": {}, "spec": {"request": "", "signerName": "s"}, "status": status}),
            )
            .unwrap()
        };
        let condition =
            |kind: &str| serde_json::json!({"conditions": [{"type": kind, "status": "True", "message": "no"}]});
        assert_eq!(answer_of(&request(condition("Approved"))).unwrap(), None);
        assert_eq!(answer_of(&request(condition("Denied"))).unwrap_err().to_string(), "was denied: no");
        assert_eq!(answer_of(&request(condition("Failed"))).unwrap_err().to_string(), "failed: no");
        let signed = request(serde_json::json!({"certificate": "eA=="}));
        assert_eq!(answer_of(&signed).unwrap().as_deref(), Some("x"));
    }
}
