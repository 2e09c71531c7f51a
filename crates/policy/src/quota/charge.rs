//! Whether a quota has enough left for what is written, and what is left then.

use jiff::Timestamp;
use serde_json::Value;

use super::{Resource, covers, is_tracked, limited, pods, usage};
use crate::amounts::{Amounts, Sum};

/// What is about to be written.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The kind of object.
    pub resource: Resource<'a>,
    /// How it was; a new one was not.
    pub old: Option<&'a Value>,
    /// How it will be; one that goes will not be.
    pub new: Option<&'a Value>,
    /// When.
    pub now: Timestamp,
    /// Whether the write is refused if there is not enough. What only tells how things are never is.
    pub may_refuse: bool,
}

/// Why a quota refuses an object: upstream's message.
pub type Refusal = String;

impl Charge<'_> {
    /// What the object uses of a quota in one of its states.
    fn used(&self, quota: &Value, object: Option<&Value>) -> Amounts {
        let covered = object.filter(|object| covers(quota, self.resource, object));
        covered.map(|object| usage(self.resource, object, self.now)).unwrap_or_default()
    }

    /// Whether it says what it needs, and it is known how much is left.
    fn check(&self, quota: &Value, tracked: &[&str], used: &Amounts) -> Result<(), Refusal> {
        let Some(new) = self.new.filter(|new| covers(quota, self.resource, new)) else { return Ok(()) };
        let name = coracle_api::meta::name(quota);
        if self.resource.is_core("pods") {
            pods::check(new, tracked.iter().copied()).map_err(|why| format!("failed quota: {name}: {why}"))?;
        }
        if tracked.iter().any(|name| used.get(name).is_none()) {
            return Err(format!("status unknown for quota: {name}, resources: {}", tracked.join(",")));
        }
        Ok(())
    }
}

/// What is used of a quota after a write; `None` if that changes nothing.
///
/// # Errors
/// The object does not say what it needs, needs more than is left, or nobody has counted yet what is used.
pub fn charge(quota: &Value, charge: &Charge<'_>) -> Result<Option<Amounts>, Refusal> {
    let tracked: Vec<&str> = limited(quota).filter(|name| is_tracked(charge.resource, name)).collect();
    if tracked.is_empty() {
        return Ok(None);
    }
    let used = Amounts::of(&quota["status"]["used"]);
    if charge.may_refuse {
        charge.check(quota, &tracked, &used)?;
    }
    let mut requested = charge.used(quota, charge.new);
    requested.subtract(&charge.used(quota, charge.old));
    let requested = requested.only(|name| tracked.contains(&name) && used.get(name).is_some());
    if requested.0.values().all(|amount| amount.is_zero()) {
        return Ok(None);
    }
    let mut after = used.clone();
    after.add(&requested);
    if charge.may_refuse {
        enough(quota, &requested, &used, &after)?;
    }
    // Nothing is less than nothing, whatever was counted before.
    after.0.values_mut().filter(|amount| amount.is_negative()).for_each(|amount| *amount = Default::default());
    Ok(Some(after))
}

/// Whether no more is used than there is. Who gives something back is not refused because others have too much.
fn enough(quota: &Value, requested: &Amounts, used: &Amounts, after: &Amounts) -> Result<(), Refusal> {
    let hard = Amounts::of(&quota["status"]["hard"]);
    let exceeds = |name: &str| {
        let grows = requested.get(name).is_some_and(|amount| !amount.is_negative() && !amount.is_zero());
        grows && after.get(name) > hard.get(name)
    };
    let exceeded = requested.only(exceeds);
    if exceeded.0.is_empty() {
        return Ok(());
    }
    let of = |amounts: &Amounts| amounts.only(|name| exceeded.get(name).is_some());
    let (name, used, hard) = (coracle_api::meta::name(quota), of(used), of(&hard));
    Err(format!("exceeded quota: {name}, requested: {exceeded}, used: {used}, limited: {hard}"))
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

    fn of<'a>(resource: Resource<'a>, old: Option<&'a Value>, new: Option<&'a Value>) -> Charge<'a> {
        Charge { resource, old, new, now: Timestamp::UNIX_EPOCH, may_refuse: true }
    }

    fn create(quota: &Value, new: &Value) -> Result<Option<Amounts>, Refusal> {
        charge(quota, &of(PODS, None, Some(new)))
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
        let change = |old: &Value, new: &Value| charge(&quota, &of(resource, Some(old), Some(new)));
        assert_eq!(change(&claim("2Gi"), &claim("1Gi")).unwrap().unwrap().to_string(), "requests.storage=11Gi");
        assert_eq!(change(&claim("2Gi"), &claim("2Gi")), Ok(None));
        assert_eq!(
            change(&claim("2Gi"), &claim("3Gi")).unwrap_err(),
            "exceeded quota: q, requested: requests.storage=1Gi, used: requests.storage=12Gi, limited: requests.storage=10Gi"
        );
    }

    #[test]
    fn what_goes_or_ends_is_given_back() {
        let quota = quota(json!({"pods": "2", "count/pods": "2"}), json!({"pods": "1", "count/pods": "1"}));
        let (running, mut ended) = (pod("1"), pod("1"));
        ended["status"]["phase"] = "Failed".into();
        let told = Charge { may_refuse: false, ..of(PODS, Some(&running), Some(&ended)) };
        assert_eq!(charge(&quota, &told).unwrap().unwrap().to_string(), "count/pods=1,pods=0");
        assert_eq!(
            charge(&quota, &of(PODS, Some(&running), None)).unwrap().unwrap().to_string(),
            "count/pods=0,pods=0"
        );
        let scoped = json!({"metadata": {"name": "q"}, "spec": {"scopes": ["Terminating"]}, "status": quota["status"]});
        let mut limited = running.clone();
        limited["spec"]["activeDeadlineSeconds"] = 5.into();
        let told = Charge { may_refuse: false, ..of(PODS, Some(&running), Some(&limited)) };
        assert_eq!(charge(&scoped, &told).unwrap().unwrap().to_string(), "count/pods=2,pods=2");
        let none = super::Amounts::default().to_value();
        let fresh = json!({"metadata": {"name": "q"}, "status": {"hard": {"pods": "2"}, "used": none}});
        assert_eq!(charge(&fresh, &of(PODS, Some(&running), None)), Ok(None));
    }
}
