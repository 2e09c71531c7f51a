//! Acting as someone else: the `Impersonate-*` headers, as `kubectl --as` sends them.
//!
//! See <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>.

use std::sync::Arc;

use coracle_api::status::Status;
use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::authorize::{Attributes, Authorizer};
use super::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Whom a request acts as: the user of its `Impersonate-*` headers, when `user` may act as them, or `user`. The
/// headers are removed.
///
/// # Errors
/// 403 when `user` may not, 500 when a group, UID or extra field is given without a user.
pub fn impersonated(
    user: Arc<User>,
    headers: &mut HeaderMap,
    authorizer: &dyn Authorizer,
) -> Result<Arc<User>, Status> {
    let wanted = take(headers);
    if wanted == User::default() {
        return Ok(user);
    }
    if wanted.name.is_empty() {
        return Err(Status::internal(format!(
            "requested groups {:?}, uid {:?} and extra {:?} without impersonating a user",
            wanted.groups, wanted.uid, wanted.extra
        )));
    }
    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let what = Attributes { verb: "impersonate", group, resource, subresource, namespace, name, path: "" };
        match authorizer.allows(&user, &what) {
            true => Ok(()),
            false => Err(Status::forbidden(group, resource, name, &what.refusal(&user))),
        }
    };
    let account = wanted.name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':'));
    match account {
        Some((namespace, name)) => check("", "serviceaccounts", "", namespace, name)?,
        None => check("", "users", "", "", &wanted.name)?,
    }
    for group in &wanted.groups {
        check("", "groups", "", "", group)?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            check("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    if !wanted.uid.is_empty() {
        check("authentication.k8s.io", "uids", "", "", &wanted.uid)?;
    }
    let mut acting = wanted.clone();
    if let (Some((namespace, _)), true) = (account, wanted.groups.is_empty()) {
        acting.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    if acting.name == ANONYMOUS {
        if !acting.is_in(UNAUTHENTICATED) {
            acting.groups.push(UNAUTHENTICATED.into());
        }
    } else if !acting.is_in(AUTHENTICATED) && !acting.is_in(UNAUTHENTICATED) {
        acting.groups.push(AUTHENTICATED.into());
    }
    Ok(Arc::new(acting))
}

/// The headers as the user that they describe.
fn take(headers: &mut HeaderMap) -> User {
    let mut wanted = User::default();
    let names: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in names {
        let values: Vec<String> =
            headers.get_all(&name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        headers.remove(&name);
        match name.as_str() {
            USER => wanted.name = values.into_iter().next().unwrap_or_default(),
            UID => wanted.uid = values.into_iter().next().unwrap_or_default(),
            GROUP => wanted.groups = values,
            name => {
                if let Some(key) = name.strip_prefix(EXTRA) {
                    wanted.extra.push((percent_decode_str(key).decode_utf8_lossy().into_owned(), values));
                }
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::super::MASTERS;
    use super::super::authorize::SystemOnly;
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn admin() -> Arc<User> {
        Arc::new(User::new("admin", &[MASTERS]))
    }

    #[test]
    fn an_administrator_acts_as_others_and_has_only_their_groups() {
        let mut given = headers(&[(USER, "jane"), (GROUP, "a"), (GROUP, "b"), ("impersonate-extra-k%2f1", "v")]);
        let jane = impersonated(admin(), &mut given, &SystemOnly).unwrap();
        assert_eq!(
            (jane.name.as_str(), jane.groups.clone()),
            ("jane", vec!["a".into(), "b".into(), AUTHENTICATED.into()])
        );
        assert_eq!(jane.extra, [("k/1".to_owned(), vec!["v".to_owned()])]);
        assert!(given.is_empty());
        let mut given = headers(&[(USER, "system:serviceaccount:ns:bot")]);
        let bot = impersonated(admin(), &mut given, &SystemOnly).unwrap();
        assert_eq!(bot.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED]);
        let mut given = headers(&[(USER, ANONYMOUS)]);
        assert_eq!(*impersonated(admin(), &mut given, &SystemOnly).unwrap(), User::anonymous());
        assert_eq!(impersonated(admin(), &mut HeaderMap::new(), &SystemOnly).unwrap(), admin());
    }

    #[test]
    fn others_may_not_act_as_someone_else() {
        let joe = Arc::new(User::new("joe", &[]));
        let mut given = headers(&[(USER, "jane")]);
        let status = impersonated(joe, &mut given, &SystemOnly).unwrap_err();
        assert_eq!(status.code, 403);
        assert_eq!(
            status.message,
            "users \"jane\" is forbidden: User \"joe\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
        );
        let mut given = headers(&[(GROUP, MASTERS)]);
        assert_eq!(impersonated(admin(), &mut given, &SystemOnly).unwrap_err().code, 500);
    }
}
