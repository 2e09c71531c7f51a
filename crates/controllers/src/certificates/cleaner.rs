//! Forgets requests that were decided or have waited long enough.

use std::time::{Duration, SystemTime};

use coracle_client::is_not_found;
use coracle_pki::validity;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};

use super::{conditions, issued, requests};
use crate::common::{Context, seconds_between};

/// How often requests are looked at.
const PERIOD: Duration = Duration::from_secs(3600);
/// Seconds that decided requests and those that wait are kept.
const DECIDED: i64 = 3600;
const PENDING: i64 = 24 * 3600;

/// Runs the controller for ever.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let requests = requests(&context);
    requests.synced().await;
    let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    loop {
        for request in requests.store().list().iter().filter(|request| is_over(request, Timestamp::now())) {
            match api.delete(&request.name_any(), &DeleteParams::default()).await {
                Err(error) if !is_not_found(&error) => {
                    tracing::warn!(request = request.name_any(), %error, "failed to delete an old certificate request");
                }
                _ => {}
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn is_over(request: &CertificateSigningRequest, now: Timestamp) -> bool {
    let created = request.metadata.creation_timestamp.as_ref();
    if conditions(request).is_empty() {
        return created.is_some_and(|created| seconds_between(created.0, now) > PENDING);
    }
    conditions(request).iter().any(|condition| {
        let old = condition.last_update_time.as_ref().is_some_and(|at| seconds_between(at.0, now) > DECIDED);
        match condition.type_.as_str() {
            "Denied" | "Failed" => old,
            "Approved" => issued(request).is_some_and(|certificate| old || has_ended(certificate)),
            _ => false,
        }
    })
}

fn has_ended(certificate: &[u8]) -> bool {
    let text = String::from_utf8_lossy(certificate);
    validity(&text).is_ok_and(|(_, ends)| ends < SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn decided_requests_go_after_an_hour_and_others_after_a_day() {
        let over = |status: Value, age: i64| {
            let at = Timestamp::from_second(Timestamp::now().as_second() - age).unwrap().to_string();
            let mut object = json!({"metadata": {"creationTimestamp": at}, "spec": {"request": "", "signerName": "s"}, "status": status});
            for condition in object["status"]["conditions"].as_array_mut().into_iter().flatten() {
                condition["lastUpdateTime"] = at.as_str().into();
            }
            is_over(&serde_json::from_value(object).unwrap(), Timestamp::now())
        };
        let condition = |kind: &str| json!({"conditions": [{"type": kind, "status": "True"}]});
        let mut signed = condition("Approved");
        signed["certificate"] = "eA==".into();
        assert!(!over(json!({}), PENDING - 10) && over(json!({}), PENDING + 10));
        for status in [condition("Denied"), condition("Failed"), signed] {
            assert!(!over(status.clone(), DECIDED - 10) && over(status, DECIDED + 10));
        }
        assert!(!over(condition("Approved"), PENDING + 10), "it waits for its signer");
    }
}
