//! Which resources the API has, for the controllers that deal with all of them.

use kube::Client;
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};

/// A resource that can be listed and deleted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Deletable {
    pub resource: ApiResource,
    pub namespaced: bool,
    pub watchable: bool,
}

impl Deletable {
    /// Its objects; those of a namespace, where it has some in namespaces.
    pub fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        match self.namespaced {
            true => Api::namespaced_with(client.clone(), namespace, &self.resource),
            false => Api::all_with(client.clone(), &self.resource),
        }
    }
}

/// What discovery gave, and the groups that could not be asked.
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    pub resources: Vec<Deletable>,
    /// Each failure as `group/version: error`.
    pub failures: Vec<String>,
}

/// Asks for every deletable resource, each group in its preferred version.
pub(crate) async fn deletable(client: &Client) -> kube::Result<Discovered> {
    let mut discovered = Discovered::default();
    let core = client.list_core_api_resources("v1").await?;
    collect(&mut discovered.resources, "", "v1", &core);
    for group in client.list_api_groups().await?.groups {
        let Some(preferred) = group.preferred_version.as_ref().or(group.versions.first()) else { continue };
        // A resource that the preferred version lacks is found in another one.
        let versions = std::iter::once(preferred).chain(group.versions.iter().filter(|v| *v != preferred));
        for version in versions {
            match client.list_api_group_resources(&version.group_version).await {
                Ok(list) => collect(&mut discovered.resources, &group.name, &version.version, &list),
                Err(error) => discovered.failures.push(format!("{}: {error}", version.group_version)),
            }
        }
    }
    Ok(discovered)
}

fn collect(
    resources: &mut Vec<Deletable>,
    group: &str,
    version: &str,
    list: &k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList,
) {
    for found in &list.resources {
        let can = |verb: &str| found.verbs.iter().any(|known| known == verb);
        let known = |d: &Deletable| d.resource.group == group && d.resource.plural == found.name;
        if found.name.contains('/') || !can("delete") || !can("list") || resources.iter().any(known) {
            continue;
        }
        let kind = GroupVersionKind::gvk(group, version, &found.kind);
        resources.push(Deletable {
            resource: ApiResource::from_gvk_with_plural(&kind, &found.name),
            namespaced: found.namespaced,
            watchable: can("watch"),
        });
    }
}
