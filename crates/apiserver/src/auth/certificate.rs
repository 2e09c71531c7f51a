//! Users of client certificates: the common name is the user, organizations are groups.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::User;

/// The user a certificate (DER) names. TLS has verified its chain and dates before.
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>
pub fn user_of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    let mut user = User::new(name, &groups);
    let digest: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra.push((super::CREDENTIAL_ID.into(), vec![format!("X509SHA256={digest}")]));
    Some(user)
}

/// The user for whom a certificate is asked, by a request as it stands in an object: PEM within base64.
///
/// # Errors
/// What of it cannot be read.
pub fn request_subject(request: &str) -> Result<User, String> {
    let pem = STANDARD.decode(request).map_err(|error| error.to_string())?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem)
        .ok()
        .filter(|(_, pem)| pem.label == "CERTIFICATE REQUEST")
        .ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, request) =
        X509CertificationRequest::from_der(&pem.contents).map_err(|error| format!("asn1: syntax error: {error}"))?;
    let subject = &request.certification_request_info.subject;
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok().map(str::to_owned)).collect();
    Ok(User { name: name.into(), groups, ..User::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Authority;

    #[test]
    fn a_certificate_names_a_user_its_groups_and_itself() {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::open(dir.path()).expect("an authority");
        let pair = authority.client("admin", "kubernetes-admin", &["system:masters"]).expect("a certificate");
        let (_, pem) = x509_parser::pem::parse_x509_pem(pair.certificate.as_bytes()).expect("a certificate in PEM");
        let user = user_of_certificate(&pem.contents).expect("a user");
        assert_eq!(
            (user.name.as_str(), user.groups.join(",").as_str()),
            ("kubernetes-admin", "system:masters,system:authenticated")
        );
        let [(key, values)] = &user.extra[..] else { panic!("{:?}", user.extra) };
        assert_eq!((key.as_str(), values.len()), ("authentication.kubernetes.io/credential-id", 1));
        let digest = values[0].strip_prefix("X509SHA256=").expect("the kind of ID");
        assert!(digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{digest}");
        let other = authority.client("other", "kubernetes-admin", &["system:masters"]).expect("a certificate");
        let (_, pem) = x509_parser::pem::parse_x509_pem(other.certificate.as_bytes()).expect("a certificate in PEM");
        assert_ne!(user_of_certificate(&pem.contents).expect("a user").extra, user.extra);
    }
}
