//! Names of repositories and tags, and digests.

use std::fmt;
use std::str::FromStr;

use sha2::Digest as _;

/// The longest name of a repository.
const LONGEST: usize = 255;

/// The digest of a blob: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest::finish(sha2::Sha256::new_with_prefix(bytes))
    }

    /// Of what was hashed.
    pub(crate) fn finish(hash: sha2::Sha256) -> Digest {
        Digest(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Its digits.
    pub fn hex(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_hex(hex: &str) -> Option<Digest> {
        let good = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        good.then(|| Digest(hex.to_owned()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Digest, ()> {
        text.strip_prefix("sha256:").and_then(Digest::from_hex).ok_or(())
    }
}

/// Whether a repository may be called so: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
pub fn is_repository(name: &str) -> bool {
    name.len() <= LONGEST && name.split('/').all(is_component)
}

fn is_component(part: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let edges = bytes.first().is_some_and(is_word) && bytes.last().is_some_and(is_word);
    let separators = part.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let is_separator =
        |between: &str| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-');
    edges && separators.into_iter().all(is_separator)
}

/// Whether a tag may be called so: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub fn is_tag(tag: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = tag.as_bytes();
    let rest = bytes.iter().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    bytes.len() <= 128 && bytes.first().is_some_and(is_word) && rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        for good in ["a", "a/b", "a.b_c__d-e--f/0", "library/nginx"] {
            assert!(is_repository(good), "{good}");
        }
        let long = "a".repeat(256);
        for bad in ["", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", ".a", "a-", "a/../b", "a+b", "a b", &long] {
            assert!(!is_repository(bad), "{bad}");
        }
        let long = "a".repeat(129);
        for good in ["latest", "1.0-rc_1", "_x", "A"] {
            assert!(is_tag(good), "{good}");
        }
        for bad in ["", ".", "..", ".a", "-a", "a/b", "a:b", &long] {
            assert!(!is_tag(bad), "{bad}");
        }
    }

    #[test]
    fn only_digests_of_sha256_are_digests() {
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(digest.to_string().parse(), Ok(digest.clone()));
        for bad in ["", "sha256:", "sha256:../../x", "sha512:00", &digest.to_string().to_uppercase(), digest.hex()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
