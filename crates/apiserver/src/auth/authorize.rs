//! Whether a user may do something.

use super::{AUTHENTICATED, MASTERS, SERVICE_ACCOUNTS, User};

/// What a user wants to do.
#[derive(Clone, Debug, Default)]
pub struct Attributes<'a> {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or the lower-case
    /// HTTP method of a path outside the API.
    pub verb: &'a str,
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The resource; empty for paths outside the API.
    pub resource: &'a str,
    /// The subresource, when there is one.
    pub subresource: &'a str,
    /// The namespace, when there is one.
    pub namespace: &'a str,
    /// The object's name, when there is one.
    pub name: &'a str,
    /// The path, outside the API.
    pub path: &'a str,
}

impl Attributes<'_> {
    /// Why a user may not, worded as upstream.
    pub fn refusal(&self, user: &User) -> String {
        let who = &user.name;
        if self.resource.is_empty() {
            return format!("User \"{who}\" cannot {} path \"{}\"", self.verb, self.path);
        }
        let resource = match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        };
        let scope = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        format!("User \"{who}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}", self.verb, self.group)
    }
}

/// Decides whether a user may do something.
pub trait Authorizer: Send + Sync + 'static {
    /// Whether they may.
    fn allows(&self, user: &User, what: &Attributes<'_>) -> bool;
}

/// Allows `system:masters` and the system's own components everything, those who are authenticated the
/// discovery of the API and questions about themselves, service accounts what tokens are checked by, everyone the
/// health and version pages: what upstream's default roles allow.
pub struct SystemOnly;

/// Users of the system's own components.
const COMPONENTS: [&str; 4] =
    ["system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", "system:apiserver"];

impl Authorizer for SystemOnly {
    fn allows(&self, user: &User, what: &Attributes<'_>) -> bool {
        if is_system(user) {
            return true;
        }
        let public = matches!(what.path, "/version" | "/version/" | "/healthz" | "/livez" | "/readyz");
        if what.resource.is_empty() && what.verb == "get" && public {
            return true;
        }
        user.is_in(AUTHENTICATED) && (is_discovery(what) || is_about_oneself(what))
            || user.is_in(SERVICE_ACCOUNTS) && is_issuer_discovery(what)
    }
}

/// Whether a user is an administrator or a part of the system, for whom there is always a place.
pub fn is_system(user: &User) -> bool {
    user.is_in(MASTERS) || user.is_in("system:nodes") || COMPONENTS.contains(&user.name.as_str())
}

fn is_discovery(what: &Attributes<'_>) -> bool {
    let below = |root: &str| what.path == root || what.path.starts_with(&format!("{root}/"));
    what.resource.is_empty()
        && what.verb == "get"
        && ["/api", "/apis", "/openapi", "/healthz", "/livez", "/readyz"].into_iter().any(below)
}

/// The role `system:service-account-issuer-discovery`.
fn is_issuer_discovery(what: &Attributes<'_>) -> bool {
    let path = what.path.strip_suffix('/').unwrap_or(what.path);
    let issuer = matches!(path, "/.well-known/openid-configuration" | "/openid/v1/jwks");
    what.resource.is_empty() && what.verb == "get" && issuer
}

fn is_about_oneself(what: &Attributes<'_>) -> bool {
    const REVIEWS: [(&str, &str); 3] = [
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
    ];
    what.verb == "create" && what.subresource.is_empty() && REVIEWS.contains(&(what.group, what.resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_may_ask_about_themselves_and_make_nothing_else_of_that_name() {
        let user = User { groups: vec![AUTHENTICATED.into()], ..User::default() };
        let allows = |group, resource, subresource| {
            let what = Attributes { verb: "create", group, resource, subresource, ..Attributes::default() };
            SystemOnly.allows(&user, &what)
        };
        assert!(allows("authorization.k8s.io", "selfsubjectrulesreviews", ""));
        assert!(allows("authentication.k8s.io", "selfsubjectreviews", ""));
        assert!(!allows("example.com", "selfsubjectreviews", ""));
        assert!(!allows("", "selfsubjectaccessreviews", ""));
        assert!(!allows("authentication.k8s.io", "selfsubjectreviews", "status"));
    }

    #[test]
    fn service_accounts_find_out_what_tokens_are_checked_by() {
        let user =
            |groups: &[&str]| User { groups: groups.iter().map(|&group| group.into()).collect(), ..User::default() };
        let allows =
            |user: &User, verb, path| SystemOnly.allows(user, &Attributes { verb, path, ..Attributes::default() });
        let (account, other) = (user(&[SERVICE_ACCOUNTS, AUTHENTICATED]), user(&[AUTHENTICATED]));
        for path in ["/.well-known/openid-configuration", "/openid/v1/jwks", "/openid/v1/jwks/"] {
            assert!(allows(&account, "get", path), "{path}");
            assert!(!allows(&account, "post", path) && !allows(&other, "get", path), "{path}");
        }
        assert!(!allows(&account, "get", "/openid/v1/secret") && !allows(&account, "get", "/metrics"));
    }
}
