//! Acting as someone else: the `Impersonate-*` headers, as `kubectl --as` sends them.
//!
//! See <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>.

use std::sync::Arc;

use coracle_api::field::{dns1123_label, dns1123_subdomain};
use coracle_api::status::Status;
use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::{ANONYMOUS, UNAUTHENTICATED, User};
use crate::authz::{Attributes, Authorizer, decide};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Whom a request acts as: the user of its `Impersonate-*` headers, when `user` may act as them, or `user`. The
/// headers are removed.
///
/// # Errors
/// 403 when `user` may not, 400 when a group, UID or extra field is given without a user.
pub async fn impersonated(
    user: Arc<User>,
    headers: &mut HeaderMap,
    authorizer: &dyn Authorizer,
) -> Result<Arc<User>, Status> {
    let wanted = take(headers);
    if wanted == User::default() {
        return Ok(user);
    }
    if wanted.name.is_empty() {
        return Err(Status::bad_request(format!(
            "requested [{}] without impersonating a user",
            requests(&wanted).join(" ")
        )));
    }
    let account = service_account(&wanted.name);
    for what in questions(&wanted, account) {
        let decision = decide(authorizer, &user, &what).await;
        if !decision.is_allowed() {
            return Err(what.forbidden(&user, decision.reason()));
        }
    }
    let mut acting = wanted.clone();
    if let (Some((namespace, _)), true) = (account, wanted.groups.is_empty()) {
        acting.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    if acting.name == ANONYMOUS && !acting.is_in(UNAUTHENTICATED) {
        acting.groups.push(UNAUTHENTICATED.into());
    }
    acting.add_general_group();
    Ok(Arc::new(acting))
}

/// Namespace and name of a service account that a user's name is that of. What looks like one and cannot be is a user of
/// that name, as whom those may not act who may act as the accounts of a namespace.
fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, account) = name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    let is_one = dns1123_label(namespace).is_empty() && dns1123_subdomain(account).is_empty();
    is_one.then_some((namespace, account))
}

/// What a user must be allowed to act as another one: every part of them is a question of its own.
fn questions<'a>(wanted: &'a User, account: Option<(&'a str, &'a str)>) -> Vec<Attributes<'a>> {
    const AUTHENTICATION: &str = "authentication.k8s.io";
    let about =
        |group, resource, namespace, name| Attributes::resource("impersonate", group, resource, namespace, name);
    let mut out = vec![match account {
        Some((namespace, name)) => about("", "serviceaccounts", namespace, name),
        None => about("", "users", "", &wanted.name),
    }];
    out.extend(wanted.groups.iter().map(|group| about("", "groups", "", group)));
    for (key, values) in &wanted.extra {
        let extra = |value| Attributes { subresource: key, ..about(AUTHENTICATION, "userextras", "", value) };
        out.extend(values.iter().map(|value| extra(value)));
    }
    if !wanted.uid.is_empty() {
        out.push(about(AUTHENTICATION, "uids", "", &wanted.uid));
    }
    out
}

/// What is asked for besides a user, as upstream's message prints it: kind, namespace, name, UID, API version, resource
/// version and field path of a reference.
fn requests(wanted: &User) -> Vec<String> {
    const VERSION: &str = "authentication.k8s.io/v1";
    let mut out: Vec<String> = wanted.groups.iter().map(|group| format!("{{Group  {group}    }}")).collect();
    for (key, values) in &wanted.extra {
        out.extend(values.iter().map(|value| format!("{{UserExtra  {value}  {VERSION}  {key}}}")));
    }
    if !wanted.uid.is_empty() {
        out.push(format!("{{UID  {}  {VERSION}  }}", wanted.uid));
    }
    out
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
    use super::super::{AUTHENTICATED, MASTERS};
    use super::*;
    use crate::authz::Masters;
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

    #[tokio::test]
    async fn an_administrator_acts_as_others_and_has_only_their_groups() {
        let mut given = headers(&[(USER, "jane"), (GROUP, "a"), (GROUP, "b"), ("impersonate-extra-k%2f1", "v")]);
        let jane = impersonated(admin(), &mut given, &Masters).await.unwrap();
        assert_eq!(
            (jane.name.as_str(), jane.groups.clone()),
            ("jane", vec!["a".into(), "b".into(), AUTHENTICATED.into()])
        );
        assert_eq!(jane.extra, [("k/1".to_owned(), vec!["v".to_owned()])]);
        assert!(given.is_empty());
        let mut given = headers(&[(USER, "system:serviceaccount:ns:bot")]);
        let bot = impersonated(admin(), &mut given, &Masters).await.unwrap();
        assert_eq!(bot.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED]);
        let mut given = headers(&[(USER, ANONYMOUS)]);
        assert_eq!(*impersonated(admin(), &mut given, &Masters).await.unwrap(), User::anonymous());
        assert_eq!(impersonated(admin(), &mut HeaderMap::new(), &Masters).await.unwrap(), admin());
    }

    #[test]
    fn what_cannot_be_a_service_account_is_a_user() {
        assert_eq!(service_account("system:serviceaccount:ns:a.b"), Some(("ns", "a.b")));
        for name in ["jane", "system:serviceaccount:ns", "system:serviceaccount:ns:", "system:serviceaccount::a"] {
            assert_eq!(service_account(name), None, "{name}");
        }
        assert_eq!(service_account("system:serviceaccount:ns:a:b"), None);
        let wanted = User { name: "system:serviceaccount:ns:a:b".into(), ..User::default() };
        assert_eq!(questions(&wanted, service_account(&wanted.name))[0].resource, "users");
    }

    #[tokio::test]
    async fn others_may_not_act_as_someone_else() {
        let joe = Arc::new(User::new("joe", &[]));
        let mut given = headers(&[(USER, "jane")]);
        let status = impersonated(joe, &mut given, &Masters).await.unwrap_err();
        assert_eq!(status.code, 403);
        assert_eq!(
            status.message,
            "users \"jane\" is forbidden: User \"joe\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
        );
        let mut given = headers(&[(GROUP, MASTERS), (UID, "7")]);
        let status = impersonated(admin(), &mut given, &Masters).await.unwrap_err();
        assert_eq!(status.code, 400);
        assert_eq!(
            status.message,
            "requested [{Group  system:masters    } {UID  7  authentication.k8s.io/v1  }] without impersonating a user"
        );
    }
}
