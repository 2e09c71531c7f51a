//! Connections that a policy came to forbid end: connection tracking forgets them, so that their next packet is asked about
//! as a first one.
//!
//! Asking about every packet instead would cost each of them what now costs the first, and still let answers pass.

use std::collections::HashSet;
use std::net::IpAddr;

use super::state::State;
use crate::conntrack;
use crate::netlink::{Socket, route};

/// Forgets the flows that are forbidden. What the node itself sends is not forwarded, and always allowed.
pub(crate) fn end_forbidden(state: &State, netfilter: &mut Socket, route: &mut Socket) -> std::io::Result<()> {
    let own: HashSet<IpAddr> = route::addresses(route)?.into_iter().collect();
    for family in state.families() {
        conntrack::forget(netfilter, family, |flow| {
            let (client, server) = (flow.source.0, flow.answered_by);
            if own.contains(&client) || client.is_loopback() {
                return false;
            }
            match own.contains(&server.0) {
                true => !state.allows_to_node(flow.protocol, client, server),
                false => !state.allows(flow.protocol, client, server),
            }
        })?;
    }
    Ok(())
}
