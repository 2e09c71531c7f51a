//! What who makes a network policy is told.

use coracle_apiserver::AdmissionOptions;
use serde_json::json;

use crate::Api;

#[tokio::test]
async fn who_makes_a_policy_that_only_plugins_enforce_is_warned() {
    const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    for foreign_network in [false, true] {
        let api = Api::with(|config| {
            config.admission = AdmissionOptions { foreign_network, ..AdmissionOptions::default() };
        })
        .await;
        let made = api.post(POLICIES, &json!({"metadata": {"name": "p"}, "spec": {"podSelector": {}}})).await;
        assert_eq!(made.status.as_u16(), 201, "{}", made.text);
        let warned = made.warnings().iter().any(|warning| warning.contains("CNI plugins"));
        assert_eq!(warned, foreign_network, "{:?}", made.warnings());
    }
}
