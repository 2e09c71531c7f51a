//! Event, in the core group and in `events.k8s.io`: the fields have other names there.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, Strategy, column, wide};
use crate::field::{FieldError, Path};
use crate::meta::{self, int, text};
use crate::table::duration::since;

/// How long events are kept, as upstream's default.
const LIFE: Duration = Duration::from_secs(3600);

/// An Event.
pub struct Event;

impl Strategy for Event {
    fn default(&self, obj: &mut Value) {
        // The schema requires it, and upstream always writes it.
        meta::as_object(obj).entry("eventTime").or_insert(Value::Null);
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let about = about(obj);
        let namespace = meta::namespace(obj);
        let other = text(about, &["namespace"]);
        // What is about a cluster-scoped object lives in the default namespace.
        let fits = other == namespace || (other.is_empty() && matches!(namespace, "default" | "kube-system"));
        if !fits {
            let name = if obj.get("regarding").is_some() { "regarding" } else { "involvedObject" };
            let path = Path::new(name).child("namespace");
            errors.push(FieldError::invalid_str(&path, other, "does not match event.namespace"));
        }
        if !obj["eventTime"].is_null() {
            let controller = first(obj, &["reportingController", "reportingComponent"]);
            if controller.is_empty() {
                errors.push(FieldError::required(&Path::new("reportingController"), ""));
            }
            for key in ["reportingInstance", "action", "reason"] {
                if text(obj, &[key]).is_empty() {
                    errors.push(FieldError::required(&Path::new(key), ""));
                }
            }
        }
        for (key, max) in [("action", 128), ("reason", 128), ("note", 1024), ("message", 1024)] {
            if text(obj, &[key]).len() > max && !obj["eventTime"].is_null() {
                errors.push(FieldError::invalid_str(&Path::new(key), "", format!("can have at most {max} characters")));
            }
        }
        errors
    }

    fn ttl(&self) -> Option<Duration> {
        Some(LIFE)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn selectable_fields<'a>(&self, obj: &'a Value) -> Vec<Cow<'a, str>> {
        let about = about(obj);
        let about = ["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"]
            .map(|key| text(about, &[key]));
        let source = first(obj, &["reportingComponent", "reportingController"]);
        let component = Some(source_component(obj)).filter(|component| !component.is_empty()).unwrap_or(source);
        let own = [text(obj, &["reason"]), source, source];
        let rest = [component, text(obj, &["type"])];
        // The object is found by its old name and by its new one.
        about.into_iter().chain(own).chain(about).chain(rest).map(Cow::from).collect()
    }

    fn supported_fields(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "reportingController",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "source",
            "type",
        ]
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                column("Last Seen"),
                column("Type"),
                column("Reason"),
                column("Object"),
                wide("Subobject"),
                wide("Source"),
                column("Message"),
                wide("First Seen"),
                wide("Count"),
                Column::new("Name", "string", "name", 1),
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        let about = about(obj);
        let event_time = text(obj, &["eventTime"]);
        let or_event_time = |time: &str| if time.is_empty() { event_time.to_owned() } else { time.to_owned() };
        let first_seen = since(&or_event_time(first(obj, &["firstTimestamp", "deprecatedFirstTimestamp"])), now);
        let series = &obj["series"];
        let last = if series.is_object() {
            since(first(series, &["lastObservedTime"]), now)
        } else {
            let last = first(obj, &["lastTimestamp", "deprecatedLastTimestamp"]);
            if last.is_empty() { first_seen.clone() } else { since(last, now) }
        };
        let count = int(series, &["count"])
            .or_else(|| int(obj, &["count"]))
            .or_else(|| int(obj, &["deprecatedCount"]))
            .filter(|c| *c > 0)
            .unwrap_or(1);
        let component = source_component(obj);
        let component =
            if component.is_empty() { first(obj, &["reportingComponent", "reportingController"]) } else { component };
        let host = [
            text(obj, &["source", "host"]),
            text(obj, &["deprecatedSource", "host"]),
            text(obj, &["reportingInstance"]),
        ]
        .into_iter()
        .find(|h| !h.is_empty())
        .unwrap_or_default();
        let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
        let object = format!("{}/{}", text(about, &["kind"]).to_lowercase(), text(about, &["name"]));
        vec![
            last.into(),
            text(obj, &["type"]).into(),
            text(obj, &["reason"]).into(),
            object.into(),
            text(about, &["fieldPath"]).into(),
            source.into(),
            first(obj, &["message", "note"]).trim().into(),
            first_seen.into(),
            count.to_string().into(),
            meta::name(obj).into(),
        ]
    }
}

fn about(obj: &Value) -> &Value {
    if obj.get("regarding").is_some() { &obj["regarding"] } else { &obj["involvedObject"] }
}

/// The first of the fields that is set.
fn first<'a>(obj: &'a Value, keys: &[&str]) -> &'a str {
    keys.iter().map(|k| text(obj, &[k])).find(|t| !t.is_empty()).unwrap_or_default()
}

fn source_component(obj: &Value) -> &str {
    let core = text(obj, &["source", "component"]);
    if core.is_empty() { text(obj, &["deprecatedSource", "component"]) } else { core }
}
