//! Making a certificate: RFC 5280.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rcgen::{KeyPair, SigningKey};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, BitString, GeneralizedTime, Ia5String, ObjectIdentifier, OctetString, SetOfVec};
use x509_cert::der::asn1::{UtcTime, Utf8StringRef};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{AnyRef, Decode, DecodePem, Encode, EncodePem};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::ext::{AsExtension, Extension};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, TbsCertificate, Version};

use crate::usages;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// Who signs.
pub(crate) struct Issuer {
    certificate: Certificate,
    key: KeyPair,
    algorithm: AlgorithmIdentifierOwned,
}

/// What is certified.
pub(crate) struct Template<'a, S> {
    pub subject: Name,
    pub key: SubjectPublicKeyInfoOwned,
    pub names: Vec<GeneralName>,
    pub usages: &'a [S],
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Issuer {
    /// # Errors
    /// The certificate is none, or the key is of a kind that cannot sign.
    pub fn new(certificate: &str, key: KeyPair) -> Result<Issuer> {
        let certificate = Certificate::from_pem(certificate)?;
        let algorithm = algorithm(&key)?;
        Ok(Issuer { certificate, key, algorithm })
    }

    /// Until when it may sign.
    pub fn ends(&self) -> SystemTime {
        let since = self.certificate.tbs_certificate.validity.not_after.to_unix_duration();
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }

    /// Makes a certificate, in PEM.
    ///
    /// # Errors
    /// A usage is unknown.
    pub fn issue<S: AsRef<str>>(&self, template: Template<'_, S>) -> Result<String> {
        let extensions = self.extensions(&template)?;
        let certificate = TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::new(&uuid::Uuid::new_v4().as_bytes()[1..])?,
            signature: self.algorithm.clone(),
            issuer: self.certificate.tbs_certificate.subject.clone(),
            validity: Validity { not_before: time(template.not_before)?, not_after: time(template.not_after)? },
            subject: template.subject,
            subject_public_key_info: template.key,
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions),
        };
        let signature = self.key.sign(&certificate.to_der()?).context("failed to sign")?;
        let certificate = Certificate {
            tbs_certificate: certificate,
            signature_algorithm: self.algorithm.clone(),
            signature: BitString::from_bytes(&signature)?,
        };
        Ok(certificate.to_pem(LineEnding::LF)?)
    }

    fn extensions<S: AsRef<str>>(&self, template: &Template<'_, S>) -> Result<Vec<Extension>> {
        let subject = &template.subject;
        let mut out = Vec::new();
        let (key, extended) = usages::extensions(template.usages)?;
        if let Some(key) = key {
            out.push(key.to_extension(subject, &out)?);
        }
        if let Some(extended) = extended {
            out.push(extended.to_extension(subject, &out)?);
        }
        out.push(BasicConstraints { ca: false, path_len_constraint: None }.to_extension(subject, &out)?);
        if let Some((_, SubjectKeyIdentifier(own))) = self.certificate.tbs_certificate.get::<SubjectKeyIdentifier>()? {
            let issuer = AuthorityKeyIdentifier { key_identifier: Some(own), ..AuthorityKeyIdentifier::default() };
            out.push(issuer.to_extension(subject, &out)?);
        }
        if !template.names.is_empty() {
            out.push(SubjectAltName(template.names.clone()).to_extension(subject, &out)?);
        }
        Ok(out)
    }
}

/// How a key signs.
fn algorithm(key: &KeyPair) -> Result<AlgorithmIdentifierOwned> {
    let (oid, parameters) = if key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
        ("1.2.840.10045.4.3.2", None)
    } else if key.is_compatible(&rcgen::PKCS_ECDSA_P384_SHA384) {
        ("1.2.840.10045.4.3.3", None)
    } else if key.is_compatible(&rcgen::PKCS_ED25519) {
        ("1.3.101.112", None)
    } else if key.is_compatible(&rcgen::PKCS_RSA_SHA256) {
        ("1.2.840.113549.1.1.11", Some(Any::from(AnyRef::NULL)))
    } else {
        bail!("keys of this kind do not sign certificates: take one of P-256, P-384, Ed25519 or RSA")
    };
    Ok(AlgorithmIdentifierOwned { oid: ObjectIdentifier::new(oid)?, parameters })
}

/// The name of a user in groups.
pub(crate) fn subject(common_name: &str, organizations: &[&str]) -> Result<Name> {
    let groups = organizations.iter().map(|group| (ORGANIZATION, *group));
    let parts = groups.chain([(COMMON_NAME, common_name)]).map(|(oid, text)| {
        let value = Any::encode_from(&Utf8StringRef::new(text)?)?;
        Ok(RelativeDistinguishedName(SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }])?))
    });
    Ok(RdnSequence(parts.collect::<Result<_>>()?))
}

/// Names and addresses as certificates have them.
pub(crate) fn alternative_names(names: &[String], addresses: &[IpAddr]) -> Result<Vec<GeneralName>> {
    let names = names.iter().map(|name| Ok(GeneralName::DnsName(Ia5String::new(name)?)));
    let addresses = addresses.iter().map(|address| {
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        Ok(GeneralName::IpAddress(OctetString::new(bytes)?))
    });
    names.chain(addresses).collect()
}

/// The public half of a key.
pub(crate) fn public_key(key: &KeyPair) -> Result<SubjectPublicKeyInfoOwned> {
    use rcgen::PublicKeyData;
    Ok(SubjectPublicKeyInfoOwned::from_der(&key.subject_public_key_info())?)
}

/// A time to the second; two forms exist, of which the short one ends with 2049.
fn time(time: SystemTime) -> Result<Time> {
    let since = Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    Ok(match UtcTime::from_unix_duration(since) {
        Ok(time) => Time::UtcTime(time),
        Err(_) => Time::GeneralTime(GeneralizedTime::from_unix_duration(since)?),
    })
}
