//! Property names as identifiers of the language: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>.

/// Words that are no identifiers.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
const ESCAPES: [(&str, &str); 4] = [("__", "underscores"), (".", "dot"), ("-", "dash"), ("/", "slash")];

/// The identifier that names a property, or nothing if no expression can name it.
pub fn escape(property: &str) -> Option<String> {
    if property.is_empty() || property.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.contains(&property) {
        return Some(format!("__{property}__"));
    }
    let mut out = String::with_capacity(property.len());
    let mut rest = property;
    while let Some(first) = rest.chars().next() {
        if let Some((raw, name)) = ESCAPES.iter().find(|(raw, _)| rest.starts_with(raw)) {
            out.push_str("__");
            out.push_str(name);
            out.push_str("__");
            rest = &rest[raw.len()..];
        } else if first.is_ascii_alphanumeric() || first == '_' {
            out.push(first);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(out)
}

/// The property that an identifier names, or nothing if it has an escape that is none.
pub fn unescape(identifier: &str) -> Option<String> {
    let mut out = String::with_capacity(identifier.len());
    let mut rest = identifier;
    while let Some(start) = rest.find("__") {
        let inner = &rest[start + 2..];
        let Some(end) = inner.find('_').filter(|end| *end > 0 && inner[*end..].starts_with("__")) else {
            out.push_str(&rest[..start + 1]);
            rest = &rest[start + 1..];
            continue;
        };
        out.push_str(&rest[..start]);
        let name = &inner[..end];
        match ESCAPES.iter().find(|(_, escape)| *escape == name) {
            Some((raw, _)) => out.push_str(raw),
            None if RESERVED.contains(&name) && name.len() + 4 == identifier.len() => out.push_str(name),
            None => return None,
        }
        rest = &inner[end + 2..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_escaped_as_documented() {
        for (property, identifier) in [
            ("foo", "foo"),
            ("foo-bar", "foo__dash__bar"),
            ("a.b/c", "a__dot__b__slash__c"),
            ("namespace", "__namespace__"),
            ("a__b", "a__underscores__b"),
            ("_a_", "_a_"),
            ("x-prop", "x__dash__prop"),
        ] {
            assert_eq!(escape(property).as_deref(), Some(identifier));
            assert_eq!(unescape(identifier).as_deref(), Some(property));
        }
        assert_eq!(escape("1a"), None);
        assert_eq!(escape("a b"), None);
        assert_eq!(unescape("a__nothing__b"), None);
    }

    proptest! {
        #[test]
        fn every_name_that_has_an_identifier_comes_back(property in "[a-z_./-]{1,12}") {
            if let Some(identifier) = escape(&property) {
                prop_assert_eq!(unescape(&identifier), Some(property));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,30}") {
            let _ = (escape(&text), unescape(&text));
        }
    }
}
