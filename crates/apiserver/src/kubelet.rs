//! The way to the kubelets of nodes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use coracle_api::hollow;
use coracle_api::status::Status;
use coracle_pki::Current;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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

    pub async fn send(&self, address: SocketAddr, request: Request<Upload>) -> anyhow::Result<Response<Incoming>> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            anyhow::Ok(self.connector.connect(ServerName::IpAddress(address.ip().into()), stream).await?)
        };
        let stream =
            tokio::time::timeout(CONNECT, connect).await.with_context(|| format!("no connection in {CONNECT:?}"))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }
}

/// Where a node's kubelet listens.
///
/// # Errors
/// The node has no address, or is hollow: then it has no kubelet that listens.
pub fn address_of(node: &Value) -> Result<SocketAddr, Status> {
    if node["metadata"]["labels"][hollow::LABEL] == "true" {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "node {name} is hollow: nothing runs there, so there are no logs, and nothing to attach, execute or forward to"
        )));
    }
    let addresses = node["status"]["addresses"].as_array().into_iter().flatten();
    let internal = addresses
        .filter(|address| address["type"] == "InternalIP")
        .find_map(|address| address["address"].as_str()?.parse().ok());
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap_or(10250) as u16;
    let name = node["metadata"]["name"].as_str().unwrap_or_default();
    Ok(SocketAddr::new(
        internal.ok_or_else(|| Status::internal(format!("node {name} has no InternalIP address")))?,
        port,
    ))
}
