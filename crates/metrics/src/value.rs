//! What is counted.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use crate::page::{Labels, Page};

/// Something that is shown under a name.
pub trait Value: Send + Sync {
    /// `counter`, `gauge` or `histogram`.
    const KIND: &'static str;

    /// Shows it.
    fn write(&self, name: &str, labels: Labels<'_>, page: &mut Page);
}

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Value for Counter {
    const KIND: &'static str = "counter";

    fn write(&self, name: &str, labels: Labels<'_>, page: &mut Page) {
        page.sample(name, labels, self.get());
    }
}

/// Grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Makes it so much.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// So much more, or less.
    pub fn add(&self, value: i64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    /// How much it is.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Value for Gauge {
    const KIND: &'static str = "gauge";

    fn write(&self, name: &str, labels: Labels<'_>, page: &mut Page) {
        page.sample(name, labels, self.get());
    }
}

/// How often values were how large. What is counted at the same time as it is shown may be in the count and not yet in the sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: Box<[f64]>,
    /// How many were not larger than each bound and larger than the one before it; the last ones are beyond all.
    counts: Box<[AtomicU64]>,
    /// The bits of a float.
    sum: AtomicU64,
}

impl Histogram {
    /// One with ascending bounds.
    pub fn new(bounds: &[f64]) -> Histogram {
        let counts = bounds.iter().map(|_| 0).chain([0]).map(AtomicU64::new).collect();
        Histogram { bounds: bounds.into(), counts, sum: AtomicU64::new(0f64.to_bits()) }
    }

    /// Counts a value.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let add = |sum| Some((f64::from_bits(sum) + value).to_bits());
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Counts the seconds since then.
    pub fn observe_since(&self, since: Instant) {
        self.observe(since.elapsed().as_secs_f64());
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Value for Histogram {
    const KIND: &'static str = "histogram";

    fn write(&self, name: &str, labels: Labels<'_>, page: &mut Page) {
        let bucket = format!("{name}_bucket");
        let bounds = self.bounds.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        let mut count = 0u64;
        for (bound, own) in bounds.zip(&self.counts) {
            count = count.saturating_add(own.load(Ordering::Relaxed));
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", &*bound)]).collect();
            page.sample(&bucket, &labels, count);
        }
        page.sample(&format!("{name}_sum"), labels, f64::from_bits(self.sum.load(Ordering::Relaxed)));
        page.sample(&format!("{name}_count"), labels, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_every_bound_that_it_is_not_beyond() {
        let histogram = Histogram::new(&[0.5, 1.0]);
        [0.25, 0.5, 0.75, 2.0].into_iter().for_each(|value| histogram.observe(value));
        let mut page = Page::default();
        histogram.write("a", &[("x", "y")], &mut page);
        let expected = "a_bucket{x=\"y\",le=\"0.5\"} 2\na_bucket{x=\"y\",le=\"1\"} 3\na_bucket{x=\"y\",le=\"+Inf\"} 4\n\
            a_sum{x=\"y\"} 3.5\na_count{x=\"y\"} 4\n";
        assert_eq!(page.into_text(), expected);
    }
}
