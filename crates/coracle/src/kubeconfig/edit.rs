//! Changes of a kubeconfig's text, line by line: what is not ours keeps its quotes, numbers and comments.
//!
//! Every change is checked: the new text must mean what the old one meant, plus the change.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

/// The lists that have an entry for each cluster.
pub const LISTS: [&str; 3] = ["clusters", "contexts", "users"];

/// What a text means; nothing for an empty one.
pub fn parse(text: &str) -> Result<Map<String, Value>> {
    let value = match text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        true => Value::Null,
        false => serde_saphyr::from_str::<Value>(text).context("it is not YAML")?,
    };
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map),
        _ => bail!("it is not a kubeconfig"),
    }
}

/// Adds an entry at the end of a list.
pub fn set_entry(text: &str, list: &str, entry: &Value) -> Result<String> {
    let mut wanted = parse(text)?;
    if wanted.is_empty() {
        wanted.insert("apiVersion".into(), "v1".into());
        wanted.insert("kind".into(), "Config".into());
    }
    let entries = wanted.entry(list).or_insert(Value::Null);
    if entries.is_null() {
        *entries = json!([]);
    }
    let Value::Array(entries) = entries else { bail!("its {list} are no list") };
    entries.push(entry.clone());
    let was_empty = entries.len() == 1;
    if is_json(text) {
        return to_json(&wanted);
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if parse(text)?.is_empty() {
        lines.extend(["apiVersion: v1".to_owned(), "kind: Config".to_owned()]);
    }
    let (at, indent) = match section(&lines, list) {
        None => {
            lines.push(format!("{list}:"));
            (lines.len(), 0)
        }
        Some((start, _)) if was_empty => {
            lines[start] = format!("{list}:");
            (start + 1, 0)
        }
        Some((start, end)) => {
            let items = items(&lines, start, end);
            let (last, indent) = items.last().map(|item| (item.end, item.indent)).with_context(|| inline(list))?;
            (last, indent)
        }
    };
    lines.splice(at..at, block(entry, indent)?);
    checked(lines, &wanted)
}

/// Removes the entries of a name from a list.
pub fn remove_entry(text: &str, list: &str, name: &str) -> Result<String> {
    let mut wanted = parse(text)?;
    let Some(Value::Array(entries)) = wanted.get_mut(list) else { return Ok(text.to_owned()) };
    let before = entries.len();
    entries.retain(|entry| entry["name"] != name);
    let (after, empty) = (entries.len(), entries.is_empty());
    if before == after {
        return Ok(text.to_owned());
    }
    if is_json(text) {
        return to_json(&wanted);
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (start, end) = section(&lines, list).with_context(|| inline(list))?;
    for item in items(&lines, start, end).into_iter().rev() {
        let parsed: Vec<Value> = serde_saphyr::from_str(&lines[item.start..item.end].join("\n")).unwrap_or_default();
        if parsed.first().is_some_and(|entry| entry["name"] == name) {
            lines.drain(item.start..item.end);
        }
    }
    if empty {
        lines[start] = format!("{list}: []");
    }
    checked(lines, &wanted)
}

/// Sets the current context.
pub fn set_current(text: &str, context: &str) -> Result<String> {
    const KEY: &str = "current-context";
    let mut wanted = parse(text)?;
    if wanted.get(KEY).is_some_and(|current| current == context) {
        return Ok(text.to_owned());
    }
    wanted.insert(KEY.into(), context.into());
    if is_json(text) {
        return to_json(&wanted);
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let line = format!("{KEY}: {}", if context.is_empty() { "\"\"" } else { context });
    match section(&lines, KEY) {
        Some((start, end)) => drop(lines.splice(start..end.min(start + 1), [line])),
        None => lines.push(line),
    }
    checked(lines, &wanted)
}

fn inline(list: &str) -> String {
    format!("its list of {list} is not written with one entry below the other")
}

fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<Value>(text).is_ok()
}

fn to_json(config: &Map<String, Value>) -> Result<String> {
    Ok(serde_json::to_string_pretty(config)? + "\n")
}

fn checked(lines: Vec<String>, wanted: &Map<String, Value>) -> Result<String> {
    let text = lines.join("\n") + "\n";
    let found = parse(&text)?;
    ensure!(found == *wanted, "it is written in a way that cannot be changed line by line");
    Ok(text)
}

/// The line of a top-level key and the end of what belongs to it.
fn section(lines: &[String], key: &str) -> Option<(usize, usize)> {
    let is_key = |line: &String| {
        let rest = line.strip_prefix(key).or_else(|| line.strip_prefix(&format!("\"{key}\"")));
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    let start = lines.iter().position(is_key)?;
    let belongs = |line: &String| line.starts_with([' ', '-', '#']) || line.is_empty();
    let end = lines[start + 1..].iter().position(|line| !belongs(line) || line == "---");
    Some((start, end.map_or(lines.len(), |length| start + 1 + length)))
}

struct Item {
    start: usize,
    end: usize,
    indent: usize,
}

/// The entries of a list in block style. Comments and empty lines at the end of one belong to nobody.
fn items(lines: &[String], start: usize, end: usize) -> Vec<Item> {
    let indent_of = |line: &String| line.len() - line.trim_start().len();
    let is_content = |line: &String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let mut items: Vec<Item> = Vec::new();
    for (at, line) in lines.iter().enumerate().take(end).skip(start + 1).filter(|(_, line)| is_content(line)) {
        let indent = indent_of(line);
        let begins = line.trim_start().starts_with("- ") || line.trim() == "-";
        match items.last_mut() {
            Some(last) if !begins || indent > last.indent => last.end = at + 1,
            _ if begins => items.push(Item { start: at, end: at + 1, indent }),
            _ => return Vec::new(),
        }
    }
    items
}

/// An entry of ours as lines: strings on one line each, two levels deep.
fn block(entry: &Value, indent: usize) -> Result<Vec<String>> {
    let margin = " ".repeat(indent);
    let entry = entry.as_object().context("an entry is an object")?;
    let name = &entry["name"];
    let mut lines = vec![format!("{margin}- name: {}", scalar(name))];
    for (key, value) in entry.iter().filter(|(key, _)| *key != "name") {
        lines.push(format!("{margin}  {key}:"));
        for (key, value) in value.as_object().into_iter().flatten() {
            lines.push(format!("{margin}    {key}: {}", scalar(value)));
        }
    }
    Ok(lines)
}

/// Names, URLs and base64 need no quotes; anything else is written as JSON, which YAML reads.
fn scalar(value: &Value) -> String {
    let plain = |text: &&str| {
        text.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./+=:".contains(&byte))
            && !text.ends_with(':')
            && !matches!(*text, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n")
    };
    value.as_str().filter(plain).map_or_else(|| value.to_string(), str::to_owned)
}
