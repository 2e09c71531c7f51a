//! The key of service accounts' tokens: JSON web tokens (RFC 7519) signed with ES256.

use anyhow::{Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};

/// Signs and verifies tokens; says nothing of what is in them.
pub struct TokenKey {
    key: EcdsaKeyPair,
    id: String,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl TokenKey {
    /// Takes a PKCS#8 key (DER) of the curve P-256.
    ///
    /// # Errors
    /// The key is not one.
    pub fn new(pkcs8: &[u8]) -> Result<TokenKey> {
        let key = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new())
            .map_err(|error| anyhow!("the key of service account tokens is not a PKCS#8 P-256 key: {error}"))?;
        let digest = ring::digest::digest(&ring::digest::SHA256, key.public_key().as_ref());
        let id = BASE64.encode(digest.as_ref());
        Ok(TokenKey { key, id })
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        let header = json!({"alg": "ES256", "kid": self.id, "typ": "JWT"});
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature =
            self.key.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| anyhow!("failed to sign a token"))?;
        Ok(format!("{signed}.{}", BASE64.encode(signature.as_ref())))
    }

    /// The claims of a token; `None` when it was not signed with this key.
    pub fn verify(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let public = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        public.verify(signed.as_bytes(), &BASE64.decode(signature).ok()?).ok()?;
        serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()
    }

    /// The public key as a JSON web key set.
    pub fn key_set(&self) -> Value {
        // An uncompressed point: a tag, then both coordinates.
        let point = self.key.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at_checked(32).unwrap_or_default();
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": BASE64.encode(x), "y": BASE64.encode(y),
        }]})
    }
}
