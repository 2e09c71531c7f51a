//! nftables over netlink: transactions of tables, chains, rules, sets and maps, and rule expressions.
//! <https://wiki.nftables.org/wiki-nftables/index.php/Portal:DeveloperDocs/nftables_internals>

mod expr;
mod table;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::netlink::{CREATE, DUMP, Message, Socket, attributes};

pub use coracle_values::addresses::Family;
pub use expr::{Expr, Nat, Verdict, link_name};
pub use table::{Part, Rule, Table};

const SUBSYSTEM: u16 = 10;
const INET4: u8 = 2;
const INET6: u8 = 10;
const BRIDGE: u8 = 7;
const NEW_TABLE: u16 = 0;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DEL_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DEL_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const DEL_SET: u16 = 11;
const NEW_ELEMENT: u16 = 12;
const DEL_ELEMENT: u16 = 14;
const APPEND: u16 = 0x800;

/// Priority of chains that see frames of a bridge before anything else looks into them, br_netfilter included.
pub const PRIORITY_FRAMES: i32 = -300;
/// Priority of chains that see packets after connection tracking and before they are translated.
pub const PRIORITY_UNTRANSLATED: i32 = -150;
/// Priority of source NAT chains.
pub const PRIORITY_SOURCE_NAT: i32 = 100;
/// Priority of destination NAT chains.
pub const PRIORITY_DESTINATION_NAT: i32 = -100;
/// Priority of filter chains.
pub const PRIORITY_FILTER: i32 = 0;

/// Where a base chain sees packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// How packets of a family have their addresses.
pub trait InPackets: Copy {
    /// The number of the family in messages.
    fn number(self) -> u8;

    /// Bytes of an address.
    fn length(self) -> u32;

    /// Registers that an address takes.
    fn registers(self) -> u32 {
        self.length() / 4
    }

    fn address(self) -> Type;
    fn address_pair(self) -> Type;
    fn address_port(self) -> Type;
    fn address_protocol_port(self) -> Type;

    /// Loads the source's address.
    fn source(self, into: u32) -> Expr;

    /// Loads the destination's address.
    fn destination(self, into: u32) -> Expr;

    /// Loads address, protocol and port of the destination.
    fn destination_key(self) -> Vec<Expr> {
        let behind = self.registers();
        vec![self.destination(0), Expr::Protocol { into: behind }, Expr::DestinationPort { into: behind + 1 }]
    }
}

impl InPackets for Family {
    fn number(self) -> u8 {
        match self {
            Family::V4 => INET4,
            Family::V6 => INET6,
        }
    }

    fn length(self) -> u32 {
        u32::from(self.bits() / 8)
    }

    fn address(self) -> Type {
        match self {
            Family::V4 => Type::Address,
            Family::V6 => Type::Address6,
        }
    }

    fn address_pair(self) -> Type {
        match self {
            Family::V4 => Type::AddressPair,
            Family::V6 => Type::AddressPair6,
        }
    }

    fn address_port(self) -> Type {
        match self {
            Family::V4 => Type::AddressPort,
            Family::V6 => Type::AddressPort6,
        }
    }

    fn address_protocol_port(self) -> Type {
        match self {
            Family::V4 => Type::AddressProtocolPort,
            Family::V6 => Type::AddressProtocolPort6,
        }
    }

    fn source(self, into: u32) -> Expr {
        let offset = if self == Family::V4 { 12 } else { 8 };
        Expr::IpHeader { offset, length: self.length(), into }
    }

    fn destination(self, into: u32) -> Expr {
        let offset = if self == Family::V4 { 16 } else { 24 };
        Expr::IpHeader { offset, length: self.length(), into }
    }
}

/// An address as sets and headers have it.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

/// What the keys or values of a set or map are; numbers are those of the nft tool, which shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Address, protocol, port.
    AddressProtocolPort,
    /// Protocol, port.
    ProtocolPort,
    /// IPv6 address, protocol, port.
    AddressProtocolPort6,
    /// Two addresses.
    AddressPair,
    /// Two IPv6 addresses.
    AddressPair6,
    /// Address, port.
    AddressPort,
    /// IPv6 address, port.
    AddressPort6,
    /// An address.
    Address,
    /// An IPv6 address.
    Address6,
    /// A port.
    Port,
    /// The name of a link.
    Link,
    /// The name of a link, hardware address, address.
    LinkHardwareAddress,
    /// The name of a link, hardware address, IPv6 address.
    LinkHardwareAddress6,
    /// A number.
    Number,
    /// Two numbers.
    NumberPair,
    /// Three numbers.
    Numbers,
    /// What to do with the packet.
    Verdict,
}

impl Type {
    /// Six bits for each part of a concatenation.
    fn code(self) -> u32 {
        const ADDRESS: u32 = 7;
        const ADDRESS6: u32 = 8;
        const PROTOCOL: u32 = 12;
        const PORT: u32 = 13;
        const HARDWARE: u32 = 9;
        const LINK: u32 = 41;
        // A mark: whoever lists a concatenation has to know how long its parts are, and a mere integer has no length.
        const NUMBER: u32 = 19;
        let join = |parts: &[u32]| parts.iter().fold(0, |code, part| code << 6 | part);
        match self {
            Type::AddressProtocolPort => join(&[ADDRESS, PROTOCOL, PORT]),
            Type::AddressProtocolPort6 => join(&[ADDRESS6, PROTOCOL, PORT]),
            Type::AddressPair6 => join(&[ADDRESS6, ADDRESS6]),
            Type::Address6 => ADDRESS6,
            Type::Port => PORT,
            Type::ProtocolPort => join(&[PROTOCOL, PORT]),
            Type::AddressPair => join(&[ADDRESS, ADDRESS]),
            Type::AddressPort => join(&[ADDRESS, PORT]),
            Type::AddressPort6 => join(&[ADDRESS6, PORT]),
            Type::Address => ADDRESS,
            Type::Link => LINK,
            Type::LinkHardwareAddress => join(&[LINK, HARDWARE, ADDRESS]),
            Type::LinkHardwareAddress6 => join(&[LINK, HARDWARE, ADDRESS6]),
            Type::Number => NUMBER,
            Type::NumberPair => join(&[NUMBER, NUMBER]),
            Type::Numbers => join(&[NUMBER, NUMBER, NUMBER]),
            Type::Verdict => 0xffff_ff00,
        }
    }

    /// Bytes, every part padded to four.
    fn length(self) -> u32 {
        match self {
            Type::Number | Type::Address => 4,
            Type::ProtocolPort | Type::AddressPair | Type::AddressPort | Type::NumberPair => 8,
            Type::AddressProtocolPort | Type::Numbers => 12,
            Type::Port => 2,
            Type::Link | Type::Address6 => 16,
            Type::AddressPort6 => 20,
            Type::AddressProtocolPort6 => 24,
            Type::AddressPair6 => 32,
            Type::LinkHardwareAddress => 28,
            Type::LinkHardwareAddress6 => 40,
            Type::Verdict => 0,
        }
    }
}

/// The value of a map's element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Bytes(Vec<u8>),
    Verdict(Verdict),
}

/// What is put into a set or taken from it.
struct Element<'a> {
    key: &'a [u8],
    value: Option<&'a Data>,
    /// The first key behind an interval.
    ends: bool,
}

impl Element<'_> {
    fn key(key: &[u8]) -> Element<'_> {
        Element { key, value: None, ends: false }
    }
}

fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn of_family(family: u8, kind: u16, flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &header(family))
}

fn rule(message: Message, table: &str, chain: &str, expressions: &[Expr]) -> Message {
    message.text(1, table).text(2, chain).nest(4, |list| {
        expressions.iter().fold(list, |list, expression| list.nest(1, |inner| expression.encode(inner)))
    })
}

/// A comment as the nft tool keeps it.
fn user_data(comment: &str) -> Vec<u8> {
    let mut data = vec![0, comment.len() as u8 + 1];
    data.extend_from_slice(comment.as_bytes());
    data.push(0);
    data
}

/// The value of an attribute of a message about a chain or rule.
fn value(payload: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(payload.get(4..)?).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

fn is_text(value: Option<&[u8]>, text: &str) -> bool {
    value.and_then(|value| value.strip_suffix(&[0])) == Some(text.as_bytes())
}

/// Whether a base chain drops what none of its rules speaks of; not if there is no such chain.
pub fn drops(socket: &mut Socket, family: Family, table: &str, chain: &str) -> io::Result<bool> {
    const GET_CHAIN: u16 = 4;
    let mut drops = false;
    socket.dump(of_family(family.number(), GET_CHAIN, DUMP), |payload| {
        if is_text(value(payload, 1), table) && is_text(value(payload, 3), chain) {
            drops = value(payload, 5) == Some(&[0; 4]);
        }
    })?;
    Ok(drops)
}

/// Whether there is a table.
pub fn table_exists(socket: &mut Socket, family: Family, table: &str) -> io::Result<bool> {
    const GET_TABLE: u16 = 1;
    let mut found = false;
    socket.dump(of_family(family.number(), GET_TABLE, DUMP), |payload| found |= is_text(value(payload, 1), table))?;
    Ok(found)
}

/// The names of the tables of every family.
#[cfg(test)]
pub fn tables(socket: &mut Socket) -> io::Result<Vec<String>> {
    const GET_TABLE: u16 = 1;
    let mut names = Vec::new();
    socket.dump(of_family(0, GET_TABLE, DUMP), |payload| {
        names.extend(value(payload, 1).map(|name| String::from_utf8_lossy(name).into_owned()));
    })?;
    Ok(names)
}

/// The handles of a chain's rules that have a comment.
pub fn rules(socket: &mut Socket, family: Family, table: &str, chain: &str, comment: &str) -> io::Result<Vec<u64>> {
    const GET_RULE: u16 = 7;
    let mut handles = Vec::new();
    socket.dump(of_family(family.number(), GET_RULE, DUMP), |payload| {
        let in_chain = is_text(value(payload, 1), table) && is_text(value(payload, 2), chain);
        if in_chain && value(payload, 7) == Some(&user_data(comment)) {
            handles.extend(value(payload, 3).and_then(|value| value.try_into().ok()).map(u64::from_be_bytes));
        }
    })?;
    Ok(handles)
}

/// Changes that the kernel makes all at once or not at all.
pub struct Batch {
    family: u8,
    messages: Vec<Message>,
    set_id: u32,
}

impl Batch {
    /// Of tables for frames that cross bridges; not every kernel has them.
    pub fn of_frames() -> Batch {
        Batch { family: BRIDGE, messages: Vec::new(), set_id: 0 }
    }

    /// Of tables for packets of a family.
    pub fn of(family: Family) -> Batch {
        Batch { family: family.number(), ..Batch::of_frames() }
    }

    fn add(&mut self, kind: u16, flags: u16, fill: impl FnOnce(Message) -> Message) {
        self.messages.push(fill(of_family(self.family, kind, flags)));
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// An empty table, whether or not there was one of that name.
    pub fn renew_table(&mut self, table: &str) {
        // Deleting needs a table that exists.
        self.table(table);
        self.delete_table(table);
        self.table(table);
    }

    /// A table, unless there is one of that name.
    pub fn table(&mut self, table: &str) {
        self.add(NEW_TABLE, CREATE, |m| m.text(1, table));
    }

    pub fn delete_table(&mut self, table: &str) {
        self.add(DEL_TABLE, 0, |m| m.text(1, table));
    }

    pub fn base_chain(&mut self, table: &str, chain: &str, kind: &str, hook: Hook, priority: i32) {
        let place = |inner: Message| inner.big(1, hook as u32).big(2, priority as u32);
        self.add(NEW_CHAIN, CREATE, |m| m.text(1, table).text(3, chain).nest(4, place).text(7, kind));
    }

    /// Has a base chain drop what none of its rules speaks of.
    #[cfg(test)]
    pub fn policy_drop(&mut self, table: &str, chain: &str) {
        self.add(NEW_CHAIN, 0, |m| m.text(1, table).text(3, chain).big(5, 0));
    }

    pub fn chain(&mut self, table: &str, chain: &str) {
        self.add(NEW_CHAIN, CREATE, |m| m.text(1, table).text(3, chain));
    }

    pub fn delete_chain(&mut self, table: &str, chain: &str) {
        self.add(DEL_CHAIN, 0, |m| m.text(1, table).text(3, chain));
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&mut self, table: &str, chain: &str) {
        self.add(DEL_RULE, 0, |m| m.text(1, table).text(2, chain));
    }

    pub fn rule(&mut self, table: &str, chain: &str, expressions: &[Expr]) {
        self.add(NEW_RULE, CREATE | APPEND, |m| rule(m, table, chain, expressions));
    }

    /// Puts a rule before all others of a chain, with a comment by which [`rules`] finds it.
    pub fn first_rule(&mut self, table: &str, chain: &str, expressions: &[Expr], comment: &str) {
        self.add(NEW_RULE, CREATE, |m| rule(m, table, chain, expressions).bytes(7, &user_data(comment)));
    }

    pub fn delete_rule(&mut self, table: &str, chain: &str, handle: u64) {
        self.add(DEL_RULE, 0, |m| m.text(1, table).text(2, chain).bytes(3, &handle.to_be_bytes()));
    }

    /// A named set, or a map when it has a value type.
    pub fn set(&mut self, table: &str, name: &str, key: Type, value: Option<Type>) {
        let (set, _) = self.set_message(table, name, key, value, 0);
        self.messages.push(set);
    }

    /// A set, or a map when it has a value type, that rules fill: what it was not reminded of for `timeout` is forgotten; of at most `size` elements.
    pub fn memory(&mut self, table: &str, name: &str, key: Type, value: Option<Type>, timeout: Duration, size: u32) {
        const TIMEOUT: u32 = 0x10;
        const EVAL: u32 = 0x20;
        let (set, _) = self.set_message(table, name, key, value, TIMEOUT | EVAL);
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.messages.push(set.nest(9, |inner| inner.big(1, size)).bytes(11, &milliseconds.to_be_bytes()));
    }

    pub fn delete_set(&mut self, table: &str, name: &str) {
        self.add(DEL_SET, 0, |m| m.text(1, table).text(2, name));
    }

    fn set_message(&mut self, table: &str, name: &str, key: Type, value: Option<Type>, flags: u32) -> (Message, u32) {
        const MAP: u32 = 0x8;
        self.set_id += 1;
        let flags = flags | if value.is_some() { MAP } else { 0 };
        let mut set = of_family(self.family, NEW_SET, CREATE)
            .text(1, table)
            .text(2, name)
            .big(3, flags)
            .big(4, key.code())
            .big(5, key.length());
        if let Some(value) = value {
            set = set.big(6, value.code()).big(7, value.length());
        }
        (set.big(10, self.set_id), self.set_id)
    }

    /// A set without a name for one rule; answers with what the rule's lookup refers to it by.
    pub fn anonymous_set(&mut self, table: &str, key: Type, elements: &[Vec<u8>]) -> u32 {
        self.anonymous(table, "__set%d", key, None, 0, elements.iter().map(|key| Element::key(key)))
    }

    /// As [`Batch::anonymous_set`], of intervals that do not overlap: their beginnings, and the first keys behind them if
    /// there are any.
    pub fn anonymous_intervals(&mut self, table: &str, key: Type, intervals: &[(Vec<u8>, Option<Vec<u8>>)]) -> u32 {
        const INTERVAL: u32 = 0x4;
        let elements = intervals.iter().flat_map(|(start, end)| {
            let end = end.as_ref().map(|key| Element { key, value: None, ends: true });
            std::iter::once(Element::key(start)).chain(end)
        });
        self.anonymous(table, "__set%d", key, None, INTERVAL, elements)
    }

    fn anonymous<'a>(
        &mut self,
        table: &str,
        name: &str,
        key: Type,
        value: Option<Type>,
        flags: u32,
        elements: impl Iterator<Item = Element<'a>>,
    ) -> u32 {
        const ANONYMOUS: u32 = 0x1;
        const CONSTANT: u32 = 0x2;
        let (set, id) = self.set_message(table, name, key, value, ANONYMOUS | CONSTANT | flags);
        self.messages.push(set);
        self.add_elements(table, name, Some(id), elements);
        id
    }

    pub fn add_set_elements(&mut self, table: &str, set: &str, keys: &[Vec<u8>]) {
        self.add_elements(table, set, None, keys.iter().map(|key| Element::key(key)));
    }

    pub fn add_map_elements(&mut self, table: &str, map: &str, elements: &[(Vec<u8>, Data)]) {
        let elements = elements.iter().map(|(key, data)| Element { key, value: Some(data), ends: false });
        self.add_elements(table, map, None, elements);
    }

    fn add_elements<'a>(
        &mut self,
        table: &str,
        set: &str,
        id: Option<u32>,
        elements: impl Iterator<Item = Element<'a>>,
    ) {
        self.elements(NEW_ELEMENT, CREATE, table, set, id, elements);
    }

    pub fn delete_elements(&mut self, table: &str, set: &str, keys: &[Vec<u8>]) {
        self.elements(DEL_ELEMENT, 0, table, set, None, keys.iter().map(|key| Element::key(key)));
    }

    /// An attribute's length has 16 bits: long lists take several messages.
    fn elements<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        table: &str,
        set: &str,
        id: Option<u32>,
        elements: impl Iterator<Item = Element<'a>>,
    ) {
        const IN_ONE_MESSAGE: usize = 100;
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            let mut list = of_family(self.family, kind, flags).text(1, table).text(2, set);
            if let Some(id) = id {
                list = list.big(4, id);
            }
            let some = elements.by_ref().take(IN_ONE_MESSAGE);
            let list = list.nest(3, |inner| {
                some.fold(inner, |inner, one| {
                    inner.nest(1, |element| {
                        const END: u32 = 1;
                        let element = element.nest(1, |data| data.bytes(1, one.key));
                        let element = if one.ends { element.big(3, END) } else { element };
                        match one.value {
                            Some(Data::Bytes(bytes)) => element.nest(2, |inner| inner.bytes(1, bytes)),
                            Some(Data::Verdict(verdict)) => element.nest(2, |inner| verdict.encode(inner)),
                            None => element,
                        }
                    })
                })
            });
            self.messages.push(list);
        }
    }

    /// Whether a text stands in any message.
    #[cfg(test)]
    pub fn names(&self, text: &str) -> bool {
        self.messages.iter().any(|message| message.contains(text))
    }

    /// Makes all changes.
    ///
    /// # Errors
    /// The first one the kernel refused; nothing was changed then.
    pub fn commit(self, socket: &mut Socket) -> io::Result<()> {
        let edge = |kind: u16| {
            let mut header = header(0);
            header[2..].copy_from_slice(&SUBSYSTEM.to_be_bytes());
            Message::new(kind, 0, &header)
        };
        socket.transaction(edge(0x10), self.messages, edge(0x11))
    }
}
