//! What the labels of a namespace say.

use coracle_api::field::{FieldError, Path};
use serde_json::Value;

use super::level::{Level, LevelVersion, Version};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// The levels that count in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What violates it is refused.
    pub enforce: LevelVersion,
    /// What violates it is noted in the audit log.
    pub audit: LevelVersion,
    /// Whoever violates it is warned.
    pub warn: LevelVersion,
}

impl Policy {
    /// The policy of a namespace, and what is wrong with its labels. A wrong level is the strictest one where it is
    /// enforced, and none where it only informs.
    pub fn of_namespace(namespace: &Value) -> (Self, Vec<FieldError>) {
        let mut labels = Labels { labels: &namespace["metadata"]["labels"], errors: Vec::new() };
        let (enforce, enforced) = labels.mode("enforce", Level::Restricted);
        let (audit, _) = labels.mode("audit", Level::Privileged);
        let (mut warn, _) = labels.mode("warn", Level::Privileged);
        // Who is refused is told beforehand, too, where what is created is no pod yet.
        if labels.get("warn").is_none() && enforced && enforce.level > warn.level {
            let version = if labels.get("warn-version").is_none() { enforce.version } else { warn.version };
            warn = LevelVersion { level: enforce.level, version };
        }
        (Self { enforce, audit, warn }, labels.errors)
    }

    /// Whether nothing is looked at.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|mode| mode.level == Level::Privileged)
    }
}

struct Labels<'a> {
    labels: &'a Value,
    errors: Vec<FieldError>,
}

impl<'a> Labels<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.labels.as_object()?.get(&format!("{PREFIX}{name}"))?.as_str()
    }

    /// What a mode says, and whether its level was given and is one.
    fn mode(&mut self, name: &str, otherwise: Level) -> (LevelVersion, bool) {
        let mut given = false;
        let mut out = LevelVersion::PRIVILEGED;
        if let Some(text) = self.get(name) {
            let level = Level::parse(text);
            given = level.is_ok();
            out.level = level.unwrap_or_else(|why| self.wrong(name, text, why, otherwise));
        }
        let version = format!("{name}-version");
        if let Some(text) = self.get(&version) {
            out.version = Version::parse(text).unwrap_or_else(|why| self.wrong(&version, text, why, Version::Latest));
        }
        (out, given)
    }

    fn wrong<T>(&mut self, name: &str, value: &str, why: &str, otherwise: T) -> T {
        let path = Path::new("metadata").child("labels").key(&format!("{PREFIX}{name}"));
        self.errors.push(FieldError::invalid_str(&path, value, why));
        otherwise
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn policy(labels: &[(&str, &str)]) -> (Policy, Vec<String>) {
        let labels: Map<String, Value> =
            labels.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).into())).collect();
        let (policy, errors) = Policy::of_namespace(&json!({"metadata": {"labels": labels}}));
        (policy, errors.iter().map(ToString::to_string).collect())
    }

    fn text(policy: &Policy) -> [String; 3] {
        [policy.enforce, policy.audit, policy.warn].map(|mode| mode.to_string())
    }

    #[test]
    fn without_labels_everything_is_allowed() {
        assert!(policy(&[]).0.is_privileged());
        assert!(Policy::of_namespace(&json!({})).0.is_privileged());
    }

    #[test]
    fn who_enforces_also_warns() {
        let (set, errors) = policy(&[("enforce", "baseline"), ("enforce-version", "v1.20")]);
        assert_eq!(
            (text(&set), errors.len()),
            (["baseline:v1.20", "privileged:latest", "baseline:v1.20"].map(Into::into), 0)
        );
        let (set, _) = policy(&[("enforce", "baseline"), ("warn-version", "v1.30")]);
        assert_eq!(text(&set)[2], "baseline:v1.30");
        let (set, _) = policy(&[("enforce", "baseline"), ("warn", "privileged")]);
        assert_eq!(text(&set)[2], "privileged:latest");
    }

    #[test]
    fn wrong_labels_are_told_and_enforce_the_strictest_level() {
        let (set, errors) = policy(&[("enforce", "Baseline"), ("audit", "no"), ("warn-version", "1")]);
        assert_eq!(text(&set), ["restricted:latest", "privileged:latest", "privileged:latest"]);
        assert_eq!(
            errors,
            [
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"Baseline\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"no\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1\": must be \"latest\" or \"v1.x\"",
            ]
        );
    }
}
