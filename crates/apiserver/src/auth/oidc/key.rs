//! The public keys of an issuer, as a JSON web key set (RFC 7517) has them, and signatures (RFC 7518) of them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;

/// Keys of one issuer that are looked at.
const MAX_KEYS: usize = 256;

/// How a token is signed. None of them is symmetric: a public key is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
}

use Algorithm::{Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};

/// Those that there are. Upstream knows `ES512` too.
pub(super) const ALGORITHMS: [(&str, Algorithm); 8] = [
    ("RS256", Rs256),
    ("RS384", Rs384),
    ("RS512", Rs512),
    ("PS256", Ps256),
    ("PS384", Ps384),
    ("PS512", Ps512),
    ("ES256", Es256),
    ("ES384", Es384),
];

impl Algorithm {
    pub fn of(name: &str) -> Option<Algorithm> {
        ALGORITHMS.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Ps256 => &RSA_PSS_2048_8192_SHA256,
            Ps384 => &RSA_PSS_2048_8192_SHA384,
            Ps512 => &RSA_PSS_2048_8192_SHA512,
            Es256 | Es384 => return None,
        })
    }
}

/// A public key.
#[derive(Debug)]
pub(super) struct Key {
    id: String,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Points, not compressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
}

impl Key {
    /// The keys of a set that signatures can be made with; others are left out.
    pub fn all(set: &Value) -> Vec<Key> {
        let keys = set["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        keys.iter().take(MAX_KEYS).filter_map(Key::of).collect()
    }

    fn of(key: &Value) -> Option<Key> {
        let bytes = |field: &str| BASE64.decode(key[field].as_str()?).ok();
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == length && y.len() == length).then(|| [&[4], x.as_slice(), y.as_slice()].concat())
        };
        if key["use"].as_str().is_some_and(|used| used != "sig") {
            return None;
        }
        let public = match (key["kty"].as_str()?, key["crv"].as_str()) {
            ("RSA", _) => Public::Rsa { n: bytes("n")?, e: bytes("e")? },
            ("EC", Some("P-256")) => Public::P256(point(32)?),
            ("EC", Some("P-384")) => Public::P384(point(48)?),
            _ => return None,
        };
        let text = |field: &str| key[field].as_str().map(str::to_owned);
        Some(Key { id: text("kid").unwrap_or_default(), algorithm: text("alg"), public })
    }

    /// Whether a signature of it may have this key's name.
    pub fn is_called(&self, id: &str) -> bool {
        id.is_empty() || self.id.is_empty() || self.id == id
    }

    /// Whether a message was signed with it. What kind of key it is decides how, not what the message says of itself.
    pub fn verifies(&self, name: &str, message: &[u8], signature: &[u8]) -> bool {
        let Some(algorithm) = Algorithm::of(name) else { return false };
        if self.algorithm.as_ref().is_some_and(|only| only != name) {
            return false;
        }
        match (&self.public, algorithm) {
            (Public::Rsa { n, e }, algorithm) => algorithm
                .rsa()
                .is_some_and(|rsa| RsaPublicKeyComponents { n, e }.verify(rsa, message, signature).is_ok()),
            (Public::P256(point), Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Public::P384(point), Es384) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            (Public::P256(_) | Public::P384(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A key, and what it has signed with two algorithms: made for this test, the private half is gone.
    const N: &str = "qpsk_MZ0recnU7d79913sr66rnsd90n4-5dHDtRQLvpsZ3tjWxLbcbFLJXdJ_exInUqa2zwQL6a45TtNL0JvJNs6lksa7I_9OaN5W5vqRw3XeNrPR281O2nfSpFIniaM2HofbhxVun39QswC2UH3Dv-rSWwdbZevfxWYh-XvoUM1xBZpB2RkQKzAqQCxZ3h-QgHs7VNYo0h2coHliaGpFyBtW9HRUASZDmpPT88PEVcgjkKN0TpPyMFn1d20-ko5YzMeCrT74kkZ9x0FAFE-SM-ZmeXhMX6If5ZP9vRwDdOt8YexQoOxj26p8YMjPApOCHRId6ueZJASV6UnJHnSeQ";
    const RS256: &str = "gqn833WUzr41kUiu-VkozIP4RUF3kz3wjlIzckpkVpzAmQqeiamc0URK2j2vu9nHJ0nGTN68Gh-h20fo_VyTRCOouc8PWQd6xD-IbD8Vn-xqNjLfYYoimF2U8uX6DKae4_-_MDQCdz2eYbS6uMT0Qricdi-HNLNJvOoa0c3BG9oAt5sbo4dOFhQs0eyFmpyEPBCBiP-URVjmJR7ulErfR4fzc3xk8rwWETH55IWAkMOxYI6UObgyozw0hUktc2Jzl3XBFZ4DDcFmXZDz1hcTrkiPk3tRNgRi6qyKKv6MJaNyTaE3NdcwmVwgpI7vK9eY6DzElzv66esX_EiBFk6rfg";
    const PS256: &str = "mjTRTsxLSW4g2z2hkL1beAxGn08FOua0L1f6x_TQ2tFno-JlczQl2n_ZdYdS32cPXs9ibGfAkpH8LDkfjrtUs5vhIe8MkiScgHiLVdodNg7DAThU-KrHthp3idbckSkodOrjfXhYVDih0cjl7NuXGeqI_DiOdyMToEhTERdLZhuQJ_mqG_gYml_v0exWhr8tTNBOwlxBShvGsJ_Xa3F4iX3MCGrX0k1kw5q7TA09Aaa0AvC8JkkIHof9PxcV4qzsrzHTo5legBXdluLiIPatYX3heGTyPsqQn6rcPH1KIyerXYZWuBSfeHfyIh1kkqjc9s6ydwJ2xNCJ0hgiTJqPSQ";

    #[test]
    fn a_key_verifies_by_its_own_kind_of_algorithm_only() {
        let key = |algorithm: Option<&str>| {
            let mut key = json!({"kty": "RSA", "n": N, "e": "AQAB", "kid": "k", "use": "sig"});
            if let Some(algorithm) = algorithm {
                key["alg"] = algorithm.into();
            }
            Key::all(&json!({"keys": [key]})).remove(0)
        };
        let verifies = |key: &Key, name: &str, signature: &str| {
            key.verifies(name, b"header.claims", &BASE64.decode(signature).unwrap())
        };
        assert!(verifies(&key(None), "RS256", RS256) && verifies(&key(None), "PS256", PS256));
        assert!(verifies(&key(Some("RS256")), "RS256", RS256) && !verifies(&key(Some("PS256")), "RS256", RS256));
        for name in ["PS256", "RS384", "RS512", "ES256", "HS256", "none", ""] {
            assert!(!verifies(&key(None), name, RS256), "{name}");
        }
        assert!(!key(None).verifies("RS256", b"header.others", &BASE64.decode(RS256).unwrap()));
        assert!(!key(None).verifies("none", b"header.claims", b""));
        assert!(key(None).is_called("k") && key(None).is_called("") && !key(None).is_called("other"));
    }

    #[test]
    fn keys_that_are_none_are_left_out() {
        let zeros = |length: usize| BASE64.encode(vec![0; length]);
        let keys = json!({"keys": [
            {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "EC", "crv": "P-521", "x": zeros(66), "y": zeros(66)}, "x", null,
            {"kty": "EC", "crv": "P-256", "x": zeros(31), "y": zeros(32)}, {"kty": "RSA", "n": "AQAB", "e": "?"},
            {"kty": "RSA", "n": "AQAB", "e": "AQAB", "use": "enc"}, {"kty": "EC", "crv": "P-256", "x": zeros(32), "y": zeros(32)}]});
        let keys = Key::all(&keys);
        assert_eq!(keys.len(), 1);
        for name in ["ES256", "RS256", "HS256", "none", ""] {
            assert!(!keys[0].verifies(name, b"a", b"b"), "{name}");
        }
        assert!(Key::all(&json!(null)).is_empty());
        let many: Vec<Value> = vec![json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}); 1000];
        assert_eq!(Key::all(&json!({"keys": many})).len(), MAX_KEYS);
    }
}
