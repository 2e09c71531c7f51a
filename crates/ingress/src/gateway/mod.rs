//! Gateways and their routes, as entrances and as statuses.
//! <https://gateway-api.sigs.k8s.io/>

mod filters;
mod grants;
mod listeners;
pub mod objects;
mod routes;
mod status;
#[cfg(test)]
mod tests;
pub mod types;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use coracle_api::selector;
use coracle_client::ObjectKey;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

use self::listeners::{Heard, Protocol};
use self::routes::{AnyRoute, Rules};
use self::status::{Condition, written};
use self::types::{Address, Gateway, GatewayClass, ReferenceGrant};
use crate::backend::{Backend, Backends};
use crate::entrance::{Door, Entrance, Speaks};
use crate::route::{Builder, Hosts, Wildcard};
use crate::secrets::Known;

/// The controller that classes of ours name.
pub const CONTROLLER: &str = "coracle.io/gateway";

/// What tests of conformance ask for before they try it, in the order of their names; what only experimental definitions have is
/// left out.
/// <https://gateway-api.sigs.k8s.io/guides/implementers/#conformance>
const FEATURES: [&str; 34] = [
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
    "TLSRoute",
];

/// How many Gateways of a namespace are served.
const OF_NAMESPACE: usize = 20;
/// How many parents the status of a route may have (as its definition says).
const PARENTS: usize = 32;

/// What routes are made with.
pub struct Means<'a> {
    /// The services to which they lead.
    pub backends: &'a Backends,
    /// What secrets hold.
    pub secrets: &'a dyn Fn(&ObjectKey) -> Known,
    /// The certificate that is shown for a name behind a door now.
    pub shown: &'a dyn Fn(&Door, &str) -> Option<Arc<CertifiedKey>>,
    /// Who may refer to whom.
    pub grants: &'a [Arc<ReferenceGrant>],
    /// Namespaces and their labels.
    pub namespaces: &'a dyn Fn(&str) -> Option<Arc<Namespace>>,
    /// The addresses that the service of a Gateway was given.
    pub addresses: &'a dyn Fn(&Gateway) -> Vec<Ipv4Addr>,
}

impl Means<'_> {
    /// Whether a listener takes routes of a namespace.
    fn allows(&self, one: &Heard, gateway: &ObjectKey, namespace: &str) -> bool {
        let from = &one.listener.allowed_routes.namespaces;
        match from.from.as_deref() {
            None | Some("Same") => namespace == gateway.namespace,
            Some("All") => true,
            Some("Selector") => {
                let labels = (self.namespaces)(namespace).map(|object| object.labels().clone());
                from.selector.as_ref().zip(labels).is_some_and(|(selector, labels)| selects(selector, &labels))
            }
            Some(_) => false,
        }
    }
}

/// Whether a selector of labels fits; one that cannot be read fits nothing.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let read = serde_json::to_value(selector).map(|object| selector::LabelSelector::from_object(&object));
    matches!(read, Ok(Ok(read)) if read.matches_with(|key| labels.get(key).map(String::as_str)))
}

/// All that there is of the Gateway API.
#[derive(Default)]
pub struct Objects {
    /// The classes.
    pub classes: Vec<Arc<GatewayClass>>,
    /// The Gateways.
    pub gateways: Vec<Arc<Gateway>>,
    /// Routes of every kind.
    pub routes: Vec<AnyRoute>,
}

/// A status that should be written.
#[derive(Clone, Debug)]
pub struct Told {
    /// The path of the object.
    pub path: String,
    /// The version of the object for which it is, if nobody may have changed it since.
    pub version: Option<String>,
    /// The status.
    pub status: Value,
}

/// A service that a Gateway needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Needed {
    /// The Gateway.
    pub gateway: ObjectKey,
    /// Its unique name.
    pub uid: String,
    /// The ports of its listeners. Without any, none is made, and one that is there stays as it is.
    pub ports: BTreeSet<u16>,
    /// What its infrastructure is to have.
    pub annotations: BTreeMap<String, String>,
    /// The same of labels.
    pub labels: BTreeMap<String, String>,
    /// The address that it asks for.
    pub address: Option<String>,
}

/// What becomes of all of it.
#[derive(Default)]
pub struct Built {
    /// What is behind the ports of Gateways.
    pub entrances: Vec<(Door, Arc<Entrance>)>,
    /// What is to be written.
    pub told: Vec<Told>,
    /// The secrets that are named.
    pub secrets: BTreeSet<ObjectKey>,
    /// The services that are needed.
    pub needed: Vec<Needed>,
    /// The names of routes that are served.
    pub served: Vec<String>,
    /// What routes name and is not there.
    pub awaited: Vec<Arc<Backend>>,
}

/// The classes that are ours, whether or not they can be followed.
pub fn our_classes(classes: &[Arc<GatewayClass>]) -> BTreeSet<String> {
    let ours = classes.iter().filter(|class| class.spec.controller_name == CONTROLLER);
    ours.map(|class| class.name_any()).collect()
}

/// Whether there is a Gateway of ours.
pub fn has_ours(objects: &Objects) -> bool {
    let ours = our_classes(&objects.classes);
    objects
        .gateways
        .iter()
        .any(|gateway| ours.contains(&gateway.spec.gateway_class_name) && gateway.metadata.deletion_timestamp.is_none())
}

fn told_of_classes(objects: &Objects) -> Vec<Told> {
    let ours = objects.classes.iter().filter(|class| class.spec.controller_name == CONTROLLER);
    ours.filter_map(|class| told_of_class(class)).collect()
}

/// What is to be told while there is no Gateway: of classes, and that routes belong nowhere any more.
pub fn at_rest(objects: &Objects) -> Vec<Told> {
    let routes = objects.routes.iter().filter_map(|route| told_of_route(route, &[]));
    told_of_classes(objects).into_iter().chain(routes).collect()
}

/// Why all of a Gateway is not served, and what is told of that.
fn refused(gateway: &Gateway, classes: &[Arc<GatewayClass>]) -> Option<(&'static str, &'static str)> {
    let class = classes.iter().find(|class| class.name_any() == gateway.spec.gateway_class_name);
    if class.is_some_and(|class| class.spec.parameters_ref.is_some()) {
        return Some(("InvalidParameters", "the class has parameters, of which there are none here"));
    }
    if gateway.spec.infrastructure.parameters_ref.is_some() {
        return Some(("InvalidParameters", "infrastructure has parameters, of which there are none here"));
    }
    if gateway.spec.tls.backend.is_some() {
        return Some(("Invalid", "certificates for backends are not supported"));
    }
    let is_other = |own: &Address| own.kind.as_deref().is_some_and(|kind| kind != "IPAddress");
    let any_other = gateway.spec.addresses.iter().any(is_other);
    any_other.then_some(("UnsupportedAddress", "addresses are of type IPAddress"))
}

/// Makes entrances and statuses of what there is. Routes come in the order of their age.
pub fn build(objects: &Objects, means: &Means<'_>) -> Built {
    let mut built = Built { told: told_of_classes(objects), ..Built::default() };
    let ours = our_classes(&objects.classes);
    let mut gateways: Vec<&Arc<Gateway>> = objects
        .gateways
        .iter()
        .filter(|gateway| ours.contains(&gateway.spec.gateway_class_name))
        .filter(|gateway| gateway.metadata.deletion_timestamp.is_none())
        .collect();
    gateways.sort_by_cached_key(|gateway| {
        (gateway.metadata.creation_timestamp.as_ref().map(|time| time.0), ObjectKey::of(&***gateway))
    });
    let mut counts: HashMap<Option<String>, usize> = HashMap::new();
    let (gateways, beyond): (Vec<_>, Vec<_>) = gateways.into_iter().partition(|gateway| {
        let count = counts.entry(gateway.namespace()).or_default();
        *count += 1;
        *count <= OF_NAMESPACE
    });
    built.told.extend(beyond.into_iter().filter_map(|gateway| told_of_one_too_many(gateway)));
    let mut open: HashMap<ObjectKey, Open> = gateways
        .iter()
        .map(|gateway| {
            let heard = listeners::look(gateway, means, &mut built.secrets);
            let http = heard.iter().map(|_| Builder::new(Wildcard::Labels)).collect();
            let tls = heard.iter().map(|_| Vec::new()).collect();
            let kinds = heard.iter().map(|_| Vec::new()).collect();
            let refused = refused(gateway, &objects.classes);
            (ObjectKey::of(&***gateway), Open { refused, heard, http, tls, kinds })
        })
        .collect();
    for route in &objects.routes {
        attach(route, &mut open, means, &mut built);
    }
    for gateway in gateways {
        if let Some(open) = open.remove(&ObjectKey::of(&**gateway)) {
            finish(gateway, open, means, &mut built);
        }
    }
    built
}

/// Services with their shares of connections.
type Shares = Vec<(u32, Arc<Backend>)>;

/// A Gateway that is being made.
struct Open {
    refused: Option<(&'static str, &'static str)>,
    heard: Vec<Heard>,
    /// The routes of each listener.
    http: Vec<Builder>,
    /// Where connections of each go, by host.
    tls: Vec<Vec<(String, Shares)>>,
    /// Which kind of routes hosts of each have.
    kinds: Vec<Vec<(String, &'static str)>>,
}

impl Open {
    /// Of what a route is attached to, that which has no older route of another kind for the same hosts.
    ///
    /// # Errors
    /// Nothing is left.
    fn without_other_kinds(&self, route: &AnyRoute, attached: Vec<Attached>) -> Result<Vec<Attached>, Condition> {
        let is_others = |at: usize, host: &String| {
            let own = std::slice::from_ref(host);
            let mut all = self.kinds[at].iter().filter(|(_, kind)| *kind != route.kind);
            all.any(|(other, _)| routes::common_hosts(Some(other), own).is_some() || host.is_empty())
        };
        let is_free = |(at, hosts): &Attached| !hosts.iter().any(|host| is_others(*at, host));
        let left: Vec<Attached> = attached.into_iter().filter(is_free).collect();
        if left.is_empty() {
            let why = "older routes of another kind have hosts of this one";
            return Err(Condition::new("Accepted", false, "NotAllowedByListeners", why));
        }
        Ok(left)
    }
}

/// The place of a listener, and the hosts of a route there.
type Attached = (usize, Vec<String>);

fn attach(route: &AnyRoute, open: &mut HashMap<ObjectKey, Open>, means: &Means<'_>, built: &mut Built) {
    let mut made = None;
    let mut parents = Vec::new();
    for reference in &route.parents {
        let is_gateway = reference.group.as_deref().is_none_or(|group| group == types::GROUP)
            && reference.kind.as_deref().is_none_or(|kind| kind == "Gateway");
        let key =
            ObjectKey::new(reference.namespace.as_deref().unwrap_or(&route.key.namespace), reference.name.clone());
        let Some(gateway) = open.get_mut(&key).filter(|_| is_gateway) else { continue };
        let made = made.get_or_insert_with(|| routes::make(route, means));
        let attached = routes::attach(route, reference, &key, &gateway.heard, means);
        let attached = attached.and_then(|attached| gateway.without_other_kinds(route, attached));
        let why = made.unsupported.as_deref().unwrap_or_default();
        let mut accepted = match &attached {
            Err(condition) => condition.clone(),
            Ok(_) if made.is_refused => Condition::new("Accepted", false, "UnsupportedValue", why),
            Ok(_) => Condition::new("Accepted", true, "Accepted", ""),
        };
        let is_partial = made.unsupported.is_some() && !made.is_refused;
        for (at, hosts) in attached.iter().flatten() {
            if !made.is_refused {
                gateway.heard[*at].routes += 1;
                gateway.kinds[*at].extend(hosts.iter().map(|host| (host.clone(), route.kind)));
            }
            if matches!(route.rules, Rules::Tls(_)) {
                gateway.tls[*at].extend(hosts.iter().map(|host| (host.clone(), made.backends.clone())));
            } else if routes::is_http(&gateway.heard[*at]) {
                for host in hosts {
                    for route in &made.routes {
                        if let Err(why) = gateway.http[*at].add(host, route.clone()) {
                            accepted = Condition::new("Accepted", false, "UnsupportedValue", &why);
                        }
                    }
                }
            }
        }
        let resolved = match &made.unresolved {
            Some((reason, message)) => Condition::new("ResolvedRefs", false, reason, message),
            None => Condition::new("ResolvedRefs", true, "ResolvedRefs", ""),
        };
        let partial = is_partial
            .then(|| Condition::new("PartiallyInvalid", true, "UnsupportedValue", &format!("Dropped Rule: {why}")));
        parents.push((reference, [accepted, resolved].into_iter().chain(partial).collect()));
    }
    if let Some(made) = made {
        built.served.push(route.key.to_string());
        built.awaited.extend(made.awaited);
    }
    built.told.extend(told_of_route(route, &parents));
}

fn finish(gateway: &Gateway, mut open: Open, means: &Means<'_>, built: &mut Built) {
    let key = ObjectKey::of(gateway);
    // A secret that is away for a while takes no address from the Gateway.
    let ports: BTreeSet<u16> = open.heard.iter().filter(|one| one.has_port()).map(|one| one.listener.port).collect();
    let mut http = std::mem::take(&mut open.http).into_iter();
    let mut tls = std::mem::take(&mut open.tls).into_iter();
    let mut by_port: BTreeMap<u16, Port> = BTreeMap::new();
    for one in &open.heard {
        let (routes, passed) = (http.next(), tls.next());
        let (Some(protocol), true) = (one.protocol, one.is_served() && open.refused.is_none()) else { continue };
        let port = by_port.entry(one.listener.port).or_insert_with(|| Port::new(protocol));
        let host = one.listener.hostname.clone().unwrap_or_default();
        if let Some(routes) = routes {
            let routes = Arc::new(routes.build());
            port.listeners.entry(&host, || routes);
        }
        if let Some(certificate) = &one.certificate {
            port.certificates.entry(&host, || certificate.clone());
        }
        for (host, backends) in passed.into_iter().flatten() {
            // Of two routes for one host, the older one has it.
            port.passed.entry(&host, || backends);
        }
    }
    for (number, port) in by_port {
        built.entrances.push((Door::Gateway(key.clone(), number), Arc::new(port.entrance())));
    }
    let asked = asked_for(gateway);
    built.needed.push(Needed {
        gateway: key,
        uid: gateway.uid().unwrap_or_default(),
        ports: if open.refused.is_some() { BTreeSet::new() } else { ports },
        annotations: gateway.spec.infrastructure.annotations.clone(),
        labels: gateway.spec.infrastructure.labels.clone(),
        address: asked.cloned(),
    });
    let addresses = (means.addresses)(gateway);
    if !open.heard.iter().any(Heard::waits) {
        built.told.extend(told_of_gateway(gateway, &open.heard, &addresses, open.refused));
    }
}

/// The address that a Gateway asks for.
fn asked_for(gateway: &Gateway) -> Option<&String> {
    gateway.spec.addresses.iter().map(|address| &address.value).find(|value| !value.is_empty())
}

/// A port of a Gateway that is being made.
struct Port {
    protocol: Protocol,
    listeners: Hosts<Arc<crate::route::Routes>>,
    certificates: Hosts<Arc<CertifiedKey>>,
    passed: Hosts<Shares>,
}

impl Port {
    fn new(protocol: Protocol) -> Port {
        let labels = Wildcard::Labels;
        Port { protocol, listeners: Hosts::new(labels), certificates: Hosts::new(labels), passed: Hosts::new(labels) }
    }

    fn entrance(self) -> Entrance {
        let speaks = match self.protocol {
            Protocol::Http => Speaks::Http,
            Protocol::Https => Speaks::Https(self.certificates),
            Protocol::Tls => Speaks::Tls(self.passed),
        };
        Entrance { speaks, listeners: self.listeners }
    }
}

fn path(at: (&str, &str), key: &ObjectKey) -> String {
    let (version, plural) = at;
    let namespace = if key.namespace.is_empty() { String::new() } else { format!("namespaces/{}/", key.namespace) };
    format!("/apis/{}/{version}/{namespace}{plural}/{}", types::GROUP, key.name)
}

/// What is written, if that is not what there is. Times are those of the last change.
fn told(path: String, version: Option<String>, before: &Value, status: Value) -> Option<Told> {
    let same = status.as_object().is_some_and(|all| all.iter().all(|(name, value)| before[name] == *value));
    (!same).then_some(Told { path, version, status })
}

fn told_of_class(class: &GatewayClass) -> Option<Told> {
    let accepted = match &class.spec.parameters_ref {
        None => Condition::new("Accepted", true, "Accepted", ""),
        Some(_) => Condition::new("Accepted", false, "InvalidParameters", "the class coracle has no parameters"),
    };
    let generation = class.metadata.generation.unwrap_or_default();
    let conditions = written(&[accepted], &class.status["conditions"], generation);
    let at = path(("v1", "gatewayclasses"), &ObjectKey::of(class));
    let features: Vec<Value> = FEATURES.iter().map(|name| json!({"name": name})).collect();
    told(at, None, &class.status, json!({"conditions": conditions, "supportedFeatures": features}))
}

fn told_of_gateway(
    gateway: &Gateway,
    heard: &[Heard],
    addresses: &[Ipv4Addr],
    refused: Option<(&'static str, &'static str)>,
) -> Option<Told> {
    let generation = gateway.metadata.generation.unwrap_or_default();
    let before = |name: &str| {
        let all = gateway.status["listeners"].as_array();
        all.into_iter().flatten().find(|own| own["name"] == name).map(|own| own["conditions"].clone())
    };
    let listeners: Vec<Value> = heard
        .iter()
        .map(|one| {
            let (mut told, conditions) = one.status(refused.is_none());
            let before = before(&one.listener.name).unwrap_or_default();
            told["conditions"] = written(&conditions, &before, generation);
            told
        })
        .collect();
    let all_well = heard.iter().all(Heard::is_well);
    let any = heard.iter().any(Heard::is_served);
    let accepted = match (refused, any, all_well) {
        (Some((reason, why)), ..) => Condition::new("Accepted", false, reason, why),
        (_, false, _) => Condition::new("Accepted", false, "ListenersNotValid", "no listener can be served"),
        (_, _, false) => Condition::new("Accepted", true, "ListenersNotValid", "not all listeners can be served"),
        _ => Condition::new("Accepted", true, "Accepted", ""),
    };
    let is_another = asked_for(gateway).is_some_and(|asked| addresses.iter().all(|own| own.to_string() != *asked));
    let programmed = match (any && refused.is_none(), addresses.is_empty()) {
        (false, _) => Condition::new("Programmed", false, "Invalid", "no listener can be served"),
        _ if gateway.spec.addresses.len() > 1 => Condition::new(
            "Programmed",
            false,
            "AddressNotUsable",
            "a Gateway has one address; it has the first if it can",
        ),
        _ if is_another => Condition::new(
            "Programmed",
            false,
            "AddressNotUsable",
            "the service was not given the address that is asked for",
        ),
        (_, true) => Condition::new("Programmed", false, "AddressNotAssigned", "the service has no address yet"),
        _ => Condition::new("Programmed", true, "Programmed", ""),
    };
    let conditions = written(&[accepted, programmed], &gateway.status["conditions"], generation);
    let addresses: Vec<Value> =
        addresses.iter().map(|address| json!({"type": "IPAddress", "value": address.to_string()})).collect();
    let status = json!({"addresses": addresses, "conditions": conditions, "listeners": listeners});
    told(path(("v1", "gateways"), &ObjectKey::of(gateway)), None, &gateway.status, status)
}

fn told_of_one_too_many(gateway: &Gateway) -> Option<Told> {
    let why = format!("the namespace has more than {OF_NAMESPACE} Gateways");
    let conditions = ["Accepted", "Programmed"].map(|kind| Condition::new(kind, false, "Invalid", &why));
    let generation = gateway.metadata.generation.unwrap_or_default();
    let conditions = written(&conditions, &gateway.status["conditions"], generation);
    let status = json!({"addresses": [], "conditions": conditions, "listeners": []});
    told(path(("v1", "gateways"), &ObjectKey::of(gateway)), None, &gateway.status, status)
}

/// The status of a route has an entry for each Gateway; those of other controllers are kept.
fn told_of_route(route: &AnyRoute, parents: &[(&types::ParentRef, Vec<Condition>)]) -> Option<Told> {
    let before = route.status["parents"].as_array().cloned().unwrap_or_default();
    let others = before.iter().filter(|entry| entry["controllerName"] != CONTROLLER).cloned();
    let ours = parents.iter().map(|(reference, conditions)| {
        let shown = shown(reference);
        let known = before.iter().find(|entry| entry["controllerName"] == CONTROLLER && entry["parentRef"] == shown);
        let known = known.map(|entry| entry["conditions"].clone()).unwrap_or_default();
        json!({"parentRef": shown, "controllerName": CONTROLLER,
            "conditions": written(conditions, &known, route.generation)})
    });
    let all: Vec<Value> = others.chain(ours).take(PARENTS).collect();
    if all.is_empty() && before.is_empty() {
        return None;
    }
    told(path(route.at, &route.key), route.version.clone(), &route.status, json!({"parents": all}))
}

fn shown(reference: &types::ParentRef) -> Value {
    let mut shown = json!({
        "group": reference.group.as_deref().unwrap_or(types::GROUP),
        "kind": reference.kind.as_deref().unwrap_or("Gateway"),
        "name": reference.name,
    });
    let optional = [
        ("namespace", reference.namespace.clone().map(Value::from)),
        ("sectionName", reference.section_name.clone().map(Value::from)),
        ("port", reference.port.map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            shown[name] = value;
        }
    }
    shown
}
