//! Reading requests and writing answers.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::DNSClass;

/// The largest answer by UDP that is not fragmented on the way, and what we offer to take.
pub const MAX_UDP: u16 = 1232;
/// The bytes of a message's header.
const HEADER: usize = 12;

/// What a packet asks.
pub struct Request {
    /// Its one question.
    pub query: Query,
    /// Whether signatures are wanted.
    pub dnssec: bool,
    /// The largest answer that the client takes by UDP.
    pub udp_limit: usize,
    metadata: Metadata,
    edns: bool,
}

/// Reads a packet.
///
/// # Errors
/// What to send back when it cannot be answered; nothing at all for what is not a request.
pub fn read(packet: &[u8]) -> Result<Request, Option<Vec<u8>>> {
    if packet.len() < HEADER || packet[2] & 0x80 != 0 {
        return Err(None);
    }
    let Ok(message) = Message::from_vec(packet) else { return Err(Some(header_only(packet, ResponseCode::FormErr))) };
    let refuse = |code: ResponseCode| {
        let mut answer = Message::new(message.metadata.id, MessageType::Response, message.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&message.metadata);
        answer.metadata.response_code = code;
        answer.add_queries(message.queries.iter().take(1).cloned());
        if message.edns.is_some() {
            answer.set_edns(our_edns(false));
        }
        Err(Some(encode(answer, 512)))
    };
    if message.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let [query] = message.queries.as_slice() else { return refuse(ResponseCode::FormErr) };
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refuse(ResponseCode::BADVERS);
    }
    if query.query_class != DNSClass::IN {
        return refuse(ResponseCode::Refused);
    }
    Ok(Request {
        query: query.clone(),
        dnssec: message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
        udp_limit: message.max_payload().min(MAX_UDP).into(),
        edns: message.edns.is_some(),
        metadata: message.metadata,
    })
}

impl Request {
    /// An answer without records, its question written as it was asked.
    pub fn answer(&self, code: ResponseCode) -> Message {
        let mut answer = Message::new(self.metadata.id, MessageType::Response, OpCode::Query);
        answer.metadata = Metadata::response_from_request(&self.metadata);
        answer.metadata.recursion_available = true;
        answer.metadata.response_code = code;
        answer.add_query(self.query.clone());
        if self.edns {
            answer.set_edns(our_edns(self.dnssec));
        }
        answer
    }
}

/// The pseudo-record that we send.
pub fn our_edns(dnssec: bool) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP).set_dnssec_ok(dnssec);
    edns
}

/// Encodes a message into at most `limit` bytes: first the additional records give way, then answers, and then the
/// message says that it was cut.
pub fn encode(mut message: Message, limit: usize) -> Vec<u8> {
    let limit = limit.min(usize::from(u16::MAX));
    let fits = |message: &Message| message.to_vec().ok().filter(|bytes| bytes.len() <= limit);
    if let Some(bytes) = fits(&message) {
        return bytes;
    }
    message.additionals.clear();
    if let Some(bytes) = fits(&message) {
        return bytes;
    }
    message.metadata.truncation = true;
    message.authorities.clear();
    let answers = std::mem::take(&mut message.answers);
    let (mut best, mut low, mut high) = (fits(&message), 0, answers.len());
    while low < high {
        let middle = (low + high).div_ceil(2);
        message.answers = answers[..middle].to_vec();
        match fits(&message) {
            Some(bytes) => (best, low) = (Some(bytes), middle),
            None => high = middle - 1,
        }
    }
    best.unwrap_or_else(|| {
        let bare = Message::error_msg(message.metadata.id, message.metadata.op_code, ResponseCode::ServFail);
        bare.to_vec().unwrap_or_default()
    })
}

/// A refusal of a packet that was not understood, so that only its header can be trusted.
fn header_only(packet: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut answer = vec![0; HEADER];
    answer[..2].copy_from_slice(&packet[..2]);
    answer[2] = 0x80 | packet[2] & 0x79;
    answer[3] = code.low();
    answer
}
