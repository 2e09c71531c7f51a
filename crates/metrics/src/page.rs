//! The text format of Prometheus, version 0.0.4.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{Display, Write};

/// Names and values of a sample.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A name, its help, and how its value is read of something.
pub type Named<T, V> = (&'static str, &'static str, fn(&T) -> V);

/// A page that is being written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins the samples of one name; `kind` is `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample.
    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.start(name, labels);
        let _ = writeln!(self.0, " {value}");
    }

    /// One sample with the time at which it was taken, in milliseconds since the epoch.
    pub fn sample_at(&mut self, name: &str, labels: Labels<'_>, value: impl Display, millis: i64) {
        self.start(name, labels);
        let _ = writeln!(self.0, " {value} {millis}");
    }

    fn start(&mut self, name: &str, labels: Labels<'_>) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
    }

    /// One name with its one sample.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// Text in the same format.
    pub fn append(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// The whole page.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// Nanoseconds as seconds.
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.family("a", "gauge", "What a is.");
        page.sample("a", &[("x", "1"), ("y", "q\"\\\n")], 2.5);
        page.sample_at("a", &[], 3, 77);
        page.append("# more\n");
        let expected = "# HELP a What a is.\n# TYPE a gauge\na{x=\"1\",y=\"q\\\"\\\\\\n\"} 2.5\na 3 77\n# more\n";
        assert_eq!(page.into_text(), expected);
        assert_eq!(seconds(1_500_000_000), 1.5);
    }
}
