//! Short hashes for names and labels.

use serde::Serialize;

/// Without vowels and look-alikes, so that a hash spells no word.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

fn fnv32a(bytes: impl IntoIterator<Item = u8>) -> u32 {
    bytes.into_iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The value of a `pod-template-hash` label: it depends on the template and on how many collisions there were.
pub(crate) fn template_hash<T: Serialize>(template: &T, collisions: Option<i32>) -> String {
    let json = serde_json::to_vec(template).unwrap_or_default();
    let salt = collisions.map(i32::to_le_bytes).into_iter().flatten();
    safe_encode(&fnv32a(json.into_iter().chain(salt)).to_string())
}

fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collision_changes_the_hash() {
        assert_eq!(template_hash(&"a", None), template_hash(&"a", None));
        assert_ne!(template_hash(&"a", None), template_hash(&"a", Some(1)));
        assert_ne!(template_hash(&"a", None), template_hash(&"b", None));
    }
}
