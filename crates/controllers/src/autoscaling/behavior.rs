//! How fast replicas may follow: what was recommended lately steadies them, and policies limit their change in a time.
//! <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior>

use std::time::{Duration, Instant};

use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// How long a higher recommendation holds replicas up where the object does not say.
const STABILIZATION: Duration = Duration::from_secs(300);
/// The most that recommendations and changes are remembered for; the API takes no more.
const LONGEST: Duration = Duration::from_secs(3600);

/// What a reason and a message say of a number of replicas.
pub(super) type Said = (&'static str, &'static str);

pub(super) const READY: Said = ("ReadyForNewScale", "recommended size matches current size");
const UP_STABILIZED: Said = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: Said = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const WITHIN: Said = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FEW: Said = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: Said = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const UP_LIMIT: Said = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Said =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

/// What is remembered of one autoscaler.
#[derive(Debug, Default)]
pub(super) struct Past {
    recommendations: Vec<(Instant, i32)>,
    /// By how much replicas grew and shrank, and when.
    grown: Vec<(Instant, i32)>,
    shrunk: Vec<(Instant, i32)>,
}

/// What comes of a recommendation.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub replicas: i32,
    /// What held it steady.
    pub steadied: Said,
    /// Whether something limited it, and what is to be said of that.
    pub limited: (bool, Said),
}

/// The bounds of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub min: i32,
    pub max: i32,
}

impl Past {
    /// Notes how many replicas there were at first, which holds them for a while.
    pub fn begin(&mut self, current: i32, now: Instant) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
    }

    /// What becomes of a recommendation: steadied by earlier ones, then limited.
    pub fn follow(
        &mut self,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        bounds: Bounds,
        current: i32,
        desired: i32,
        now: Instant,
    ) -> Outcome {
        let recent = |entries: &mut Vec<(Instant, i32)>| entries.retain(|(at, _)| now.duration_since(*at) <= LONGEST);
        recent(&mut self.recommendations);
        recent(&mut self.grown);
        recent(&mut self.shrunk);
        let up = behavior.and_then(|behavior| behavior.scale_up.as_ref());
        let down = behavior.and_then(|behavior| behavior.scale_down.as_ref());
        let (steady, why) = self.steadied(behavior.map(|_| (up, down)), current, desired, now);
        self.recommendations.push((now, desired));
        let steadied = if steady == desired { READY } else { why };
        let (replicas, said) = match behavior {
            None => without_rules(bounds, current, steady),
            Some(_) => self.by_rules(up, down, bounds, current, steady, now),
        };
        Outcome { replicas, steadied, limited: (replicas != steady, said) }
    }

    fn steadied(
        &self,
        rules: Option<(Option<&HPAScalingRules>, Option<&HPAScalingRules>)>,
        current: i32,
        desired: i32,
        now: Instant,
    ) -> (i32, Said) {
        let within = |window: Duration| {
            let recent = self.recommendations.iter().filter(move |(at, _)| now.duration_since(*at) < window);
            recent.map(|(_, replicas)| *replicas)
        };
        let Some((up, down)) = rules else {
            return (within(STABILIZATION).max().unwrap_or(desired).max(desired), DOWN_STABILIZED);
        };
        let window = |rules: Option<&HPAScalingRules>, default: Duration| {
            let seconds = rules.and_then(|rules| rules.stabilization_window_seconds);
            seconds.map_or(default, |seconds| Duration::from_secs(seconds.try_into().unwrap_or(0)))
        };
        let lowest = within(window(up, Duration::ZERO)).min().unwrap_or(desired).min(desired);
        let highest = within(window(down, STABILIZATION)).max().unwrap_or(desired).max(desired);
        let steady = current.max(lowest).min(highest);
        (steady, if desired >= current { UP_STABILIZED } else { DOWN_STABILIZED })
    }

    fn by_rules(
        &self,
        up: Option<&HPAScalingRules>,
        down: Option<&HPAScalingRules>,
        bounds: Bounds,
        current: i32,
        desired: i32,
        now: Instant,
    ) -> (i32, Said) {
        if desired > current {
            let limit = self.limit(up, true, current, now).max(current);
            let (most, said) = if bounds.max > limit { (limit, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
            if desired > most {
                return (most, said);
            }
        } else if desired < current {
            let limit = self.limit(down, false, current, now).min(current);
            let (least, said) = if bounds.min < limit { (limit, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
            if desired < least {
                return (least, said);
            }
        }
        (desired, WITHIN)
    }

    /// How far replicas may go in a direction by its policies.
    fn limit(&self, rules: Option<&HPAScalingRules>, is_up: bool, current: i32, now: Instant) -> i32 {
        // The API fills in what is missing, but may have stored this before it did.
        let Some(rules) = rules else {
            return if is_up { current.saturating_mul(2).max(current.saturating_add(4)) } else { 0 };
        };
        let select = rules.select_policy.as_deref().unwrap_or("Max");
        if select == "Disabled" {
            return current;
        }
        let sum = |entries: &[(Instant, i32)], period: Duration| {
            let recent = entries.iter().filter(|(at, _)| now.duration_since(*at) < period);
            recent.fold(0i32, |sum, (_, change)| sum.saturating_add(*change))
        };
        let proposed = |policy: &HPAScalingPolicy| {
            let period = Duration::from_secs(policy.period_seconds.try_into().unwrap_or(0));
            let (grown, shrunk) = (sum(&self.grown, period), sum(&self.shrunk, period));
            let start = current.saturating_sub(grown).saturating_add(shrunk);
            let share = f64::from(policy.value) / 100.0;
            match (&*policy.type_, is_up) {
                ("Pods", true) => start.saturating_add(policy.value),
                ("Pods", false) => start.saturating_sub(policy.value),
                (_, true) => (f64::from(start) * (1.0 + share)).ceil() as i32,
                (_, false) => (f64::from(start) * (1.0 - share)) as i32,
            }
        };
        let policies = rules.policies.as_deref().unwrap_or_default().iter().map(proposed);
        // The policy that changes most, or least.
        let farthest = if (select == "Max") == is_up { policies.max() } else { policies.min() };
        farthest.unwrap_or(current)
    }

    /// Notes a change that was made.
    pub fn changed(&mut self, from: i32, to: i32, now: Instant) {
        let change = to.saturating_sub(from);
        match change > 0 {
            true => self.grown.push((now, change)),
            false => self.shrunk.push((now, change.saturating_neg())),
        }
    }
}

/// Where an object has no rules: at most twice as many at once, or four.
fn without_rules(bounds: Bounds, current: i32, desired: i32) -> (i32, Said) {
    let limit = current.saturating_mul(2).max(4);
    let (most, said) = if bounds.max > limit { (limit, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
    if desired < bounds.min {
        (bounds.min, TOO_FEW)
    } else if desired > most {
        (most, said)
    } else {
        (desired, WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const BOUNDS: Bounds = Bounds { min: 1, max: 100 };

    fn behavior(value: Value) -> HorizontalPodAutoscalerBehavior {
        serde_json::from_value(value).unwrap()
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_recommended_lately_holds_replicas_up() {
        let (mut past, start) = (Past::default(), Instant::now());
        past.begin(5, start);
        let outcome = past.follow(None, BOUNDS, 5, 2, after(start, 15));
        assert_eq!((outcome.replicas, outcome.steadied.0, outcome.limited.0), (5, "ScaleDownStabilized", false));
        let outcome = past.follow(None, BOUNDS, 5, 2, after(start, 301));
        assert_eq!((outcome.replicas, outcome.steadied), (2, READY));
    }

    #[test]
    fn without_rules_replicas_at_most_double() {
        let (mut past, start) = (Past::default(), Instant::now());
        assert_eq!(past.follow(None, BOUNDS, 3, 10, start).limited, (true, UP_LIMIT));
        assert_eq!(past.follow(None, BOUNDS, 3, 10, start).replicas, 6);
        assert_eq!(past.follow(None, Bounds { min: 1, max: 5 }, 3, 10, start).limited, (true, TOO_MANY));
        assert_eq!(Past::default().follow(None, Bounds { min: 2, max: 5 }, 3, 1, start).limited, (true, TOO_FEW));
    }

    #[test]
    fn policies_limit_the_change_in_their_period() {
        let rules = behavior(json!({"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Min", "policies": [
                {"type": "Percent", "value": 50, "periodSeconds": 60}, {"type": "Pods", "value": 1, "periodSeconds": 60}]}}));
        let (mut past, start) = (Past::default(), Instant::now());
        let outcome = past.follow(Some(&rules), BOUNDS, 4, 20, start);
        assert_eq!((outcome.replicas, outcome.limited.1.0), (6, "ScaleUpLimit"));
        past.changed(4, 6, start);
        assert_eq!(past.follow(Some(&rules), BOUNDS, 6, 20, after(start, 30)).replicas, 6, "both are there already");
        assert_eq!(past.follow(Some(&rules), BOUNDS, 6, 20, after(start, 61)).replicas, 8);
        let outcome = Past::default().follow(Some(&rules), BOUNDS, 10, 2, start);
        assert_eq!((outcome.replicas, outcome.limited.1.0), (9, "ScaleDownLimit"));
    }

    #[test]
    fn windows_steady_both_directions() {
        let rules = behavior(json!({"scaleUp": {"stabilizationWindowSeconds": 60,
            "policies": [{"type": "Percent", "value": 900, "periodSeconds": 15}]}}));
        let (mut past, start) = (Past::default(), Instant::now());
        past.begin(3, start);
        let outcome = past.follow(Some(&rules), BOUNDS, 3, 9, after(start, 15));
        assert_eq!((outcome.replicas, outcome.steadied.0), (3, "ScaleUpStabilized"));
        assert_eq!(past.follow(Some(&rules), BOUNDS, 3, 9, after(start, 61)).replicas, 9);
        let disabled = behavior(json!({"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}));
        assert_eq!(Past::default().follow(Some(&disabled), BOUNDS, 5, 1, start).replicas, 5);
    }
}
