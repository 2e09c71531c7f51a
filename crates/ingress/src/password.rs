//! Passwords as `htpasswd` writes them down.

use std::fmt::Write as _;

/// The bytes of a text in base64; `None` if it is none, or very long.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    (text.len() <= 4096).then(|| base64::engine::general_purpose::STANDARD.decode(text).ok()).flatten()
}

/// Whether a password is that of a hash: `$apr1$` or `{SHA}`. Others fit none: bcrypt takes so long on purpose that
/// who asks often would hold up everybody.
pub fn fits(hash: &str, password: &str) -> bool {
    // Longer ones cost more than they protect.
    if password.len() > 256 {
        return false;
    }
    let computed = if let Some(rest) = hash.strip_prefix("$apr1$") {
        rest.split_once('$').map(|(salt, _)| apr1(password.as_bytes(), salt.as_bytes()))
    } else if let Some(given) = hash.strip_prefix("{SHA}") {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        return base64(given).is_some_and(|given| same(&given, digest.as_ref()));
    } else {
        None
    };
    computed.is_some_and(|computed| same(computed.as_bytes(), hash.as_bytes()))
}

/// Without telling by its time where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Apache's variant of the MD5 password hash.
/// <https://httpd.apache.org/docs/2.4/misc/password_encryptions.html>
fn apr1(password: &[u8], salt: &[u8]) -> String {
    let salt = &salt[..salt.len().min(8)];
    let inner = md5::compute([password, salt, password].concat()).0;
    let mut text = [password, b"$apr1$", salt].concat();
    text.extend(inner.iter().cycle().take(password.len()));
    let mut length = password.len();
    while length > 0 {
        text.push(if length & 1 == 1 { 0 } else { password[0] });
        length >>= 1;
    }
    let mut digest = md5::compute(text).0;
    for round in 0..1000 {
        let mut text = Vec::with_capacity(64);
        text.extend_from_slice(if round & 1 == 1 { password } else { &digest });
        if round % 3 != 0 {
            text.extend_from_slice(salt);
        }
        if round % 7 != 0 {
            text.extend_from_slice(password);
        }
        text.extend_from_slice(if round & 1 == 1 { &digest } else { password });
        digest = md5::compute(text).0;
    }
    let mut out = format!("$apr1${}$", String::from_utf8_lossy(salt));
    let groups = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    for [a, b, c] in groups {
        let value = u32::from(digest[a]) << 16 | u32::from(digest[b]) << 8 | u32::from(digest[c]);
        letters(&mut out, value, 4);
    }
    letters(&mut out, u32::from(digest[11]), 2);
    out
}

fn letters(out: &mut String, mut value: u32, count: usize) {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..count {
        let _ = write!(out, "{}", ALPHABET[(value & 63) as usize] as char);
        value >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_fit_what_htpasswd_and_openssl_wrote() {
        // openssl passwd -apr1 -salt r31..... myPassword, of Apache's documentation.
        let apache = "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/";
        assert!(fits(apache, "myPassword") && !fits(apache, "mypassword"));
        let sha = "{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=";
        assert!(fits(sha, "myPassword") && !fits(sha, ""));
        assert!(!fits("plain", "plain") && !fits("", ""));
    }
}
