//! Whether a quota has enough left for what is written, and what is left then.

use jiff::Timestamp;
use serde_json::Value;

use super::{Resource, covers, is_tracked, limited, pods, usage};
use crate::amounts::Amounts;

/// What is about to be written.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The kind of object.
    pub resource: Resource<'a>,
    /// How it was; a new one was not.
    pub old: Option<&'a Value>,
    /// How it will be.
    pub new: &'a Value,
    /// When.
    pub now: Timestamp,
}

/// Why a quota refuses an object: upstream's message.
pub type Refusal = String;

impl Charge<'_> {
    /// What the write uses more than before.
    fn difference(&self) -> Amounts {
        let mut used = usage(self.resource, self.new, self.now);
        if let Some(old) = self.old {
            used.subtract(&usage(self.resource, old, self.now));
        }
        used
    }
}

/// What is used of a quota after a write; `None` if that changes nothing.
///
/// # Errors
/// The object does not say what it needs, needs more than is left, or nobody has counted yet what is used.
pub fn charge(quota: &Value, charge: &Charge<'_>) -> Result<Option<Amounts>, Refusal> {
    let name = coracle_api::meta::name(quota);
    let tracked: Vec<&str> = limited(quota).filter(|name| is_tracked(charge.resource, name)).collect();
    if tracked.is_empty() || !covers(quota, charge.resource, charge.new) {
        return Ok(None);
    }
    if charge.resource.is_core("pods") {
        pods::check(charge.new, tracked.iter().copied()).map_err(|why| format!("failed quota: {name}: {why}"))?;
    }
    let (hard, used) = (Amounts::of(&quota["status"]["hard"]), Amounts::of(&quota["status"]["used"]));
    if tracked.iter().any(|name| used.get(name).is_none()) {
        return Err(format!("status unknown for quota: {name}, resources: {}", tracked.join(",")));
    }
    let requested = charge.difference().only(|name| tracked.contains(&name));
    if requested.0.values().all(|amount| amount.is_zero()) {
        return Ok(None);
    }
    let mut after = used.clone();
    after.add(&requested);
    // Who gives something back is not refused because others have too much.
    let exceeds = |name: &str| {
        let grows = requested.get(name).is_some_and(|amount| !amount.is_negative() && !amount.is_zero());
        grows && after.get(name) > hard.get(name)
    };
    let exceeded = requested.only(exceeds);
    if !exceeded.0.is_empty() {
        let of = |amounts: &Amounts| amounts.only(|name| exceeded.get(name).is_some());
        let (used, hard) = (of(&used), of(&hard));
        return Err(format!("exceeded quota: {name}, requested: {exceeded}, used: {used}, limited: {hard}"));
    }
    Ok(Some(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PODS: Resource<'static> = Resource { group: "", plural: "pods" };

    fn quota(hard: Value, used: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
    }

    fn pod(cpu: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c1", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    fn create(quota: &Value, new: &Value) -> Result<Option<Amounts>, Refusal> {
        charge(quota, &Charge { resource: PODS, old: None, new, now: Timestamp::UNIX_EPOCH })
    }

    #[test]
    fn what_is_used_grows_until_there_is_no_more() {
        let mut quota = quota(json!({"pods": "2", "requests.cpu": "1"}), json!({"pods": "1", "requests.cpu": "500m"}));
        let used = create(&quota, &pod("250m")).expect("there is enough").expect("it is used");
        assert_eq!(used.to_string(), "pods=2,requests.cpu=750m");
        quota["status"]["used"] = used.to_value();
        assert_eq!(
            create(&quota, &pod("500m")).unwrap_err(),
            "exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=2,requests.cpu=750m, limited: pods=2,requests.cpu=1"
        );
    }

    #[test]
    fn what_is_not_said_or_not_counted_is_refused() {
        let limits = quota(json!({"limits.cpu": "2"}), json!({"limits.cpu": "0"}));
        assert_eq!(create(&limits, &pod("1")).unwrap_err(), "failed quota: q: must specify limits.cpu for: c1");
        let fresh = quota(json!({"pods": "2", "services": "1"}), json!({}));
        assert_eq!(create(&fresh, &pod("1")).unwrap_err(), "status unknown for quota: q, resources: pods");
        let other = quota(json!({"services": "2"}), json!({}));
        assert_eq!(create(&other, &pod("1")), Ok(None));
    }

    #[test]
    fn a_change_is_charged_for_what_it_adds() {
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        let resource = Resource { group: "", plural: "persistentvolumeclaims" };
        let quota = quota(json!({"requests.storage": "10Gi"}), json!({"requests.storage": "12Gi"}));
        let change = |old: &Value, new: &Value| {
            charge(&quota, &Charge { resource, old: Some(old), new, now: Timestamp::UNIX_EPOCH })
        };
        assert_eq!(change(&claim("2Gi"), &claim("1Gi")).unwrap().unwrap().to_string(), "requests.storage=11Gi");
        assert_eq!(change(&claim("2Gi"), &claim("2Gi")), Ok(None));
        assert_eq!(
            change(&claim("2Gi"), &claim("3Gi")).unwrap_err(),
            "exceeded quota: q, requested: requests.storage=1Gi, used: requests.storage=12Gi, limited: requests.storage=10Gi"
        );
    }
}
