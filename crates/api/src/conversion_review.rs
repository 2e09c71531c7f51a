//! The review by which a webhook is asked to bring custom resources into another version, and what it answers.
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-request-and-response>

use serde_json::{Map, Value, json};

use crate::field::Path;
use crate::json::is_too_deep;
use crate::labels;
use crate::meta::{self, list, text};

/// A version of reviews that both sides speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewVersion {
    /// `apiextensions.k8s.io/v1`
    V1,
    /// `apiextensions.k8s.io/v1beta1`
    V1Beta1,
}

impl ReviewVersion {
    /// The first of those that a webhook lists that is known.
    pub fn of(webhook: &Value) -> Option<Self> {
        list(webhook, &["conversionReviewVersions"]).iter().find_map(|version| match version.as_str()? {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        })
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "apiextensions.k8s.io/v1",
            Self::V1Beta1 => "apiextensions.k8s.io/v1beta1",
        }
    }
}

/// What a webhook is asked: objects of one kind in another version.
#[derive(Debug)]
pub struct Question<'a> {
    /// The version of the review.
    pub version: ReviewVersion,
    /// Tells it from other reviews.
    pub uid: &'a str,
    /// The version that is wanted, such as `example.com/v1`.
    pub to: &'a str,
    /// At least one, none of them in that version.
    pub objects: &'a [Value],
}

impl Question<'_> {
    /// The ConversionReview to send.
    pub fn review(&self) -> Value {
        let request = json!({"uid": self.uid, "desiredAPIVersion": self.to, "objects": self.objects});
        json!({"kind": "ConversionReview", "apiVersion": self.version.api_version(), "request": request})
    }

    /// What a message says of whom the review is.
    fn of(&self) -> String {
        let first = self.objects.first().unwrap_or(&Value::Null);
        format!("conversion webhook for {}, Kind={}", meta::api_version(first), meta::kind(first))
    }

    /// That nobody could be asked, in upstream's words.
    pub fn failed(&self, why: &str) -> String {
        format!("{} failed: {why}", self.of())
    }

    /// The converted objects of an answer, in the order of those that were sent. Of their metadata only labels and
    /// annotations are the webhook's.
    ///
    /// # Errors
    /// Why it is no answer, in upstream's words.
    pub fn answer(&self, answer: Value) -> Result<Vec<Value>, String> {
        let objects = self.objects_of(answer).map_err(|why| self.failed(&why))?;
        if objects.len() != self.objects.len() {
            return Err(format!("{} returned {} objects, expected {}", self.of(), objects.len(), self.objects.len()));
        }
        let is_one = self.objects.len() == 1;
        let mut converted = Vec::with_capacity(objects.len());
        for (index, (sent, mut object)) in self.objects.iter().zip(objects).enumerate() {
            let place = if is_one { "object".to_owned() } else { format!("converted object at index {index}") };
            let invalid = |why: String| format!("{} returned invalid {place}: {why}", self.of());
            self.check_type(sent, &object).map_err(|why| match is_one {
                true => format!("{} returned invalid object at index 0: {why}", self.of()),
                false => invalid(why),
            })?;
            check_same(sent, &object).map_err(invalid)?;
            let place = if is_one { String::new() } else { format!(" in object at index {index}") };
            restore_metadata(sent, &mut object)
                .map_err(|why| format!("{} returned invalid metadata{place}: {why}", self.of()))?;
            if is_too_deep(&object) {
                return Err(invalid("exceeded max depth".into()));
            }
            converted.push(object);
        }
        Ok(converted)
    }

    fn objects_of(&self, mut answer: Value) -> Result<Vec<Value>, String> {
        if self.version == ReviewVersion::V1 {
            let (own, kind) = (self.version.api_version(), meta::kind(&answer));
            let version = meta::api_version(&answer);
            if (version, kind) != (own, "ConversionReview") {
                return Err(format!(
                    "expected webhook response of {own}, Kind=ConversionReview, got {version}, Kind={kind}"
                ));
            }
        }
        let Some(response) = answer.get_mut("response").filter(|response| response.is_object()) else {
            return Err("no response provided".into());
        };
        let uid = text(response, &["uid"]);
        if self.version == ReviewVersion::V1 && uid != self.uid {
            return Err(format!("expected response.uid={:?}, got {uid:?}", self.uid));
        }
        let (status, message) = (text(response, &["result", "status"]), text(response, &["result", "message"]));
        if status != "Success" {
            let unsaid = || format!("response.result.status was '{status}', not 'Success'");
            return Err(if message.is_empty() { unsaid() } else { message.to_owned() });
        }
        match response.get_mut("convertedObjects").map(Value::take) {
            Some(Value::Array(objects)) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }

    fn check_type(&self, sent: &Value, object: &Value) -> Result<(), String> {
        let (kind, version) = (meta::kind(object), meta::api_version(object));
        if kind.is_empty() {
            let shown: String = object.to_string().chars().take(256).collect();
            return Err(format!("Object 'Kind' is missing in '{shown}'"));
        }
        if version != self.to {
            return Err(format!("invalid groupVersion (expected {}, received {version})", self.to));
        }
        if kind != meta::kind(sent) {
            return Err(format!("invalid kind (expected {}, received {kind})", meta::kind(sent)));
        }
        Ok(())
    }
}

/// Checks that it is still the same object.
fn check_same(sent: &Value, object: &Value) -> Result<(), String> {
    for (key, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, now) = (text(sent, &["metadata", key]), text(object, &["metadata", key]));
        if before != now {
            return Err(format!("must have the same {what}: {before} != {now}"));
        }
    }
    Ok(())
}

/// Gives a converted object the metadata that it had, but for its labels and annotations.
fn restore_metadata(sent: &Value, object: &mut Value) -> Result<(), String> {
    let mut answered = match object.get_mut("metadata").map(Value::take) {
        None => return Err("missing metadata in converted object".into()),
        Some(Value::Object(metadata)) => metadata,
        Some(other) => return Err(format!("invalid metadata of type {} in converted object", go_type(&other))),
    };
    let mut metadata = sent["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let before = metadata.remove(field);
        match answered.remove(field) {
            None | Some(Value::Null) => {}
            Some(Value::Object(now)) => {
                check_texts(field, &now)?;
                let now = Value::Object(now);
                if before.as_ref() != Some(&now) {
                    check_changed(field, &now)?;
                }
                metadata.insert(field.into(), now);
            }
            Some(other) => {
                return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(&other)));
            }
        }
    }
    object["metadata"] = Value::Object(metadata);
    Ok(())
}

fn check_texts(field: &str, map: &Map<String, Value>) -> Result<(), String> {
    match map.iter().find(|(_, value)| !value.is_string()) {
        None => Ok(()),
        Some((key, value)) => {
            let is = go_type(value);
            Err(format!("metadata.{field}[{key}] must be a string, but is {is} in converted object"))
        }
    }
}

/// Checks labels or annotations that a webhook changed.
fn check_changed(field: &str, map: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    match field {
        "labels" => labels::labels(map, &Path::new("metadata").child("labels"), &mut errors),
        _ => labels::annotations(map, &Path::new("metadata").child("annotation"), &mut errors),
    }
    match errors.as_slice() {
        [] => Ok(()),
        [error] => Err(error.to_string()),
        errors => Err(format!("[{}]", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str, name: &str) -> Value {
        json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {
            "name": name, "namespace": "d", "uid": name, "resourceVersion": "3", "labels": {"a": "b"}}})
    }

    fn asked(objects: &[Value]) -> Question<'_> {
        Question { version: ReviewVersion::V1, uid: "u", to: "example.com/v2", objects }
    }

    fn review(response: Value) -> Value {
        json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response})
    }

    fn success(objects: &[Value]) -> Value {
        review(json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": objects}))
    }

    const OF: &str = "conversion webhook for example.com/v1, Kind=Widget";

    #[test]
    fn answers_that_are_none_are_told() {
        let sent = [object("v1", "a")];
        let told = |answer: Value| asked(&sent).answer(answer).expect_err("it is none");
        for (answer, why) in [
            (
                Value::Null,
                "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got , Kind=",
            ),
            (review(Value::Null), "failed: no response provided"),
            (review(json!({"uid": "x"})), "failed: expected response.uid=\"u\", got \"x\""),
            (review(json!({"uid": "u"})), "failed: response.result.status was '', not 'Success'"),
            (review(json!({"uid": "u", "result": {"status": "Failure", "message": "no"}})), "failed: no"),
            (success(&[]), "returned 0 objects, expected 1"),
            (
                success(&[object("v3", "a")]),
                "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)",
            ),
            (success(&[object("v2", "b")]), "returned invalid object: must have the same name: a != b"),
            (success(&[json!(7)]), "returned invalid object at index 0: Object 'Kind' is missing in '7'"),
        ] {
            assert_eq!(told(answer), format!("{OF} {why}"));
        }
        let with = |path: &str, value: Value| {
            let mut object = object("v2", "a");
            match object.pointer_mut(path) {
                Some(place) => *place = value,
                None => object["metadata"]["annotations"] = value,
            }
            told(success(&[object]))
        };
        assert_eq!(
            with("/kind", "Gadget".into()),
            format!("{OF} returned invalid object at index 0: invalid kind (expected Widget, received Gadget)")
        );
        assert_eq!(
            with("/metadata/uid", "x".into()),
            format!("{OF} returned invalid object: must have the same UID: a != x")
        );
        assert_eq!(
            with("/metadata/labels", json!([])),
            format!(
                "{OF} returned invalid metadata: invalid metadata.labels of type []interface {{}} in converted object"
            )
        );
        assert_eq!(
            with("/metadata/labels/a", json!(1)),
            format!(
                "{OF} returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object"
            )
        );
        assert!(
            with("/metadata/labels/a", json!("-"))
                .starts_with(&format!("{OF} returned invalid metadata: metadata.labels: Invalid value: \"-\""))
        );
        assert_eq!(
            with("/metadata/annotations", json!(true)),
            format!("{OF} returned invalid metadata: invalid metadata.annotations of type bool in converted object")
        );
        let two = [object("v1", "a"), object("v1", "b")];
        assert_eq!(
            asked(&two).answer(success(&[object("v2", "a"), object("v2", "c")])),
            Err(format!("{OF} returned invalid converted object at index 1: must have the same name: b != c"))
        );
        let mut deep = Value::Null;
        (0..110).for_each(|_| deep = json!([deep.take()]));
        let mut object = object("v2", "a");
        object["spec"] = deep;
        assert_eq!(told(success(&[object])), format!("{OF} returned invalid object: exceeded max depth"));
    }

    #[test]
    fn only_labels_and_annotations_of_the_metadata_are_the_webhooks() {
        let sent = [object("v1", "a")];
        let mut converted = object("v2", "a");
        converted["spec"] = json!({"b": 1});
        converted["metadata"]["labels"] = json!({"c": "d"});
        converted["metadata"]["finalizers"] = json!(["x/y"]);
        converted["metadata"]["resourceVersion"] = "9".into();
        let read = asked(&sent).answer(success(&[converted])).expect("an answer");
        assert_eq!(read[0]["spec"], json!({"b": 1}));
        let metadata = json!({"name": "a", "namespace": "d", "uid": "a", "resourceVersion": "3", "labels": {"c": "d"}});
        assert_eq!(read[0]["metadata"], metadata);
        // The first version of reviews had no identity.
        let old = Question { version: ReviewVersion::V1Beta1, ..asked(&sent) };
        let answer = json!({"response": {"result": {"status": "Success"}, "convertedObjects": [object("v2", "a")]}});
        assert_eq!(old.answer(answer).expect("an answer").len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(text in "[\\[{\"a-z:,0-9\\]}]{0,60}") {
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            let sent = [object("v1", "a")];
            let _ = asked(&sent).answer(value.clone());
            let _ = Question { version: ReviewVersion::V1Beta1, ..asked(&sent) }.answer(value.clone());
            let _ = asked(&sent).answer(review(value.clone()));
            let _ = asked(&sent).answer(success(std::slice::from_ref(&value)));
            let mut converted = object("v2", "a");
            converted["metadata"] = value;
            let _ = asked(&sent).answer(success(&[converted]));
        }
    }
}
