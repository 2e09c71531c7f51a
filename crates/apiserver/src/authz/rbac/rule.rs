//! One rule of a role: what it allows, and whether it allows all that another one does.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources>

use std::collections::HashMap;
use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize};

use crate::authz::Attributes;

const ALL: &str = "*";

/// A rule of a role. Rules only add to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Verbs; `*` stands for all.
    #[serde(deserialize_with = "list")]
    pub verbs: Vec<Box<str>>,
    /// API groups; `*` stands for all, the empty text for the core group.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<Box<str>>,
    /// Resources, `resource/subresource`, or `*/subresource`; `*` stands for all.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Box<str>>,
    /// Names of objects; none stands for all.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<Box<str>>,
    /// Paths outside the API; a `*` at the end stands for all that begin so.
    #[serde(rename = "nonResourceURLs", deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<Box<str>>,
}

/// A list for which clients of other languages may have written `null`.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Box<str>>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn has(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|one| **one == *wanted)
}

fn has_or_all(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|one| **one == *wanted || **one == *ALL)
}

fn url_covers(own: &str, wanted: &str) -> bool {
    own == wanted || own.ends_with('*') && wanted.starts_with(own.trim_end_matches('*'))
}

impl Rule {
    /// Whether the rule allows what is asked.
    pub fn allows(&self, what: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, what.verb) {
            return false;
        }
        if !what.is_resource {
            return self.non_resource_urls.iter().any(|own| url_covers(own, what.path));
        }
        has_or_all(&self.api_groups, what.group)
            && self.resources.iter().any(|own| is_resource(own, what.resource, what.subresource))
            && (self.resource_names.is_empty() || has(&self.resource_names, what.name))
    }

    /// The rules that allow one thing each and together the same: one verb on one resource of one group, by at most one
    /// name, or one verb on one path.
    pub fn single(&self) -> Vec<Rule> {
        let one = |text: &str| vec![Box::from(text)];
        let names: Vec<_> = match self.resource_names.is_empty() {
            true => vec![Vec::new()],
            false => self.resource_names.iter().map(|name| one(name)).collect(),
        };
        let mut out = Vec::new();
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                out.push(Rule { verbs: one(verb), non_resource_urls: one(url), ..Rule::default() });
            }
            for (group, resource) in self.api_groups.iter().flat_map(|g| self.resources.iter().map(move |r| (g, r))) {
                out.extend(names.iter().cloned().map(|resource_names| Rule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    resource_names,
                    ..Rule::default()
                }));
            }
        }
        out
    }

    /// How many [`Rule::single`] makes.
    fn singles(&self) -> usize {
        let things = self.api_groups.len().saturating_mul(self.resources.len());
        let named = things.saturating_mul(self.resource_names.len().max(1));
        self.verbs.len().saturating_mul(named.saturating_add(self.non_resource_urls.len()))
    }

    /// Whether all that another one allows is allowed by this one, too. Of one that allows several things it may say no
    /// although each of them is.
    fn covers(&self, single: &Rule) -> bool {
        let all = |own: &[Box<str>], wanted: &[Box<str>]| has(own, ALL) || wanted.iter().all(|one| has(own, one));
        let resource = |wanted: &str| {
            has_or_all(&self.resources, wanted)
                || wanted.split_once('/').is_some_and(|(_, sub)| {
                    self.resources.iter().any(|own| own.strip_prefix("*/").is_some_and(|own| own == sub))
                })
        };
        let names = self.resource_names.is_empty()
            || !single.resource_names.is_empty()
                && single.resource_names.iter().all(|name| has(&self.resource_names, name));
        all(&self.verbs, &single.verbs)
            && all(&self.api_groups, &single.api_groups)
            && single.resources.iter().all(|wanted| resource(wanted))
            && names
            && single.non_resource_urls.iter().all(|url| self.non_resource_urls.iter().any(|own| url_covers(own, url)))
    }

    /// What rules of one verb each are merged by; `None` for one that is not about a single resource.
    fn merge_key(&self) -> Option<[&Vec<Box<str>>; 3]> {
        let simple = self.api_groups.len() == 1 && self.resources.len() == 1 && self.resource_names.len() <= 1;
        let key = [&self.api_groups, &self.resources, &self.resource_names];
        (simple && self.non_resource_urls.is_empty()).then_some(key)
    }
}

fn is_resource(own: &str, resource: &str, subresource: &str) -> bool {
    if own == ALL {
        return true;
    }
    if subresource.is_empty() {
        return own == resource;
    }
    let sub = own.strip_suffix(subresource).and_then(|rest| rest.strip_suffix('/'));
    sub.is_some_and(|parent| parent == resource || parent == ALL)
}

/// Comparisons of a held rule with a single one that are made at most: a rule of a thousand verbs, groups and resources
/// stands for a thousand million single ones.
const MAX_COMPARISONS: usize = 20_000_000;
/// The most single rules that are looked at.
const MAX_SINGLES: usize = 50_000;

/// What of the wanted rules is allowed by none of the held ones, as rules of one thing each; `None` when that cannot be
/// found out in a reasonable time.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Option<Vec<Rule>> {
    let whole = wanted.len().saturating_mul(held.len());
    if whole > MAX_COMPARISONS {
        return None;
    }
    let rest: Vec<&Rule> = wanted.iter().filter(|rule| !held.iter().any(|own| own.covers(rule))).collect();
    let singles = rest.iter().map(|rule| rule.singles()).fold(0, usize::saturating_add);
    if singles > MAX_SINGLES || singles.saturating_mul(held.len()) > MAX_COMPARISONS {
        return None;
    }
    let singles = rest.into_iter().flat_map(Rule::single);
    Some(singles.filter(|single| !held.iter().any(|own| own.covers(single))).collect())
}

/// Rules about the same resource as one with all their verbs.
pub fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    let mut places: HashMap<[Vec<Box<str>>; 3], usize> = HashMap::new();
    for rule in rules {
        let place = rule.merge_key().map(|key| *places.entry(key.map(Clone::clone)).or_insert(out.len()));
        match place.and_then(|place| out.get_mut(place)) {
            Some(other) => other.verbs.extend(rule.verbs),
            None => out.push(rule),
        }
    }
    out
}

/// As a refusal to grant it names it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        f.write_char('{')?;
        for (number, (name, list)) in parts.into_iter().filter(|(_, list)| !list.is_empty()).enumerate() {
            let before = if number == 0 { "" } else { ", " };
            write!(f, "{before}{name}:{}", quoted(list))?;
        }
        f.write_char('}')
    }
}

/// A list of texts as Go prints it with `%q`.
pub fn quoted(list: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = list.iter().map(|text| coracle_api::field::quote(text.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(value: serde_json::Value) -> Rule {
        serde_json::from_value(value).expect("a rule")
    }

    fn on(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Rule {
        rule(json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": null}))
    }

    fn what<'a>(verb: &'a str, group: &'a str, resource: &'a str, subresource: &'a str) -> Attributes<'a> {
        Attributes { subresource, ..Attributes::resource(verb, group, resource, "ns", "a") }
    }

    #[test]
    fn a_rule_allows_what_it_names() {
        let pods = on(&["get", "list"], &[""], &["pods", "pods/log"]);
        assert!(pods.allows(&what("get", "", "pods", "")) && pods.allows(&what("list", "", "pods", "log")));
        for other in [
            what("delete", "", "pods", ""),
            what("get", "apps", "pods", ""),
            what("get", "", "pods", "exec"),
            what("get", "", "pod", ""),
            Attributes::path("get", "/pods"),
        ] {
            assert!(!pods.allows(&other), "{other:?}");
        }
        assert!(on(&["*"], &["*"], &["*"]).allows(&what("x", "y", "z", "s")));
        let scale = on(&["get"], &["*"], &["*/scale"]);
        assert!(scale.allows(&what("get", "apps", "deployments", "scale")));
        assert!(!scale.allows(&what("get", "apps", "deployments", "upscale")));
        assert!(!scale.allows(&what("get", "apps", "deployments", "")));
        let mut named = on(&["get"], &[""], &["secrets"]);
        named.resource_names = vec!["a".into()];
        assert!(named.allows(&what("get", "", "secrets", "")));
        assert!(!named.allows(&Attributes::resource("get", "", "secrets", "ns", "")));
    }

    #[test]
    fn a_rule_of_paths_allows_what_begins_so() {
        let paths = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"]}));
        for (path, expected) in [("/healthz", true), ("/healthz/", false), ("/apis/", true), ("/apis", false)] {
            assert_eq!(paths.allows(&Attributes::path("get", path)), expected, "{path}");
        }
        assert!(!paths.allows(&Attributes::path("post", "/healthz")));
        assert!(!on(&["*"], &["*"], &["*"]).allows(&Attributes::path("get", "/healthz")));
    }

    #[test]
    fn what_is_missing_is_told_by_resource() {
        let held = [on(&["get", "list"], &["", "apps"], &["pods", "*/scale"])];
        let wanted = [on(&["get", "delete", "watch"], &["apps"], &["pods", "deployments/scale", "deployments"])];
        let mut texts: Vec<String> =
            compact(missing(&held, &wanted).expect("they are few")).iter().map(ToString::to_string).collect();
        texts.sort();
        assert_eq!(
            texts,
            [
                r#"{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "delete" "watch"]}"#,
                r#"{APIGroups:["apps"], Resources:["deployments/scale"], Verbs:["delete" "watch"]}"#,
                r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["delete" "watch"]}"#,
            ]
        );
        assert_eq!(missing(&[on(&["*"], &["*"], &["*"])], &wanted), Some(Vec::new()));
    }

    #[test]
    fn a_rule_for_names_does_not_cover_one_for_all() {
        let mut named = on(&["get"], &[""], &["secrets"]);
        named.resource_names = vec!["a".into(), "b".into()];
        let all = on(&["get"], &[""], &["secrets"]);
        assert_eq!(missing(std::slice::from_ref(&named), std::slice::from_ref(&all)), Some(vec![all.clone()]));
        assert_eq!(missing(&[all], std::slice::from_ref(&named)), Some(Vec::new()));
        let paths = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/a/b", "/c"]}));
        let held = rule(json!({"verbs": ["*"], "nonResourceURLs": ["/a/*"]}));
        let lacking = missing(&[held], &[paths]).expect("they are few");
        let texts: Vec<String> = lacking.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [r#"{NonResourceURLs:["/c"], Verbs:["get"]}"#]);
    }

    #[test]
    fn what_would_take_too_long_is_not_compared() {
        let names: Vec<String> = (0..1000).map(|number| format!("x{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (held, large) = (on(&["get"], &[""], &["pods"]), on(&names, &names, &names));
        assert_eq!(missing(std::slice::from_ref(&held), std::slice::from_ref(&large)), None);
        assert_eq!(missing(&vec![held.clone(); 10_000], &vec![large.clone(); 10_000]), None);
        assert_eq!(missing(&vec![held; 10_000], &[on(&names[..10], &names[..30], &names[..10])]), None);
        // Who holds all of it may give it.
        assert_eq!(missing(&[on(&["*"], &["*"], &["*"])], std::slice::from_ref(&large)), Some(Vec::new()));
        assert_eq!(missing(std::slice::from_ref(&large), std::slice::from_ref(&large)), Some(Vec::new()));
        let many = (0..50_000).map(|number| on(&["get"], &[""], &[&format!("x{number}")])).collect();
        assert_eq!(compact(many).len(), 50_000);
    }
}
