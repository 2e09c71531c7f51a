//! `successPolicy`: when an Indexed Job has succeeded before all its indexes have.
//! <https://kubernetes.io/docs/concepts/workloads/controllers/job/#success-policy>

use k8s_openapi::api::batch::v1::{Job, SuccessPolicyRule};

use super::indexes::Indexes;

/// Which rule the indexes that succeeded fulfil, in the words of the condition.
pub(super) fn matched(job: &Job, completions: i32, succeeded: &Indexes) -> Option<String> {
    let policy = job.spec.as_ref()?.success_policy.as_ref()?;
    if succeeded.is_empty() {
        return None;
    }
    let number = policy.rules.iter().position(|rule| is_met(rule, completions, succeeded))?;
    Some(format!("Matched rules at index {number}"))
}

fn is_met(rule: &SuccessPolicyRule, completions: i32, succeeded: &Indexes) -> bool {
    let enough = |count: i32| rule.succeeded_count.is_some_and(|wanted| count >= wanted);
    let Some(named) = &rule.succeeded_indexes else { return enough(succeeded.len()) };
    let named = Indexes::parse(named, completions);
    let common = named.len_in_common(succeeded);
    !named.is_empty() && (common == named.len() || enough(common))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rule(rule: Value, succeeded: &str) -> bool {
        let job =
            serde_json::from_value(json!({"spec": {"successPolicy": {"rules": [rule]}, "template": {}}})).unwrap();
        matched(&job, 10, &Indexes::parse(succeeded, 10)).is_some()
    }

    #[test]
    fn indexes_counts_and_both() {
        assert!(rule(json!({"succeededIndexes": "0,2-3"}), "0-4"));
        assert!(!rule(json!({"succeededIndexes": "0,2-3"}), "0,2"));
        assert!(rule(json!({"succeededCount": 2}), "5,7"));
        assert!(!rule(json!({"succeededCount": 3}), "5,7"));
        assert!(rule(json!({"succeededIndexes": "0-3", "succeededCount": 1}), "3"));
        assert!(!rule(json!({"succeededIndexes": "0-3", "succeededCount": 1}), "5"));
        assert!(!rule(json!({"succeededCount": 0}), ""), "nothing has succeeded yet");
        assert!(!rule(json!({"succeededIndexes": "x"}), "1"));
    }

    #[test]
    fn the_condition_names_the_rule() {
        let rules = json!([{"succeededCount": 9}, {"succeededIndexes": "1"}]);
        let job = serde_json::from_value(json!({"spec": {"successPolicy": {"rules": rules}, "template": {}}})).unwrap();
        assert_eq!(matched(&job, 10, &Indexes::parse("1", 10)).as_deref(), Some("Matched rules at index 1"));
    }
}
