//! ResourceQuota.

use jiff::Timestamp;
use serde_json::Value;

use super::common::age;
use super::{AGE, Column, NAME, Strategy, column};
use crate::meta::{self, at, text};

/// A ResourceQuota.
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn has_status(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, column("Request"), column("Limit"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), amounts(obj, false).into(), amounts(obj, true).into(), age(obj, now)]
    }
}

fn amounts(obj: &Value, limits: bool) -> String {
    meta::string_map(at(obj, &["status", "hard"]))
        .filter(|(key, _)| key.starts_with("limits.") == limits)
        .map(|(key, hard)| {
            let used = text(obj, &["status", "used", key]);
            format!("{key}: {}/{hard}", if used.is_empty() { "0" } else { used })
        })
        .collect::<Vec<_>>()
        .join(", ")
}
