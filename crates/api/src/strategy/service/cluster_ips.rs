//! `clusterIP` and `clusterIPs`: older clients know the first only, others say both.
//! <https://kubernetes.io/docs/concepts/services-networking/dual-stack/>

use serde_json::{Value, json};

use super::{Needs, spec_mut};
use crate::meta::{list, text};

fn is_same(new: &Value, old: &Value, key: &str) -> bool {
    list(new, &["spec", key]) == list(old, &["spec", key])
}

/// Of a new service that names one address, the list.
pub(super) fn fill(obj: &mut Value) {
    let one = text(obj, &["spec", "clusterIP"]).to_owned();
    if !one.is_empty() && list(obj, &["spec", "clusterIPs"]).is_empty() {
        obj["spec"]["clusterIPs"] = json!([one]);
    }
}

/// What a changed service leaves out stays, and what an older client changed is taken over.
pub(super) fn keep(new: &mut Value, old: &Value) {
    if !Needs::of(new).cluster_ip || !Needs::of(old).cluster_ip {
        return fill(new);
    }
    let before = text(old, &["spec", "clusterIP"]).to_owned();
    if text(new, &["spec", "clusterIP"]).is_empty() && !before.is_empty() {
        new["spec"]["clusterIP"] = before.clone().into();
    }
    let is_same_address = text(new, &["spec", "clusterIP"]) == before;
    if list(new, &["spec", "clusterIPs"]).is_empty() && is_same_address {
        let all = list(old, &["spec", "clusterIPs"]);
        if !all.is_empty() {
            new["spec"]["clusterIPs"] = all.into();
        }
    } else if !is_same_address && is_same(new, old, "clusterIPs") {
        new["spec"]["clusterIPs"] = json!([text(new, &["spec", "clusterIP"])]);
    }
    fill(new);
}

/// A service that is to have one family only, and names the two that it had, keeps the first.
pub(super) fn trim(new: &mut Value, old: &Value) {
    let policy = |service: &Value| text(service, &["spec", "ipFamilyPolicy"]).to_owned();
    if policy(new) != "SingleStack" || !matches!(&*policy(old), "PreferDualStack" | "RequireDualStack") {
        return;
    }
    for key in ["clusterIPs", "ipFamilies"] {
        let is_as_it_was = list(new, &["spec", key]).len() == 2 && is_same(new, old, key);
        if let (true, Some(spec)) = (is_as_it_was, spec_mut(new)) {
            spec.get_mut(key).and_then(Value::as_array_mut).into_iter().for_each(|list| list.truncate(1));
        }
    }
}
