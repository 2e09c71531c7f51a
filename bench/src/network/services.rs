//! 10,000 services with 100,000 endpoints.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use anyhow::Result;
use coracle_network::bench::Services;
use coracle_network::proxy::ProxyConfig;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use super::{middle_and_largest, milliseconds, node, tell, timed};

const SERVICES: usize = 10_000;
const ENDPOINTS: usize = 10;
const CHANGES: usize = 50;
/// Where the node answers.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

pub fn measure() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("coracle-bench-").tempdir()?;
    let _network = node(directory.path())?;
    std::thread::spawn(super::packets::echo);
    let config = ProxyConfig {
        node_name: "n".into(),
        cluster_cidr: "10.244.0.0/16".parse()?,
        service_cidr: "10.96.0.0/12".parse()?,
        own_addresses: Vec::new(),
        node_port_addresses: Vec::new(),
    };
    let mut services = Services::new(config)?;
    let start = Instant::now();
    for number in 0..SERVICES {
        services.set_service(serde_json::from_value(service(number))?);
        services.set_slice(slice(number, ENDPOINTS, None)?);
    }
    let read = start.elapsed();
    let made = timed(|| services.commit())?;
    tell("10,000 services with 100,000 endpoints, from JSON to packets", milliseconds(read + made), "ms", "2,000 ms");
    tell("of that, rules in the kernel", milliseconds(made), "ms", "");
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let number = change * (SERVICES / CHANGES);
        let slice = slice(number, 0, Some(OWN))?;
        times.push(timed(|| {
            services.set_slice(slice);
            services.commit()?;
            Ok(TcpStream::connect((address(number), 80))?.read_exact(&mut [0])?)
        })?);
    }
    let (middle, largest) = middle_and_largest(times);
    tell("first answer after a change of one of 10,000 services", middle, "ms", "5 ms");
    tell("the same, slowest of 50", largest, "ms", "");
    Ok(())
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 1, 0)) + number as u32)
}

fn service(number: usize) -> serde_json::Value {
    json!({"metadata": {"name": format!("s-{number}"), "namespace": "n"},
        "spec": {"clusterIP": address(number), "ports": [{"port": 80}]}})
}

fn slice(number: usize, endpoints: usize, one: Option<Ipv4Addr>) -> Result<EndpointSlice> {
    let pod = |n: usize| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 245, 0, 0)) + (number * ENDPOINTS + n) as u32);
    let addresses = (0..endpoints).map(pod).chain(one);
    let endpoints: Vec<_> = addresses.map(|address| json!({"addresses": [address], "nodeName": "n"})).collect();
    Ok(serde_json::from_value(json!({
        "metadata": {"name": format!("s-{number}"), "namespace": "n",
            "labels": {"kubernetes.io/service-name": format!("s-{number}")}},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
    }))?)
}
