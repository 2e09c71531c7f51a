//! What is asked to be admitted, as expressions and webhooks see it.

use serde_json::{Map, Value, json};

use super::matching::Resource;

/// A request that is to be admitted. Objects are in the version of `resource`.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'a> {
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'a str,
    /// The resource in the version that the rule is about.
    pub resource: Resource<'a>,
    /// The resource as the client named it.
    pub requested: Resource<'a>,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// What is sent to a subresource, as group, version and kind, where that is another kind than the resource's.
    pub body: Option<[&'a str; 3]>,
    /// The name; empty where it is not known yet.
    pub name: &'a str,
    /// The namespace; empty where there is none. A Namespace is in itself.
    pub namespace: &'a str,
    /// The object as it will be; what goes will not be.
    pub object: Option<&'a Value>,
    /// The object as it is; a new one is not yet.
    pub old_object: Option<&'a Value>,
    /// The options of the request, such as a `CreateOptions`.
    pub options: &'a Value,
    /// Whether nothing is stored.
    pub dry_run: bool,
    /// Who asks, as a `UserInfo`.
    pub user: &'a Value,
}

/// The request without its objects: the variable `request`, and what reviews begin with.
pub fn review_request(admitted: &Admitted<'_>) -> Value {
    let kind = |of: Resource<'_>| {
        let [group, version, kind] = admitted.body.unwrap_or([of.group, of.version, of.kind]);
        json!({"group": group, "version": version, "kind": kind})
    };
    let resource = |of: Resource<'_>| json!({"group": of.group, "version": of.version, "resource": of.plural});
    let mut request = Map::new();
    let mut put = |key: &str, value: Value| request.insert(key.to_owned(), value);
    put("kind", kind(admitted.resource));
    put("resource", resource(admitted.resource));
    put("requestKind", kind(admitted.requested));
    put("requestResource", resource(admitted.requested));
    for (key, text) in [
        ("subResource", admitted.subresource),
        ("requestSubResource", admitted.subresource),
        ("name", admitted.name),
        ("namespace", admitted.namespace),
    ] {
        if !text.is_empty() {
            put(key, text.into());
        }
    }
    put("operation", admitted.operation.into());
    put("userInfo", admitted.user.clone());
    put("dryRun", admitted.dry_run.into());
    put("options", admitted.options.clone());
    Value::Object(request)
}
