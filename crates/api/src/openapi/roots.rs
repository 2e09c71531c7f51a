//! Paths above the kinds: what groups, versions and resources there are, and which server it is.

use serde_json::{Map, Value, json};

use super::paths::{capital, group_name};
use super::schemas::reference;
use super::{Definitions, Spec, path_of};
use crate::registry::Registry;
use crate::schema::{self, DefId, id};

const INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

/// Adds the path of a group version, which lists its resources.
pub(super) fn of_version(
    group: &str,
    version: &str,
    spec: Spec,
    paths: &mut Map<String, Value>,
    definitions: &mut Definitions,
) {
    let name = group_name(group);
    let operation = format!("get{name}{}APIResources", capital(version));
    let tag = format!("{}_{version}", tag(group));
    let path = format!("/{}/", path_of(group, version));
    add((&path, "get available resources", &operation, &tag), id::META_V1_API_RESOURCE_LIST, spec, paths, definitions);
}

/// Adds the paths of all groups, and that of the server's version.
pub(super) fn of_server(registry: &Registry, paths: &mut Map<String, Value>, definitions: &mut Definitions) {
    let mut root = |path: &str, description: &str, operation: &str, tag: &str, answer: DefId| {
        add((path, description, operation, tag), answer, Spec::V2, paths, definitions);
    };
    let versions = "get available API versions";
    root("/api/", versions, "getCoreAPIVersions", "core", id::META_V1_API_VERSIONS);
    root("/apis/", versions, "getAPIVersions", "apis", id::META_V1_API_GROUP_LIST);
    for group in registry.groups().iter().filter(|group| !group.name.is_empty()) {
        let operation = format!("get{}APIGroup", group_name(&group.name));
        let path = format!("/apis/{}/", group.name);
        root(&path, "get information of a group", &operation, &tag(&group.name), id::META_V1_API_GROUP);
    }
    if let Some(info) = schema::by_name(INFO) {
        root("/version/", "get the version information for this server", "getCodeVersion", "version", info);
    }
}

fn tag(group: &str) -> String {
    let mut tag = group_name(group);
    tag[..1].make_ascii_lowercase();
    tag
}

/// Adds a path that is only read: path, description, operation and tag, and what it is answered with.
fn add(
    (path, description, operation, tag): (&str, &str, &str, &str),
    answer: DefId,
    spec: Spec,
    paths: &mut Map<String, Value>,
    definitions: &mut Definitions,
) {
    definitions.generated.push(answer);
    let schema = reference(answer.def().name, spec);
    let mut get = json!({"description": description, "operationId": operation, "tags": [tag]});
    let ok = match spec {
        Spec::V2 => {
            get["consumes"] = json!(["application/json"]);
            get["produces"] = json!(["application/json"]);
            json!({"description": "OK", "schema": schema})
        }
        Spec::V3 => json!({"description": "OK", "content": {"application/json": {"schema": schema}}}),
    };
    get["responses"] = json!({"200": ok, "401": {"description": "Unauthorized"}});
    paths.insert(path.to_owned(), json!({"get": get}));
}
