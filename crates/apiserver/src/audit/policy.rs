//! The audit policy: what is written down of which requests.
//! <https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#audit-policy>

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use coracle_api::field::dns1123_subdomain;
use serde::{Deserialize, Serialize};

use crate::auth::User;
use crate::authz::Attributes;

const API_VERSION: &str = "audit.k8s.io/v1";

/// How much is written down of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who did what, and how it ended.
    Metadata,
    /// And what they sent.
    Request,
    /// And what they got.
    RequestResponse,
}

impl Level {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// It is known whose it is, and nothing was done yet.
    RequestReceived,
    /// The head of an answer was sent whose body goes on.
    ResponseStarted,
    /// All of the answer was sent.
    ResponseComplete,
    /// The server failed at it.
    Panic,
}

/// A policy file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Policy {
    api_version: String,
    kind: String,
    #[serde(default)]
    #[allow(dead_code, reason = "a policy may have a name, which nothing asks for")]
    metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

/// The first rule that a request fits decides.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What the policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub level: Level,
    pub omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

impl Policy {
    /// # Errors
    /// The file cannot be read, or a part of it makes no sense: which one.
    pub fn read(path: &Path) -> Result<Policy> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read the audit policy file {}", path.display()))?;
        Policy::parse(&text).with_context(|| format!("in the audit policy file {}", path.display()))
    }

    fn parse(text: &str) -> Result<Policy> {
        let policy: Policy = coracle_api::config::read(text).map_err(anyhow::Error::msg).context("failed decoding")?;
        let (version, kind) = (&policy.api_version, &policy.kind);
        ensure!(version == API_VERSION, "apiVersion: {version:?} is not supported: it must be {API_VERSION:?}");
        ensure!(kind == "Policy", "kind: {kind:?} is not supported: it must be \"Policy\"");
        ensure!(!policy.rules.is_empty(), "rules: there must be one at least");
        for (number, rule) in policy.rules.iter().enumerate() {
            rule.check().with_context(|| format!("rules[{number}]"))?;
        }
        Ok(policy)
    }

    /// What is written down of a request; `user` is nobody where that is not known.
    pub fn decide(&self, user: Option<&User>, what: &Attributes<'_>) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.matches(user, what));
        let mut omit_stages = self.omit_stages.clone();
        omit_stages.extend(rule.iter().flat_map(|rule| &rule.omit_stages));
        Decision {
            level: rule.map_or(Level::None, |rule| rule.level),
            omit_stages,
            omit_managed_fields: rule.and_then(|rule| rule.omit_managed_fields).unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn check(&self) -> Result<()> {
        let is_of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if is_of_resources && !self.non_resource_urls.is_empty() {
            bail!("nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs");
        }
        for (number, path) in self.non_resource_urls.iter().enumerate().filter(|(_, path)| *path != "*") {
            let field = format!("nonResourceURLs[{number}]: {path:?}");
            ensure!(path.starts_with('/'), "{field}: non-resource URL rules must begin with a '/' character");
            let wildcard = path.find('*').is_some_and(|at| at != path.len().saturating_sub(1));
            ensure!(!wildcard, "{field}: non-resource URL wildcards '*' must be the final character of the rule");
        }
        for (number, group) in self.resources.iter().enumerate() {
            let field = format!("resources[{number}]");
            let faults = dns1123_subdomain(&group.group);
            if let Some(fault) = faults.first().filter(|_| !group.group.is_empty()) {
                bail!("{field}.group: {:?}: {fault}", group.group);
            }
            if !group.resource_names.is_empty() && group.resources.is_empty() {
                bail!("{field}.resourceNames: using resourceNames requires at least one resource");
            }
        }
        Ok(())
    }

    fn matches(&self, user: Option<&User>, what: &Attributes<'_>) -> bool {
        let is_any = |wanted: &[String], has: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|wanted| has(wanted))
        };
        if !is_any(&self.users, &|name| user.is_some_and(|user| user.name == name))
            || !is_any(&self.user_groups, &|group| user.is_some_and(|user| user.is_in(group)))
            || !is_any(&self.verbs, &|verb| what.verb == verb)
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return what.is_resource
                && is_any(&self.namespaces, &|namespace| what.namespace == namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|group| group.matches(what)));
        }
        is_any(&self.non_resource_urls, &|path| !what.is_resource && is_path(path, what.path))
    }
}

impl GroupResources {
    fn matches(&self, what: &Attributes<'_>) -> bool {
        if self.group != what.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let is_named = self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == what.name);
        is_named && self.resources.iter().any(|resource| is_resource(resource, what.resource, what.subresource))
    }
}

/// Whether a pattern such as `pods`, `pods/log`, `pods/*`, `*/scale` or `*` is about a resource.
fn is_resource(pattern: &str, resource: &str, subresource: &str) -> bool {
    match pattern.split_once('/') {
        None => pattern == "*" || (pattern == resource && subresource.is_empty()),
        Some(("*", wanted)) => !subresource.is_empty() && wanted == subresource,
        Some((wanted, "*")) => wanted == resource,
        Some((wanted, part)) => wanted == resource && part == subresource,
    }
}

fn is_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Policy {
        Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")).unwrap()
    }

    fn level(policy: &Policy, user: &str, what: &Attributes<'_>) -> Level {
        policy.decide(Some(&User::new(user, &["dev"])), what).level
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = policy(
            r#"
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [proxy], verbs: [watch], resources: [{group: "", resources: [endpoints]}]}
- {level: Request, userGroups: [dev], namespaces: [kube-system], omitStages: [Panic], omitManagedFields: false}
- {level: RequestResponse, resources: [{resources: [pods, "services/*", "*/scale"]}, {group: apps}]}
- {level: Metadata, resources: [{resources: [secrets], resourceNames: [a]}]}
- {level: Metadata, nonResourceURLs: ["/healthz*", "/version"]}
"#,
        );
        let about = |group, resource, name| Attributes::resource("get", group, resource, "default", name);
        let pods = about("", "pods", "");
        assert_eq!(level(&policy, "joe", &pods), Level::RequestResponse);
        assert_eq!(level(&policy, "joe", &Attributes { subresource: "log", ..pods.clone() }), Level::None);
        assert_eq!(level(&policy, "joe", &Attributes { subresource: "scale", ..pods }), Level::RequestResponse);
        assert_eq!(level(&policy, "joe", &about("", "services", "")), Level::RequestResponse);
        assert_eq!(level(&policy, "joe", &about("apps", "deployments", "")), Level::RequestResponse);
        assert_eq!(level(&policy, "joe", &about("", "secrets", "a")), Level::Metadata);
        assert_eq!(level(&policy, "joe", &about("", "secrets", "b")), Level::None);
        assert_eq!(level(&policy, "joe", &Attributes::path("get", "/healthz/ping")), Level::Metadata);
        assert_eq!(level(&policy, "joe", &Attributes::path("get", "/versions")), Level::None);
        let watch = Attributes::resource("watch", "", "endpoints", "kube-system", "");
        assert_eq!(level(&policy, "proxy", &watch), Level::None);
        let decision = policy.decide(Some(&User::new("joe", &["dev"])), &watch);
        let stages = vec![Stage::RequestReceived, Stage::Panic];
        assert_eq!(decision, Decision { level: Level::Request, omit_stages: stages, omit_managed_fields: false });
        assert_eq!(policy.decide(None, &watch).level, Level::None);
    }

    #[test]
    fn a_bad_policy_says_what_is_wrong_and_where() {
        for (rules, fault) in [
            ("rules: []", "rules: there must be one at least"),
            ("rules: [{level: Everything}]", "unknown variant"),
            ("rules: [{level: None, resource: []}]", "unknown field"),
            (
                "rules: [{level: None}, {level: None, namespaces: [a], nonResourceURLs: ['*']}]",
                "rules[1]: nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs",
            ),
            ("rules: [{level: None, nonResourceURLs: [a]}]", "must begin with a '/' character"),
            ("rules: [{level: None, nonResourceURLs: ['/*/a']}]", "must be the final character of the rule"),
            ("rules: [{level: None, resources: [{resourceNames: [a]}]}]", "requires at least one resource"),
            ("rules: [{level: None, resources: [{group: A}]}]", "rules[0]: resources[0].group: \"A\""),
        ] {
            let error = Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")).unwrap_err();
            assert!(format!("{error:#}").contains(fault), "{error:#}");
        }
        let error =
            Policy::parse("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]").unwrap_err();
        assert!(format!("{error:#}").contains("apiVersion"), "{error:#}");
    }
}
