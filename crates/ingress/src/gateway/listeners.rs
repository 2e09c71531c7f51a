//! The listeners of a Gateway: which can be served, and what is told of each.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use coracle_client::ObjectKey;
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

use super::Means;
use super::grants::permits;
use super::status::Condition;
use super::types::{GROUP, Gateway, Listener, ObjectRef};
use crate::entrance::Door;
use crate::ingress::certificate;
use crate::secrets::Known;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP.
    Http,
    /// HTTP over TLS that ends here.
    Https,
    /// TLS that ends at backends.
    Tls,
}

/// A listener, and what became of it.
pub struct Heard {
    /// What its object says.
    pub listener: Listener,
    /// What it speaks; `None` if that is nothing that there is here.
    pub protocol: Option<Protocol>,
    /// The kinds of routes that it takes.
    pub kinds: Vec<&'static str>,
    /// Its certificate.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// Why it is not accepted.
    pub refused: Option<(&'static str, String)>,
    /// Why references of it lead nowhere.
    pub unresolved: Option<(&'static str, String)>,
    /// It asks for the same as another one.
    pub conflict: Option<(&'static str, String)>,
    /// How many routes it has.
    pub routes: usize,
}

impl Heard {
    /// Whether connections are served.
    pub fn is_served(&self) -> bool {
        self.has_port() && (self.protocol != Some(Protocol::Https) || self.certificate.is_some())
    }

    /// Whether its certificate is not known yet.
    pub fn waits(&self) -> bool {
        self.refused.is_none()
            && self.conflict.is_none()
            && self.unresolved.is_none()
            && self.protocol == Some(Protocol::Https)
            && self.certificate.is_none()
    }

    /// Whether all is well.
    pub fn is_well(&self) -> bool {
        self.is_served() && self.unresolved.is_none()
    }

    /// Whether it is accepted, so that it has its port, whether or not its references lead anywhere at the moment.
    pub fn has_port(&self) -> bool {
        self.refused.is_none() && self.conflict.is_none() && self.protocol.is_some()
    }

    /// What its status says, and whether anything is served of its Gateway.
    pub fn status(&self, of_served: bool) -> (Value, Vec<Condition>) {
        let kinds: Vec<Value> = self.kinds.iter().map(|kind| json!({"group": GROUP, "kind": kind})).collect();
        let told = json!({"name": self.listener.name, "supportedKinds": kinds, "attachedRoutes": self.routes});
        let condition = |kind, fault: Option<&(&'static str, String)>, good: &'static str| match fault {
            Some((reason, message)) => Condition::new(kind, false, reason, message),
            None => Condition::new(kind, true, good, ""),
        };
        let accepted = self.refused.as_ref().or(self.conflict.as_ref());
        let conflicted = match &self.conflict {
            Some((reason, message)) => Condition::new("Conflicted", true, reason, message),
            None => Condition::new("Conflicted", false, "NoConflicts", ""),
        };
        let programmed = match self.is_well() && of_served {
            true => Condition::new("Programmed", true, "Programmed", ""),
            false => Condition::new("Programmed", false, "Invalid", "the listener is not served as it asks for"),
        };
        let conditions = vec![
            condition("Accepted", accepted, "Accepted"),
            condition("ResolvedRefs", self.unresolved.as_ref(), "ResolvedRefs"),
            conflicted,
            programmed,
        ];
        (told, conditions)
    }
}

/// Looks at the listeners of a Gateway. The secrets that they name are added to those that are followed.
pub fn look(gateway: &Gateway, means: &Means<'_>, secrets: &mut BTreeSet<ObjectKey>) -> Vec<Heard> {
    let key = ObjectKey::of(gateway);
    let mut heard: Vec<Heard> =
        gateway.spec.listeners.iter().map(|listener| one(&key, listener, means, secrets)).collect();
    // Who asks for certificates of clients is not served without them.
    for one in heard.iter_mut().filter(|one| one.protocol == Some(Protocol::Https)) {
        let own = one.listener.tls.as_ref().is_some_and(|tls| tls.frontend_validation.is_some());
        if own || gateway.spec.tls.frontend.verifies(one.listener.port) {
            one.refused = Some(("UnsupportedValue", "certificates of clients are not supported".to_owned()));
        }
    }
    conflicts(&mut heard);
    heard
}

fn one(gateway: &ObjectKey, listener: &Listener, means: &Means<'_>, secrets: &mut BTreeSet<ObjectKey>) -> Heard {
    let passes = listener.tls.as_ref().and_then(|tls| tls.mode.as_deref()) == Some("Passthrough");
    let (protocol, refused) = match listener.protocol.as_str() {
        "HTTP" => (Some(Protocol::Http), None),
        "HTTPS" if !passes => (Some(Protocol::Https), None),
        "TLS" if passes => (Some(Protocol::Tls), None),
        "HTTPS" => (None, Some(("UnsupportedValue", "HTTPS ends here: the mode is Terminate".to_owned()))),
        "TLS" => (None, Some(("UnsupportedValue", "of TLS, the mode Passthrough alone is supported".to_owned()))),
        other => (None, Some(("UnsupportedProtocol", format!("the protocol {other} is not supported")))),
    };
    let known: &[&'static str] = match protocol {
        Some(Protocol::Http | Protocol::Https) => &["HTTPRoute", "GRPCRoute"],
        Some(Protocol::Tls) => &["TLSRoute"],
        None => &[],
    };
    let asked = &listener.allowed_routes.kinds;
    let is_asked = |kind: &&str| {
        asked.iter().any(|own| own.kind == *kind && own.group.as_deref().is_none_or(|group| group == GROUP))
    };
    let kinds: Vec<&'static str> = known.iter().copied().filter(|kind| asked.is_empty() || is_asked(kind)).collect();
    let wrong = asked
        .iter()
        .find(|own| own.group.as_deref().is_some_and(|group| group != GROUP) || !known.contains(&own.kind.as_str()));
    let mut unresolved = wrong
        .filter(|_| protocol.is_some())
        .map(|kind| ("InvalidRouteKinds", format!("a listener of this protocol has no routes of kind {}", kind.kind)));
    let mut certificate = None;
    if protocol == Some(Protocol::Https) {
        let refs = listener.tls.iter().flat_map(|tls| &tls.certificate_refs);
        let mut found = refs.map(|reference| certified(&gateway.namespace, reference, means, secrets));
        match found.next() {
            Some(Ok(first)) => certificate = first,
            Some(Err(why)) => unresolved = unresolved.or(Some(why)),
            None => unresolved = unresolved.or(Some(("InvalidCertificateRef", "there is no certificate".into()))),
        }
        // Those behind the first one must be there as well, though it is the one that is shown.
        if let Some(Err(why)) = found.find(Result::is_err) {
            unresolved = unresolved.or(Some(why));
        }
        if certificate.is_none() && unresolved.is_none() {
            let host = listener.hostname.as_deref().unwrap_or_default();
            certificate = (means.shown)(&Door::Gateway(gateway.clone(), listener.port), host);
        }
    }
    let listener = listener.clone();
    Heard { listener, protocol, kinds, certificate, refused, unresolved, conflict: None, routes: 0 }
}

type Certified = Result<Option<Arc<CertifiedKey>>, (&'static str, String)>;

fn certified(
    namespace: &str,
    reference: &ObjectRef,
    means: &Means<'_>,
    secrets: &mut BTreeSet<ObjectKey>,
) -> Certified {
    let (group, kind) = (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Secret"));
    if !group.is_empty() || kind != "Secret" {
        return Err(("InvalidCertificateRef", format!("{kind} {} is no secret", reference.name)));
    }
    let key = ObjectKey::new(reference.namespace.as_deref().unwrap_or(namespace), reference.name.clone());
    if key.namespace != namespace && !permits(means.grants, (GROUP, "Gateway", namespace), ("", "Secret", &key)) {
        return Err(("RefNotPermitted", format!("no ReferenceGrant allows to refer to secret {key}")));
    }
    secrets.insert(key.clone());
    match (means.secrets)(&key) {
        Known::Here(secret) => certificate(&secret)
            .map(Some)
            .map_err(|error| ("InvalidCertificateRef", format!("secret {key}: {error:#}"))),
        Known::Missing => Err(("InvalidCertificateRef", format!("secret {key} is not there"))),
        Known::Unknown => Ok(None),
    }
}

/// Of listeners of one port, all must speak the same and no two be for the same host.
fn conflicts(heard: &mut [Heard]) {
    let mut protocols: HashMap<u16, BTreeSet<&'static str>> = HashMap::new();
    let mut hosts: HashMap<(u16, String), usize> = HashMap::new();
    for one in heard.iter() {
        let name = match one.protocol {
            Some(Protocol::Http) => "HTTP",
            Some(Protocol::Https) => "HTTPS",
            Some(Protocol::Tls) => "TLS",
            None => continue,
        };
        protocols.entry(one.listener.port).or_default().insert(name);
        let host = one.listener.hostname.clone().unwrap_or_default().to_ascii_lowercase();
        *hosts.entry((one.listener.port, host)).or_default() += 1;
    }
    for one in heard.iter_mut().filter(|one| one.protocol.is_some()) {
        let port = one.listener.port;
        let host = one.listener.hostname.clone().unwrap_or_default().to_ascii_lowercase();
        if protocols.get(&port).is_some_and(|all| all.len() > 1) {
            one.conflict = Some(("ProtocolConflict", format!("listeners of port {port} speak different protocols")));
        } else if hosts.get(&(port, host)).is_some_and(|count| *count > 1) {
            one.conflict = Some(("HostnameConflict", format!("listeners of port {port} are for the same host")));
        }
    }
}
