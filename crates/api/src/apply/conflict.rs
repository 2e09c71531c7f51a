//! What an applier wants to have, but others own.

use std::collections::BTreeMap;

use super::managed::{Id, Operation};
use super::set::Set;
use crate::field::quote;
use crate::status::{Cause, Details, Status};

/// After so many bytes no more conflicts are told: a path may be as long as the object, and there may be as many.
const MAX_TOLD: usize = 1 << 20;

/// The contested fields, by who owns them.
#[derive(Clone, Debug, Default)]
pub struct Conflicts<'a>(pub(super) BTreeMap<Id<'a>, Set<'a>>);

impl<'a> Conflicts<'a> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Without the fields of a set.
    pub(super) fn without(&self, allowed: &Set<'a>) -> Self {
        let left = self.0.iter().map(|(id, fields)| (id.clone(), fields.difference(allowed)));
        Self(left.filter(|(_, fields)| !fields.is_empty()).collect())
    }

    /// 409, with a cause for every field that is told.
    pub fn status(&self) -> Status {
        let mut causes = Vec::new();
        let (mut lines, mut count, mut told) = (Vec::new(), 0usize, 0usize);
        for (id, fields) in &self.0 {
            let manager = shown(id);
            lines.push(format!("conflicts with {manager}:"));
            fields.each(&mut |path| {
                count += 1;
                if told > MAX_TOLD {
                    return;
                }
                let field: String = path.iter().map(ToString::to_string).collect();
                let message = format!("conflict with {manager}");
                told = told.saturating_add(field.len()).saturating_add(message.len());
                lines.push(format!("- {field}"));
                causes.push(Cause { reason: "FieldManagerConflict".into(), message, field });
            });
        }
        if count > causes.len() {
            lines.push(format!("and {} more", count - causes.len()));
        }
        let message = match causes.as_slice() {
            [one] if count == 1 => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
            _ => format!("Apply failed with {count} conflicts: {}", lines.join("\n")),
        };
        Status {
            details: Some(Box::new(Details { causes, ..Details::default() })),
            ..Status::new(409, "Conflict", message)
        }
    }
}

fn shown(id: &Id<'_>) -> String {
    let mut out = quote(&id.manager);
    if !id.subresource.is_empty() {
        out += &format!(" with subresource {}", quote(&id.subresource));
    }
    if id.operation == Operation::Update {
        out += &format!(" using {}", id.api_version);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::fields_v1;
    use serde_json::json;

    #[test]
    fn conflicts_are_told_as_upstream_does() {
        let id = |manager: &'static str, operation, subresource: &'static str| Id {
            manager: manager.into(),
            operation,
            api_version: if operation == Operation::Update { "apps/v1".into() } else { "".into() },
            subresource: subresource.into(),
        };
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let replicas = fields_v1::parse(&replicas).expect("it parses");
        let one = Conflicts([(id("kubectl", Operation::Update, ""), replicas.clone())].into());
        let status = one.status();
        assert_eq!(
            status.message,
            "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas"
        );
        let details = status.details.expect("there are details");
        assert_eq!(details.causes[0].field, ".spec.replicas");
        assert_eq!(details.causes[0].message, "conflict with \"kubectl\" using apps/v1");
        let image =
            json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}}}}}});
        let image = fields_v1::parse(&image).expect("it parses").union(&replicas);
        let two =
            Conflicts([(id("x", Operation::Apply, ""), image), (id("b", Operation::Update, "scale"), replicas)].into());
        assert_eq!(
            two.status().message,
            concat!(
                "Apply failed with 3 conflicts: conflicts with \"b\" with subresource \"scale\" using apps/v1:\n- .spec.replicas\n",
                "conflicts with \"x\":\n- .spec.replicas\n- .spec.template.spec.containers[name=\"a\"].image"
            )
        );
    }
}
