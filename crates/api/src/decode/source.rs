//! What is known of the text of an object once it is parsed: keys that it has twice, and its order.

use std::collections::HashSet;

use serde_json::Value;
use serde_saphyr::DuplicateKeyPolicy;

use crate::json;

/// Where a value comes from. That of a value which was no text is empty.
#[derive(Clone, Debug, Default)]
pub struct Source<'a> {
    /// The text, if it is JSON.
    pub(super) json: &'a [u8],
    /// The paths of keys that occur again, once for each time.
    pub(super) duplicates: Vec<String>,
    /// What upstream's parser of YAML says of the first one, if it is YAML.
    pub(super) of_yaml: Option<String>,
}

impl Source<'_> {
    /// What is wrong with keys that the text has twice, in upstream's words.
    pub fn doubled(&self) -> Vec<String> {
        match &self.of_yaml {
            Some(text) => vec![text.clone()],
            None => self.duplicates.iter().map(|path| duplicate(path)).collect(),
        }
    }

    /// The same and unknown fields, in the order of a text of JSON where that is asked for.
    pub(super) fn problems(&self, unknown: &[String], ordered: bool) -> Vec<String> {
        let others = unknown.iter().map(|path| unknown_field(path));
        if !ordered || self.json.is_empty() || unknown.len() + self.duplicates.len() < 2 {
            return self.doubled().into_iter().chain(others).collect();
        }
        let all = unknown;
        let mut unknown: HashSet<&str> = all.iter().map(String::as_str).collect();
        let mut again: Vec<&str> = self.duplicates.iter().map(String::as_str).collect();
        let paths: HashSet<&str> = unknown.iter().chain(&again).copied().collect();
        let (mut seen, mut problems) = (HashSet::new(), Vec::new());
        for path in json::order(self.json, &paths) {
            if unknown.remove(path) {
                problems.push(unknown_field(path));
            } else if seen.contains(path)
                && let Some(at) = again.iter().position(|other| *other == path)
            {
                again.swap_remove(at);
                problems.push(duplicate(path));
            }
            seen.insert(path);
        }
        // What is not found again is told all the same.
        problems.extend(again.into_iter().map(duplicate));
        problems.extend(all.iter().filter(|path| unknown.contains(&***path)).map(|path| unknown_field(path)));
        problems
    }
}

fn unknown_field(path: &str) -> String {
    format!("unknown field \"{path}\"")
}

fn duplicate(path: &str) -> String {
    format!("duplicate field \"{path}\"")
}

/// Parses YAML. Of a key that occurs twice the last value wins, as upstream has it.
pub(super) fn yaml(text: &str, source: &mut Source<'_>) -> Result<Value, serde_saphyr::Error> {
    let error = match serde_saphyr::from_str(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let serde_saphyr::Error::DuplicateMappingKey { key, location } = error.without_snippet() else { return Err(error) };
    let (line, key) = (location.line(), crate::field::quote(key.as_deref().unwrap_or_default()));
    source.of_yaml = Some(format!("yaml: unmarshal errors:\n  line {line}: key {key} already set in map"));
    let lenient = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    serde_saphyr::from_str_with_options(text, lenient)
}
