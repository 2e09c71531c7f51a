//! Whether a user may do something.

use super::{AUTHENTICATED, MASTERS, User};

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
/// discovery of the API and questions about themselves, everyone the health and version pages.
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

fn is_about_oneself(what: &Attributes<'_>) -> bool {
    let reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"];
    what.verb == "create" && reviews.contains(&what.resource)
}
