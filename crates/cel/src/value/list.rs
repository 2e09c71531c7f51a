//! Lists, of an object or made.

use std::sync::Arc;

use serde_json::Value;

use super::CelValue;
use crate::error::EvalError;
use crate::types::{ListKind, ListType};

/// A list; a copy of it costs nothing.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Of an object, with the type that its schema says; nothing where there is none.
    Json(&'a [Value], Option<Arc<ListType>>),
    /// Of the expression.
    Made(Arc<Vec<CelValue<'a>>>),
}

impl<'a> List<'a> {
    /// How many items it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at a place.
    ///
    /// # Errors
    /// If it does not fit its type.
    pub fn get(&self, index: usize) -> Option<Result<CelValue<'a>, EvalError>> {
        match self {
            Self::Json(items, of) => items.get(index).map(|item| match of {
                Some(of) => CelValue::from_json(item, &of.item),
                None => Ok(CelValue::from_any(item)),
            }),
            Self::Made(items) => items.get(index).cloned().map(Ok),
        }
    }

    /// Its items in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<CelValue<'a>, EvalError>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Order and identity of its items.
    pub(crate) fn kind(&self) -> &ListKind {
        match self {
            Self::Json(_, Some(of)) => &of.kind,
            _ => &ListKind::Atomic,
        }
    }
}
