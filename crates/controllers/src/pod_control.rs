//! Making and deleting pods for an owner, with the events that every workload controller sends.

use std::future::Future;

use coracle_client::{EventRecorder, EventType};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::{Client, Resource, ResourceExt};

use crate::common::{controller_reference, delete_exactly, is_namespace_terminating, message, namespace_of};

/// The pod that a template describes, owned by `owner`, with a generated name.
pub(crate) fn pod_from_template<O: Resource<DynamicType = ()>>(template: &PodTemplateSpec, owner: &O) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name_any())),
            namespace: owner.meta().namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Creates a pod and says so in an event of its owner.
pub(crate) async fn create_pod<O: Resource<DynamicType = ()>>(
    client: &Client,
    recorder: &EventRecorder,
    owner: &O,
    pod: &Pod,
) -> kube::Result<Pod> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace_of(owner));
    match api.create(&PostParams::default(), pod).await {
        Ok(created) => {
            recorder.event(
                owner,
                EventType::Normal,
                "SuccessfulCreate",
                format!("Created pod: {}", created.name_any()),
            );
            Ok(created)
        }
        Err(error) => {
            if !is_namespace_terminating(&error) {
                let text = format!("Error creating: {}", message(&error));
                recorder.event(owner, EventType::Warning, "FailedCreate", text);
            }
            Err(error)
        }
    }
}

/// Deletes a pod and says so in an event of its owner. One that is gone already is no error; the result says
/// whether the request deleted it.
pub(crate) async fn delete_pod<O: Resource<DynamicType = ()>>(
    client: &Client,
    recorder: &EventRecorder,
    owner: &O,
    pod: &Pod,
) -> kube::Result<bool> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace_of(owner));
    match delete_exactly(&api, pod).await {
        Ok(true) => {
            recorder.event(owner, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {}", pod.name_any()));
            Ok(true)
        }
        Ok(false) => Ok(false),
        Err(error) => {
            recorder.event(owner, EventType::Warning, "FailedDelete", format!("Error deleting: {}", message(&error)));
            Err(error)
        }
    }
}

/// Runs `count` calls in batches of 1, 2, 4, ... and stops after a batch with a failure, so that a template that
/// is refused does not cost a call for each replica. Returns how many succeeded, and the first error.
pub(crate) async fn slow_start<F, Fut, T, E>(count: usize, call: F) -> (usize, Option<E>)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let (mut done, mut batch) = (0, 1);
    while done < count {
        let size = batch.min(count - done);
        let mut failed = None;
        let mut succeeded = 0;
        for result in join_all((done..done + size).map(&call)).await {
            match result {
                Ok(_) => succeeded += 1,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        done += succeeded;
        if failed.is_some() {
            return (done, failed);
        }
        batch *= 2;
    }
    (done, None)
}
