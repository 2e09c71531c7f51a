//! The kinds of `flowcontrol.apiserver.k8s.io`.

use jiff::Timestamp;
use serde_json::Value;

use super::common::{self, age, default_to, number, or, spec_mut, text_or_none};
use super::{AGE, Column, NAME, Strategy, column, int_column};
use crate::field::{FieldError, Path};
use crate::meta::{self, at, int, text};

/// The first precedence that is too great.
const MAX_PRECEDENCE_EXCEEDED: i64 = 10_001;

/// A FlowSchema.
pub struct FlowSchema;

impl Strategy for FlowSchema {
    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, obj: &mut Value) {
        if let Some(spec) = spec_mut(obj) {
            default_to(spec, "matchingPrecedence", 1000);
        }
    }

    fn validate(&self, obj: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec");
        let precedence = int(obj, &["spec", "matchingPrecedence"]).unwrap_or(0);
        let detail = match precedence {
            ..=0 => "must be a positive value",
            1 if meta::name(obj) != "exempt" => "only the schema named 'exempt' may have matchingPrecedence 1",
            MAX_PRECEDENCE_EXCEEDED.. => "must not be greater than 10000",
            _ => "",
        };
        if !detail.is_empty() {
            errors.push(FieldError::invalid(&path.child("matchingPrecedence"), &precedence.into(), detail));
        }
        let method = path.child("distinguisherMethod").child("type");
        let given = at(obj, &["spec", "distinguisherMethod", "type"]);
        common::one_of(&mut errors, &method, given, &["ByNamespace", "ByUser"], false);
        if text(obj, &["spec", "priorityLevelConfiguration", "name"]).is_empty() {
            let path = path.child("priorityLevelConfiguration").child("name");
            errors.push(FieldError::required(&path, "must reference a priority level"));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("PriorityLevel"),
                int_column("MatchingPrecedence"),
                column("DistinguisherMethod"),
                AGE,
                column("MissingPL"),
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            text(obj, &["spec", "priorityLevelConfiguration", "name"]).into(),
            number(obj, &["spec", "matchingPrecedence"]),
            text_or_none(obj, &["spec", "distinguisherMethod", "type"]),
            age(obj, now),
            or(text(common::condition(obj, "Dangling"), &["status"]), "?"),
        ]
    }
}

/// A PriorityLevelConfiguration.
pub struct PriorityLevelConfiguration;

impl Strategy for PriorityLevelConfiguration {
    fn has_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("Type"),
                column("NominalConcurrencyShares"),
                column("Queues"),
                column("HandSize"),
                column("QueueLengthLimit"),
                AGE,
            ]
        }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            meta::name(obj).into(),
            text(obj, &["spec", "type"]).into(),
            count(obj, &["spec", "limited", "nominalConcurrencyShares"]),
            count(obj, &["spec", "limited", "limitResponse", "queuing", "queues"]),
            count(obj, &["spec", "limited", "limitResponse", "queuing", "handSize"]),
            count(obj, &["spec", "limited", "limitResponse", "queuing", "queueLengthLimit"]),
            age(obj, now),
        ]
    }
}

fn count(obj: &Value, path: &[&str]) -> Value {
    int(obj, path).map_or("<none>".into(), |n| n.to_string().into())
}
