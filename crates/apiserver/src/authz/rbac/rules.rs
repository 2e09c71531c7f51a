//! The rules of a role, found by resource: a decision looks at those that may be about what is asked.

use foldhash::HashMap;

use super::rule::Rule;
use crate::authz::Attributes;

/// All rules of one role.
#[derive(Default)]
pub struct RoleRules {
    rules: Vec<Rule>,
    /// Numbers of the rules that name a resource or one of its subresources.
    by_resource: HashMap<Box<str>, Vec<usize>>,
    /// Numbers of those that name any resource, and of those that name paths.
    of_any: Vec<usize>,
    of_paths: Vec<usize>,
}

impl RoleRules {
    /// Indexes the rules of a role.
    pub fn new(rules: Vec<Rule>) -> RoleRules {
        let mut out = RoleRules::default();
        for (number, rule) in rules.iter().enumerate() {
            if !rule.non_resource_urls.is_empty() {
                out.of_paths.push(number);
            }
            let resources: Vec<&str> = rule.resources.iter().map(|own| without_subresource(own)).collect();
            if resources.contains(&"*") {
                out.of_any.push(number);
                continue;
            }
            for resource in resources {
                let numbers = out.by_resource.entry(resource.into()).or_default();
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
        }
        RoleRules { rules, ..out }
    }

    /// Whether one of the rules allows what is asked.
    pub fn allow(&self, what: &Attributes<'_>) -> bool {
        let allows = |number: &usize| self.rules.get(*number).is_some_and(|rule| rule.allows(what));
        if !what.is_resource {
            return self.of_paths.iter().any(allows);
        }
        // Whoever asks for another's sake may write a subresource into the resource, as a rule does.
        let resource = without_subresource(what.resource);
        self.by_resource.get(resource).is_some_and(|numbers| numbers.iter().any(allows))
            || self.of_any.iter().any(allows)
    }

    /// The rules as they are written.
    pub fn as_slice(&self) -> &[Rule] {
        &self.rules
    }
}

fn without_subresource(resource: &str) -> &str {
    resource.split('/').next().unwrap_or(resource)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_index_finds_whatever_a_rule_allows() {
        let resources = ["pods", "pods/log", "*", "*/scale", "deployments", "deployments/scale"];
        let rule = |resources: &[&str]| -> Rule {
            let object = json!({"verbs": ["get"], "apiGroups": [""], "resources": resources});
            serde_json::from_value(object).expect("a rule")
        };
        let paths: Rule =
            serde_json::from_value(json!({"verbs": ["get"], "nonResourceURLs": ["/a/*"]})).expect("a rule");
        for first in resources {
            for second in resources {
                let rules = vec![paths.clone(), rule(&["nodes"]), rule(&[first, second])];
                let role = RoleRules::new(rules.clone());
                for (resource, subresource) in [
                    ("pods", ""),
                    ("pods", "log"),
                    ("deployments", "scale"),
                    ("deployments", ""),
                    ("nodes", ""),
                    ("a", "scale"),
                    ("pods/log", ""),
                    ("a/scale", ""),
                ] {
                    let what = Attributes { subresource, ..Attributes::resource("get", "", resource, "", "") };
                    let expected = rules.iter().any(|rule| rule.allows(&what));
                    assert_eq!(role.allow(&what), expected, "{first} {second}: {resource}/{subresource}");
                }
                assert!(role.allow(&Attributes::path("get", "/a/b")) && !role.allow(&Attributes::path("get", "/b")));
            }
        }
    }
}
