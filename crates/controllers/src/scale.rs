//! The subresource `scale` of objects of any kind, custom resources among them: how many replicas are wanted.
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/deployment-v1/#get-read-scale-of-the-specified-deployment>

use std::collections::HashMap;

use coracle_client::is_not_found;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Client;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::common::message;

/// The object whose replicas are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub namespace: &'a str,
    pub api_version: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
}

impl Target<'_> {
    fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// Why a scale is not known or not changed. Shown as the API server's message.
#[derive(Debug)]
pub(crate) enum Error {
    /// The object is gone.
    Gone(String),
    /// It has no number of replicas, or the API server does not tell it or take it.
    Other(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Error::Gone(text) | Error::Other(text)) = self;
        formatter.write_str(text)
    }
}

/// Reads and writes scales.
pub(crate) struct Scales {
    client: Client,
    /// Whether another version of the group will do where the named one is not served.
    any_version: bool,
    /// Where kinds are served, by API version and kind, as discovery told it.
    served: Mutex<HashMap<(String, String), Served>>,
}

/// A kind as it is served.
#[derive(Clone)]
struct Served {
    /// The version that was asked for, or another one of the group.
    api_version: String,
    plural: String,
}

impl Scales {
    /// Of objects that are named with the very version in which they are served.
    pub fn new(client: Client) -> Scales {
        Scales { client, any_version: false, served: Mutex::default() }
    }

    /// Of objects of whose version only the group counts.
    pub fn of_any_version(client: Client) -> Scales {
        Scales { any_version: true, ..Scales::new(client) }
    }

    /// How many replicas an object wants and has.
    ///
    /// # Errors
    /// The object is gone or has no replicas, or the API server does not tell.
    pub async fn get(&self, target: Target<'_>) -> Result<Scale, Error> {
        let path = self.path(target).await?;
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| Error::Other(error.to_string()))?;
        match self.client.request::<Scale>(request).await {
            Err(error) if is_not_found(&error) => Err(self.why_missing(target, &error).await),
            other => other.map_err(|error| Error::Other(message(&error))),
        }
    }

    /// Writes a scale that was read before; refused if the object has changed since.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn put(&self, target: Target<'_>, scale: &Scale) -> Result<Scale, Error> {
        let path = self.path(target).await?;
        let body = serde_json::to_vec(scale).map_err(|error| Error::Other(error.to_string()))?;
        let request = http::Request::put(path).header("content-type", "application/json").body(body);
        let request = request.map_err(|error| Error::Other(error.to_string()))?;
        self.client.request::<Scale>(request).await.map_err(|error| Error::Other(message(&error)))
    }

    async fn path(&self, target: Target<'_>) -> Result<String, Error> {
        let Served { api_version, plural } = self.served(target).await.map_err(Error::Other)?;
        let root = if api_version.contains('/') { "/apis" } else { "/api" };
        // Whoever writes a reference chooses the name, which is to be no more than a name.
        let name = utf8_percent_encode(target.name, NON_ALPHANUMERIC);
        Ok(format!("{root}/{api_version}/namespaces/{}/{plural}/{name}/scale", target.namespace))
    }

    /// Whether the object is gone, or its kind has no replicas, or is gone or has another plural.
    async fn why_missing(&self, target: Target<'_>, error: &kube::Error) -> Error {
        let key = (target.api_version.to_owned(), target.kind.to_owned());
        let Some(served) = self.served.lock().remove(&key) else { return Error::Gone(message(error)) };
        let subresource = format!("{}/scale", served.plural);
        match self.resources(&served.api_version).await {
            Err(error) => Error::Other(error),
            Ok(list) if list.resources.iter().any(|resource| resource.name == subresource) => {
                Error::Gone(message(error))
            }
            Ok(_) => {
                let resource = qualified(&served.plural, target.group());
                Error::Other(format!("{resource} does not implement the scale subresource"))
            }
        }
    }

    /// The plural of the kind, with its group: as messages and paths of metrics name it.
    ///
    /// # Errors
    /// There is no such kind, or the API server does not tell.
    pub async fn resource(&self, target: Target<'_>) -> Result<String, String> {
        Ok(qualified(&self.served(target).await?.plural, target.group()))
    }

    /// Where the kind is served: in the version that is named, or else in another one of its group.
    async fn served(&self, target: Target<'_>) -> Result<Served, String> {
        let key = (target.api_version.to_owned(), target.kind.to_owned());
        if let Some(served) = self.served.lock().get(&key) {
            return Ok(served.clone());
        }
        for api_version in self.versions(target).await? {
            let resources = self.resources(&api_version).await?;
            let of_kind = resources.resources.iter().find(|r| r.kind == target.kind && !r.name.contains('/'));
            if let Some(resource) = of_kind {
                let served = Served { api_version, plural: resource.name.clone() };
                self.served.lock().insert(key, served.clone());
                return Ok(served);
            }
        }
        Err(format!("no matches for kind \"{}\" in version \"{}\"", target.kind, target.api_version))
    }

    /// The versions of the group that discovery knows, the named one first; what it does not know is never part of a path.
    async fn versions(&self, target: Target<'_>) -> Result<Vec<String>, String> {
        if target.group().is_empty() {
            let is_served = self.any_version || target.api_version == "v1";
            return Ok(if is_served { vec!["v1".to_owned()] } else { Vec::new() });
        }
        let groups = self.client.list_api_groups().await.map_err(|error| message(&error))?;
        let of_group = groups.groups.into_iter().filter(|group| group.name == target.group());
        // Discovery tells the preferred one first.
        let mut versions: Vec<String> =
            of_group.flat_map(|group| group.versions).map(|version| version.group_version).collect();
        versions.sort_by_key(|version| version != target.api_version);
        versions.retain(|version| self.any_version || version == target.api_version);
        Ok(versions)
    }

    async fn resources(&self, api_version: &str) -> Result<APIResourceList, String> {
        let listed = match api_version.contains('/') {
            true => self.client.list_api_group_resources(api_version).await,
            false => self.client.list_core_api_resources(api_version).await,
        };
        listed.map_err(|error| message(&error))
    }
}

fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}
