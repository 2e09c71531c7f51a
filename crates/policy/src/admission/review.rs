//! The review that a webhook is sent, and what it answers.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request>

use std::borrow::Cow;

use coracle_api::meta::{self, list, text};
use coracle_api::status::{Cause, Details, Status};
use serde_json::{Value, json};

use super::request::{Admitted, review_request};

/// A version of reviews that both sides speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewVersion {
    /// `admission.k8s.io/v1`
    V1,
    /// `admission.k8s.io/v1beta1`
    V1Beta1,
}

impl ReviewVersion {
    /// The first of those that a webhook lists that is known.
    pub fn of(webhook: &Value) -> Option<Self> {
        list(webhook, &["admissionReviewVersions"]).iter().find_map(|version| match version.as_str()? {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        })
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// What a webhook answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reviewed {
    /// Whether the request is let pass.
    pub allowed: bool,
    /// A JSON patch, if the object is to be changed.
    pub patch: Option<Vec<u8>>,
    /// For whoever made the request.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
    /// What is told if it is not let pass.
    pub status: Value,
}

/// The review of a request.
pub fn review(version: ReviewVersion, uid: &str, admitted: &Admitted<'_>) -> Value {
    let mut request = review_request(admitted);
    request["uid"] = uid.into();
    for (key, object) in [("object", admitted.object), ("oldObject", admitted.old_object)] {
        request[key] = object.cloned().unwrap_or_default();
    }
    json!({"kind": "AdmissionReview", "apiVersion": version.api_version(), "request": request})
}

/// Reads the answer to a review.
///
/// # Errors
/// Why it is none, in upstream's words.
pub fn reviewed(version: ReviewVersion, uid: &str, mutating: bool, answer: &Value) -> Result<Reviewed, String> {
    let (kind, api_version) = (meta::kind(answer), meta::api_version(answer));
    if (kind, api_version) != ("AdmissionReview", version.api_version()) {
        let wanted = version.api_version();
        return Err(format!(
            "expected webhook response of {wanted}, Kind=AdmissionReview, got {api_version}, Kind={kind}"
        ));
    }
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    let given = text(response, &["uid"]);
    if version == ReviewVersion::V1 && given != uid {
        return Err(format!("expected response.uid=\"{uid}\", got \"{given}\""));
    }
    let strings = |value: &Value| -> Vec<(String, String)> {
        meta::string_map(value).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    Ok(Reviewed {
        allowed: response["allowed"] == true,
        patch: patch(version, mutating, response)?,
        warnings: list(response, &["warnings"]).iter().filter_map(Value::as_str).map(Into::into).collect(),
        annotations: strings(&response["auditAnnotations"]),
        status: response["status"].clone(),
    })
}

fn patch(version: ReviewVersion, mutating: bool, response: &Value) -> Result<Option<Vec<u8>>, String> {
    let (patch, kind) = (text(response, &["patch"]), response["patchType"].as_str());
    if !mutating {
        return match (version, patch, kind) {
            (ReviewVersion::V1, "", None) | (ReviewVersion::V1Beta1, ..) => Ok(None),
            (_, "", Some(_)) => Err("validating webhook may not return response.patchType".into()),
            _ => Err("validating webhook may not return response.patch".into()),
        };
    }
    match (version, patch, kind) {
        (ReviewVersion::V1, "", Some(_)) => {
            return Err("webhook returned response.patchType but not response.patch".into());
        }
        (_, "", _) => return Ok(None),
        (ReviewVersion::V1, _, None) => {
            return Err("webhook returned response.patch but not response.patchType".into());
        }
        (ReviewVersion::V1, _, Some(kind)) if kind != "JSONPatch" => {
            return Err(format!("webhook returned invalid response.patchType of \"{kind}\""));
        }
        _ => {}
    }
    decoded(patch).map(Some).ok_or_else(|| "response.patch is not base64".into())
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// The refusal of a webhook, as the client is told.
pub fn refusal(webhook: &str, status: &Value) -> Status {
    let denied = format!("admission webhook \"{webhook}\" denied the request");
    let (message, reason) = (text(status, &["message"]), text(status, &["reason"]));
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let details = &status["details"];
    let causes = list(details, &["causes"]).iter().map(|cause| Cause {
        reason: text(cause, &["reason"]).into(),
        message: text(cause, &["message"]).into(),
        field: text(cause, &["field"]).into(),
    });
    let details = details.is_object().then(|| {
        Box::new(Details {
            name: text(details, &["name"]).into(),
            group: text(details, &["group"]).into(),
            kind: text(details, &["kind"]).into(),
            uid: text(details, &["uid"]).into(),
            causes: causes.collect(),
            retry_after_seconds: 0,
        })
    });
    Status { reason: Cow::Owned(reason.to_owned()), details, ..Status::new(code, "", message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: Value) -> Value {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
    }

    fn wrong(mutating: bool, answer: &Value) -> String {
        reviewed(ReviewVersion::V1, "u", mutating, answer).expect_err("it is wrong")
    }

    #[test]
    fn answers_that_are_none_are_told() {
        assert_eq!(
            wrong(true, &json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"})),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview"
        );
        assert_eq!(wrong(true, &answer(Value::Null)), "webhook response was absent");
        assert_eq!(wrong(true, &answer(json!({"uid": "x"}))), "expected response.uid=\"u\", got \"x\"");
        let patch = json!({"uid": "u", "patch": "W10="});
        assert_eq!(wrong(true, &answer(patch.clone())), "webhook returned response.patch but not response.patchType");
        assert_eq!(wrong(false, &answer(patch)), "validating webhook may not return response.patch");
    }

    #[test]
    fn an_answer_is_read() {
        let response = json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch", "warnings": ["w"], "auditAnnotations": {"k": "v"}});
        let read = reviewed(ReviewVersion::V1, "u", true, &answer(response)).expect("an answer");
        assert_eq!((read.allowed, read.patch.as_deref()), (true, Some(&b"[]"[..])));
        assert_eq!((read.warnings, read.annotations), (vec!["w".to_owned()], vec![("k".to_owned(), "v".to_owned())]));
        assert_eq!(
            ReviewVersion::of(&json!({"admissionReviewVersions": ["v2", "v1beta1", "v1"]})),
            Some(ReviewVersion::V1Beta1)
        );
    }

    #[test]
    fn refusals_say_who_and_why() {
        let told = |status: Value| {
            let status = refusal("w.example.com", &status);
            (status.code, status.message)
        };
        let denied = "admission webhook \"w.example.com\" denied the request";
        assert_eq!(told(Value::Null), (400, format!("{denied} without explanation")));
        assert_eq!(told(json!({"message": "no", "code": 403})), (403, format!("{denied}: no")));
        assert_eq!(told(json!({"reason": "Bad", "code": 200})), (400, format!("{denied}: Bad")));
    }
}
