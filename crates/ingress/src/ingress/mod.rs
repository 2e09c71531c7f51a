//! Ingresses as routes.
//! <https://kubernetes.io/docs/concepts/services-networking/ingress/>

mod annotations;
pub mod class;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use coracle_client::ObjectKey;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressRule};
use kube::ResourceExt;
use rustls::sign::CertifiedKey;

use self::annotations::Annotations;
use crate::backend::{Backend, Backends, Fault, Port, Reference};
use crate::entrance::{Door, Entrance, Speaks};
use crate::proxy::certified;
use crate::route::action::{Action, BasicAuth, Policy, Rewrite, Target, ToHttps, Weighted};
use crate::route::{Builder, Hosts, Match, PATH_OF_RULE, PathMatch, Route, Wildcard, bounded_regex};
use crate::secrets::Known;

/// How many paths one Ingress may have, and how many of them may be expressions.
const PATHS: usize = 2000;
const EXPRESSIONS: usize = 200;

/// What becomes of Ingresses.
pub struct Built {
    /// What is behind the doors for HTTP and HTTPS.
    pub entrances: [(Door, Arc<Entrance>); 2],
    /// What is wrong with which of them.
    pub faults: Vec<(Arc<Ingress>, String)>,
    /// The secrets that they name.
    pub secrets: BTreeSet<ObjectKey>,
}

/// What routes are made with.
pub struct Means<'a> {
    /// The services to which they lead.
    pub backends: &'a Backends,
    /// What secrets hold.
    pub secrets: &'a dyn Fn(&ObjectKey) -> Known,
    /// The certificate that is shown for a name behind a door now.
    pub shown: &'a dyn Fn(&Door, &str) -> Option<Arc<CertifiedKey>>,
    /// The certificate of hosts that have none.
    pub fallback: Arc<CertifiedKey>,
}

/// Makes routes of Ingresses, all of which are ours.
pub fn build(mut ingresses: Vec<Arc<Ingress>>, means: &Means<'_>) -> Built {
    // Of two that ask for the same, the older one has it.
    ingresses.sort_by_cached_key(|ingress| {
        let created = ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created, ingress.namespace(), ingress.name_any())
    });
    let mut making = Making {
        means,
        certificates: Hosts::new(Wildcard::OneLabel),
        routes: Builder::new(Wildcard::OneLabel),
        with_certificate: Hosts::new(Wildcard::OneLabel),
        owners: HashMap::new(),
        faults: Vec::new(),
        secrets: BTreeSet::new(),
    };
    let mut all = Vec::new();
    for ingress in ingresses {
        let (namespace, uid) = (ingress.namespace().unwrap_or_default(), ingress.uid().unwrap_or_default());
        let read = annotations::read(&namespace, &uid, ingress.annotations());
        making.faults.extend(read.faults.iter().map(|fault| (ingress.clone(), fault.clone())));
        if !read.is_canary {
            making.hosts_of(&ingress);
            all.push((ingress, read));
        }
    }
    let with_tls: Vec<_> = all.iter().map(|(ingress, _)| making.certificates_of(ingress)).collect();
    let with_certificate = Arc::new(std::mem::replace(&mut making.with_certificate, Hosts::new(Wildcard::OneLabel)));
    for ((ingress, read), with_tls) in all.iter().zip(&with_tls) {
        let mut policy = read.policy.clone();
        if read.ssl_redirect && matches!(policy.to_https, ToHttps::Never) {
            policy.to_https = ToHttps::Named([with_tls.clone(), with_certificate.clone()]);
        }
        let auth = read.auth.as_ref().map(|auth| making.users(ingress, auth));
        let is_waiting = matches!(auth, Some(None));
        policy.basic_auth = auth.flatten();
        making.routes_of(&Source { ingress, read, policy, is_waiting });
    }
    let Making { mut certificates, routes, faults, secrets, .. } = making;
    certificates.entry("", || means.fallback.clone());
    let routes = Arc::new(routes.build());
    let listeners = || {
        let mut listeners = Hosts::new(Wildcard::OneLabel);
        listeners.entry("", || routes.clone());
        listeners
    };
    let entrances = [
        (Door::Ingress { tls: false }, Entrance { speaks: Speaks::Http, listeners: listeners() }),
        (Door::Ingress { tls: true }, Entrance { speaks: Speaks::Https(certificates), listeners: listeners() }),
    ];
    Built { entrances: entrances.map(|(door, entrance)| (door, Arc::new(entrance))), faults, secrets }
}

struct Making<'a> {
    means: &'a Means<'a>,
    certificates: Hosts<Arc<CertifiedKey>>,
    routes: Builder,
    /// Hosts that have a certificate.
    with_certificate: Hosts<()>,
    /// The namespaces that have hosts: those of which an Ingress named them first.
    owners: HashMap<String, String>,
    faults: Vec<(Arc<Ingress>, String)>,
    secrets: BTreeSet<ObjectKey>,
}

/// What the routes of an Ingress are made of.
struct Source<'a> {
    ingress: &'a Arc<Ingress>,
    read: &'a Annotations,
    policy: Policy,
    /// It is not known yet who may come in.
    is_waiting: bool,
}

impl Making<'_> {
    fn hosts_of(&mut self, ingress: &Ingress) {
        let namespace = ingress.namespace().unwrap_or_default();
        for host in hosts_of_rules(ingress) {
            let owner = self.owners.entry(host.clone()).or_insert_with(|| namespace.clone());
            self.routes.own(&host, owner);
        }
    }

    /// Whether a namespace may say something of a host: it has it, or nobody does.
    fn owns(&self, namespace: &str, host: &str) -> bool {
        self.owners.get(&host.to_ascii_lowercase()).is_none_or(|owner| owner == namespace)
    }

    /// The hosts of an Ingress among these, and those of its own rules that a star among these covers.
    fn covered(&self, namespace: &str, of_rules: &[String], named: &[String]) -> BTreeSet<String> {
        let named: Vec<String> = named.iter().map(|host| host.to_ascii_lowercase()).collect();
        let pairs = named.iter().flat_map(|named| of_rules.iter().map(move |rule| (named, rule)));
        let both = pairs.filter_map(|(named, rule)| match (named == rule, covers(named, rule), covers(rule, named)) {
            (true, ..) | (_, true, _) => Some(rule.clone()),
            (.., true) => Some(named.clone()),
            _ => None,
        });
        both.filter(|host| self.owns(namespace, host)).collect()
    }

    /// Answers which hosts are to have TLS, also where the certificate is not there.
    fn certificates_of(&mut self, ingress: &Arc<Ingress>) -> Arc<Hosts<()>> {
        let namespace = ingress.namespace().unwrap_or_default();
        let spec = ingress.spec.clone().unwrap_or_default();
        let mut own = Hosts::new(Wildcard::OneLabel);
        let of_rules: Vec<String> = hosts_of_rules(ingress).collect();
        for tls in spec.tls.into_iter().flatten() {
            let named = tls.hosts.unwrap_or_default();
            if named.is_empty() {
                own.entry("", || ());
            }
            for host in named.iter().filter(|host| !host.is_empty()) {
                own.entry(host, || ());
            }
            // A certificate for other hosts than those of rules could be shown in the place of somebody else's.
            let hosts = self.covered(&namespace, &of_rules, if named.is_empty() { &of_rules } else { &named });
            let Some(name) = tls.secret_name.filter(|name| !name.is_empty()) else { continue };
            let key = ObjectKey::new(namespace.clone(), name);
            if hosts.is_empty() {
                let why = format!(
                    "secret {key} is shown for no host: this Ingress has rules for none of those that it names"
                );
                self.faults.push((ingress.clone(), why));
                continue;
            }
            self.secrets.insert(key.clone());
            let certificate = match (self.means.secrets)(&key) {
                Known::Here(secret) => certificate(&secret).map_err(|error| format!("secret {key}: {error:#}")),
                Known::Missing => Err(format!("secret {key} is not there")),
                Known::Unknown => {
                    for host in hosts.iter().filter(|host| !host.is_empty()) {
                        if let Some(shown) = (self.means.shown)(&Door::Ingress { tls: true }, host) {
                            self.certificates.entry(host, || shown);
                        }
                    }
                    continue;
                }
            };
            match certificate {
                // The empty host would be that of everyone else's hosts as well.
                Ok(certificate) => hosts.iter().filter(|host| !host.is_empty()).for_each(|host| {
                    self.certificates.entry(host, || certificate.clone());
                    self.with_certificate.entry(host, || ());
                }),
                Err(why) => self.faults.push((ingress.clone(), why)),
            }
        }
        Arc::new(own)
    }

    fn routes_of(&mut self, source: &Source<'_>) {
        let spec = source.ingress.spec.clone().unwrap_or_default();
        let namespace = source.ingress.namespace().unwrap_or_default();
        let rules: Vec<&IngressRule> = spec.rules.iter().flatten().collect();
        let paths = || rules.iter().flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
        let expressions = paths().filter(|path| is_expression(path, source.read)).count();
        if paths().count() > PATHS || expressions > EXPRESSIONS {
            self.fault(source, format!("it has more than {PATHS} paths, or {EXPRESSIONS} expressions: none is served"));
            let closed = closed(source.ingress);
            for host in hosts_of_rules(source.ingress).filter(|host| self.owns(&namespace, host)).collect::<Vec<_>>() {
                let matches = Match::of(PathMatch::prefix("/"));
                self.add(source.ingress, &host, Route { matches, action: closed.clone() });
            }
            return;
        }
        for rule in &rules {
            let host = rule.host.as_deref().unwrap_or_default();
            if !self.owns(&namespace, host) {
                let owner = self.owners.get(&host.to_ascii_lowercase()).cloned().unwrap_or_default();
                self.fault(
                    source,
                    format!("host {host} belongs to namespace {owner}, of which an Ingress named it first"),
                );
                continue;
            }
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                if let Some(fault) = misread(path, source.read) {
                    self.fault(source, fault);
                }
                let (matches, action) = match path_match(path, source.read) {
                    Ok((matches, rewrite)) => (matches, self.action(source, &path.backend, rewrite)),
                    Err(fault) => {
                        self.fault(source, fault);
                        // What it might have taken is not left to others.
                        (PathMatch::prefix(before_expression(written(path))), closed(source.ingress))
                    }
                };
                if !self.add(source.ingress, host, Route { matches: Match::of(matches), action }) {
                    let matches = Match::of(PathMatch::prefix(before_expression(written(path))));
                    self.add(source.ingress, host, Route { matches, action: closed(source.ingress) });
                }
            }
        }
        if let Some(backend) = &spec.default_backend {
            let action = self.action(source, backend, None);
            if rules.is_empty() {
                self.routes.fall_back(action);
                return;
            }
            // What takes no path of a host that this Ingress names is its own.
            for rule in rules {
                let host = rule.host.as_deref().unwrap_or_default();
                if !self.owns(&namespace, host) {
                    continue;
                }
                let route = Route { matches: Match::of(PathMatch::prefix("/")), action: action.clone() };
                if host.is_empty() {
                    self.routes.fall_back(action.clone())
                } else {
                    self.add(source.ingress, host, route);
                }
            }
        }
    }

    fn fault(&mut self, source: &Source<'_>, fault: String) {
        self.faults.push((source.ingress.clone(), fault));
    }

    /// Whether there is room for a route at a host.
    fn add(&mut self, ingress: &Arc<Ingress>, host: &str, route: Route) -> bool {
        let added = self.routes.add(host, route);
        let has_room = added.is_ok();
        self.faults.extend(added.err().map(|fault| (ingress.clone(), fault)));
        has_room
    }

    /// Who may come in; `None` if that is not known yet.
    fn users(&mut self, ingress: &Arc<Ingress>, auth: &annotations::Auth) -> Option<Arc<BasicAuth>> {
        self.secrets.insert(auth.secret.clone());
        let users = match (self.means.secrets)(&auth.secret) {
            Known::Here(secret) => users(&secret, auth.is_map),
            Known::Missing => Err(format!("secret {} is not there: nobody may come in", auth.secret)),
            Known::Unknown => return None,
        };
        let users = users.unwrap_or_else(|why| {
            self.faults.push((ingress.clone(), why));
            HashMap::new()
        });
        Some(Arc::new(BasicAuth { realm: auth.realm.clone(), users }))
    }

    fn action(&mut self, source: &Source<'_>, backend: &IngressBackend, rewrite: Option<Rewrite>) -> Arc<Action> {
        let Source { ingress, read, policy, is_waiting } = source;
        if read.is_refused || *is_waiting {
            return closed(ingress);
        }
        let target = match &read.redirect {
            Some(redirect) => Target::Redirect(redirect.clone()),
            None => match self.backend(ingress, backend, read.protocol) {
                Ok(backend) => Target::Backends(vec![Weighted::only(backend)]),
                Err(fault) => {
                    self.fault(source, fault);
                    Target::Answer(http::StatusCode::SERVICE_UNAVAILABLE)
                }
            },
        };
        let source = ObjectKey::of(&***ingress).to_string().into();
        Arc::new(Action { source, target, policy: Policy { rewrite, ..policy.clone() } })
    }

    fn backend(
        &mut self,
        ingress: &Arc<Ingress>,
        backend: &IngressBackend,
        protocol: Option<crate::backend::Protocol>,
    ) -> Result<Arc<Backend>, String> {
        let Some(service) = &backend.service else {
            let resource = backend.resource.as_ref().map(|resource| format!("{}/{}", resource.kind, resource.name));
            return Err(format!("backend {} is a resource, which is not supported", resource.unwrap_or_default()));
        };
        let port = service.port.clone().unwrap_or_default();
        let port = match (port.name, port.number) {
            (Some(name), _) => Port::Name(name),
            (None, number) => Port::Number(number.unwrap_or_default()),
        };
        let named = ObjectKey::new(ingress.namespace().unwrap_or_default(), service.name.clone());
        let found = self.means.backends.get(Reference { service: named.clone(), port: port.clone(), protocol });
        // It is served all the same, as soon as it is there.
        let fault = match found.endpoints().fault {
            None => return Ok(found),
            Some(Fault::NoService) => format!("service {named} is not there"),
            Some(Fault::NoPort) => format!("service {named} has no port {}", shown(&port)),
            Some(Fault::ExternalName) => format!("service {named} is a name elsewhere, to which no request is led"),
        };
        self.faults.push((ingress.clone(), fault));
        Ok(found)
    }
}

/// The hosts that rules of an Ingress name, in lower case.
fn hosts_of_rules(ingress: &Ingress) -> impl Iterator<Item = String> {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    rules.filter_map(|rule| rule.host.as_ref()).filter(|host| !host.is_empty()).map(|host| host.to_ascii_lowercase())
}

/// Whether a name with a star has another one, of which the star is the first label.
fn covers(star: &str, host: &str) -> bool {
    star.strip_prefix("*.").is_some_and(|rest| host.split_once('.').is_some_and(|(_, behind)| behind == rest))
}

fn shown(port: &Port) -> String {
    match port {
        Port::Name(name) => format!("{name:?}"),
        Port::Number(number) => number.to_string(),
    }
}

/// An answer to who asks for what cannot be served.
fn closed(ingress: &Ingress) -> Arc<Action> {
    Arc::new(Action::answer(&ObjectKey::of(ingress).to_string(), 503))
}

fn written(path: &HTTPIngressPath) -> &str {
    path.path.as_deref().filter(|text| !text.is_empty()).unwrap_or("/")
}

fn is_expression(path: &HTTPIngressPath, read: &Annotations) -> bool {
    path.path_type == "ImplementationSpecific" && (read.use_regex || read.rewrite_target.is_some())
}

/// What comes before the first sign of an expression that means something else than itself, by whole segments.
fn before_expression(text: &str) -> &str {
    let end = text.find(|sign| r"\.+*?()|[]{}^$".contains(sign)).unwrap_or(text.len());
    &text[..text[..end].rfind('/').map_or(0, |at| at + 1)]
}

/// What is compared as it is written, although nginx would take it for an expression and its owner seems to mean one.
fn misread(path: &HTTPIngressPath, read: &Annotations) -> Option<String> {
    let target = read.rewrite_target.as_deref();
    let has_groups = target.is_some_and(|target| without_groups(target) != target);
    let seems_one = has_groups || written(path).contains(|sign| r"\+*?()|[]{}^$".contains(sign));
    let is_meant = (read.use_regex || target.is_some()) && !is_expression(path, read) && seems_one;
    is_meant.then(|| {
        let (kind, text): (_, String) = (&path.path_type, written(path).chars().take(256).collect());
        format!("path {text:?} is compared as it is written: expressions are paths of type ImplementationSpecific, not {kind}")
    })
}

/// How a path is compared, and what becomes of it.
fn path_match(path: &HTTPIngressPath, read: &Annotations) -> Result<(PathMatch, Option<Rewrite>), String> {
    let text = written(path);
    if text.len() > PATH_OF_RULE {
        return Err(format!("a path has more than {PATH_OF_RULE} bytes"));
    }
    let target = read.rewrite_target.as_deref();
    let (target, query) = match target.and_then(|target| target.split_once('?')) {
        Some((target, query)) => (Some(target), Some(template(query))),
        None => (target, None),
    };
    if is_expression(path, read) {
        let regex = bounded_regex(&format!("^{text}"), true)?;
        let rewrite = target.map(|target| Rewrite::Expression(regex.clone(), template(target), query));
        return Ok((PathMatch::Regex(regex), rewrite));
    }
    let rewrite = match (target, query) {
        (Some(target), Some(query)) => {
            Some(Rewrite::Expression(bounded_regex("^", true)?, template(target), Some(query)))
        }
        (target, _) => target.map(|target| Rewrite::Full(without_groups(target))),
    };
    Ok((if path.path_type == "Exact" { PathMatch::exact(text) } else { PathMatch::prefix(text) }, rewrite))
}

/// Groups as the crate `regex` names them.
fn template(target: &str) -> String {
    groups(target, |group| format!("${{{group}}}"), "$$")
}

fn without_groups(target: &str) -> String {
    groups(target, |_| String::new(), "$")
}

/// What nginx writes as `$1` to `$9`; any other dollar is one.
fn groups(target: &str, shown: impl Fn(char) -> String, dollar: &str) -> String {
    let mut out = String::new();
    let mut left = target.chars().peekable();
    while let Some(character) = left.next() {
        match (character, left.peek()) {
            ('$', Some(digit)) if digit.is_ascii_digit() => {
                out += &shown(*digit);
                left.next();
            }
            ('$', _) => out += dollar,
            (other, _) => out.push(other),
        }
    }
    out
}

/// Certificate and key of a secret of type `kubernetes.io/tls`.
pub fn certificate(secret: &Secret) -> anyhow::Result<Arc<CertifiedKey>> {
    let part = |name: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        data.map(|bytes| bytes.0.clone()).ok_or_else(|| anyhow::anyhow!("it has no {name}"))
    };
    certified(&part("tls.crt")?, &part("tls.key")?)
}

/// Hashes of passwords by name.
fn users(secret: &Secret, is_map: bool) -> Result<HashMap<String, String>, String> {
    const MAX: usize = 10_000;
    let data = secret.data.clone().unwrap_or_default();
    let text = |bytes: &k8s_openapi::ByteString| String::from_utf8_lossy(&bytes.0).trim().to_owned();
    if is_map {
        return Ok(data.iter().take(MAX).map(|(name, hash)| (name.clone(), text(hash))).collect());
    }
    let file =
        data.get("auth").ok_or_else(|| format!("secret {} has no key auth: nobody may come in", secret.name_any()))?;
    let lines = text(file);
    let users = lines.lines().filter_map(|line| line.trim().split_once(':')).take(MAX);
    Ok(users.map(|(name, hash)| (name.to_owned(), hash.to_owned())).collect())
}

#[cfg(test)]
mod tests;
