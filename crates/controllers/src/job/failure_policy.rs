//! `podFailurePolicy`: what the failure of a pod means for its job.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy>

use k8s_openapi::api::batch::v1::{
    Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use crate::common::namespace_of;

/// The rules of a job; without any, every failure counts.
#[derive(Clone, Copy)]
pub(super) struct Policy<'a>(&'a [PodFailurePolicyRule]);

/// What a failed pod amounts to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    /// Whether it counts towards the limits of failures.
    pub counts: bool,
    /// Whether its index fails with it.
    pub fails_index: bool,
    /// Why the whole job fails with it.
    pub fails_job: Option<String>,
}

impl<'a> Policy<'a> {
    pub fn of(job: &'a Job) -> Policy<'a> {
        let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
        Policy(policy.map(|policy| &*policy.rules).unwrap_or_default())
    }

    /// What the first rule that matches says of a pod that failed.
    pub fn verdict(self, pod: &Pod) -> Verdict {
        let counted = Verdict { counts: true, fails_index: false, fails_job: None };
        for (number, rule) in self.0.iter().enumerate() {
            let Some(matched) = matched(rule, pod) else { continue };
            match rule.action.as_str() {
                "Ignore" => return Verdict { counts: false, ..counted },
                "FailIndex" => return Verdict { fails_index: true, ..counted },
                "Count" => return counted,
                "FailJob" => {
                    let why = format!("{matched} matching {} rule at index {number}", rule.action);
                    return Verdict { fails_job: Some(why), ..counted };
                }
                // An action of a later version means nothing here.
                _ => {}
            }
        }
        counted
    }
}

/// What of the pod a rule matches, in words.
fn matched(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let (namespace, name) = (namespace_of(pod), pod.name_any());
    if let Some(wanted) = &rule.on_exit_codes {
        let (container, code) = container_with_code(wanted, pod)?;
        return Some(format!("Container {container} for pod {namespace}/{name} failed with exit code {code}"));
    }
    let condition = condition(rule.on_pod_conditions.as_deref()?, pod)?;
    Some(format!("Pod {namespace}/{name} has condition {condition}"))
}

fn container_with_code<'a>(wanted: &PodFailurePolicyOnExitCodesRequirement, pod: &'a Pod) -> Option<(&'a str, i32)> {
    let status = pod.status.as_ref()?;
    let exit = |container: &'a ContainerStatus| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let named = wanted.container_name.as_ref().is_none_or(|name| *name == container.name);
        let listed = wanted.values.contains(&code);
        let fits = match wanted.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        (code != 0 && named && fits).then_some((container.name.as_str(), code))
    };
    let containers = status.container_statuses.iter().flatten();
    containers.chain(status.init_container_statuses.iter().flatten()).find_map(exit)
}

fn condition<'a>(patterns: &[PodFailurePolicyOnPodConditionsPattern], pod: &'a Pod) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let fits = |kind: &str, status: &str| {
        patterns.iter().any(|p| p.type_ == kind && p.status.as_deref().unwrap_or("True") == status)
    };
    conditions.iter().find(|c| fits(&c.type_, &c.status)).map(|c| c.type_.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(rules: serde_json::Value) -> Job {
        serde_json::from_value(json!({"spec": {"podFailurePolicy": {"rules": rules}, "template": {}}})).unwrap()
    }

    fn pod(code: i32, disrupted: &str) -> Pod {
        let terminated = json!({"terminated": {"exitCode": code}});
        let container = |name: &str, state: serde_json::Value| json!({"name": name, "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0});
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "status": {
            "containerStatuses": [container("side", json!({})), container("main", terminated)],
            "conditions": [{"type": "DisruptionTarget", "status": disrupted}],
        }}))
        .unwrap()
    }

    #[test]
    fn without_rules_every_failure_counts() {
        let verdict = Policy::of(&Job::default()).verdict(&pod(1, "True"));
        assert_eq!(verdict, Verdict { counts: true, fails_index: false, fails_job: None });
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let job = job(json!([
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "Count", "onExitCodes": {"operator": "In", "values": [5]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "NotIn", "values": [1]}},
        ]));
        let policy = Policy::of(&job);
        assert!(!policy.verdict(&pod(3, "True")).counts);
        assert!(policy.verdict(&pod(42, "False")).fails_index);
        assert_eq!(policy.verdict(&pod(5, "False")).fails_job, None);
        assert_eq!(policy.verdict(&pod(1, "False")), Verdict { counts: true, fails_index: false, fails_job: None });
        assert_eq!(
            policy.verdict(&pod(3, "False")).fails_job.as_deref(),
            Some("Container main for pod n/p failed with exit code 3 matching FailJob rule at index 3")
        );
        assert_eq!(policy.verdict(&pod(0, "False")).fails_job, None, "a container that succeeded matches no code");
    }

    #[test]
    fn a_condition_may_fail_the_job() {
        let job =
            job(json!([{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]));
        let verdict = Policy::of(&job).verdict(&pod(1, "True"));
        assert_eq!(
            verdict.fails_job.as_deref(),
            Some("Pod n/p has condition DisruptionTarget matching FailJob rule at index 0")
        );
    }
}
