//! Links of HTML pages, made to lead through a proxy.

/// Attributes that hold a link, whatever the tag.
const LINKS: [&str; 13] = [
    "action",
    "background",
    "cite",
    "classid",
    "codebase",
    "data",
    "formaction",
    "href",
    "icon",
    "longdesc",
    "manifest",
    "poster",
    "src",
];

/// A link of a backend as one of the proxy: absolute paths are put below `base`; relative links and those to other
/// hosts than `host` stay as they are.
pub fn rewrite_link(link: &str, base: &str, host: &str) -> String {
    let path = match link.split_once("://") {
        Some(("http" | "https", rest)) => match rest.strip_prefix(host) {
            Some(path) if !host.is_empty() && (path.is_empty() || path.starts_with('/')) => path,
            _ => return link.to_owned(),
        },
        _ => link,
    };
    if path.starts_with("//") || !path.starts_with('/') {
        return link.to_owned();
    }
    format!("{base}{path}")
}

/// A page with its links rewritten; everything else stays as it is, byte by byte.
pub fn rewrite(page: &[u8], base: &str, host: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.len() + page.len() / 16);
    let mut rest = page;
    while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
        let (text, tag) = rest.split_at(at);
        out.extend_from_slice(text);
        if let Some(comment) = tag.strip_prefix(b"<!--") {
            let end = comment.windows(3).position(|three| three == b"-->").map_or(tag.len(), |end| end + 7);
            out.extend_from_slice(&tag[..end]);
            rest = &tag[end..];
        } else if tag.get(1).is_some_and(u8::is_ascii_alphabetic) {
            rest = rewrite_tag(tag, &mut out, base, host);
        } else {
            out.push(b'<');
            rest = &tag[1..];
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Copies one tag; answers what follows it.
fn rewrite_tag<'a>(tag: &'a [u8], out: &mut Vec<u8>, base: &str, host: &str) -> &'a [u8] {
    let mut at = take(tag, 1, |byte| !byte.is_ascii_whitespace() && byte != b'>' && byte != b'/');
    let mut copied = 0;
    loop {
        at = take(tag, at, |byte| byte.is_ascii_whitespace() || byte == b'/');
        match tag.get(at) {
            None => break,
            Some(b'>') => {
                at += 1;
                break;
            }
            _ => {}
        }
        let name_end = take(tag, at, |byte| !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'>' | b'/'));
        let name = &tag[at..name_end];
        // A lone `=` would otherwise stay where it is for ever.
        at = name_end.max(at + usize::from(name.is_empty()));
        let equals = take(tag, name_end, |byte| byte.is_ascii_whitespace());
        if name.is_empty() || tag.get(equals) != Some(&b'=') {
            continue;
        }
        let start = take(tag, equals + 1, |byte| byte.is_ascii_whitespace());
        let (start, end, next) = match tag.get(start) {
            Some(quote @ (b'"' | b'\'')) => {
                let end = take(tag, start + 1, |byte| byte != *quote);
                (start + 1, end, (end + 1).min(tag.len()))
            }
            _ => {
                let end = take(tag, start, |byte| !byte.is_ascii_whitespace() && byte != b'>');
                (start, end, end)
            }
        };
        let is_link = LINKS.iter().any(|link| name.eq_ignore_ascii_case(link.as_bytes()));
        if let (true, Ok(link)) = (is_link, std::str::from_utf8(&tag[start..end])) {
            out.extend_from_slice(&tag[copied..start]);
            out.extend_from_slice(rewrite_link(link, base, host).as_bytes());
            copied = end;
        }
        at = next;
    }
    out.extend_from_slice(&tag[copied..at]);
    &tag[at..]
}

/// Where the bytes from `at` on stop being wanted.
fn take(bytes: &[u8], at: usize, wanted: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at.min(bytes.len()) + rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "/api/v1/namespaces/a/pods/b/proxy";

    fn rewritten(page: &str) -> String {
        String::from_utf8(rewrite(page.as_bytes(), BASE, "host:6443")).unwrap()
    }

    #[test]
    fn absolute_paths_are_put_below_the_proxy() {
        assert_eq!(rewritten("<a href=\"/x?y=1\">t</a>"), format!("<a href=\"{BASE}/x?y=1\">t</a>"));
        assert_eq!(rewritten("<img alt='/x' SRC='/i.png'/>"), format!("<img alt='/x' SRC='{BASE}/i.png'/>"));
        assert_eq!(rewritten("<form action=/go>"), format!("<form action={BASE}/go>"));
        assert_eq!(rewritten("<a href='https://host:6443/x'>"), format!("<a href='{BASE}/x'>"));
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let same = [
            "text /x <b>/y</b> < 3 href=\"/x\"",
            "<a href=\"x/y\"><a href=\"//other/x\"><a href=\"https://other/x\"><a href='#top'>",
            "<!-- <a href=\"/x\"> --><!doctype html></a>",
            "<a href",
            "<a href=\"/x",
            "<a =>",
            "<",
            "<a href= >",
        ];
        for page in same {
            let wanted = if page == "<a href=\"/x" { format!("<a href=\"{BASE}/x") } else { page.to_owned() };
            assert_eq!(rewritten(page), wanted);
        }
        assert_eq!(rewrite(b"<a href=\"/\xff\">", BASE, ""), b"<a href=\"/\xff\">");
    }

    proptest::proptest! {
        #[test]
        fn any_page_is_rewritten_without_panic_and_plain_text_stays(
            page in "([a-z<>/=\"' ]|<a href=|<img src='|/x|&amp;|é){0,60}", noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
        ) {
            let _ = rewrite(&noise, "/base", "host");
            let written = rewrite(page.as_bytes(), "/base", "host");
            if !page.contains('<') {
                proptest::prop_assert_eq!(written, page.as_bytes());
            }
        }
    }
}
