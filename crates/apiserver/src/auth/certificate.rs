//! Users of client certificates: the common name is the user, organizations are groups.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::User;

/// The user a certificate (DER) names. TLS has verified its chain and dates before.
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>
pub fn user_of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    Some(User::new(name, &groups))
}
