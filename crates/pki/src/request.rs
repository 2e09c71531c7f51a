//! Requests for certificates: PKCS #10, RFC 2986.

use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, bail};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use x509_cert::attr::AttributeValue;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::request::CertReq;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Whom a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The subject's common name; empty without one.
    pub common_name: String,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// Alternative names of the subject.
    pub dns_names: Vec<String>,
    /// Its addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// Its mail addresses.
    pub email_addresses: Vec<String>,
    /// Its URIs.
    pub uris: Vec<String>,
}

/// A request for a certificate. Its signature is checked only by who signs it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Whom it is for.
    pub identity: Identity,
    pub(crate) subject: Name,
    /// All of the alternative names that certificates get.
    pub(crate) names: Vec<GeneralName>,
    key: Option<SubjectPublicKeyInfoOwned>,
    der: Vec<u8>,
}

impl Request {
    /// Reads a request in PEM. A subject with several common names, or with one that is no text, is refused: readers of the
    /// certificate might take different ones for the user.
    ///
    /// # Errors
    /// It is none, in the words of upstream where it has some.
    pub fn parse(pem: &[u8]) -> Result<Request> {
        let pem = x509_parser::pem::parse_x509_pem(pem).ok().filter(|(_, pem)| pem.label == "CERTIFICATE REQUEST");
        let der = pem.ok_or_else(|| anyhow!("PEM block type must be CERTIFICATE REQUEST"))?.1.contents;
        let parsed = CertReq::from_der(&der).map_err(|error| anyhow!("asn1: syntax error: {error}"))?;
        let mut request = Request { subject: parsed.info.subject, ..Request::default() };
        request.read_subject()?;
        for attribute in parsed.info.attributes.iter().filter(|attribute| attribute.oid == EXTENSION_REQUEST) {
            for value in attribute.values.iter() {
                let extensions: Vec<Extension> = value.decode_as().context("the requested extensions are malformed")?;
                request.read_names(&extensions)?;
            }
        }
        Ok(Request { key: Some(parsed.info.public_key), der, ..request })
    }

    fn read_subject(&mut self) -> Result<()> {
        let mut names = 0_usize;
        for attribute in self.subject.0.iter().flat_map(|part| part.0.iter()) {
            if attribute.oid == COMMON_NAME {
                names = names.saturating_add(1);
                self.identity.common_name = text(&attribute.value).context("the common name is no text")?;
            } else if attribute.oid == ORGANIZATION {
                self.identity.organizations.push(text(&attribute.value).context("an organization is no text")?);
            }
        }
        if names > 1 {
            bail!("the subject has several common names");
        }
        Ok(())
    }

    fn read_names(&mut self, extensions: &[Extension]) -> Result<()> {
        for extension in extensions.iter().filter(|extension| extension.extn_id == SUBJECT_ALT_NAME) {
            let names = SubjectAltName::from_der(extension.extn_value.as_bytes())
                .context("the subject alternative names are malformed")?;
            for name in names.0 {
                match &name {
                    GeneralName::DnsName(name) => self.identity.dns_names.push(name.to_string()),
                    GeneralName::Rfc822Name(name) => self.identity.email_addresses.push(name.to_string()),
                    GeneralName::UniformResourceIdentifier(uri) => self.identity.uris.push(uri.to_string()),
                    GeneralName::IpAddress(bytes) => {
                        let bytes = bytes.as_bytes();
                        let address = <[u8; 4]>::try_from(bytes)
                            .map(IpAddr::from)
                            .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
                        self.identity.ip_addresses.push(address.context("an address has neither 4 nor 16 bytes")?);
                    }
                    // Nobody asks for others, and no certificate gets them.
                    _ => continue,
                }
                self.names.push(name);
            }
        }
        Ok(())
    }

    /// The public key that is to be certified, of which the requester has shown to have the private one.
    ///
    /// # Errors
    /// The request is not signed with it.
    pub(crate) fn proven_key(&self) -> Result<SubjectPublicKeyInfoOwned> {
        let (_, request) = X509CertificationRequest::from_der(&self.der).context("the request is malformed")?;
        request.verify_signature().context("unable to verify certificate request signature")?;
        self.key.clone().context("the request has no key")
    }
}

/// The text of a part of a name.
fn text(value: &AttributeValue) -> Result<String> {
    Ok(match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>()?.to_string(),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>()?.to_string(),
        Tag::Ia5String => value.decode_as::<Ia5StringRef<'_>>()?.to_string(),
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>()?.to_string(),
        other => bail!("its type is {other}"),
    })
}

/// A request of one's own, with the key that is made for it.
pub struct NewRequest {
    /// The request, PEM.
    pub request: String,
    /// The private key, PKCS#8 in PEM.
    pub key: String,
}

impl NewRequest {
    /// Makes a key and asks to certify it for a user in a group, with names and addresses.
    ///
    /// # Errors
    /// A name is none of DNS, or there is no randomness.
    pub fn new(common_name: &str, organization: &str, names: &[String], addresses: &[IpAddr]) -> Result<NewRequest> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.distinguished_name.push(DnType::CommonName, common_name);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        Ok(NewRequest { request: params.serialize_request(&key)?.pem()?, key: key.serialize_pem() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read() {
        let names = ["n".to_owned()];
        let addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let new = NewRequest::new("system:node:n", "system:nodes", &names, &addresses).unwrap();
        let request = Request::parse(new.request.as_bytes()).unwrap();
        assert_eq!(
            (request.identity.common_name.as_str(), &request.identity.organizations[..]),
            ("system:node:n", &["system:nodes".to_owned()][..])
        );
        assert_eq!((&request.identity.dns_names[..], &request.identity.ip_addresses[..]), (&names[..], &addresses[..]));
        request.proven_key().unwrap();
    }

    #[test]
    fn a_request_that_somebody_changed_proves_no_key() {
        let new = NewRequest::new("a", "g", &[], &[]).unwrap();
        let mut request = Request::parse(new.request.as_bytes()).unwrap();
        let at = request.der.windows(3).position(|bytes| bytes == [0x0c, 1, b'a']).unwrap();
        request.der[at + 2] = b'b';
        assert!(request.proven_key().is_err());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = Request::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), "PEM block type must be CERTIFICATE REQUEST");
        }
        let cut = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n";
        assert!(Request::parse(cut.as_bytes()).unwrap_err().to_string().starts_with("asn1: "));
    }
}
