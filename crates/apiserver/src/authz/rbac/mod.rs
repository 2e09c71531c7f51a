//! Role based access control: roles, and bindings that give them to users, groups and service accounts.
//! <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>
//!
//! The roles and bindings are kept as an index ([`Policy`]) of what the watch caches hold.

mod objects;
mod policy;
mod rule;
mod rules;

use std::collections::HashSet;
use std::ops::ControlFlow;

use coracle_api::kinds;

use super::{Answer, Attributes, Authorizer, Decision, Reason, Rules};
use crate::auth::User;
use crate::cache::Caches;
use crate::index::Index;

pub use objects::RoleRef;
pub use policy::{Policy, Source};
pub use rule::{Rule, compact, missing, quoted};
pub use rules::RoleRules;

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";
/// How many reasons why grants are not known are told.
const TOLD: usize = 100;

/// Allows what roles allow.
pub struct Rbac(Index<Policy>);

impl Rbac {
    /// What the roles and bindings of the caches say, from now on.
    pub(crate) fn follow(caches: &Caches) -> Rbac {
        let sources = [
            (Source::ClusterRoles, "clusterroles"),
            (Source::Roles, "roles"),
            (Source::ClusterRoleBindings, "clusterrolebindings"),
            (Source::RoleBindings, "rolebindings"),
        ];
        let kinds = sources
            .into_iter()
            .filter_map(|(source, plural)| Some((source, &**kinds::by_resource(GROUP, "v1", plural)?)));
        Rbac(Index::follow(caches, Policy::default(), kinds))
    }

    /// The rules of a role that a binding in a namespace, or in the cluster when that is empty, refers to.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<Vec<Rule>> {
        self.0.current().rules_of(role, namespace).map(|rules| rules.as_slice().to_vec())
    }
}

/// What a policy says to a question: by which grant they may, or why a grant is not known.
fn judge(policy: &Policy, user: &User, what: &Attributes<'_>) -> Decision {
    let mut unknown = Unknown::default();
    let found = policy.visit(user, what.namespace, |reason, rules| {
        match rules {
            Ok(rules) if rules.allow(what) => return ControlFlow::Break(reason.clone()),
            Ok(_) => {}
            Err(why) => unknown.add(why),
        }
        ControlFlow::Continue(())
    });
    match (found, unknown.told().as_slice()) {
        (ControlFlow::Break(reason), _) => Decision::Allow(reason.into()),
        (_, []) => Decision::NO_OPINION,
        (_, [one]) => Decision::NoOpinion(Reason::from(format!("RBAC: {one}"))),
        (_, many) => Decision::NoOpinion(Reason::from(format!("RBAC: [{}]", many.join(", ")))),
    }
}

/// Why grants are not known, each reason once. Whoever may write bindings decides how many there are.
#[derive(Default)]
struct Unknown {
    seen: HashSet<String>,
    /// In the order in which they came, as many as are told.
    told: Vec<String>,
}

impl Unknown {
    fn add(&mut self, why: String) {
        if self.seen.contains(&why) {
            return;
        }
        if self.told.len() < TOLD {
            self.told.push(why.clone());
        }
        self.seen.insert(why);
    }

    /// What is told of them.
    fn told(mut self) -> Vec<String> {
        let others = self.seen.len() - self.told.len();
        if others > 0 {
            self.told.push(format!("and {others} more"));
        }
        self.told
    }
}

impl Authorizer for Rbac {
    fn authorize<'a>(&'a self, user: &'a User, what: &'a Attributes<'a>) -> Answer<'a> {
        Answer::Now(judge(&self.0.current(), user, what))
    }

    fn rules(&self, user: &User, namespace: &str) -> Rules {
        let (mut out, mut unknown) = (Rules::default(), Unknown::default());
        let _ = self.0.current().visit(user, namespace, |_, rules| {
            match rules {
                Ok(rules) => out.rules.extend_from_slice(rules.as_slice()),
                Err(why) => unknown.add(why),
            }
            ControlFlow::<()>::Continue(())
        });
        Rules { errors: unknown.told(), ..out }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::index::Derived;
    use coracle_store::{Embedded, Op, Options, Store, Txn};
    use serde_json::{Value, json};

    fn put(policy: &mut Policy, source: Source, key: &str, object: &Value) {
        policy.put(source, key, Some(object.to_string().as_bytes()));
    }

    fn reader() -> Value {
        json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]})
    }

    fn binding(name: &str, role: (&str, &str), subjects: Value) -> Value {
        json!({"metadata": {"name": name}, "subjects": subjects,
            "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1}})
    }

    fn asks(policy: &Policy, user: &User, namespace: &str) -> Decision {
        judge(policy, user, &Attributes::resource("get", "", "pods", namespace, "a"))
    }

    fn because(decision: &Decision) -> String {
        decision.reason().to_string()
    }

    #[test]
    fn a_role_is_in_force_where_its_binding_is() {
        let mut policy = Policy::default();
        put(&mut policy, Source::ClusterRoles, "reader", &reader());
        put(&mut policy, Source::Roles, "dev/reader", &reader());
        let jane = json!([{"kind": "User", "name": "jane"}]);
        let account = json!([{"kind": "ServiceAccount", "name": "bot"}]);
        put(&mut policy, Source::RoleBindings, "dev/a", &binding("a", ("ClusterRole", "reader"), jane));
        put(&mut policy, Source::RoleBindings, "dev/b", &binding("b", ("Role", "reader"), account));
        let (jane, bot) = (User::new("jane", &[]), User::new("system:serviceaccount:dev:bot", &[]));
        assert_eq!(
            because(&asks(&policy, &jane, "dev")),
            "RBAC: allowed by RoleBinding \"a/dev\" of ClusterRole \"reader\" to User \"jane\""
        );
        assert_eq!(
            because(&asks(&policy, &bot, "dev")),
            "RBAC: allowed by RoleBinding \"b/dev\" of Role \"reader\" to ServiceAccount \"bot/dev\""
        );
        for (user, namespace) in [(&jane, "prod"), (&jane, ""), (&bot, "prod"), (&User::new("joe", &[]), "dev")] {
            assert_eq!(asks(&policy, user, namespace), Decision::NO_OPINION);
        }
        policy.put(Source::RoleBindings, "dev/a", None);
        assert_eq!(asks(&policy, &jane, "dev"), Decision::NO_OPINION);
    }

    #[test]
    fn a_binding_of_the_cluster_is_in_force_everywhere_and_follows_its_subjects() {
        let mut policy = Policy::default();
        put(&mut policy, Source::ClusterRoles, "reader", &reader());
        let key = "everyone";
        let subjects =
            json!([{"kind": "Group", "name": "dev"}, {"kind": "ServiceAccount", "name": "bot", "namespace": "ci"}]);
        put(&mut policy, Source::ClusterRoleBindings, key, &binding(key, ("ClusterRole", "reader"), subjects));
        let (jane, bot) = (User::new("jane", &["dev"]), User::new("system:serviceaccount:ci:bot", &[]));
        for namespace in ["", "a", "b"] {
            assert!(asks(&policy, &jane, namespace).is_allowed() && asks(&policy, &bot, namespace).is_allowed());
        }
        assert_eq!(
            because(&asks(&policy, &bot, "")),
            "RBAC: allowed by ClusterRoleBinding \"everyone\" of ClusterRole \"reader\" to ServiceAccount \"bot/ci\""
        );
        let subjects = json!([{"kind": "Group", "name": "ops"}]);
        put(&mut policy, Source::ClusterRoleBindings, key, &binding(key, ("ClusterRole", "reader"), subjects));
        assert!(!asks(&policy, &jane, "").is_allowed() && !asks(&policy, &bot, "").is_allowed());
        assert!(asks(&policy, &User::new("joe", &["ops"]), "").is_allowed());
        policy.clear(Source::ClusterRoleBindings);
        assert!(!asks(&policy, &User::new("joe", &["ops"]), "").is_allowed());
    }

    #[test]
    fn roles_that_are_not_there_are_told() {
        let mut policy = Policy::default();
        let jane = json!([{"kind": "User", "name": "jane"}]);
        put(&mut policy, Source::ClusterRoleBindings, "a", &binding("a", ("ClusterRole", "gone"), jane.clone()));
        let user = User::new("jane", &[]);
        let first = "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found";
        assert_eq!(because(&asks(&policy, &user, "dev")), first);
        put(&mut policy, Source::RoleBindings, "dev/b", &binding("b", ("Role", "lost"), jane));
        assert_eq!(
            because(&asks(&policy, &user, "dev")),
            "RBAC: [clusterrole.rbac.authorization.k8s.io \"gone\" not found, role.rbac.authorization.k8s.io \"lost\" not found]"
        );
        put(&mut policy, Source::ClusterRoles, "gone", &reader());
        assert!(asks(&policy, &user, "dev").is_allowed());
    }

    #[test]
    fn of_very_many_roles_that_are_not_there_a_few_are_told() {
        let mut policy = Policy::default();
        let jane = json!([{"kind": "User", "name": "jane"}]);
        for number in 0..20_000 {
            let name = format!("{number:06}");
            put(&mut policy, Source::ClusterRoleBindings, &name, &binding(&name, ("ClusterRole", &name), jane.clone()));
        }
        let why = because(&asks(&policy, &User::new("jane", &[]), ""));
        assert!(why.starts_with("RBAC: [clusterrole.rbac.authorization.k8s.io \"000000\" not found, "), "{why}");
        assert!(why.ends_with("\"000099\" not found, and 19900 more]"), "{why}");
    }

    #[test]
    fn what_does_not_fit_its_type_grants_nothing() {
        let mut policy = Policy::default();
        put(&mut policy, Source::ClusterRoles, "reader", &json!({"rules": null}));
        put(&mut policy, Source::ClusterRoles, "other", &json!({"rules": 7}));
        let jane = json!([{"kind": "User", "name": "jane"}, {"kind": "Robot", "name": "jane"}]);
        put(&mut policy, Source::ClusterRoleBindings, "a", &binding("a", ("Thing", "reader"), jane));
        policy.put(Source::ClusterRoleBindings, "b", Some(b"{"));
        let decision = asks(&policy, &User::new("jane", &[]), "");
        assert_eq!(because(&decision), "RBAC: unsupported role reference kind: \"Thing\"");
    }

    /// Writes cluster role bindings of `u0`, `u1` and so on to the role `reader`, or deletes them.
    async fn write(store: &dyn Store, users: std::ops::Range<usize>, delete: bool) {
        let op = |number: usize| {
            let name = format!("b{number}");
            let key = format!("/registry/clusterrolebindings/{name}").into();
            let subjects = json!([{"kind": "User", "name": format!("u{number}")}]);
            let mut object = binding(&name, ("ClusterRole", "reader"), subjects);
            coracle_api::meta::set_type(&mut object, "rbac.authorization.k8s.io/v1", "ClusterRoleBinding");
            match delete {
                true => Op::Delete { key },
                false => Op::Put { key, value: crate::encode::for_store(&object, None).bytes, ttl: None },
            }
        };
        let ops = users.map(op).collect();
        store.txn(Txn { compares: Vec::new(), ops }).await.expect("the store takes it");
    }

    #[tokio::test]
    async fn changes_are_taken_in_one_by_one_or_all_anew_when_they_are_too_many() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Embedded::open(directory.path(), Options::default()).expect("a store");
        let store: Arc<dyn Store> = Arc::new(store);
        let caches = Caches::follow(&store, kinds::built_in()).await.expect("it is read");
        let rbac = Rbac::follow(&caches);
        let mut role = reader();
        role["metadata"] = json!({"name": "reader"});
        coracle_api::meta::set_type(&mut role, "rbac.authorization.k8s.io/v1", "ClusterRole");
        let role = Op::Put {
            key: "/registry/clusterroles/reader".into(),
            value: crate::encode::for_store(&role, None).bytes,
            ttl: None,
        };
        store.txn(Txn { compares: Vec::new(), ops: vec![role] }).await.expect("the store takes it");
        let may = |number: usize| asks(&rbac.0.current(), &User::new(format!("u{number}"), &[]), "").is_allowed();
        write(&*store, 0..3, false).await;
        assert_eq!([0, 2, 3].map(may), [true, true, false]);
        write(&*store, 0..1, true).await;
        assert_eq!([0, 2].map(may), [false, true]);
        // More than the ring of changes holds.
        for chunk in 0..17 {
            write(&*store, chunk * 1000..(chunk + 1) * 1000, false).await;
        }
        write(&*store, 2..3, true).await;
        assert_eq!([0, 2, 9000, 16_999, 17_000].map(may), [true, false, true, true, false]);
    }
}
