//! Which families of addresses a service has, as its policy, its addresses and the cluster say.
//! <https://kubernetes.io/docs/concepts/services-networking/dual-stack/>

use coracle_api::addresses::{Family, Ranges};
use coracle_api::field::{FieldError, Path};
use coracle_api::meta::{at, list, text};
use coracle_api::strategy::service::validate_addresses;
use serde_json::{Value, json};

type Errors = Vec<FieldError>;

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// Fills in policy and families, unless nothing of both is to change.
///
/// # Errors
/// The cluster has no addresses of a family, or what is said does not fit together.
pub fn settle(ranges: &Ranges, service: &mut Value, old: Option<&Value>) -> Result<(), Errors> {
    // A cluster that comes to have another family, or none, changes nothing by that.
    if old.is_some_and(|old| prefers_what_it_has(service, old)) {
        return Ok(());
    }
    let is_loose = is_headless(service) && !selects(service);
    if service["spec"]["ipFamilyPolicy"].is_null() {
        let before = old.map(|old| at(old, &["spec", "ipFamilyPolicy"])).filter(|before| !before.is_null());
        let default = || if is_loose { REQUIRE.into() } else { SINGLE.into() };
        service["spec"]["ipFamilyPolicy"] = before.cloned().unwrap_or_else(default);
    }
    refused(validate_addresses(service))?;
    let mut families = named(service);
    let mut errors = old.map_or_else(Errors::new, |old| released(service, old));
    errors.extend(infer(ranges, service, &mut families));
    refused(errors)?;
    let policy = text(service, &["spec", "ipFamilyPolicy"]);
    // Who makes the endpoints of a service without a selector may have addresses that the cluster has not.
    if !is_loose {
        refused(configured(ranges, policy, &families))?;
    }
    let first = *families.first().unwrap_or(&ranges.family());
    if families.is_empty() {
        families.push(first);
    }
    if policy != SINGLE && families.len() == 1 && (is_loose || ranges.is_dual()) {
        families.push(first.other());
    }
    service["spec"]["ipFamilies"] = families.into_iter().map(Family::name).collect();
    if is_headless(service) {
        service["spec"]["clusterIPs"] = json!(["None"]);
    }
    Ok(())
}

fn refused(errors: Errors) -> Result<(), Errors> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn is_headless(service: &Value) -> bool {
    service["spec"]["clusterIP"] == "None"
}

fn selects(service: &Value) -> bool {
    service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty())
}

fn named(service: &Value) -> Vec<Family> {
    list(service, &["spec", "ipFamilies"]).iter().filter_map(|family| Family::named(family.as_str()?)).collect()
}

fn prefers_what_it_has(service: &Value, old: &Value) -> bool {
    let is_same = |key| at(service, &["spec", key]) == at(old, &["spec", key]);
    let prefers = service["spec"]["ipFamilyPolicy"] == PREFER && !old["spec"]["clusterIP"].is_null();
    prefers && ["type", "ipFamilyPolicy", "clusterIPs", "ipFamilies"].into_iter().all(is_same)
}

/// Only who asks for one family gives the second one back.
fn released(service: &Value, old: &Value) -> Errors {
    let policy = &service["spec"]["ipFamilyPolicy"];
    let has_fewer = |key| {
        let (now, before) = (list(service, &["spec", key]).len(), list(old, &["spec", key]).len());
        policy != SINGLE && now == 1 && before == 2
    };
    let what = [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")];
    let error = |what: &str| {
        let detail = format!("must be 'SingleStack' to release the secondary {what}");
        FieldError::invalid(&Path::new("spec").child("ipFamilyPolicy"), policy, detail)
    };
    what.into_iter().filter(|(key, _)| has_fewer(key)).map(|(_, what)| error(what)).collect()
}

/// Adds the families of addresses that are named.
fn infer(ranges: &Ranges, service: &Value, families: &mut Vec<Family>) -> Errors {
    let (mut errors, path) = (Vec::new(), Path::new("spec"));
    let (ips, policy) = (list(service, &["spec", "clusterIPs"]), &service["spec"]["ipFamilyPolicy"]);
    for (what, count) in [("cluster IPs", ips.len()), ("IP families", families.len())] {
        if policy == SINGLE && count == 2 {
            let detail = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.push(FieldError::invalid(&path.child("ipFamilyPolicy"), policy, detail));
        }
    }
    for (i, ip) in ips.iter().enumerate().skip(families.len()) {
        let Some(family) = ip.as_str().and_then(|ip| ip.parse().ok()).map(Family::of) else { break };
        match ranges.of(family) {
            Some(_) => families.push(family),
            None => {
                let detail = format!("{} is not configured on this cluster", family.name());
                errors.push(FieldError::invalid(&path.child("clusterIPs").index(i), &json!(ips), detail));
            }
        }
    }
    errors
}

/// Whether the cluster has addresses of what is asked for.
fn configured(ranges: &Ranges, policy: &str, families: &[Family]) -> Errors {
    let mut errors = Vec::new();
    if policy == REQUIRE && !ranges.is_dual() {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&Path::new("spec").child("ipFamilyPolicy"), &policy.into(), detail));
    }
    let missing = families.iter().enumerate().filter(|(_, family)| ranges.of(**family).is_none());
    errors.extend(missing.map(|(i, family)| not_configured(i, *family)));
    errors
}

pub fn not_configured(i: usize, family: Family) -> FieldError {
    let path = Path::new("spec").child("ipFamilies").index(i);
    FieldError::invalid(&path, &family.name().into(), "not configured on this cluster")
}
