//! Answers of the upstream servers, kept for a short while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;

/// How many answers are kept.
const CAPACITY: usize = 2048;
/// No answer is kept longer, whatever its time to live.
const MAX_AGE: Duration = Duration::from_secs(30);

/// What a question is about; names compare without case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub name: Name,
    pub kind: RecordType,
    /// Whether signatures were asked for.
    pub dnssec: bool,
    /// Whether the answer must not be cut.
    pub complete: bool,
}

struct Entry {
    message: Arc<Message>,
    stored: Instant,
    until: Instant,
}

/// A bounded cache; the oldest answers make room.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<Key, Entry>>);

impl Cache {
    /// A kept answer, its times to live less by its age.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Message> {
        let mut entries = self.0.lock();
        let entry = entries.get(key)?;
        if entry.until <= now {
            entries.remove(key);
            return None;
        }
        let age = now.duration_since(entry.stored).as_secs() as u32;
        let mut message = Message::clone(&entry.message);
        let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
        for record in sections.into_iter().flatten() {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(message)
    }

    /// Keeps an answer, where its code and times to live allow.
    pub fn put(&self, key: Key, message: &Arc<Message>, now: Instant) {
        let Some(age) = lifetime(message) else { return };
        let mut entries = self.0.lock();
        if entries.len() >= CAPACITY && !entries.contains_key(&key) {
            entries.retain(|_, entry| entry.until > now);
            if entries.len() >= CAPACITY {
                let oldest = entries.iter().min_by_key(|(_, entry)| entry.stored).map(|(key, _)| key.clone());
                oldest.and_then(|key| entries.remove(&key));
            }
        }
        entries.insert(key, Entry { message: message.clone(), stored: now, until: now + age });
    }
}

/// How long an answer may be kept: its shortest time to live, and for a negative one what the authority says
/// (RFC 2308). `None` for answers that must be asked for anew.
fn lifetime(message: &Message) -> Option<Duration> {
    if message.metadata.truncation {
        return None;
    }
    let negative = message.answers.is_empty();
    let seconds = match message.metadata.response_code {
        ResponseCode::NoError if !negative => message.answers.iter().map(|record| record.ttl).min(),
        ResponseCode::NoError | ResponseCode::NXDomain => message.authorities.iter().find_map(negative_ttl),
        _ => None,
    }?;
    let age = Duration::from_secs(seconds.into()).min(MAX_AGE);
    (!age.is_zero()).then_some(age)
}

fn negative_ttl(record: &Record) -> Option<u32> {
    match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode};
    use std::str::FromStr;

    fn key(name: &str) -> Key {
        Key { name: Name::from_str(name).unwrap(), kind: RecordType::A, dnssec: false, complete: false }
    }

    fn answer(ttl: u32) -> Arc<Message> {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        let data = RData::from(std::net::IpAddr::from([1, 2, 3, 4]));
        message.add_answer(Record::from_rdata(Name::from_str("a.example.").unwrap(), ttl, data));
        Arc::new(message)
    }

    #[test]
    fn times_to_live_shrink_and_end() {
        let (cache, start) = (Cache::default(), Instant::now());
        cache.put(key("a.example."), &answer(20), start);
        let later = cache.get(&key("A.EXAMPLE."), start + Duration::from_secs(15)).unwrap();
        assert_eq!(later.answers[0].ttl, 5);
        assert!(cache.get(&key("a.example."), start + Duration::from_secs(20)).is_none());
    }

    #[test]
    fn failures_and_answers_that_live_for_no_time_are_not_kept() {
        let (cache, start) = (Cache::default(), Instant::now());
        cache.put(key("a.example."), &answer(0), start);
        cache.put(key("b.example."), &Arc::new(Message::error_msg(1, OpCode::Query, ResponseCode::ServFail)), start);
        assert!(cache.0.lock().is_empty());
    }

    #[test]
    fn the_cache_is_bounded() {
        let (cache, start) = (Cache::default(), Instant::now());
        for number in 0..CAPACITY + 10 {
            cache.put(key(&format!("n{number}.example.")), &answer(20), start);
        }
        assert_eq!(cache.0.lock().len(), CAPACITY);
    }
}
