//! What is shown of a part of the process.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::family::Family;
use crate::page::Page;
use crate::value::{Counter, Gauge, Histogram, Value};

/// The API server's.
pub static API_SERVER: Registry = Registry::new();
/// The scheduler's.
pub static SCHEDULER: Registry = Registry::new();
/// The controllers'.
pub static CONTROLLERS: Registry = Registry::new();
/// What all of them have, such as clients and queues.
pub static SHARED: Registry = Registry::new();

/// Shows something on a page.
type Shown = Box<dyn Fn(&mut Page) + Send + Sync>;

/// Names with what is counted under them, in the order in which they came. A part registers its own once a process.
pub struct Registry(Mutex<Vec<Shown>>);

impl Registry {
    /// One without names.
    pub const fn new() -> Registry {
        Registry(Mutex::new(Vec::new()))
    }

    /// Has something written whenever somebody looks.
    pub fn show(&self, write: impl Fn(&mut Page) + Send + Sync + 'static) {
        self.0.lock().push(Box::new(write));
    }

    fn value<M: Value + 'static>(&self, name: &'static str, help: &'static str, value: M) -> Arc<M> {
        let value = Arc::new(value);
        let shown = value.clone();
        self.show(move |page| {
            page.family(name, M::KIND, help);
            shown.write(name, &[], page);
        });
        value
    }

    /// Several values by labels.
    pub fn family<M: Value + 'static, const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        family: Family<M, N>,
    ) -> Arc<Family<M, N>> {
        let family = Arc::new(family);
        let shown = family.clone();
        self.show(move |page| shown.write(name, help, page));
        family
    }

    /// A counter.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Arc<Counter> {
        self.value(name, help, Counter::default())
    }

    /// A gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Arc<Gauge> {
        self.value(name, help, Gauge::default())
    }

    /// A histogram.
    pub fn histogram(&self, name: &'static str, help: &'static str, bounds: &[f64]) -> Arc<Histogram> {
        self.value(name, help, Histogram::new(bounds))
    }

    /// Counters by labels.
    pub fn counters<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Arc<Family<Counter, N>> {
        self.family(name, help, Family::new(labels))
    }

    /// Gauges by labels.
    pub fn gauges<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Arc<Family<Gauge, N>> {
        self.family(name, help, Family::new(labels))
    }

    /// Histograms by labels.
    pub fn histograms<const N: usize>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        bounds: &[f64],
    ) -> Arc<Family<Histogram, N>> {
        let bounds: Box<[f64]> = bounds.into();
        self.family(name, help, Family::with_constructor(labels, move || Histogram::new(&bounds)))
    }

    /// Shows all of it.
    pub fn write(&self, page: &mut Page) {
        self.0.lock().iter().for_each(|write| write(page));
    }
}

/// A place on a page for what somebody shows as long as they are there.
#[derive(Clone, Default)]
pub struct Slot(Arc<Mutex<Option<Shown>>>);

/// Whoever drops it shows nothing more.
#[must_use]
pub struct Showing(Slot);

impl Slot {
    /// Has something written whenever somebody looks, in the place of what was shown here before.
    pub fn show(&self, write: impl Fn(&mut Page) + Send + Sync + 'static) -> Showing {
        *self.0.lock() = Some(Box::new(write));
        Showing(self.clone())
    }
}

impl Drop for Showing {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
    }
}

impl Registry {
    /// A place where nothing is shown yet.
    pub fn slot(&self) -> Slot {
        let slot = Slot::default();
        let shown = slot.clone();
        self.show(move |page| shown.0.lock().iter().for_each(|write| write(page)));
        slot
    }
}

impl Default for Registry {
    fn default() -> Registry {
        Registry::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_registered_is_shown() {
        let registry = Registry::new();
        registry.counter("a_total", "A.").inc();
        registry.gauges("b", "B.", ["x"]);
        registry.gauge("c", "C.").set(-2);
        registry.show(|page| page.single("d", "gauge", "D.", 1));
        let slot = registry.slot();
        drop(slot.show(|page| page.single("e", "gauge", "E.", 1)));
        let mut page = Page::default();
        registry.write(&mut page);
        let expected = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n# HELP c C.\n# TYPE c gauge\nc -2\n\
            # HELP d D.\n# TYPE d gauge\nd 1\n";
        assert_eq!(page.into_text(), expected);
    }
}
