//! When the node takes back what pods use: thresholds in the words of upstream's flags, with its defaults.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>

use std::collections::BTreeMap;
use std::time::Duration;

use coracle_api::quantity::Quantity;

/// Something of which the node may have too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// `memory.available`.
    MemoryAvailable,
    /// `nodefs.available`.
    NodeFsAvailable,
    /// `nodefs.inodesFree`.
    NodeFsInodesFree,
    /// `imagefs.available`.
    ImageFsAvailable,
    /// `imagefs.inodesFree`.
    ImageFsInodesFree,
    /// `pid.available`.
    PidAvailable,
}

/// What a signal is called, which condition of the node it is, and which resource then is short.
const SIGNALS: [(Signal, &str, &str, &str); 6] = [
    (Signal::MemoryAvailable, "memory.available", "MemoryPressure", "memory"),
    (Signal::NodeFsAvailable, "nodefs.available", "DiskPressure", "ephemeral-storage"),
    (Signal::NodeFsInodesFree, "nodefs.inodesFree", "DiskPressure", "inodes"),
    (Signal::ImageFsAvailable, "imagefs.available", "DiskPressure", "ephemeral-storage"),
    (Signal::ImageFsInodesFree, "imagefs.inodesFree", "DiskPressure", "inodes"),
    (Signal::PidAvailable, "pid.available", "PIDPressure", "pids"),
];

impl Signal {
    fn row(self) -> (&'static str, &'static str, &'static str) {
        let found = SIGNALS.iter().find(|(signal, ..)| *signal == self);
        found.map_or(("", "", ""), |(_, name, condition, resource)| (*name, *condition, *resource))
    }

    /// Its name in thresholds.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The condition of the node while there is too little.
    pub fn condition(self) -> &'static str {
        self.row().1
    }

    /// The resource as messages name it.
    pub fn resource(self) -> &'static str {
        self.row().2
    }

    fn parse(name: &str) -> Result<Signal, String> {
        let found = SIGNALS.iter().find(|(_, known, ..)| *known == name);
        found.map(|(signal, ..)| *signal).ok_or_else(|| format!("{name:?} is not an eviction signal"))
    }
}

/// So many bytes (or inodes, or processes), or a part of all there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So many.
    Quantity(u64),
    /// Of a hundred.
    Percent(f64),
}

impl Amount {
    /// How much it is of what there is.
    pub fn of(self, capacity: u64) -> u64 {
        match self {
            Amount::Quantity(amount) => amount,
            Amount::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }

    fn parse(text: &str) -> Result<Amount, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| format!("{text:?} is not a percentage"))?;
            return match (0.0..=100.0).contains(&percent) {
                true => Ok(Amount::Percent(percent)),
                false => Err(format!("{text:?} is not between 0% and 100%")),
            };
        }
        let quantity: Quantity =
            text.parse().map_err(|_| format!("{text:?} is neither a quantity nor a percentage"))?;
        u64::try_from(quantity.value()).map(Amount::Quantity).map_err(|_| format!("{text:?} is negative"))
    }
}

/// Limits by signal.
pub type Thresholds = BTreeMap<Signal, Amount>;

/// When and how pods are evicted for want of room. Names are those of upstream's KubeletConfiguration.
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    /// `evictionHard`: below, a pod is ended at once.
    pub hard: Thresholds,
    /// `evictionSoft`: below for longer than its grace period, a pod is ended.
    pub soft: Thresholds,
    /// `evictionSoftGracePeriod`.
    pub soft_grace_period: BTreeMap<Signal, Duration>,
    /// `evictionMinimumReclaim`: how much above a threshold that was passed is enough again.
    pub minimum_reclaim: Thresholds,
    /// `evictionPressureTransitionPeriod`: for how long a condition of the node stays.
    pub pressure_transition_period: Duration,
    /// `evictionMaxPodGracePeriod`: how long a pod has that is ended by a soft threshold.
    pub max_pod_grace_period: Duration,
}

impl Default for Eviction {
    fn default() -> Eviction {
        let hard = [
            (Signal::MemoryAvailable, Amount::Quantity(100 << 20)),
            (Signal::NodeFsAvailable, Amount::Percent(10.0)),
            (Signal::NodeFsInodesFree, Amount::Percent(5.0)),
            (Signal::ImageFsAvailable, Amount::Percent(15.0)),
            (Signal::ImageFsInodesFree, Amount::Percent(5.0)),
        ];
        Eviction {
            hard: hard.into(),
            soft: Thresholds::new(),
            soft_grace_period: BTreeMap::new(),
            minimum_reclaim: Thresholds::new(),
            pressure_transition_period: Duration::from_secs(300),
            max_pod_grace_period: Duration::ZERO,
        }
    }
}

impl Eviction {
    /// Checks that every soft threshold has a grace period.
    ///
    /// # Errors
    /// Names one that has none.
    pub fn check(&self) -> Result<(), String> {
        let lacking = self.soft.keys().find(|signal| !self.soft_grace_period.contains_key(signal));
        match lacking {
            None => Ok(()),
            Some(signal) => {
                Err(format!("grace period must be specified for the soft eviction threshold {}", signal.name()))
            }
        }
    }
}

/// Reads `memory.available<100Mi,nodefs.available<10%`. One of 0 or 0% is none.
///
/// # Errors
/// Says what cannot be read.
pub fn thresholds(text: &str) -> Result<Thresholds, String> {
    let parsed = pairs(text, '<', Amount::parse)?;
    let is_one = |amount: &Amount| !matches!(amount, Amount::Quantity(0)) && *amount != Amount::Percent(0.0);
    Ok(parsed.into_iter().filter(|(_, amount)| is_one(amount)).collect())
}

/// Reads `nodefs.available=500Mi`.
///
/// # Errors
/// Says what cannot be read.
pub fn amounts(text: &str) -> Result<Thresholds, String> {
    pairs(text, '=', Amount::parse)
}

/// Reads `memory.available=1m30s`; `duration` reads one.
///
/// # Errors
/// Says what cannot be read.
pub fn grace_periods(
    text: &str,
    duration: impl Fn(&str) -> Result<Duration, String>,
) -> Result<BTreeMap<Signal, Duration>, String> {
    pairs(text, '=', duration)
}

fn pairs<T>(text: &str, sign: char, read: impl Fn(&str) -> Result<T, String>) -> Result<BTreeMap<Signal, T>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once(sign).ok_or_else(|| format!("{part:?} has no {sign:?}"))?;
            Ok((Signal::parse(name.trim())?, read(value.trim())?))
        })
        .collect()
}

/// When images are removed for want of room. Names are those of upstream's KubeletConfiguration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageGc {
    /// `imageGCHighThresholdPercent`: with more of the disk in use, images go; never with 100.
    pub high_threshold_percent: u8,
    /// `imageGCLowThresholdPercent`: until so much is in use.
    pub low_threshold_percent: u8,
    /// `imageMinimumGCAge`: a younger image stays.
    pub minimum_age: Duration,
    /// `imageMaximumGCAge`: one that was not used for longer goes; zero is for ever.
    pub maximum_age: Duration,
}

impl Default for ImageGc {
    fn default() -> ImageGc {
        ImageGc {
            high_threshold_percent: 85,
            low_threshold_percent: 80,
            minimum_age: Duration::from_secs(120),
            maximum_age: Duration::ZERO,
        }
    }
}

impl ImageGc {
    /// Checks that the thresholds are percentages, the low one below the high one.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        match self.high_threshold_percent {
            101.. => Err("the high threshold of image garbage collection is above 100%".to_owned()),
            high if self.low_threshold_percent >= high => {
                Err("the low threshold of image garbage collection is not below the high one".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_written_as_upstreams_flags_are() {
        let read = thresholds("memory.available<1.5Gi, nodefs.available<10%,imagefs.available<0%").unwrap();
        let expected =
            [(Signal::MemoryAvailable, Amount::Quantity(3 << 29)), (Signal::NodeFsAvailable, Amount::Percent(10.0))];
        assert_eq!(read, expected.into());
        assert_eq!(Amount::Percent(10.0).of(50), 5);
        for bad in ["memory<1", "memory.available", "memory.available<x", "memory.available<101%", "pid.available<-1"] {
            assert!(thresholds(bad).is_err(), "{bad}");
        }
        assert_eq!(amounts("nodefs.available=500Mi").unwrap()[&Signal::NodeFsAvailable], Amount::Quantity(500 << 20));
    }

    #[test]
    fn a_soft_threshold_has_a_grace_period() {
        let mut config = Eviction { soft: thresholds("pid.available<10").unwrap(), ..Default::default() };
        assert!(config.check().unwrap_err().ends_with("pid.available"));
        config.soft_grace_period = grace_periods("pid.available=1m", |_| Ok(Duration::from_secs(60))).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(ImageGc::default().check(), Ok(()));
        assert!(ImageGc { low_threshold_percent: 85, ..Default::default() }.check().is_err());
    }
}
