//! The server's own certificates: its API's, the one it shows to kubelets, and the administrator's. They live a year, and are
//! renewed while the server runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_apiserver::auth::MASTERS;
use coracle_pki::{Authority, Current, FRONT_PROXY, Pair};
use coracle_values::addresses::{Ranges, nth};
use parking_lot::Mutex;

use crate::control::Access;

/// The user that kubelets know the API server by.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";
/// How often the dates are looked at: clocks are set, and machines sleep.
const PERIOD: Duration = Duration::from_secs(3600);

/// Who the server is.
pub struct Names {
    pub node: String,
    /// The primary one first.
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    pub service_cidr: Ranges,
}

impl Names {
    /// By which clients know it.
    fn address(&self) -> IpAddr {
        self.addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into())
    }
}

/// The certificates in use.
pub struct Certificates {
    pub authority: Arc<Authority>,
    pub serving: Arc<Current>,
    pub kubelet_client: Arc<Current>,
    admin: Mutex<Pair>,
    names: Names,
}

impl Certificates {
    /// Opens the authority of a directory, or makes it, and the certificates.
    ///
    /// # Errors
    /// The directory cannot be read or written, or has half of an authority.
    pub fn open(dir: &Path, names: Names) -> Result<Certificates> {
        let is_new = !dir.join("ca.key").exists();
        let authority = Arc::new(Authority::open(dir)?);
        make_missing(&authority)?;
        if is_new {
            sync_names(dir.to_owned());
        }
        let admin = Mutex::new(admin(&authority)?);
        let (serving, kubelet_client) = (Current::empty(), Current::empty());
        let own = Certificates { authority, serving, kubelet_client, admin, names };
        own.renew()?;
        Ok(own)
    }

    /// Makes those anew that end soon.
    fn renew(&self) -> Result<()> {
        self.serving.replace(&self.serving_pair()?)?;
        self.kubelet_client.replace(&kubelet_client(&self.authority)?)?;
        *self.admin.lock() = admin(&self.authority)?;
        Ok(())
    }

    /// Renews them in time, for ever; `renewed` is told then.
    pub async fn keep(&self, renewed: impl Fn(&Access)) {
        loop {
            tokio::time::sleep(PERIOD).await;
            // All are made anew with the same time left.
            if !self.serving.ends().is_none_or(|ends| Authority::renewal_of(ends).is_zero()) {
                continue;
            }
            match self.renew() {
                Ok(()) => {
                    tracing::info!("the server's certificates are renewed");
                    renewed(&self.access());
                }
                Err(error) => tracing::error!("failed to renew the server's certificates: {error:#}"),
            }
        }
    }

    /// How an administrator reaches the API.
    pub fn access(&self) -> Access {
        let admin = self.admin.lock();
        Access {
            server: format!("https://{}", SocketAddr::new(self.names.address(), self.names.port)),
            authority: STANDARD.encode(&self.authority.certificate),
            certificate: STANDARD.encode(&admin.certificate),
            key: STANDARD.encode(&admin.key),
        }
    }

    /// What the kubelet beside this server shows until its request for a certificate is granted.
    ///
    /// # Errors
    /// The node's name is none of DNS.
    pub fn first_of_kubelet(&self) -> Result<Arc<Current>> {
        let name = format!("system:node:{}", self.names.node);
        let names = std::slice::from_ref(&self.names.node);
        Current::new(&self.authority.server(&name, &["system:nodes"], names, &self.names.addresses)?)
    }

    fn serving_pair(&self) -> Result<Pair> {
        let (names, addresses) = self.known_by();
        self.authority.server("kube-apiserver", &[], &names, &addresses)
    }

    /// The names and addresses in the API server's certificate.
    pub fn known_by(&self) -> (Vec<String>, Vec<IpAddr>) {
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            &self.names.node,
        ];
        let mut addresses = self.names.addresses.clone();
        addresses.extend([nth(self.names.service_cidr.primary(), 1), Ipv4Addr::LOCALHOST.into()]);
        if addresses.iter().any(IpAddr::is_ipv6) {
            addresses.push(Ipv6Addr::LOCALHOST.into());
        }
        (names.map(Into::into).into(), addresses)
    }
}

fn admin(authority: &Authority) -> Result<Pair> {
    authority.client("admin", "kubernetes-admin", &[MASTERS])
}

fn kubelet_client(authority: &Authority) -> Result<Pair> {
    authority.client("apiserver-kubelet-client", KUBELET_CLIENT, &[])
}

/// Has the names of all that was made on the disk, for which nobody waits: all content is there already, and a loss of power
/// that comes first is one before the start.
fn sync_names(dir: PathBuf) {
    std::thread::spawn(move || {
        if let Err(error) = coracle_files::sync_directory(&dir) {
            tracing::warn!(dir = %dir.display(), %error, "the names of keys and certificates may be lost with the power");
        }
    });
}

/// Makes what the directory keeps and lacks. Each waits for the disk, so they do it side by side.
fn make_missing(authority: &Authority) -> Result<()> {
    let all: [&(dyn Fn() -> Result<()> + Sync); 4] = [
        &|| admin(authority).map(drop),
        &|| kubelet_client(authority).map(drop),
        &|| authority.service_account_key().map(drop),
        &|| authority.front_proxy()?.client(FRONT_PROXY, FRONT_PROXY, &[]).map(drop),
    ];
    std::thread::scope(|scope| {
        let threads = all.map(|make| scope.spawn(make));
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
