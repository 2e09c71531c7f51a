//! The way to the kubelets of nodes.
//!
//! A node says itself where it is. So whoever answers there has to show the certificate of that node, and not only one of the
//! address: else it could have what is meant for it, sent in this server's name, go to others.
//! <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/>

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use coracle_api::status::Status;
use coracle_api::{hollow, meta};
use coracle_pki::Current;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::auth::user_of_certificate;
use crate::tls::{self, Trust};
use crate::upload::Upload;

const CONNECT: Duration = Duration::from_secs(10);

/// Connects to kubelets with the server's client certificate.
pub struct Client {
    connector: TlsConnector,
}

impl Client {
    pub fn new(authority: &str, certificate: Arc<Current>) -> anyhow::Result<Client> {
        let connector = tls::connector(Trust::Authorities(authority.as_bytes()), Some(certificate))
            .context("the way to kubelets cannot be set up")?;
        Ok(Client { connector })
    }

    /// Sends a request to a kubelet.
    ///
    /// # Errors
    /// It is not reached, who answers is not that node's kubelet, or it does not answer.
    pub async fn send(&self, kubelet: &Kubelet, request: Request<Upload>) -> anyhow::Result<Response<Incoming>> {
        let address = kubelet.address;
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = self.connector.connect(ServerName::IpAddress(address.ip().into()), stream).await?;
            kubelet.check(stream.get_ref().1.peer_certificates())?;
            anyhow::Ok(stream)
        };
        let stream =
            tokio::time::timeout(CONNECT, connect).await.with_context(|| format!("no connection in {CONNECT:?}"))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }
}

/// Where a node's kubelet listens.
#[derive(Clone, Debug)]
pub struct Kubelet {
    /// The node's name.
    pub node: String,
    pub address: SocketAddr,
}

impl Kubelet {
    /// That of a Node.
    ///
    /// # Errors
    /// The node has no address, or is hollow: then it has no kubelet that listens.
    pub fn of(node: &Value) -> Result<Kubelet, Status> {
        Ok(Kubelet { node: meta::name(node).to_owned(), address: address_of(node)? })
    }

    /// Whether who answers shows the certificate of the node.
    fn check(&self, shown: Option<&[CertificateDer<'_>]>) -> anyhow::Result<()> {
        let of_node = format!("system:node:{}", self.node);
        let user = shown.and_then(<[_]>::first).and_then(|certificate| user_of_certificate(certificate));
        let name = user.map(|user| user.name).unwrap_or_default();
        ensure!(
            name == of_node,
            "who answers at {} has a certificate of {name:?}, and not the one of {of_node:?}",
            self.address
        );
        Ok(())
    }
}

fn address_of(node: &Value) -> Result<SocketAddr, Status> {
    let name = meta::name(node);
    if node["metadata"]["labels"][hollow::LABEL] == "true" {
        return Err(Status::bad_request(format!(
            "node {name} is hollow: nothing runs there, so there are no logs, and nothing to attach, execute or forward to"
        )));
    }
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let internal = addresses
        .filter(|address| address["type"] == "InternalIP")
        .find_map(|address| address["address"].as_str()?.parse().ok());
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap_or(10250) as u16;
    Ok(SocketAddr::new(
        internal.ok_or_else(|| Status::internal(format!("node {name} has no InternalIP address")))?,
        port,
    ))
}
