//! How long containers of a hollow node take to start and run, as annotations of their pod say.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

/// How long it takes until the first containers run, as `2s`.
pub(super) const START: &str = "coracle.io/hollow-start";
/// How long containers run, and with which code they end, as `5s` or `5s,exit=1`. Those of a pod without it run until it ends.
pub(super) const RUN: &str = "coracle.io/hollow-run";
/// The longest of both.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the annotations of a pod say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub(super) start: Duration,
    /// After which time containers end, and with which code. Sidecars and what is started by hand go on.
    pub(super) run: Option<(Duration, i32)>,
}

impl Lifetime {
    /// Reads the annotations.
    ///
    /// # Errors
    /// One of them is malformed, with what is told of a container that cannot be made because of it.
    pub(super) fn of(pod: &Pod) -> Result<Lifetime, String> {
        let annotation = |name: &str| pod.metadata.annotations.as_ref().and_then(|all| all.get(name));
        let start = annotation(START).map(|text| {
            duration(text).ok_or_else(|| format!("the annotation {START} is {text:?} and must be a duration, as 2s"))
        });
        let run = annotation(RUN).map(|text| {
            run(text)
                .ok_or_else(|| format!("the annotation {RUN} is {text:?} and must be a duration, as 5s, or 5s,exit=1"))
        });
        Ok(Lifetime { start: start.transpose()?.unwrap_or_default(), run: run.transpose()? })
    }
}

fn run(text: &str) -> Option<(Duration, i32)> {
    let (time, exit) = text.split_once(',').unwrap_or((text, "exit=0"));
    let code = exit.trim().strip_prefix("exit=")?.parse::<u8>().ok()?;
    Some((duration(time)?, code.into()))
}

/// A whole number of seconds, minutes or hours: times of pods are told in seconds.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let count = digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
    Some(Duration::from_secs(count.checked_mul(seconds)?)).filter(|duration| *duration <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(annotations: serde_json::Value) -> Result<Lifetime, String> {
        Lifetime::of(&serde_json::from_value(serde_json::json!({"metadata": {"annotations": annotations}})).unwrap())
    }

    #[test]
    fn annotations_say_how_long_containers_start_and_run() {
        let seconds = Duration::from_secs;
        assert_eq!(lifetime(serde_json::json!({})), Ok(Lifetime::default()));
        let both = serde_json::json!({START: "2s", RUN: "5m, exit=3"});
        assert_eq!(lifetime(both), Ok(Lifetime { start: seconds(2), run: Some((seconds(300), 3)) }));
        let plain = serde_json::json!({RUN: "0s"});
        assert_eq!(lifetime(plain), Ok(Lifetime { start: seconds(0), run: Some((seconds(0), 0)) }));
    }

    #[test]
    fn what_is_malformed_is_named() {
        for text in
            ["", "s", "5", "-5s", "+5s", "5s,", "5s,exit=256", "5s,1", "99999999999999999999s", "9000h", "5µ", "1.5s"]
        {
            let why = lifetime(serde_json::json!({RUN: text})).unwrap_err();
            assert!(why.contains(RUN) && why.contains(&format!("{text:?}")), "{why}");
        }
        assert!(lifetime(serde_json::json!({START: "soon"})).unwrap_err().contains(START));
    }
}
