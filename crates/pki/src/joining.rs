//! By what a joining node and a cluster that never met believe each other: a bootstrap token, which both know, and the digest
//! of the authority's public key, which who joins was told.
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_parser::pem::Pem;

const ID: usize = 6;
const SECRET: usize = 16;
const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A bootstrap token, `ID.SECRET`: 6 and 16 lower-case letters and digits.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// Names it, and is no secret.
    pub id: String,
    /// What only those know who were given the token.
    pub secret: String,
}

impl BootstrapToken {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generate() -> Result<BootstrapToken> {
        Ok(BootstrapToken { id: random(ID)?, secret: random(SECRET)? })
    }

    /// The name of the secret in `kube-system` that makes it one.
    pub fn secret_name(&self) -> String {
        format!("bootstrap-token-{}", self.id)
    }

    /// Vouches for a text: a JSON web signature (RFC 7515) without the content, by HMAC with SHA-256.
    pub fn sign(&self, content: &str) -> String {
        let (header, signed) = (self.header(), self.signed(content));
        format!("{header}..{}", BASE64.encode(hmac::sign(&self.key(), signed.as_bytes())))
    }

    /// Whether a signature is this token's, for a text.
    pub fn vouches(&self, content: &str, signature: &str) -> bool {
        let parts = signature.split_once("..").filter(|(header, _)| *header == self.header());
        let tag = parts.and_then(|(_, tag)| BASE64.decode(tag).ok());
        tag.is_some_and(|tag| hmac::verify(&self.key(), self.signed(content).as_bytes(), &tag).is_ok())
    }

    fn header(&self) -> String {
        BASE64.encode(format!(r#"{{"alg":"HS256","kid":"{}"}}"#, self.id))
    }

    fn signed(&self, content: &str) -> String {
        format!("{}.{}", self.header(), BASE64.encode(content))
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_bytes())
    }
}

impl FromStr for BootstrapToken {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<BootstrapToken> {
        let is_plain = |text: &str| text.bytes().all(|byte| LETTERS.contains(&byte));
        let parts = text.trim().split_once('.');
        let parts = parts.filter(|(id, secret)| id.len() == ID && secret.len() == SECRET);
        let (id, secret) = parts.filter(|(id, secret)| is_plain(id) && is_plain(secret)).ok_or_else(|| {
            anyhow!("a bootstrap token is 6 and 16 lower-case letters and digits with a dot between, as abcdef.0123456789abcdef")
        })?;
        Ok(BootstrapToken { id: id.to_owned(), secret: secret.to_owned() })
    }
}

impl fmt::Display for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.…", self.id)
    }
}

/// Letters and digits, each as likely as any other: a byte that would favour some is not used.
fn random(length: usize) -> Result<String> {
    /// The largest multiple of 36 that a byte can be below.
    const FAIR: u8 = 252;
    let mut text = String::new();
    while text.len() < length {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("the system has no random numbers"))?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR);
        text.extend(fair.map(|byte| char::from(LETTERS[usize::from(byte % 36)])));
    }
    text.truncate(length);
    Ok(text)
}

/// The digest of a certificate's public key, `sha256:HEX` (RFC 7469), by which who joins knows the authority.
///
/// # Errors
/// It is no certificate in PEM.
pub fn public_key_hash(certificate: &str) -> Result<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).context("the authority is not PEM")?;
    hash_of(&pem)
}

fn hash_of(pem: &Pem) -> Result<String> {
    let certificate = pem.parse_x509().context("the authority is not a certificate")?;
    let digest = digest(&SHA256, certificate.public_key().raw);
    Ok(format!("sha256:{}", digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

/// What of a bundle of authorities (PEM) is to be trusted: those whose keys have one of the digests, and nothing that only stands
/// beside them. Without digests it is all of them.
///
/// # Errors
/// Something in it is no certificate, or none has such a key.
pub fn pinned(bundle: &str, hashes: &[String]) -> Result<String> {
    let (mut kept, mut found) = (String::new(), Vec::new());
    for pem in Pem::iter_from_buffer(bundle.as_bytes()) {
        let pem = pem.context("the authority is not PEM")?;
        let hash = hash_of(&pem)?;
        if hashes.is_empty() || hashes.contains(&hash) {
            // Written anew, so that whoever reads it sees what was looked at here.
            let text = encode_string("CERTIFICATE", LineEnding::LF, &pem.contents);
            kept.push_str(&text.map_err(|error| anyhow!("the authority cannot be written as PEM: {error}"))?);
        }
        found.push(hash);
    }
    match (found.is_empty(), kept.is_empty()) {
        (true, _) => bail!("the authority is not PEM"),
        (false, true) => bail!(
            "the cluster's authority has the key {}, and not {}: this is another cluster, or somebody stands in for it. \
             Nothing was trusted",
            found.join(" and "),
            hashes.join(" or ")
        ),
        (false, false) => Ok(kept),
    }
}

/// Reads such a digest.
///
/// # Errors
/// It is none.
pub fn parse_hash(text: &str) -> Result<String> {
    let lower = text.trim().to_ascii_lowercase();
    let hex = lower.strip_prefix("sha256:").context("the digest of a public key begins with sha256:")?;
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("the digest of a public key is sha256: and 64 hexadecimal digits");
    }
    Ok(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    #[test]
    fn a_signature_is_that_of_upstream() {
        let token = BootstrapToken { id: "joshua".into(), secret: "my voice is my passcode".into() };
        // An answer that upstream's is known to give.
        let expected = "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..7Ui1ALizW4jXphVUB7xUqC9vLYLL9RZeOFfVLoB7Tgk";
        assert_eq!(token.sign(""), expected);
        assert!(token.vouches("", expected));
        assert!(!token.vouches("x", expected));
        let other = BootstrapToken { secret: "another".into(), ..token.clone() };
        assert!(!other.vouches("", expected));
        for wrong in ["", "..", "a..b", &expected[1..]] {
            assert!(!token.vouches("", wrong), "{wrong}");
        }
    }

    #[test]
    fn a_new_token_has_the_form_of_one_and_is_another_each_time() {
        let token = BootstrapToken::generate().unwrap();
        assert_eq!(token.to_string().parse::<BootstrapToken>().unwrap(), token);
        assert_ne!(BootstrapToken::generate().unwrap(), token);
        assert!(!format!("{token:?}").contains(&token.secret));
        for wrong in ["", "abcdef", "abcdef.0123456789abcde", "Abcdef.0123456789abcdef", "abcdef.0123456789abcde_"] {
            assert!(wrong.parse::<BootstrapToken>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_digest_of_an_authority_is_that_of_its_public_key() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();
        let hash = public_key_hash(&authority.certificate).unwrap();
        assert_eq!(parse_hash(&hash.to_ascii_uppercase().replace("SHA256", "sha256")).unwrap(), hash);
        assert_eq!(hash.len(), 71);
        assert!(public_key_hash("x").is_err());
        for wrong in ["", "sha256:", "sha256:zz", "sha1:00", &hash[..70]] {
            assert!(parse_hash(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_a_bundle_only_what_has_the_digest_is_trusted() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [own, other] = dirs.each_ref().map(|dir| Authority::open(dir.path()).unwrap().certificate.clone());
        let hashes = [public_key_hash(&own).unwrap()];
        let same = |a: &str, b: &str| public_key_hash(a).unwrap() == public_key_hash(b).unwrap();
        for bundle in [format!("{own}{other}"), format!("{other}{own}")] {
            let kept = pinned(&bundle, &hashes).unwrap();
            assert_eq!(kept.matches("BEGIN CERTIFICATE").count(), 1);
            assert!(same(&kept, &own));
            assert_eq!(pinned(&bundle, &[]).unwrap().matches("BEGIN CERTIFICATE").count(), 2);
        }
        let refused = pinned(&other, &hashes).unwrap_err().to_string();
        assert!(refused.contains("Nothing was trusted"), "{refused}");
        assert!(pinned("", &[]).is_err() && pinned(&own.replace("CERTIFICATE", "X").replace('M', "!"), &[]).is_err());
    }
}
