//! Bounds the number of entries: the oldest updates become one.

use super::managed::{Entry, Id, Managed, Operation};

/// At most this many entries of updates.
const MAX_UPDATES: usize = 10;

/// The manager of what was updated long ago.
const ANCIENT: &str = "ancient-changes";

/// Joins the oldest updates of a version into one entry, until there are few enough.
pub(super) fn cap(managed: &mut Managed<'_>) {
    let updates = managed.entries().iter().filter(|entry| entry.id.operation == Operation::Update);
    let mut oldest: Vec<_> = updates.map(|entry| (entry.seconds(), entry.id.clone())).collect();
    let mut count = oldest.len();
    oldest.sort();
    let mut firsts: Vec<Id<'_>> = Vec::new();
    for (_, id) in oldest {
        if count <= MAX_UPDATES {
            return;
        }
        let Some(first) = firsts.iter().find(|first| first.api_version == id.api_version).cloned() else {
            firsts.push(id);
            continue;
        };
        let bucket = Id { manager: ANCIENT.into(), subresource: "".into(), ..id.clone() };
        let joined = managed.take(&bucket).or_else(|| managed.take(&first));
        if let (Some(joined), Some(entry)) = (joined, managed.take(&id)) {
            let fields = entry.fields.union(&joined.fields);
            // The younger of the two times.
            managed.put(Entry { id: bucket, fields, ..entry });
            count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_oldest_updates_become_ancient_changes() {
        let list: Vec<Value> = (0..12)
            .map(|n| {
                json!({"manager": format!("m{n}"), "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                    "time": format!("2024-01-01T00:00:{n:02}Z"), "fieldsV1": {"f:data": {format!("f:{n}"): {}}}})
            })
            .collect();
        let list = Value::from(list);
        let mut managed = Managed::parse(&list).expect("it parses");
        cap(&mut managed);
        let out: Value = serde_json::from_str(&managed.print()).expect("it is JSON");
        let out = out.as_array().expect("it is a list");
        assert_eq!(out.len(), 10);
        assert_eq!(out[0]["manager"], "ancient-changes");
        assert_eq!(out[0]["time"], "2024-01-01T00:00:02Z");
        assert_eq!(out[0]["fieldsV1"], json!({"f:data": {"f:0": {}, "f:1": {}, "f:2": {}}}));
        assert_eq!(out[9]["manager"], "m11");
    }
}
