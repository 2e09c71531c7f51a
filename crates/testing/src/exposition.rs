//! Pages for Prometheus, read as it reads them.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::{BTreeMap, BTreeSet};

/// What is told under one name.
#[derive(Debug, Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The names of labels, without `le`.
    pub labels: BTreeSet<String>,
    /// Each sample: its name, its labels and its value.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug)]
pub struct Sample {
    /// The family's, or that with `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Names and values.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// Reads a page, and checks that it is one: each family is described once and before its samples, these are in one place and no two
/// have the same labels, and buckets of histograms ascend to their count.
///
/// # Panics
/// It is none.
#[track_caller]
pub fn families(page: &str) -> BTreeMap<String, Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(!help.is_empty() && !all.contains_key(name), "described twice, or not at all: {line}");
            current = name.to_owned();
            all.insert(current.clone(), Family::default());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(name, current, "{line}");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            all.entry(current.clone()).or_default().kind = kind.to_owned();
        } else {
            let sample = sample(line);
            let family = all.get_mut(&current).unwrap_or_else(|| panic!("not described: {line}"));
            let suffix = sample.name.strip_prefix(&current).unwrap_or_else(|| panic!("another family: {line}"));
            let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            let id = line.rsplit_once(' ').map(|(id, _)| id.to_owned());
            assert!(seen.insert(id), "told twice: {line}");
            family.labels.extend(sample.labels.keys().filter(|name| *name != "le").cloned());
            family.samples.push(sample);
        }
    }
    all.values().filter(|family| family.kind == "histogram").for_each(check_buckets);
    all
}

#[track_caller]
fn sample(line: &str) -> Sample {
    let broken = || -> ! { panic!("no sample: {line}") };
    let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| broken());
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap_or_else(|_| broken()) };
    let Some((name, rest)) = head.split_once('{') else {
        return Sample { name: head.to_owned(), labels: BTreeMap::new(), value };
    };
    let mut rest = rest.strip_suffix('}').unwrap_or_else(|| broken());
    let mut labels = BTreeMap::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"").unwrap_or_else(|| broken());
        let (mut text, mut letters) = (String::new(), after.char_indices());
        let end = loop {
            match letters.next() {
                Some((_, '\\')) => {
                    text.extend(letters.next().map(|(_, letter)| if letter == 'n' { '\n' } else { letter }))
                }
                Some((at, '"')) => break at,
                Some((_, letter)) => text.push(letter),
                None => broken(),
            }
        };
        labels.insert(label.to_owned(), text);
        rest = after[end + 1..].trim_start_matches(',');
    }
    Sample { name: name.to_owned(), labels, value }
}

#[track_caller]
fn check_buckets(family: &Family) {
    let mut last: Option<(BTreeMap<String, String>, f64)> = None;
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        if sample.name.ends_with("_bucket") {
            if let Some((before, count)) = &last {
                assert!(*before != labels || *count <= sample.value, "{sample:?}");
            }
            last = Some((labels, sample.value));
        } else if sample.name.ends_with("_count") {
            assert_eq!(last, Some((labels, sample.value)), "{sample:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page = "# HELP a A.\n# TYPE a counter\na{x=\"q\\\"\",y=\"\"} 2\n# HELP h H.\n# TYPE h histogram\n\
            h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3.5\nh_count 2\n";
        let found = families(page);
        assert_eq!(found["a"].samples[0].labels["x"], "q\"");
        assert_eq!((found["h"].labels.len(), found["h"].samples.len()), (0, 4));
    }

    #[test]
    #[should_panic(expected = "told twice")]
    fn nothing_is_told_twice() {
        families("# HELP a A.\n# TYPE a gauge\na 1\na 2\n");
    }
}
