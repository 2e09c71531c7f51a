//! The path of a request: in the form in which routes are compared, and in the form in which a backend is asked.
//!
//! Both have no dot segments, so that nobody reaches by `/open/../closed` what a route of its own is for. The form that
//! is compared has nothing encoded and no empty elements either, as a backend may read it so.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

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
        Some(Path { compared: canonical(&sent)?.into(), sent: sent.into() })
    }
}

/// The form in which paths are compared; `None` if it has a byte that ends texts elsewhere.
pub fn canonical(path: &str) -> Option<String> {
    let decoded: Vec<u8> = percent_decode_str(path).collect();
    if decoded.contains(&0) {
        return None;
    }
    let decoded = String::from_utf8_lossy(&decoded);
    let mut merged = String::with_capacity(decoded.len());
    for character in decoded.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    Some(without_dots(&merged))
}

/// A path that was computed, as it is sent.
pub fn encoded(path: &str) -> String {
    utf8_percent_encode(path, ENCODED).to_string()
}

/// Nothing has to be done about it.
fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    !bytes.contains(&b'%') && !bytes.windows(2).any(|pair| pair == b"//" || pair == b"/.")
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
        assert_eq!(both("/x%2f..%2Fclosed"), ("/closed".into(), "/x%2f..%2Fclosed".into()));
        assert_eq!(both("/a%20b"), ("/a b".into(), "/a%20b".into()));
        assert_eq!(Path::of("/a%00b"), None);
        assert_eq!(Path::of("*"), None);
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
