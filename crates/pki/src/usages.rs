//! What a certificate may be used for, by Kubernetes' names.
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/certificate-signing-request-v1/>

use anyhow::{Result, bail};
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage, KeyUsages};

use Usage::{Extended, Key};

/// What a name means: a bit of the key's usage, or a purpose.
#[derive(Clone, Copy)]
enum Usage {
    Key(KeyUsages),
    Extended(&'static str),
}

/// The extended usages stand in the order in which they come into certificates.
const USAGES: [(&str, Usage); 23] = [
    ("signing", Key(KeyUsages::DigitalSignature)),
    ("digital signature", Key(KeyUsages::DigitalSignature)),
    ("content commitment", Key(KeyUsages::NonRepudiation)),
    ("key encipherment", Key(KeyUsages::KeyEncipherment)),
    ("key agreement", Key(KeyUsages::KeyAgreement)),
    ("data encipherment", Key(KeyUsages::DataEncipherment)),
    ("cert sign", Key(KeyUsages::KeyCertSign)),
    ("crl sign", Key(KeyUsages::CRLSign)),
    ("encipher only", Key(KeyUsages::EncipherOnly)),
    ("decipher only", Key(KeyUsages::DecipherOnly)),
    ("any", Extended("2.5.29.37.0")),
    ("server auth", Extended("1.3.6.1.5.5.7.3.1")),
    ("client auth", Extended("1.3.6.1.5.5.7.3.2")),
    ("code signing", Extended("1.3.6.1.5.5.7.3.3")),
    ("email protection", Extended("1.3.6.1.5.5.7.3.4")),
    ("s/mime", Extended("1.3.6.1.5.5.7.3.4")),
    ("ipsec end system", Extended("1.3.6.1.5.5.7.3.5")),
    ("ipsec tunnel", Extended("1.3.6.1.5.5.7.3.6")),
    ("ipsec user", Extended("1.3.6.1.5.5.7.3.7")),
    ("timestamping", Extended("1.3.6.1.5.5.7.3.8")),
    ("ocsp signing", Extended("1.3.6.1.5.5.7.3.9")),
    ("microsoft sgc", Extended("1.3.6.1.4.1.311.10.3.3")),
    ("netscape sgc", Extended("2.16.840.1.113730.4.1")),
];

/// The extensions that say so; those that would be empty are left out.
///
/// # Errors
/// A name is unknown.
pub(crate) fn extensions<S: AsRef<str>>(usages: &[S]) -> Result<(Option<KeyUsage>, Option<ExtendedKeyUsage>)> {
    let unknown: Vec<&str> = usages.iter().map(AsRef::as_ref).filter(|name| of(name).is_none()).collect();
    if !unknown.is_empty() {
        bail!("unrecognized usage values: {unknown:?}");
    }
    let (mut key, mut extended) = (FlagSet::default(), Vec::new());
    for (name, usage) in USAGES {
        if !usages.iter().any(|wanted| wanted.as_ref() == name) {
            continue;
        }
        match usage {
            Key(bit) => key |= bit,
            Extended(oid) => {
                let oid = ObjectIdentifier::new(oid)?;
                if !extended.contains(&oid) {
                    extended.push(oid);
                }
            }
        }
    }
    Ok(((!key.is_empty()).then_some(KeyUsage(key)), (!extended.is_empty()).then_some(ExtendedKeyUsage(extended))))
}

fn of(name: &str) -> Option<Usage> {
    USAGES.iter().find(|(own, _)| *own == name).map(|(_, usage)| *usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits_and_purposes() {
        let (key, extended) = extensions(&["s/mime", "client auth", "email protection", "digital signature"]).unwrap();
        assert_eq!(key.unwrap().0, FlagSet::from(KeyUsages::DigitalSignature));
        let oids: Vec<String> = extended.unwrap().0.iter().map(ToString::to_string).collect();
        assert_eq!(oids, ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.4"]);
        assert_eq!(extensions(&["any"]).unwrap().0, None);
        assert_eq!(
            extensions(&["a", "any", "b"]).unwrap_err().to_string(),
            "unrecognized usage values: [\"a\", \"b\"]"
        );
    }
}
