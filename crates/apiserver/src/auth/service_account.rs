//! Tokens of service accounts: JSON web tokens (RFC 7519) signed with ES256 and bound to objects.
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use parking_lot::RwLock;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

use super::User;

/// The issuer of all tokens.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

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

/// Says whether an object with this kind, namespace, name and UID exists.
pub type Exists = Box<dyn Fn(&str, &str, &str, &str) -> bool + Send + Sync>;

/// Signs and verifies tokens.
pub struct Issuer {
    key: EcdsaKeyPair,
    key_id: String,
    exists: RwLock<Option<Exists>>,
}

impl Issuer {
    /// Takes a PKCS#8 key of the curve P-256.
    ///
    /// # Errors
    /// The key is not one.
    pub fn new(pkcs8: &[u8]) -> anyhow::Result<Issuer> {
        let key = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new())
            .map_err(|error| anyhow!("the key of service account tokens is not a PKCS#8 P-256 key: {error}"))?;
        let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key().as_ref());
        let key_id = BASE64.encode(digest.as_ref());
        Ok(Issuer { key, key_id, exists: RwLock::default() })
    }

    /// From here on tokens of objects that are gone are refused.
    pub fn check_objects(&self, exists: Exists) {
        *self.exists.write() = Some(exists);
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
        let header = json!({"alg": "ES256", "kid": self.key_id, "typ": "JWT"});
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature =
            self.key.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| anyhow!("failed to sign a token"))?;
        Ok((format!("{signed}.{}", BASE64.encode(signature.as_ref())), expires))
    }

    /// The user of a token; `None` unless it is ours, in its time, for one of the audiences (the API
    /// server's own when there are none), and bound to objects that exist.
    pub fn verify(&self, token: &str, audiences: &[String]) -> Option<User> {
        self.verify_at(token, audiences, now())
    }

    fn verify_at(&self, token: &str, audiences: &[String], now: u64) -> Option<User> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let public = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        public.verify(signed.as_bytes(), &BASE64.decode(signature).ok()?).ok()?;
        let claims: Value = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        if claims["iss"] != ISSUER
            || claims["nbf"].as_u64()? > now.saturating_add(LEEWAY)
            || claims["exp"].as_u64()? <= now
        {
            return None;
        }
        let wanted = |audience: &str| {
            if audiences.is_empty() { audience == ISSUER } else { audiences.iter().any(|a| a == audience) }
        };
        if !claims["aud"].as_array()?.iter().filter_map(Value::as_str).any(wanted) {
            return None;
        }
        let bound = &claims["kubernetes.io"];
        let namespace = bound["namespace"].as_str()?;
        let account = &bound["serviceaccount"];
        let (name, uid) = (account["name"].as_str()?, account["uid"].as_str()?);
        if let Some(exists) = &*self.exists.read() {
            let of = |kind: &str| {
                let object = &bound[kind];
                object.is_null()
                    || exists(
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
        Some(user)
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
        // An uncompressed point: a tag, then both coordinates.
        let point = self.key.public_key().as_ref();
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..]),
        }]})
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> Issuer {
        let key =
            EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Issuer::new(key.as_ref()).unwrap()
    }

    #[test]
    fn a_token_names_its_account_until_it_expires_or_is_tampered_with() {
        let issuer = issuer();
        let audiences = [ISSUER.to_owned()];
        let (token, _) = issuer.issue("default", "builder", "u1", &audiences, 600, None).unwrap();
        assert_eq!(issuer.verify(&token, &[]).unwrap().name, "system:serviceaccount:default:builder");
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
        issuer.check_objects(Box::new(|kind, _, _, _| kind != "pod"));
        assert!(issuer.verify(&token, &[]).is_none());
    }
}
