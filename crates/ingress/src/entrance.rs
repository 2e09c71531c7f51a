//! What a connection finds, by the address and port to which its client came.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

use coracle_client::ObjectKey;
use rustls::sign::CertifiedKey;

use crate::backend::Backend;
use crate::route::{Hosts, Routes};

/// By which of the ways in somebody came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// That of all Ingresses, with or without TLS.
    Ingress {
        /// Whether TLS is spoken.
        tls: bool,
    },
    /// A port of a Gateway.
    Gateway(ObjectKey, u16),
}

/// What is behind a door.
pub struct Entrance {
    /// What is spoken.
    pub speaks: Speaks,
    /// The routes of each listener, by its host.
    pub listeners: Hosts<Arc<Routes>>,
}

impl Entrance {
    /// The certificate that is shown for a name of hosts, as it is written in an object.
    pub fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        match &self.speaks {
            Speaks::Https(certificates) => certificates.named(host).cloned(),
            Speaks::Http | Speaks::Tls(_) => None,
        }
    }
}

/// What is spoken at a door.
pub enum Speaks {
    /// HTTP.
    Http,
    /// HTTP over TLS that ends here, with certificates by host, and one for hosts without.
    Https(Hosts<Arc<CertifiedKey>>),
    /// TLS that ends at the backends, which are found by host.
    Tls(Hosts<Vec<(u32, Arc<Backend>)>>),
}

/// All doors, and where they are.
#[derive(Default)]
pub struct Tables {
    /// What is behind each.
    pub entrances: HashMap<Door, Arc<Entrance>>,
    /// Where each is: the addresses and ports to which clients come.
    pub addresses: HashMap<SocketAddrV4, Door>,
    /// What routes name and is not there yet, so that it is heard of when it comes.
    pub awaited: Vec<Arc<Backend>>,
}
