//! Where a service is reached by the server itself, which asks webhooks and other servers of the API.

use std::net::{IpAddr, SocketAddr};
use std::{fmt, io};

use coracle_api::kinds;
use coracle_api::meta::{list, text};
use coracle_api::status::Status;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::object::Object;
use crate::storage::{Storage, core, key};

/// Where a service is reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Known(SocketAddr),
    Named(String, u16),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Known(address) => write!(f, "{address}"),
            Endpoint::Named(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl Endpoint {
    /// An endpoint of a service that is ready, or the name that it stands for.
    ///
    /// # Errors
    /// There is no such service, or port, or endpoint.
    pub fn of(storage: &Storage, namespace: &str, name: &str, port: i64) -> Result<Endpoint, String> {
        let service = storage.cache(core("services")).and_then(|cache| cache.get(&key(Some(namespace), name)));
        let service = service.map_err(told)?.ok_or_else(|| format!("service \"{name}\" not found"))?.value();
        if service["spec"]["type"] == "ExternalName" {
            let number = u16::try_from(port).map_err(|_| format!("invalid port {port}"))?;
            return Ok(Endpoint::Named(text(&service, &["spec", "externalName"]).to_owned(), number));
        }
        let Some(wanted) = list(&service, &["spec", "ports"]).iter().find(|known| known["port"].as_i64() == Some(port))
        else {
            return Err(format!("no service port {port} found for service \"{name}\""));
        };
        let found = ready_endpoints(storage, namespace, name, text(wanted, &["name"]))?;
        // One after the other, so that no endpoint gets all.
        let turn = usize::from(uuid::Uuid::new_v4().as_bytes()[0]).checked_rem(found.len());
        let chosen = turn.and_then(|turn| found.get(turn)).copied();
        chosen.map(Endpoint::Known).ok_or_else(|| format!("no endpoints available for service \"{name}\""))
    }

    pub async fn connect(&self) -> io::Result<TcpStream> {
        let stream = match self {
            Endpoint::Known(address) => TcpStream::connect(address).await?,
            Endpoint::Named(host, port) => TcpStream::connect((host.as_str(), *port)).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The endpoints of a service that take connections at its port of a name.
///
/// # Errors
/// The slices of endpoints cannot be read.
pub(crate) fn ready_endpoints(
    storage: &Storage,
    namespace: &str,
    service: &str,
    port: &str,
) -> Result<Vec<SocketAddr>, String> {
    let slices = kinds::by_resource("discovery.k8s.io", "v1", "endpointslices").ok_or("there are no slices")?;
    let (snapshot, prefix) = (storage.cache(slices).map_err(told)?.snapshot(), format!("{namespace}/"));
    let of_service = |slice: &&Object| slice.label("kubernetes.io/service-name") == Some(service);
    Ok(snapshot.range(&prefix, None).filter(of_service).flat_map(|slice| ready(&slice.value(), port)).collect())
}

fn told(status: Status) -> String {
    status.message
}

fn ready(slice: &Value, service_port: &str) -> Vec<SocketAddr> {
    let named = |port: &&Value| text(port, &["name"]) == service_port;
    let port = list(slice, &["ports"]).iter().find(named).and_then(|port| port["port"].as_u64());
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else { return Vec::new() };
    let is_ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
    let endpoints = list(slice, &["endpoints"]).iter().filter(is_ready);
    let addresses = endpoints.filter_map(|endpoint| endpoint["addresses"][0].as_str()?.parse::<IpAddr>().ok());
    addresses.map(|address| SocketAddr::new(address, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_endpoints_are_found_by_the_name_of_the_port() {
        let slice = json!({"ports": [{"name": "web", "port": 8443}, {"name": "metrics", "port": 9}], "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]});
        assert_eq!(ready(&slice, "web"), ["10.0.0.1:8443".parse().expect("an address")]);
        assert!(ready(&slice, "").is_empty());
    }
}
