//! `fieldPath` of a rule: `.spec.name` or `['labels']['a.b']`, the field that a message is about.

use crate::field::Path;
use crate::schema::Structural;
use crate::schema::structural::Additional;

/// The path as messages show it; nothing if it leads nowhere in the schema.
pub fn find(path: &str, schema: &Structural) -> Option<String> {
    let (mut rest, mut at, mut found) = (path, schema, Path::default());
    while !rest.is_empty() {
        let name;
        (name, rest) = segment(rest)?;
        if !at.properties.is_empty() {
            at = at.property(&name)?;
            found = found.child(&name);
        } else if let Additional::Schema(values) = &at.additional {
            at = values;
            found = found.key(&name);
        } else {
            return None;
        }
    }
    Some(if path.is_empty() { String::new() } else { found.to_string() })
}

/// The first name and what follows it.
fn segment(path: &str) -> Option<(String, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at_checked(end)?;
        return (!name.is_empty()).then(|| (name.to_owned(), rest));
    }
    let quoted = path.strip_prefix("['")?;
    let mut name = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '\'' => return Some((name, chars.as_str().strip_prefix(']')?)),
            '\\' => name.push(unescape(chars.next()?)?),
            char => name.push(char),
        }
    }
}

fn unescape(char: char) -> Option<char> {
    Some(match char {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\'' | '\\' => char,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_followed_through_the_schema() {
        let schema = Structural::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"a.b": {"type": "string"}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}));
        let found = |path: &str| find(path, &schema);
        assert_eq!(found(".spec['a.b']").as_deref(), Some("spec.a.b"));
        assert_eq!(found("['labels']['x\\'y']").as_deref(), Some("labels[x'y]"));
        assert_eq!(found(".labels.any").as_deref(), Some("labels[any]"));
        for path in ["spec", ".", ".spec.", ".spec.c", ".spec['a.b'", ".labels['\\q']", ".spec['a.b'].c", ".spec[0]"] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
