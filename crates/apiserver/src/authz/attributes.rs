//! What a user wants to do, and how it is told that they may not.

use std::borrow::Cow;

use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::status::Status;

use super::Reason;
use crate::auth::User;

/// What a user wants to do: something with a resource of the API, or with another path of the server.
#[derive(Clone, Debug, Default)]
pub struct Attributes<'a> {
    /// Whether this is about a resource of the API; else `path` says what it is about.
    pub is_resource: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, a verb of its own such as
    /// `impersonate`, or the lower-case HTTP method of a path outside the API.
    pub verb: &'a str,
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The version of the API, as far as it is known. Only who is asked elsewhere is told.
    pub version: &'a str,
    /// The resource (plural).
    pub resource: &'a str,
    /// The subresource, when there is one.
    pub subresource: &'a str,
    /// The namespace, when there is one. A Namespace is in itself.
    pub namespace: &'a str,
    /// The object's name, when there is one.
    pub name: &'a str,
    /// The fields by which objects are listed, watched or deleted, when there are some and they are understood.
    pub fields: Option<&'a FieldSelector>,
    /// The same of labels.
    pub labels: Option<&'a LabelSelector>,
    /// The path, outside the API.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// Something with the object of a name, or with all where that is empty.
    pub fn resource(verb: &'a str, group: &'a str, resource: &'a str, namespace: &'a str, name: &'a str) -> Self {
        Attributes { is_resource: true, verb, group, resource, namespace, name, ..Attributes::default() }
    }

    /// Something with a path outside the API.
    pub fn path(verb: &'a str, path: &'a str) -> Self {
        Attributes { verb, path, ..Attributes::default() }
    }

    /// Whether this is about objects only of which a field has this value.
    pub fn selects(&self, field: &str, value: &str) -> bool {
        let terms = self.fields.map(|fields| fields.terms.as_slice()).unwrap_or_default();
        terms.iter().any(|(own, equal, wanted)| *equal && own == field && wanted == value)
    }

    /// The answer to someone who may not, worded as upstream.
    pub fn forbidden(&self, user: &User, reason: &Reason) -> Status {
        let mut why = escaped(&self.refusal(user)).into_owned();
        if !reason.is_empty() {
            why.push_str(&format!(": {reason}"));
        }
        let mut status = Status::forbidden(self.group, self.resource, self.name, &why);
        if !self.is_resource {
            status.message = format!("forbidden: {why}");
        }
        status
    }

    fn refusal(&self, user: &User) -> String {
        let who = &user.name;
        if !self.is_resource {
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

/// A text in which nothing looks like a tag: what a browser shows of a refusal must not be what its path says.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>']) {
        return text.into();
    }
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_may_not_do_what_where_and_why() {
        let joe = User::new("joe", &[]);
        let what =
            Attributes { subresource: "scale", ..Attributes::resource("get", "apps", "deployments", "dev", "web") };
        let status = what.forbidden(&joe, &Reason::default());
        assert_eq!(
            (status.code, status.message.as_str()),
            (
                403,
                "deployments.apps \"web\" is forbidden: User \"joe\" cannot get resource \"deployments/scale\" in API group \"apps\" in the namespace \"dev\""
            )
        );
        let what = Attributes::resource("list", "", "nodes", "", "");
        assert_eq!(
            what.forbidden(&joe, &"RBAC: no".to_owned().into()).message,
            "nodes is forbidden: User \"joe\" cannot list resource \"nodes\" in API group \"\" at the cluster scope: RBAC: no"
        );
        assert_eq!(
            Attributes::path("get", "/a<b>").forbidden(&joe, &Reason::default()).message,
            "forbidden: User \"joe\" cannot get path \"/a&lt;b&gt;\""
        );
    }
}
