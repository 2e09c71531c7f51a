//! Sets of completion indexes, as the status of an Indexed Job writes them: `1,3-5,7`.

use std::fmt;

/// Completion indexes in ascending intervals that neither meet nor overlap, so that a job of 100,000 indexes is a few bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<Interval>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    first: i32,
    last: i32,
}

impl Interval {
    fn len(self) -> i32 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

impl Indexes {
    /// Reads a list as a status or a policy has it. Indexes from `completions` on are left out, as after a job became smaller,
    /// and so is what cannot be read.
    pub fn parse(text: &str, completions: i32) -> Indexes {
        let mut found = Indexes::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) else {
                tracing::warn!(part, "an interval of completion indexes cannot be read and is left out");
                continue;
            };
            let last = last.min(completions.saturating_sub(1));
            if first >= 0 && first <= last {
                found.0.push(Interval { first, last });
            }
        }
        Indexes(joined(found.0))
    }

    /// These and the others.
    pub fn union(&self, others: &Indexes) -> Indexes {
        Indexes(joined(self.0.iter().chain(&others.0).copied().collect()))
    }

    /// Whether an index is among them.
    pub fn contains(&self, index: i32) -> bool {
        let at = self.0.partition_point(|interval| interval.last < index);
        self.0.get(at).is_some_and(|interval| interval.first <= index)
    }

    /// How many there are.
    pub fn len(&self) -> i32 {
        self.0.iter().fold(0, |sum, interval| sum.saturating_add(interval.len()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are in both.
    pub fn len_in_common(&self, others: &Indexes) -> i32 {
        let (mut these, mut those) = (self.0.iter().peekable(), others.0.iter().peekable());
        let mut common = 0_i32;
        while let (Some(a), Some(b)) = (these.peek(), those.peek()) {
            let overlap = Interval { first: a.first.max(b.first), last: a.last.min(b.last) };
            common = common.saturating_add(overlap.len().max(0));
            if a.last < b.last {
                these.next()
            } else {
                those.next()
            };
        }
        common
    }

    /// The first `count` indexes below `completions` that are not among them.
    pub fn first_missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut missing = Vec::new();
        let mut next = 0;
        let ends = self.0.iter().copied().chain([Interval { first: completions, last: completions }]);
        for interval in ends {
            let wanted = count.saturating_sub(missing.len());
            missing.extend((next..interval.first.min(completions)).take(wanted));
            next = interval.last.saturating_add(1);
        }
        missing
    }
}

/// Sorted, with neighbours made one.
fn joined(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_by_key(|interval| interval.first);
    let mut out: Vec<Interval> = Vec::with_capacity(intervals.len());
    for interval in intervals {
        match out.last_mut() {
            Some(before) if interval.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(interval.last);
            }
            _ => out.push(interval),
        }
    }
    out
}

impl FromIterator<i32> for Indexes {
    fn from_iter<I: IntoIterator<Item = i32>>(indexes: I) -> Indexes {
        Indexes(joined(indexes.into_iter().map(|index| Interval { first: index, last: index }).collect()))
    }
}

/// Two neighbours are `1,2`, three are `1-3`.
impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, interval) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            match interval.len() {
                1 => write!(f, "{comma}{}", interval.first)?,
                2 => write!(f, "{comma}{},{}", interval.first, interval.last)?,
                _ => write!(f, "{comma}{}-{}", interval.first, interval.last)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexes(text: &str) -> Indexes {
        Indexes::parse(text, 100)
    }

    #[test]
    fn a_list_is_read_and_written_as_upstream_does() {
        for text in ["", "0", "1,2", "1-3", "1,3-5,7", "0-99"] {
            assert_eq!(indexes(text).to_string(), text);
        }
        assert_eq!(indexes("3,4,5").to_string(), "3-5");
        assert_eq!(indexes("1-3").len(), 3);
        assert_eq!([4, 1, 2, 1].into_iter().collect::<Indexes>().to_string(), "1,2,4");
    }

    #[test]
    fn what_a_smaller_job_lacks_and_what_cannot_be_read_is_left_out() {
        assert_eq!(Indexes::parse("0-5,8", 4).to_string(), "0-3");
        assert_eq!(Indexes::parse("7", 4).to_string(), "");
        assert_eq!(indexes("x,1,2-y,5-4,-3,99999999999").to_string(), "1");
        assert_eq!(Indexes::parse("0-2147483647", i32::MAX).len(), i32::MAX);
    }

    #[test]
    fn sets_are_joined_and_compared() {
        let set = indexes("1-3,7").union(&indexes("4,9"));
        assert_eq!(set.to_string(), "1-4,7,9");
        assert!(set.contains(1) && set.contains(4) && set.contains(9));
        assert!(!set.contains(0) && !set.contains(8) && !set.contains(10));
        assert_eq!(set.len_in_common(&indexes("0,2-8")), 4);
        assert_eq!(set.len_in_common(&indexes("")), 0);
    }

    #[test]
    fn the_first_that_are_missing() {
        assert_eq!(indexes("0,2-3").first_missing(3, 10), [1, 4, 5]);
        assert_eq!(indexes("0,2-3").first_missing(9, 5), [1, 4]);
        assert_eq!(indexes("").first_missing(0, 5), [] as [i32; 0]);
        assert_eq!(indexes("0-9").first_missing(2, 4), [] as [i32; 0]);
    }
}
