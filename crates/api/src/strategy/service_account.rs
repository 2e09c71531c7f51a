//! ServiceAccount.

use jiff::Timestamp;
use serde_json::Value;

use super::common::age;
use super::{AGE, Column, NAME, Strategy, int_column};
use crate::meta::{self, list};

/// A ServiceAccount.
pub struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn is_answered_when_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, int_column("Secrets"), AGE] }
    }

    fn row(&self, obj: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(obj).into(), list(obj, &["secrets"]).len().into(), age(obj, now)]
    }
}
