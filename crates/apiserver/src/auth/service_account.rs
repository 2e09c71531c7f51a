//! Tokens of service accounts: JSON web tokens (RFC 7519) signed with ES256 and bound to objects.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use coracle_pki::TokenKey;
use parking_lot::RwLock;
use serde_json::{Value, json};

use super::User;

/// The issuer of all tokens but those in secrets.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// That of tokens in secrets, which do not expire.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// How far, in seconds, a clock may be set back before a fresh token is not valid yet.
const LEEWAY: u64 = 60;

/// What a token is bound to: kind, name and UID.
#[derive(Clone, Debug)]
pub struct Bound {
    /// `Pod`, `Secret` or `Node`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Of a pod: the node it runs on, by name and UID.
    pub node: Option<(String, String)>,
}

/// What tokens are held against.
pub trait Objects: Send + Sync {
    /// Whether an object with this kind, namespace, name and UID exists.
    fn exists(&self, kind: &str, namespace: &str, name: &str, uid: &str) -> bool;

    /// Whether a secret of a namespace and name holds a token.
    fn holds_token(&self, namespace: &str, name: &str, token: &str) -> bool;
}

/// Signs and verifies tokens.
pub struct Issuer {
    key: TokenKey,
    /// The names of this server as an audience.
    audiences: Vec<String>,
    objects: RwLock<Option<Arc<dyn Objects>>>,
}

impl Issuer {
    /// Signs with a key.
    pub fn new(key: TokenKey) -> Issuer {
        Issuer { key, audiences: vec![ISSUER.to_owned()], objects: RwLock::default() }
    }

    /// The same for a server that has other names as an audience; without any it keeps its own.
    pub fn named(self, audiences: &[String]) -> Issuer {
        if audiences.is_empty() { self } else { Issuer { audiences: audiences.to_vec(), ..self } }
    }

    /// The names of this server as an audience.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// From here on tokens of objects that are gone are refused.
    pub fn check_objects(&self, objects: Arc<dyn Objects>) {
        *self.objects.write() = Some(objects);
    }

    /// Makes a token; answers with it and when it expires, in seconds since the epoch.
    pub fn issue(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        audiences: &[String],
        seconds: u64,
        bound: Option<&Bound>,
    ) -> anyhow::Result<(String, u64)> {
        let now = now();
        let expires = now.saturating_add(seconds);
        let mut kubernetes = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}});
        if let Some(bound) = bound {
            kubernetes[bound.kind.to_lowercase()] = json!({"name": bound.name, "uid": bound.uid});
            if let Some((name, uid)) = &bound.node {
                kubernetes["node"] = json!({"name": name, "uid": uid});
            }
        }
        let claims = json!({
            "iss": ISSUER, "sub": format!("system:serviceaccount:{namespace}:{name}"), "aud": audiences,
            "iat": now, "nbf": now, "exp": expires, "jti": uuid::Uuid::new_v4().to_string(), "kubernetes.io": kubernetes,
        });
        Ok((self.key.sign(&claims)?, expires))
    }

    /// The user of a token, and for which of the audiences (the API server's own when there are none) it is; `None` unless it
    /// is ours, in its time, for one of them, and bound to objects that exist.
    pub fn verify(&self, token: &str, audiences: &[String]) -> Option<(User, Vec<String>)> {
        self.verify_at(token, audiences, now())
    }

    fn verify_at(&self, token: &str, audiences: &[String], now: u64) -> Option<(User, Vec<String>)> {
        let claims = self.key.verify(token)?;
        if claims["iss"] == LEGACY_ISSUER {
            return self.legacy(token, &claims, audiences);
        }
        if claims["iss"] != ISSUER
            || claims["nbf"].as_u64()? > now.saturating_add(LEEWAY)
            || claims["exp"].as_u64()? <= now
        {
            return None;
        }
        let told = claims["aud"].as_array()?;
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        let audiences: Vec<String> =
            wanted.iter().filter(|one| told.iter().any(|told| told == *one)).cloned().collect();
        if audiences.is_empty() {
            return None;
        }
        let bound = &claims["kubernetes.io"];
        let namespace = bound["namespace"].as_str()?;
        let account = &bound["serviceaccount"];
        let (name, uid) = (account["name"].as_str()?, account["uid"].as_str()?);
        if let Some(objects) = &*self.objects.read() {
            let of = |kind: &str| {
                let object = &bound[kind];
                object.is_null()
                    || objects.exists(
                        kind,
                        namespace,
                        object["name"].as_str().unwrap_or_default(),
                        object["uid"].as_str().unwrap_or_default(),
                    )
            };
            if !["serviceaccount", "pod", "secret", "node"].into_iter().all(of) {
                return None;
            }
        }
        let mut user = User::service_account(namespace, name);
        user.uid = uid.into();
        let mut extra = |key: &str, value: &Value| {
            if let Some(value) = value.as_str() {
                user.extra.push((format!("authentication.kubernetes.io/{key}"), vec![value.into()]));
            }
        };
        extra("pod-name", &bound["pod"]["name"]);
        extra("pod-uid", &bound["pod"]["uid"]);
        extra("node-name", &bound["node"]["name"]);
        extra("node-uid", &bound["node"]["uid"]);
        if let Some(id) = claims["jti"].as_str() {
            user.extra.push((super::CREDENTIAL_ID.into(), vec![format!("JTI={id}")]));
        }
        Some((user, audiences))
    }

    /// The user of a token in a secret, as long as the secret holds it and the account is there.
    fn legacy(&self, token: &str, claims: &Value, audiences: &[String]) -> Option<(User, Vec<String>)> {
        let claim = |name: &str| claims[format!("kubernetes.io/serviceaccount/{name}")].as_str();
        let (namespace, secret) = (claim("namespace")?, claim("secret.name")?);
        let (name, uid) = (claim("service-account.name")?, claim("service-account.uid")?);
        let objects = self.objects.read().clone()?;
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        let for_here: Vec<String> = wanted.iter().filter(|one| self.audiences.contains(one)).cloned().collect();
        if for_here.is_empty()
            || claims["sub"] != format!("system:serviceaccount:{namespace}:{name}")
            || !objects.holds_token(namespace, secret, token)
            || !objects.exists("serviceaccount", namespace, name, uid)
        {
            return None;
        }
        Some((User { uid: uid.into(), ..User::service_account(namespace, name) }, for_here))
    }

    /// The OpenID discovery document.
    pub fn openid_configuration(&self, server: &str) -> Value {
        json!({
            "issuer": ISSUER, "jwks_uri": format!("{server}/openid/v1/jwks"), "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// The public key as a JSON web key set.
    pub fn key_set(&self) -> Value {
        self.key.key_set()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        let dir = tempfile::tempdir().unwrap();
        Issuer::new(coracle_pki::Authority::open(dir.path()).unwrap().service_account_key().unwrap())
    }

    /// Everything is there but objects of a kind, and every secret holds one token.
    struct AllBut(&'static str, String);

    impl Objects for AllBut {
        fn exists(&self, kind: &str, _: &str, _: &str, _: &str) -> bool {
            kind != self.0
        }

        fn holds_token(&self, _: &str, _: &str, token: &str) -> bool {
            token == self.1
        }
    }

    #[test]
    fn a_token_in_a_secret_counts_while_the_secret_holds_it() {
        let issuer = issuer();
        let claims = json!({"iss": LEGACY_ISSUER, "sub": "system:serviceaccount:n:a",
            "kubernetes.io/serviceaccount/namespace": "n", "kubernetes.io/serviceaccount/secret.name": "s",
            "kubernetes.io/serviceaccount/service-account.name": "a",
            "kubernetes.io/serviceaccount/service-account.uid": "u"});
        let token = issuer.key.sign(&claims).unwrap();
        assert!(issuer.verify(&token, &[]).is_none());
        issuer.check_objects(Arc::new(AllBut("", token.clone())));
        let (user, _) = issuer.verify(&token, &[]).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:n:a", "u"));
        assert!(issuer.verify(&token, &["vault".into()]).is_none());
        for objects in [AllBut("serviceaccount", token.clone()), AllBut("", "other".into())] {
            issuer.check_objects(Arc::new(objects));
            assert!(issuer.verify(&token, &[]).is_none());
        }
    }

    #[test]
    fn a_token_names_its_account_until_it_expires_or_is_tampered_with() {
        let issuer = issuer();
        let audiences = [ISSUER.to_owned()];
        let (token, _) = issuer.issue("default", "builder", "u1", &audiences, 600, None).unwrap();
        assert_eq!(issuer.verify(&token, &[]).unwrap().0.name, "system:serviceaccount:default:builder");
        assert!(issuer.verify(&token, &["vault".into()]).is_none());
        assert!(issuer.verify(&format!("{token}A"), &[]).is_none());
        assert!(super::tests::issuer().verify(&token, &[]).is_none());
        let (expired, _) = issuer.issue("default", "builder", "u1", &audiences, 0, None).unwrap();
        assert!(issuer.verify(&expired, &[]).is_none());
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_does_not_refuse_fresh_tokens() {
        let issuer = issuer();
        let (token, expires) = issuer.issue("default", "a", "u1", &[ISSUER.to_owned()], 600, None).unwrap();
        let issued = expires - 600;
        let valid = |at: u64| issuer.verify_at(&token, &[], at).is_some();
        assert_eq!([issued - LEEWAY - 1, issued - LEEWAY, expires - 1, expires].map(valid), [false, true, true, false]);
    }

    #[test]
    fn a_token_dies_with_the_pod_it_is_bound_to() {
        let issuer = issuer();
        let bound = Bound { kind: "Pod".into(), name: "web".into(), uid: "p1".into(), node: None };
        let (token, _) = issuer.issue("default", "a", "u1", &[ISSUER.to_owned()], 600, Some(&bound)).unwrap();
        assert!(issuer.verify(&token, &[]).is_some());
        issuer.check_objects(Arc::new(AllBut("pod", String::new())));
        assert!(issuer.verify(&token, &[]).is_none());
    }
}
