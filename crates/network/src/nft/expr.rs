//! Expressions: the small program that a rule is.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::{Family, InPackets, octets};
use crate::netlink::Message;

/// The first of the sixteen 32-bit registers; a concatenation uses those behind it.
const REG: u32 = 8;
const REG_VERDICT: u32 = 0;
const FRAME: u32 = 0;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// Bytes of a link's name with its padding.
const LINK_NAME: usize = 16;

/// What happens to a packet: it goes on in another chain, and does not come back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verdict(pub String);

impl Verdict {
    pub(super) fn encode(&self, message: Message) -> Message {
        const GOTO: i32 = -4;
        to_chain(message, GOTO, &self.0)
    }
}

fn to_chain(message: Message, code: i32, chain: &str) -> Message {
    message.nest(2, |inner| inner.big(1, code as u32).text(2, chain))
}

/// Which addresses a packet's are replaced with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nat {
    /// Destination address and port, which follow each other in the first registers.
    DestinationAndPort(Family),
}

/// One step of a rule. `u32` numbers of registers count from the first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// Loads bytes of the IP header.
    IpHeader {
        offset: u32,
        length: u32,
        into: u32,
    },
    /// Loads bytes of the frame's header.
    FrameHeader {
        offset: u32,
        length: u32,
        into: u32,
    },
    /// Loads the destination port of TCP, UDP or SCTP.
    DestinationPort {
        into: u32,
    },
    /// Loads the type of an ICMP message.
    IcmpType {
        into: u32,
    },
    /// Loads the number of the transport protocol.
    Protocol {
        into: u32,
    },
    /// Loads the flags of a TCP header.
    TcpFlags {
        into: u32,
    },
    /// Loads the largest TCP segment that the packet's route takes.
    RouteSegment {
        into: u32,
    },
    /// Brings a number of 16 bits into network order.
    Swap {
        register: u32,
    },
    /// Lowers the largest segment that a TCP handshake announces to a register's.
    LimitSegment {
        from: u32,
    },
    /// Loads whether the destination is an address of this machine (2 means that it is).
    DestinationKind {
        into: u32,
    },
    /// Loads whether the source is an address of this machine, as [`Expr::DestinationKind`].
    SourceKind {
        into: u32,
    },
    /// Loads the index of the link by which the packet came, if packets to its source would leave by that one, else 0.
    ReturnLink {
        into: u32,
    },
    /// Loads the index of the link by which the packet came.
    InputLink {
        into: u32,
    },
    /// Loads the name of the link by which the packet came, or by which it leaves.
    LinkName {
        leaving: bool,
        into: u32,
    },
    /// Loads the state of the packet's connection, a bit each.
    ConnectionState {
        into: u32,
    },
    /// Loads what has been done to the packet's connection, a bit each.
    ConnectionStatus {
        into: u32,
    },
    /// Loads the packet's mark.
    Mark {
        into: u32,
    },
    /// Sets the packet's mark to a register.
    SetMark {
        from: u32,
    },
    /// Masks a register, then flips bits of it.
    Bits {
        register: u32,
        mask: Vec<u8>,
        flip: Vec<u8>,
    },
    /// Goes on only if a register is equal (or not).
    Compare {
        register: u32,
        equal: bool,
        value: Vec<u8>,
    },
    /// Goes on only if the first registers are not before one value and not behind another, in network order.
    Between(Vec<u8>, Vec<u8>),
    /// Goes on only if the first registers are in a set.
    InSet(String),
    /// Goes on only if the first registers are in a set without a name.
    InAnonymousSet(u32),
    /// Does what a verdict map says of the first registers.
    VerdictMap(String),
    /// Does what a verdict map says of the register `by`.
    VerdictBy {
        map: String,
        by: u32,
    },
    /// Replaces the first registers by the value of a named map.
    Map(String),
    /// Goes on only if a map knows the register `by`; loads its value into the first registers.
    Recall {
        map: String,
        by: u32,
    },
    /// Has a map know the first registers by the register `by`; what it knows by it already keeps its value and
    /// becomes young again. Goes on only if the map had room.
    Remember {
        map: String,
        by: u32,
    },
    /// Has a map forget what it knows by the register `by`.
    Forget {
        map: String,
        by: u32,
    },
    /// Has a set know the first registers for its time. Goes on only if it had room.
    RememberKey {
        set: String,
    },
    /// Goes on only if the first registers came more often than `per_second`, and more than `burst` times at once, as far as a
    /// set with room for them says.
    TooOften {
        set: String,
        per_second: u64,
        burst: u32,
    },
    /// Loads the address of the machine that gets the packet next: of the gateway, or that of the destination itself.
    NextHop {
        family: Family,
        into: u32,
    },
    /// Loads a random number below `modulus`.
    Random {
        modulus: u32,
    },
    /// Loads a constant.
    Load {
        into: u32,
        value: [u8; 4],
    },
    /// Goes on in another chain.
    Verdict(Verdict),
    /// Goes on in another chain, and comes back when that ends without a decision.
    Jump(String),
    /// Comes back to the chain that jumped to this one.
    Return,
    /// Ends the packet.
    Drop,
    /// Lets the packet through, as far as this chain is concerned.
    Accept,
    /// Counts packets and bytes.
    Counter,
    /// Replaces addresses.
    Nat(Nat),
    /// Gives the packet the address of the link by which it leaves.
    Masquerade,
    /// Refuses: a reset for TCP, port unreachable for others.
    RejectTcp,
    RejectUnreachable(Family),
}

impl Expr {
    /// Loads protocol and port of the destination.
    pub fn protocol_port() -> Vec<Expr> {
        vec![Expr::Protocol { into: 0 }, Expr::DestinationPort { into: 1 }]
    }

    /// Goes on if the destination is this machine.
    pub fn to_this_machine() -> Vec<Expr> {
        vec![
            Expr::DestinationKind { into: 0 },
            Expr::Compare { register: 0, equal: true, value: 2u32.to_ne_bytes().into() },
        ]
    }

    /// Goes on if the packet is for an address of this machine at which ports of the node are served: the loopback address of
    /// IPv6 is none, since the kernel routes nothing from there.
    pub fn to_node_port(family: Family) -> Vec<Expr> {
        const LOOPBACK: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128));
        match family {
            Family::V4 => Expr::to_this_machine(),
            Family::V6 => [Expr::to_this_machine(), Expr::destination_not_in(LOOPBACK)].concat(),
        }
    }

    /// Goes on if the source is this machine.
    pub fn from_this_machine() -> Vec<Expr> {
        vec![Expr::SourceKind { into: 0 }, Expr::Compare { register: 0, equal: true, value: 2u32.to_ne_bytes().into() }]
    }

    /// Goes on if the source is in a network.
    pub fn source_in(network: IpNet) -> Vec<Expr> {
        address_in(Family::of_range(network).source(0), network, true)
    }

    /// Goes on if the source is outside a network.
    pub fn source_not_in(network: IpNet) -> Vec<Expr> {
        address_in(Family::of_range(network).source(0), network, false)
    }

    /// Goes on if the destination is in a network.
    pub fn destination_in(network: IpNet) -> Vec<Expr> {
        address_in(Family::of_range(network).destination(0), network, true)
    }

    /// Goes on if the destination is outside a network.
    pub fn destination_not_in(network: IpNet) -> Vec<Expr> {
        address_in(Family::of_range(network).destination(0), network, false)
    }

    /// Goes on if the packet came by another link than the loopback, which is always the first.
    pub fn not_from_loopback() -> Vec<Expr> {
        let other = Expr::Compare { register: 0, equal: false, value: 1u32.to_ne_bytes().into() };
        vec![Expr::InputLink { into: 0 }, other]
    }

    /// Goes on if packets to the source would not leave by the link by which this one came.
    pub fn source_is_elsewhere() -> Vec<Expr> {
        vec![Expr::ReturnLink { into: 0 }, Expr::Compare { register: 0, equal: true, value: 0u32.to_ne_bytes().into() }]
    }

    /// Goes on if the packet is a datagram to a port.
    pub fn datagram_to(port: u16) -> Vec<Expr> {
        let is = Expr::Compare { register: 0, equal: true, value: port.to_be_bytes().into() };
        [Expr::protocol_is(17), vec![Expr::DestinationPort { into: 0 }, is]].concat()
    }

    /// Goes on if the packet belongs to no connection that was answered.
    pub fn unanswered() -> Vec<Expr> {
        connection_answered(false)
    }

    /// Goes on if the packet belongs to a connection that was answered, or tells of one.
    pub fn answered() -> Vec<Expr> {
        connection_answered(true)
    }

    /// Goes on if a TCP packet is not the first one of a connection.
    pub fn not_first_of_tcp() -> Vec<Expr> {
        const FIN: u8 = 1;
        const SYN: u8 = 2;
        const RST: u8 = 4;
        const ACK: u8 = 16;
        vec![
            Expr::Protocol { into: 0 },
            Expr::Compare { register: 0, equal: true, value: vec![6] },
            Expr::TcpFlags { into: 0 },
            Expr::Bits { register: 0, mask: vec![FIN | SYN | RST | ACK, 0, 0, 0], flip: vec![0; 4] },
            Expr::Compare { register: 0, equal: false, value: vec![SYN] },
        ]
    }

    /// Goes on if no rule has chosen another destination for the packet's connection.
    pub fn destination_as_sent() -> Vec<Expr> {
        destination_translated(false)
    }

    /// Goes on if a rule has chosen another destination for the packet's connection.
    pub fn destination_chosen() -> Vec<Expr> {
        destination_translated(true)
    }

    /// Goes on if the packet came, or leaves, by a link (or does not).
    pub fn link_is(link: &str, leaving: bool, equal: bool) -> Vec<Expr> {
        vec![Expr::LinkName { leaving, into: 0 }, Expr::Compare { register: 0, equal, value: link_name(link) }]
    }

    /// Goes on if the frame carries this protocol (EtherType).
    pub fn frame_carries(protocol: u16) -> Vec<Expr> {
        let value = protocol.to_be_bytes().into();
        vec![Expr::FrameHeader { offset: 12, length: 2, into: 0 }, Expr::Compare { register: 0, equal: true, value }]
    }

    /// Goes on if a bit of the mark is set.
    pub fn marked(bit: u32) -> Vec<Expr> {
        vec![
            Expr::Mark { into: 0 },
            Expr::Bits { register: 0, mask: bit.to_ne_bytes().into(), flip: vec![0; 4] },
            Expr::Compare { register: 0, equal: true, value: bit.to_ne_bytes().into() },
        ]
    }

    /// Sets a bit of the mark; the others stay.
    pub fn mark(bit: u32) -> Vec<Expr> {
        let keep = Expr::Bits { register: 0, mask: (!bit).to_ne_bytes().into(), flip: bit.to_ne_bytes().into() };
        vec![Expr::Mark { into: 0 }, keep, Expr::SetMark { from: 0 }]
    }

    /// Clears a bit of the mark; the others stay.
    pub fn unmark(bit: u32) -> Vec<Expr> {
        let keep = Expr::Bits { register: 0, mask: (!bit).to_ne_bytes().into(), flip: vec![0; 4] };
        vec![Expr::Mark { into: 0 }, keep, Expr::SetMark { from: 0 }]
    }

    /// Goes on if the protocol is this one.
    pub fn protocol_is(number: u8) -> Vec<Expr> {
        vec![Expr::Protocol { into: 0 }, Expr::Compare { register: 0, equal: true, value: vec![number] }]
    }

    /// Lets packets through that come by a link, or that leave by it. iptables can show such a rule.
    pub fn let_through(link: &str, leaving: bool) -> Vec<Expr> {
        [Expr::link_is(link, leaving, true), vec![Expr::Counter, Expr::Accept]].concat()
    }

    /// Has TCP connections that begin use no larger segments than the route takes.
    pub fn fit_segments() -> Vec<Expr> {
        const SYN: u8 = 2;
        const RST: u8 = 4;
        let begins = vec![
            Expr::TcpFlags { into: 0 },
            Expr::Bits { register: 0, mask: vec![SYN | RST, 0, 0, 0], flip: vec![0; 4] },
            Expr::Compare { register: 0, equal: true, value: vec![SYN] },
        ];
        let limit = vec![Expr::RouteSegment { into: 0 }, Expr::Swap { register: 0 }, Expr::LimitSegment { from: 0 }];
        [Expr::protocol_is(6), begins, limit].concat()
    }

    pub(super) fn encode(&self, message: Message) -> Message {
        let data = |value: Vec<u8>| move |inner: Message| inner.bytes(1, &value);
        let payload = |base: u32, offset: u32, length: u32, into: u32| {
            move |m: Message| m.big(1, REG + into).big(2, base).big(3, offset).big(4, length)
        };
        let step = |name: &str, body: &dyn Fn(Message) -> Message| message.text(1, name).nest(2, body);
        match self {
            Expr::IpHeader { offset, length, into } => step("payload", &payload(NETWORK, *offset, *length, *into)),
            Expr::FrameHeader { offset, length, into } => step("payload", &payload(FRAME, *offset, *length, *into)),
            Expr::DestinationPort { into } => step("payload", &payload(TRANSPORT, 2, 2, *into)),
            Expr::IcmpType { into } => step("payload", &payload(TRANSPORT, 0, 1, *into)),
            Expr::TcpFlags { into } => step("payload", &payload(TRANSPORT, 13, 1, *into)),
            Expr::RouteSegment { into } => step("rt", &|m| m.big(1, REG + into).big(2, 3)),
            Expr::LimitSegment { from } => {
                step("exthdr", &|m| m.bytes(2, &[2]).big(3, 2).big(4, 2).big(6, 1).big(7, REG + from))
            }
            Expr::Swap { register } => {
                step("byteorder", &|m| m.big(1, REG + register).big(2, REG + register).big(3, 1).big(4, 2).big(5, 2))
            }
            Expr::Protocol { into } => step("meta", &|m| m.big(2, 16).big(1, REG + into)),
            Expr::Mark { into } => step("meta", &|m| m.big(2, 3).big(1, REG + into)),
            Expr::DestinationKind { into } => step("fib", &|m| m.big(3, 1 << 1).big(2, 3).big(1, REG + into)),
            Expr::SourceKind { into } => step("fib", &|m| m.big(3, 1).big(2, 3).big(1, REG + into)),
            Expr::ReturnLink { into } => step("fib", &|m| m.big(3, 1 | 1 << 3).big(2, 1).big(1, REG + into)),
            Expr::InputLink { into } => step("meta", &|m| m.big(2, 4).big(1, REG + into)),
            Expr::LinkName { leaving, into } => {
                step("meta", &|m| m.big(2, if *leaving { 7 } else { 6 }).big(1, REG + into))
            }
            Expr::ConnectionState { into } => step("ct", &|m| m.big(2, 0).big(1, REG + into)),
            Expr::ConnectionStatus { into } => step("ct", &|m| m.big(2, 2).big(1, REG + into)),
            Expr::SetMark { from } => step("meta", &|m| m.big(2, 3).big(3, REG + from)),
            Expr::Bits { register, mask, flip } => step("bitwise", &|m| {
                let m = m.big(1, REG + register).big(2, REG + register).big(3, mask.len() as u32);
                m.nest(4, data(mask.clone())).nest(5, data(flip.clone()))
            }),
            Expr::Compare { register, equal, value } => {
                step("cmp", &|m| m.big(1, REG + register).big(2, u32::from(!equal)).nest(3, data(value.clone())))
            }
            Expr::Between(first, last) => {
                step("range", &|m| m.big(1, REG).big(2, 0).nest(3, data(first.clone())).nest(4, data(last.clone())))
            }
            Expr::InSet(set) => step("lookup", &|m| m.text(1, set).big(2, REG)),
            Expr::VerdictMap(map) => step("lookup", &|m| m.text(1, map).big(2, REG).big(3, REG_VERDICT)),
            Expr::VerdictBy { map, by } => step("lookup", &|m| m.text(1, map).big(2, REG + by).big(3, REG_VERDICT)),
            Expr::Map(map) => step("lookup", &|m| m.text(1, map).big(2, REG).big(3, REG)),
            Expr::InAnonymousSet(id) => step("lookup", &|m| m.text(1, "__set%d").big(2, REG).big(4, *id)),
            Expr::Recall { map, by } => step("lookup", &|m| m.text(1, map).big(2, REG + by).big(3, REG)),
            Expr::Remember { map, by } => step("dynset", &|m| m.text(1, map).big(3, 1).big(4, REG + by).big(5, REG)),
            Expr::Forget { map, by } => step("dynset", &|m| m.text(1, map).big(3, 2).big(4, REG + by).big(5, REG)),
            Expr::RememberKey { set } => step("dynset", &|m| m.text(1, set).big(3, 1).big(4, REG)),
            Expr::TooOften { set, per_second, burst } => step("dynset", &|m| {
                let limit = |m: Message| {
                    let m = m.bytes(1, &per_second.to_be_bytes()).bytes(2, &1u64.to_be_bytes());
                    m.big(3, *burst).big(4, 0).big(5, 1)
                };
                m.text(1, set).big(3, 1).big(4, REG).nest(7, |m| m.text(1, "limit").nest(2, limit))
            }),
            Expr::NextHop { family, into } => {
                step("rt", &|m| m.big(1, REG + into).big(2, if *family == Family::V4 { 1 } else { 2 }))
            }
            Expr::Random { modulus } => step("numgen", &|m| m.big(1, REG).big(2, *modulus).big(3, 1).big(4, 0)),
            Expr::Load { into, value } => step("immediate", &|m| m.big(1, REG + into).nest(2, data(value.to_vec()))),
            Expr::Verdict(verdict) => {
                step("immediate", &|m| m.big(1, REG_VERDICT).nest(2, |inner| verdict.encode(inner)))
            }
            Expr::Jump(chain) => {
                const JUMP: i32 = -3;
                step("immediate", &|m| m.big(1, REG_VERDICT).nest(2, |inner| to_chain(inner, JUMP, chain)))
            }
            Expr::Drop | Expr::Accept | Expr::Return => step("immediate", &|m| {
                const RETURN: i32 = -5;
                let code = match self {
                    Expr::Drop => 0,
                    Expr::Accept => 1,
                    _ => RETURN as u32,
                };
                m.big(1, REG_VERDICT).nest(2, |inner| inner.nest(2, |verdict| verdict.big(1, code)))
            }),
            Expr::Counter => step("counter", &|m| m),
            Expr::Nat(Nat::DestinationAndPort(family)) => step("nat", &|m| {
                m.big(1, 1).big(2, family.number().into()).big(3, REG).big(5, REG + family.registers())
            }),
            Expr::Masquerade => step("masq", &|m| m),
            Expr::RejectTcp => step("reject", &|m| m.big(1, 1)),
            // Port unreachable, as the family numbers it.
            Expr::RejectUnreachable(family) => {
                step("reject", &|m| m.big(1, 0).bytes(2, &[if *family == Family::V4 { 3 } else { 4 }]))
            }
        }
    }
}

fn destination_translated(translated: bool) -> Vec<Expr> {
    const TRANSLATED: u32 = 1 << 5;
    vec![
        Expr::ConnectionStatus { into: 0 },
        Expr::Bits { register: 0, mask: TRANSLATED.to_ne_bytes().into(), flip: vec![0; 4] },
        Expr::Compare { register: 0, equal: !translated, value: 0u32.to_ne_bytes().into() },
    ]
}

fn connection_answered(answered: bool) -> Vec<Expr> {
    const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
    vec![
        Expr::ConnectionState { into: 0 },
        Expr::Bits { register: 0, mask: ESTABLISHED_OR_RELATED.to_ne_bytes().into(), flip: vec![0; 4] },
        Expr::Compare { register: 0, equal: !answered, value: 0u32.to_ne_bytes().into() },
    ]
}

/// The name of a link as rules and sets have it.
pub fn link_name(link: &str) -> Vec<u8> {
    let mut name = link.as_bytes().to_vec();
    name.resize(LINK_NAME, 0);
    name
}

fn address_in(load: Expr, network: IpNet, inside: bool) -> Vec<Expr> {
    let mask = octets(network.netmask());
    let flip = vec![0; mask.len()];
    vec![
        load,
        Expr::Bits { register: 0, mask, flip },
        Expr::Compare { register: 0, equal: inside, value: octets(network.network()) },
    ]
}
