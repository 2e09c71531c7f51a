//! An operator of Gadgets with the crate `kube`: each becomes a Deployment, applied and owned; a finalizer says farewell.
//! The first argument is its name; of several, the one that holds the lease works.

mod leader;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};

const MANAGER: &str = "gadgets-kube-rs";
const API_VERSION: &str = "kube-rs.example.com/v1";

type Error = finalizer::Error<kube::Error>;

struct Context {
    client: Client,
    recorder: Recorder,
}

fn gadgets() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("kube-rs.example.com", "v1", "Gadget"), "gadgets")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "one".into());
    let client = Client::try_default().await?;
    leader::lead(&client, MANAGER, &name).await?;
    println!("{name} leads");
    let work = run(client.clone());
    tokio::select! {
        () = work => anyhow::bail!("the watch ended"),
        lost = leader::renew(&client, MANAGER, &name) => lost,
    }
}

async fn run(client: Client) {
    let reporter = Reporter { controller: MANAGER.into(), instance: None };
    let context = Arc::new(Context { client: client.clone(), recorder: Recorder::new(client.clone(), reporter) });
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &gadgets());
    let config = watcher::Config::default;
    Controller::new_with(all, config().streaming_lists(), gadgets())
        .owns(Api::<Deployment>::all(client), config())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_secs(1)), context)
        .for_each(async |result| {
            let _ = result.inspect_err(|error| println!("{error}"));
        })
        .await;
}

async fn reconcile(gadget: Arc<DynamicObject>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = gadget.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &gadgets());
    finalizer(&api, "kube-rs.example.com/farewell", gadget, async |event| match event {
        finalizer::Event::Apply(gadget) => keep(&context, &api, &gadget).await,
        finalizer::Event::Cleanup(gadget) => farewell(&context, &gadget).await,
    })
    .await
}

/// The Deployment as the Gadget wants it, and a status that says how far it is.
async fn keep(context: &Context, gadgets: &Api<DynamicObject>, gadget: &DynamicObject) -> Result<Action, kube::Error> {
    let (name, namespace) = (gadget.name_any(), gadget.namespace().unwrap_or_default());
    let params = PatchParams::apply(MANAGER).force();
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), &namespace);
    let deployment = deployments.patch(&name, &params, &Patch::Apply(deployment(gadget))).await?;
    let ready = deployment.status.and_then(|status| status.ready_replicas).unwrap_or_default();
    let known = gadget.data["status"]["ready"].as_i64();
    if known != Some(ready.into()) {
        let status = json!({"apiVersion": API_VERSION, "kind": "Gadget", "status": {"ready": ready}});
        gadgets.patch_status(&name, &params, &Patch::Apply(status)).await?;
        let note = Some(format!("{ready} are ready"));
        let event =
            Event { type_: EventType::Normal, reason: "Counted".into(), note, action: "Count".into(), secondary: None };
        context.recorder.publish(&event, &gadget.object_ref(&self::gadgets())).await?;
    }
    Ok(Action::await_change())
}

fn deployment(gadget: &DynamicObject) -> Value {
    let labels = json!({"gadget": gadget.name_any()});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": gadget.name_any(), "ownerReferences": [gadget.controller_owner_ref(&gadgets())]},
        "spec": {"replicas": gadget.data["spec"]["size"], "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": gadget.data["spec"]["image"]}]}}},
    })
}

/// Something that outlives the Gadget.
async fn farewell(context: &Context, gadget: &DynamicObject) -> Result<Action, kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &gadget.namespace().unwrap_or_default());
    let name = format!("farewell-{}", gadget.name_any());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    maps.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(map)).await?;
    Ok(Action::await_change())
}
