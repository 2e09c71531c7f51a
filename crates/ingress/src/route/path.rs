//! The path of a request: in the form in which routes are compared, and in the form in which a backend is asked.
//!
//! Both have no dot segments, so that nobody reaches by `/open/../closed` what a route of its own is for. The form that
//! is compared has nothing encoded and no empty elements either, as a backend may read it so.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode_byte, utf8_percent_encode};

/// What a path has only encoded (RFC 3986, section 3.3).
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Both forms of a path.
#[derive(Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// What routes are compared with.
    pub compared: Cow<'a, str>,
    /// What a backend is asked for, where no route rewrites it.
    pub sent: Cow<'a, str>,
}

impl<'a> Path<'a> {
    /// Of what a request has; `None` if that is no path, or one that nobody should ask for.
    pub fn of(raw: &'a str) -> Option<Path<'a>> {
        if !raw.starts_with('/') {
            return None;
        }
        if is_plain(raw) {
            return Some(Path { compared: raw.into(), sent: raw.into() });
        }
        let sent = without_dots(&with_unreserved(raw));
        let read = decoded(&sent)?;
        (!is_ambiguous(&read)).then(|| Path { compared: read.into(), sent: sent.into() })
    }
}

/// The form in which paths are compared; `None` if it has a byte that ends texts elsewhere.
pub fn canonical(path: &str) -> Option<String> {
    Some(without_dots(&decoded(path)?))
}

/// Whether backends read a path in different ways: with segments that lead upwards still, as slashes of it were encoded,
/// or do so for those who take parameters from segments or a backslash for a slash.
fn is_ambiguous(decoded: &str) -> bool {
    decoded.contains('\\') || decoded.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

/// Without anything encoded and without empty segments.
fn decoded(path: &str) -> Option<String> {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    if decoded.contains(&0) {
        return None;
    }
    let decoded = as_text(&decoded);
    let mut merged = String::with_capacity(decoded.len());
    for character in decoded.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    Some(merged)
}

/// What stands for the byte 0 in texts that were made of bytes which are no UTF-8; only those from 0x80 on are needed.
const BYTES: u32 = 0xf700;

fn byte_of(character: char) -> Option<u8> {
    u8::try_from(u32::from(character).checked_sub(BYTES)?).ok().filter(|byte| *byte >= 0x80)
}

/// Bytes as a text of which [`encoded`] makes the same bytes, whatever they are.
fn as_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let raw = |byte: &u8| char::from_u32(BYTES + u32::from(*byte)).unwrap_or(char::REPLACEMENT_CHARACTER);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match byte_of(character) {
                None => text.push(character),
                Some(_) => text.extend(character.encode_utf8(&mut [0; 4]).as_bytes().iter().map(raw)),
            }
        }
        text.extend(chunk.invalid().iter().map(raw));
    }
    text
}

/// A path that was computed, as it is sent.
pub fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((at, character)) = rest.char_indices().find(|(_, character)| byte_of(*character).is_some()) {
        out.extend(utf8_percent_encode(&rest[..at], ENCODED));
        out.push_str(percent_encode_byte(byte_of(character).unwrap_or_default()));
        rest = &rest[at + character.len_utf8()..];
    }
    out.extend(utf8_percent_encode(rest, ENCODED));
    out
}

/// Nothing has to be done about it.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    !bytes.iter().any(|byte| b"%\\".contains(byte)) && !bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.")
}

/// Characters that mean the same encoded and not are not (RFC 3986, section 6.2.2.2).
fn with_unreserved(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        let value = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match value {
            Some(value) if value.is_ascii_alphanumeric() || b"-._~".contains(&value) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Without segments `.` and `..` (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." if is_last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if is_last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn both(raw: &str) -> (String, String) {
        let path = Path::of(raw).unwrap();
        (path.compared.into_owned(), path.sent.into_owned())
    }

    #[test]
    fn a_path_has_no_dots_however_they_are_written() {
        for raw in ["/open/../closed", "/open/%2e%2e/closed", "/open/.%2E/closed", "/./closed"] {
            assert_eq!(both(raw), ("/closed".into(), "/closed".into()), "{raw}");
        }
        assert_eq!(both("/a/.."), ("/".into(), "/".into()));
        assert_eq!(both("/../../etc/"), ("/etc/".into(), "/etc/".into()));
    }

    #[test]
    fn what_is_compared_is_what_the_most_lenient_backend_reads() {
        assert_eq!(both("//closed"), ("/closed".into(), "//closed".into()));
        assert_eq!(both("/x%2fclosed"), ("/x/closed".into(), "/x%2fclosed".into()));
        assert_eq!(both("/a%20b"), ("/a b".into(), "/a%20b".into()));
        assert_eq!(Path::of("/a%00b"), None);
        assert_eq!(Path::of("*"), None);
        for raw in
            ["/x/..%2Fopen", "/x%2f..%2Fopen", "/x/..;a/open", "/x/.;/open", "/x\\..\\open", "/x%5copen", "/..%3b/x"]
        {
            assert_eq!(Path::of(raw), None, "{raw}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_stay_what_they_are() {
        for raw in ["/%E4", "/%C3%A4x%FF/%EF%9F%A4", "/%EF%BF%BD"] {
            let path = Path::of(raw).unwrap();
            assert_eq!(encoded(&path.compared), raw);
            assert_eq!(canonical(&encoded(&path.compared)).unwrap(), path.compared);
        }
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        assert!(matches!(Path::of("/a/b.html").unwrap().compared, Cow::Borrowed("/a/b.html")));
    }

    proptest! {
        #[test]
        fn no_path_panics_and_none_keeps_dots(raw in "/[a-z%2eEfF/.]{0,24}") {
            if let Some(path) = Path::of(&raw) {
                prop_assert!(!path.compared.split('/').any(|segment| segment == ".." || segment == "."));
                prop_assert!(path.sent.starts_with('/'));
            }
        }
    }
}
