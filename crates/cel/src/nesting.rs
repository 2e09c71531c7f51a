//! How deeply an expression could nest, told from its text alone.
//!
//! The parser is recursive, and so is the removal of what it made. An expression is refused before it is parsed
//! if its tree might be deeper than the parser's stack.

/// An upper bound of the depth of an expression's tree: in every open bracket, each operator, selection and call since
/// the last comma or logical operator may be one level.
pub(crate) fn bound(source: &str) -> usize {
    let bytes = source.as_bytes();
    // Levels open outside of each bracket, and those in the innermost one.
    let mut outer: Vec<usize> = Vec::new();
    let mut inner = 0;
    let (mut base, mut most) = (0_usize, 0);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\'' | b'"' => {
                at = after_string(bytes, at);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'(' | b'[' | b'{' => {
                outer.push(inner + 1);
                base += inner + 1;
                inner = 0;
            }
            b')' | b']' | b'}' => {
                if let Some(level) = outer.pop() {
                    base -= level;
                    inner = level;
                }
            }
            b',' | b'&' | b'|' => inner = 0,
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'!' | b'<' | b'>' | b'=' | b'?' => inner += 1,
            // The operator `in`, or a part of a name, which costs nothing.
            b'i' if bytes.get(at + 1) == Some(&b'n') && at > 0 && !is_name(bytes[at - 1]) => inner += 1,
            _ => {}
        }
        most = most.max(base + inner);
        at += 1;
    }
    most
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'
}

/// The place behind the string literal that begins at `at`; one that does not end ends with its line.
fn after_string(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let raw = is_raw(bytes, at);
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let mut next = at + if triple { 3 } else { 1 };
    while let Some(&byte) = bytes.get(next) {
        match byte {
            b'\\' if !raw => next += 2,
            b'\n' | b'\r' if !triple => return next,
            _ if byte == quote && !triple => return next + 1,
            _ if triple && bytes[next..].starts_with(&[quote; 3]) => return next + 3,
            _ => next += 1,
        }
    }
    bytes.len()
}

/// Whether the letters before a quote say that backslashes mean themselves.
fn is_raw(bytes: &[u8], quote: usize) -> bool {
    let start = bytes[..quote].iter().rposition(|b| !is_name(*b)).map_or(0, |at| at + 1);
    let prefix = &bytes[start..quote];
    prefix.len() <= 2 && prefix.iter().any(|b| b.eq_ignore_ascii_case(&b'r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_never_underestimated() {
        assert_eq!(bound("a"), 0);
        assert_eq!(bound("a.b.c"), 2);
        assert_eq!(bound("((a))"), 2);
        assert_eq!(bound("a.f(b.g(c)).h"), 4);
        assert_eq!(bound("a == 1 && b == 2 && c == 3"), 2);
        assert_eq!(bound("'(((' + r'\\' + \"\"\"((\"\"\""), 2);
        assert_eq!(bound("a // ((("), 0);
        assert!(bound(&"[".repeat(5000)) >= 5000);
    }
}
