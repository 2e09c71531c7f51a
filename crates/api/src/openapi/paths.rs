//! Paths and operations of a kind.

mod connect;

use serde_json::{Map, Value, json};

use super::schemas::reference;
use super::{Definitions, Spec, custom};
use crate::kind::Kind;
use crate::schema::{self, Schema, id};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const CUSTOM_PATCH_TYPES: [&str; 3] =
    ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];

/// Query parameters of an operation: name, type and description.
type Parameter = (&'static str, &'static str, &'static str);

const PRETTY: Parameter = ("pretty", "string", "If 'true', then the output is pretty printed.");
const WRITE: [Parameter; 3] = [
    ("dryRun", "string", "When present, indicates that modifications should not be persisted: 'All' runs every stage."),
    ("fieldManager", "string", "Name of the actor or entity that is making these changes."),
    ("fieldValidation", "string", "What happens with unknown or duplicate fields: Ignore, Warn or Strict."),
];
const FORCE: Parameter = ("force", "boolean", "Takes from other managers what the applied configuration sets.");
const DELETE: [Parameter; 4] = [
    ("dryRun", "string", "When present, indicates that modifications should not be persisted: 'All' runs every stage."),
    ("gracePeriodSeconds", "integer", "Seconds before the object is deleted."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ("propagationPolicy", "string", "Whether and how dependents are deleted: Orphan, Background or Foreground."),
];
const LIST: [Parameter; 10] = [
    ("allowWatchBookmarks", "boolean", "Asks for events of type BOOKMARK."),
    ("continue", "string", "Token of the next page."),
    ("fieldSelector", "string", "Restricts the objects by their fields."),
    ("labelSelector", "string", "Restricts the objects by their labels."),
    ("limit", "integer", "Maximum number of objects of a page."),
    ("resourceVersion", "string", "Constraint on the resource versions that the answer is served from."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied to lists."),
    ("sendInitialEvents", "boolean", "Starts a watch with the objects there are."),
    ("timeoutSeconds", "integer", "Ends the call after that time."),
    ("watch", "boolean", "Watches for changes instead of listing."),
];

struct Writer<'a> {
    kind: &'a Kind,
    spec: Spec,
}

/// Adds the paths of a kind, and the definitions that they refer to.
pub(super) fn of_kind(kind: &Kind, spec: Spec, paths: &mut Map<String, Value>, definitions: &mut Definitions) {
    let writer = Writer { kind, spec };
    let base = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    let plural = &kind.plural;
    let collection =
        if kind.namespaced { format!("{base}/namespaces/{{namespace}}/{plural}") } else { format!("{base}/{plural}") };
    definitions.generated.extend([id::META_V1_STATUS, id::META_V1_DELETE_OPTIONS]);
    let (own, list) = match &kind.schema {
        Schema::Generated(def) => {
            let list_def = schema::by_gvk(&kind.group, &kind.version, kind.list_kind());
            definitions.generated.extend([*def].into_iter().chain(list_def));
            let own = def.def().name;
            (own.to_owned(), list_def.map_or(own, |d| d.def().name).to_owned())
        }
        Schema::Structural(definition) => custom::define(kind, definition, spec, definitions),
    };
    let (own, list) = (own.as_str(), list.as_str());
    let gvk = (&*kind.group, &*kind.version, &*kind.kind);
    let verb = |v: &str| kind.has_verb(v);

    let mut operations = writer.item(kind.namespaced, false);
    if verb("list") {
        operations.insert("get".into(), writer.operation("list", &writer.name("list", ""), gvk, None, list, &LIST));
    }
    if verb("create") {
        operations
            .insert("post".into(), writer.operation("post", &writer.name("create", ""), gvk, Some(own), own, &WRITE));
    }
    if verb("deletecollection") {
        let body = id::META_V1_DELETE_OPTIONS.def().name;
        let parameters: Vec<Parameter> = DELETE.iter().chain(&LIST).copied().filter(|p| p.0 != "watch").collect();
        let name = writer.name("delete", "").replacen(&writer.group(), &format!("{}Collection", writer.group()), 1);
        let operation = writer.operation("deletecollection", &name, gvk, Some(body), STATUS, &parameters);
        operations.insert("delete".into(), operation);
    }
    paths.insert(collection.clone(), Value::Object(operations));
    if kind.namespaced && verb("list") {
        let mut operations = writer.item(false, false);
        let all = format!("list{}{}ForAllNamespaces", writer.group(), kind.kind);
        operations.insert("get".into(), writer.operation("list", &all, gvk, None, list, &LIST));
        paths.insert(format!("{base}/{plural}"), Value::Object(operations));
    }
    if verb("get") {
        let mut operations = writer.item(kind.namespaced, true);
        operations.insert("get".into(), writer.operation("get", &writer.name("read", ""), gvk, None, own, &[]));
        writer.writes(kind.verbs, gvk, own, "", &mut operations);
        if verb("delete") {
            let body = id::META_V1_DELETE_OPTIONS.def().name;
            let answer = if kind.strategy.is_answered_when_deleted() { own } else { STATUS };
            let name = writer.name("delete", "");
            operations.insert("delete".into(), writer.operation("delete", &name, gvk, Some(body), answer, &DELETE));
        }
        paths.insert(format!("{collection}/{{name}}"), Value::Object(operations));
    }
    if verb("watch") && kind.def().is_some() {
        definitions.generated.push(id::META_V1_WATCH_EVENT);
        writer.watches(&base, gvk, paths);
    }
    for sub in &kind.subresources {
        if sub.name == "log" {
            writer.log(sub, &format!("{collection}/{{name}}"), paths);
            continue;
        }
        let gvk = (&*sub.group, &*sub.version, &*sub.kind);
        let name = match schema::by_gvk(gvk.0, gvk.1, gvk.2) {
            Some(def) => {
                definitions.generated.push(def);
                def.def().name
            }
            None if gvk == (&*kind.group, &*kind.version, &*kind.kind) => own,
            // Bodies of connections (exec, proxy, ...) are streams: they have no schema.
            None => {
                writer.connects(sub, &format!("{collection}/{{name}}"), paths);
                continue;
            }
        };
        let mut operations = writer.item(kind.namespaced, true);
        if sub.verbs.contains(&"get") {
            operations
                .insert("get".into(), writer.operation("get", &writer.name("read", sub.name), gvk, None, name, &[]));
        }
        if sub.verbs.contains(&"create") {
            operations.insert(
                "post".into(),
                writer.operation("post", &writer.name("create", sub.name), gvk, Some(name), name, &WRITE),
            );
        }
        writer.writes(sub.verbs, gvk, name, sub.name, &mut operations);
        paths.insert(format!("{collection}/{{name}}/{}", sub.name), Value::Object(operations));
    }
}

/// `rbac.authorization.k8s.io` to `RbacAuthorization`, as names of operations have it.
pub(super) fn group_name(group: &str) -> String {
    let short = group.strip_suffix(".k8s.io").unwrap_or(group);
    let short = if short.is_empty() { "core" } else { short };
    short.split('.').map(capital).collect()
}

pub(super) fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// The codes of a success, with the words for each.
fn successes(action: &str) -> &'static [(&'static str, &'static str)] {
    match action {
        "post" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "put" | "patch" => &[("200", "OK"), ("201", "Created")],
        "delete" => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    }
}

impl Writer<'_> {
    /// Group and version in the names of operations: `CoreV1`.
    fn group(&self) -> String {
        group_name(&self.kind.group) + &capital(&self.kind.version)
    }

    /// The name of an operation, after which generated clients name their methods: `createCoreV1NamespacedPod`.
    fn name(&self, action: &str, subresource: &str) -> String {
        let scope = if self.kind.namespaced { "Namespaced" } else { "" };
        format!("{action}{}{scope}{}{}", self.group(), self.kind.kind, capital(subresource))
    }

    /// A path with the parameters that are part of it.
    fn item(&self, namespaced: bool, named: bool) -> Map<String, Value> {
        let mut parameters = Vec::new();
        let mut in_path = |name: &str, description: String| {
            let mut parameter = json!({"name": name, "in": "path", "required": true, "description": description});
            self.typed(&mut parameter, "string");
            parameters.push(parameter);
        };
        if named {
            in_path("name", format!("name of the {}", self.kind.kind));
        }
        if namespaced {
            in_path("namespace", "object name and auth scope, such as for teams and projects".into());
        }
        Map::from_iter([("parameters".to_owned(), Value::Array(parameters))])
    }

    /// Custom resources have no strategic merge patches, by which kubectl tells how to apply.
    fn patch_types(&self) -> &'static [&'static str] {
        match self.kind.def() {
            Some(_) => &PATCH_TYPES,
            None => &CUSTOM_PATCH_TYPES,
        }
    }

    fn typed(&self, parameter: &mut Value, ty: &str) {
        match self.spec {
            Spec::V2 => {
                parameter["type"] = ty.into();
                if parameter["in"] == "query" {
                    parameter["uniqueItems"] = true.into();
                }
            }
            Spec::V3 => parameter["schema"] = json!({"type": ty, "uniqueItems": true}),
        }
    }

    /// The query of an operation.
    fn query<'a>(&self, parameters: impl Iterator<Item = &'a Parameter>) -> Vec<Value> {
        let of_query = |(name, ty, description): &Parameter| {
            let mut parameter = json!({"name": name, "in": "query", "description": description});
            self.typed(&mut parameter, ty);
            parameter
        };
        parameters.map(of_query).collect()
    }

    /// By which generated clients sort operations: `core_v1`.
    fn tag(&self) -> String {
        let mut tag = group_name(&self.kind.group);
        tag[..1].make_ascii_lowercase();
        format!("{tag}_{}", self.kind.version)
    }

    /// Adds the deprecated paths below `watch`.
    fn watches(&self, base: &str, gvk: (&str, &str, &str), paths: &mut Map<String, Value>) {
        let (plural, namespaced) = (&self.kind.plural, self.kind.namespaced);
        let mut add = |path: String, (namespaced, named): (bool, bool), action: &str, name: &str| {
            let mut item = self.item(namespaced, named);
            let event = id::META_V1_WATCH_EVENT.def().name;
            item.insert("get".into(), self.operation(action, name, gvk, None, event, &LIST));
            paths.insert(path, Value::Object(item));
        };
        let name = self.name("watch", "");
        let scope = if namespaced { "/namespaces/{namespace}" } else { "" };
        let list = format!("{base}/watch{scope}/{plural}");
        add(format!("{list}/{{name}}"), (namespaced, true), "watch", &name);
        add(list, (namespaced, false), "watchlist", &format!("{name}List"));
        if namespaced {
            let all = format!("watch{}{}ListForAllNamespaces", self.group(), self.kind.kind);
            add(format!("{base}/watch/{plural}"), (false, false), "watchlist", &all);
        }
    }

    fn writes(
        &self,
        verbs: &[&str],
        gvk: (&str, &str, &str),
        own: &str,
        sub: &str,
        operations: &mut Map<String, Value>,
    ) {
        if verbs.contains(&"update") {
            let name = self.name("replace", sub);
            operations.insert("put".into(), self.operation("put", &name, gvk, Some(own), own, &WRITE));
        }
        if verbs.contains(&"patch") {
            let parameters: Vec<Parameter> = WRITE.into_iter().chain([FORCE]).collect();
            let operation = self.operation("patch", &self.name("patch", sub), gvk, Some(""), own, &parameters);
            operations.insert("patch".into(), operation);
        }
    }

    /// One operation. An empty `body` is a patch of any kind.
    fn operation(
        &self,
        action: &str,
        name: &str,
        gvk: (&str, &str, &str),
        body: Option<&str>,
        answer: &str,
        query: &[Parameter],
    ) -> Value {
        let mut parameters = self.query(query.iter().chain([&PRETTY]));
        let mut out = json!({
            "description": format!("{action} {}", self.kind.kind),
            "operationId": name,
            "tags": [self.tag()],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": gvk.0, "version": gvk.1, "kind": gvk.2},
        });
        let schema = reference(answer, self.spec);
        let body_schema = match body {
            Some("") => Some(json!({"type": "object"})),
            Some(name) => Some(reference(name, self.spec)),
            None => None,
        };
        let patch = body == Some("");
        let mut responses = Map::from_iter([("401".to_owned(), json!({"description": "Unauthorized"}))]);
        match self.spec {
            Spec::V2 => {
                out["consumes"] = if patch { json!(self.patch_types()) } else { json!(["*/*"]) };
                out["produces"] = json!(["application/json", "application/yaml"]);
                if let Some(schema) = body_schema {
                    let required = action != "delete" && action != "deletecollection";
                    let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
                    if required {
                        parameter["required"] = true.into();
                    }
                    parameters.push(parameter);
                }
                for (code, words) in successes(action) {
                    responses.insert((*code).to_owned(), json!({"description": words, "schema": schema}));
                }
            }
            Spec::V3 => {
                if let Some(schema) = body_schema {
                    let types: &[&str] = if patch { self.patch_types() } else { &["*/*"] };
                    let content: Map<String, Value> =
                        types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect();
                    out["requestBody"] = json!({"content": content});
                }
                let content = json!({"application/json": {"schema": schema}, "application/yaml": {"schema": schema}});
                for (code, words) in successes(action) {
                    responses.insert((*code).to_owned(), json!({"description": words, "content": content}));
                }
            }
        }
        out["responses"] = responses.into();
        out["parameters"] = parameters.into();
        out
    }
}
