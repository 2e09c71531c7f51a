//! What kubelets may do: users `system:node:NAME` in the group `system:nodes`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/node/>

use super::rbac::Rule;
use super::{Answer, Attributes, Authorizer, Decision, Rules, bootstrap};
use crate::auth::{NODES, User};

/// The beginning of the names of kubelets' users.
const PREFIX: &str = "system:node:";

/// Allows kubelets what the role `system:node` allows, which is bound to nobody.
pub struct Node {
    rules: Vec<Rule>,
}

impl Node {
    /// One that follows the default role.
    #[expect(clippy::new_without_default, reason = "there is nothing default about it")]
    pub fn new() -> Node {
        Node { rules: bootstrap::rules_of("system:node") }
    }
}

/// The node that a user is the kubelet of; an empty name for a member of the group that names none.
fn node_of(user: &User) -> Option<&str> {
    user.is_in(NODES).then(|| user.name.strip_prefix(PREFIX).unwrap_or_default())
}

impl Authorizer for Node {
    fn authorize<'a>(&'a self, user: &'a User, what: &'a Attributes<'a>) -> Answer<'a> {
        Answer::Now(match node_of(user) {
            None => Decision::NO_OPINION,
            Some("") => Decision::NoOpinion(format!("unknown node for user \"{}\"", user.name).into()),
            Some(_) if self.rules.iter().any(|rule| rule.allows(what)) => Decision::ALLOW,
            Some(_) => Decision::NO_OPINION,
        })
    }

    fn rules(&self, user: &User, _: &str) -> Rules {
        match node_of(user) {
            None => Rules::default(),
            Some(_) => Rules {
                incomplete: true,
                errors: vec!["node authorizer does not support user rule resolution".into()],
                ..Rules::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(user: &User, verb: &str, group: &str, resource: &str) -> Decision {
        match Node::new().authorize(user, &Attributes::resource(verb, group, resource, "kube-system", "a")) {
            Answer::Now(decision) => decision,
            Answer::Later(_) => panic!("a node is judged at once"),
        }
    }

    #[test]
    fn a_kubelet_may_what_it_needs_and_no_more() {
        let node = User::new("system:node:a", &[NODES]);
        for (verb, group, resource) in [
            ("get", "", "pods"),
            ("create", "", "nodes"),
            ("update", "coordination.k8s.io", "leases"),
            ("get", "", "secrets"),
        ] {
            assert!(may(&node, verb, group, resource).is_allowed(), "{verb} {resource}");
        }
        for (verb, group, resource) in [
            ("delete", "", "nodes"),
            ("create", "apps", "deployments"),
            ("delete", "", "secrets"),
            ("create", "", "secrets"),
        ] {
            assert_eq!(may(&node, verb, group, resource), Decision::NO_OPINION, "{verb} {resource}");
        }
    }

    #[test]
    fn a_node_without_a_name_and_a_name_without_the_group_are_none() {
        let decision = may(&User::new("kubelet", &[NODES]), "get", "", "pods");
        assert_eq!(decision, Decision::NoOpinion("unknown node for user \"kubelet\"".to_owned().into()));
        assert_eq!(may(&User::new("system:node:a", &[]), "get", "", "pods"), Decision::NO_OPINION);
    }
}
