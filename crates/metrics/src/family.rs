//! Values under one name, told apart by labels.

use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;
use smol_str::SmolStr;

use crate::page::Page;
use crate::value::Value;

/// How many values a family has at most; what would be one more is not shown.
const MOST: usize = 20_000;

type Series<M, const N: usize> = HashMap<[SmolStr; N], Arc<M>, RandomState>;

/// Values of one kind by `N` labels. One that is there is found without a lock or an allocation; each new one costs a copy
/// of the table, which is why labels never are what anybody may choose freely.
pub struct Family<M, const N: usize> {
    labels: [&'static str; N],
    make: Box<dyn Fn() -> M + Send + Sync>,
    series: ArcSwap<Series<M, N>>,
    /// Held by who adds one.
    adding: Mutex<()>,
    beyond: Arc<M>,
}

#[derive(Hash)]
struct Key<'a, const N: usize>([&'a str; N]);

impl<const N: usize> Equivalent<[SmolStr; N]> for Key<'_, N> {
    fn equivalent(&self, key: &[SmolStr; N]) -> bool {
        self.0.iter().zip(key).all(|(own, other)| own == other)
    }
}

impl<M: Default + 'static, const N: usize> Family<M, N> {
    /// One whose values begin with nothing.
    pub fn new(labels: [&'static str; N]) -> Family<M, N> {
        Family::with_constructor(labels, M::default)
    }
}

impl<M, const N: usize> Family<M, N> {
    /// One whose values are made so.
    pub fn with_constructor(labels: [&'static str; N], make: impl Fn() -> M + Send + Sync + 'static) -> Family<M, N> {
        let beyond = Arc::new(make());
        Family { labels, make: Box::new(make), series: ArcSwap::default(), adding: Mutex::default(), beyond }
    }

    /// The value with these labels, for who counts there again and again.
    pub fn get(&self, labels: [&str; N]) -> Arc<M> {
        let found = self.series.load().get(&Key(labels)).cloned();
        found.unwrap_or_else(|| self.add(labels))
    }

    /// Counts at the value with these labels.
    pub fn with<T>(&self, labels: [&str; N], count: impl FnOnce(&M) -> T) -> T {
        match self.series.load().get(&Key(labels)) {
            Some(found) => count(found),
            None => count(&self.add(labels)),
        }
    }

    /// Shows the value with these labels no more.
    pub fn forget(&self, labels: [&str; N]) {
        let _adding = self.adding.lock();
        let series = self.series.load();
        if series.contains_key(&Key(labels)) {
            let mut series = Series::clone(&series);
            series.remove(&Key(labels));
            self.series.store(Arc::new(series));
        }
    }

    /// All values and their labels, in the order of these.
    pub fn all(&self) -> Vec<([SmolStr; N], Arc<M>)> {
        let mut all: Vec<_> =
            self.series.load().iter().map(|(labels, value)| (labels.clone(), value.clone())).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// Names and values of labels.
    pub fn named<'a>(&self, values: &'a [SmolStr; N]) -> [(&'static str, &'a str); N] {
        std::array::from_fn(|number| (self.labels[number], values[number].as_str()))
    }

    fn add(&self, labels: [&str; N]) -> Arc<M> {
        let _adding = self.adding.lock();
        let series = self.series.load();
        if let Some(found) = series.get(&Key(labels)) {
            return found.clone();
        }
        if series.len() >= MOST {
            return self.beyond.clone();
        }
        let (mut series, value) = (Series::clone(&series), Arc::new((self.make)()));
        series.insert(labels.map(SmolStr::new), value.clone());
        self.series.store(Arc::new(series));
        value
    }
}

impl<M: Value, const N: usize> Family<M, N> {
    /// Shows all of it, which is nothing as long as there are no values.
    pub fn write(&self, name: &str, help: &str, page: &mut Page) {
        let all = self.all();
        if !all.is_empty() {
            page.family(name, M::KIND, help);
        }
        all.iter().for_each(|(labels, value)| value.write(name, &self.named(labels), page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Counter;

    #[test]
    fn values_are_found_by_their_labels() {
        let family = Family::<Counter, 2>::new(["a", "b"]);
        family.with(["1", ""], Counter::inc);
        family.with(["", "1"], |counter| counter.add(2));
        family.get(["1", ""]).inc();
        let mut page = Page::default();
        family.write("n", "Help.", &mut page);
        let expected = "# HELP n Help.\n# TYPE n counter\nn{a=\"\",b=\"1\"} 2\nn{a=\"1\",b=\"\"} 2\n";
        assert_eq!(page.into_text(), expected);
        family.forget(["1", ""]);
        assert_eq!(family.all().len(), 1);
    }

    #[test]
    fn nobody_makes_more_values_than_there_is_room_for() {
        let family = Family::<Counter, 1>::new(["a"]);
        let mut series = Series::default();
        (0..MOST).for_each(|number| drop(series.insert([SmolStr::from(number.to_string())], Arc::default())));
        family.series.store(Arc::new(series));
        family.with(["x"], Counter::inc);
        assert_eq!(family.all().len(), MOST);
    }

    #[test]
    fn several_threads_count_all() {
        let family = Family::<Counter, 1>::new(["a"]);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let family = &family;
                scope.spawn(move || {
                    for number in 0..400 {
                        family.with([&((number + thread) % 40).to_string()], Counter::inc);
                    }
                });
            }
        });
        assert_eq!(family.all().iter().map(|(_, counter)| counter.get()).sum::<u64>(), 1600);
    }
}
