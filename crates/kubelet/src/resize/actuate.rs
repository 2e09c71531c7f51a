//! Carrying a plan out: one resource after the other, the pod as a whole before its containers where it grows and after
//! them where it shrinks.

use coracle_runtime::cri::{LinuxContainerResources, RuntimeService};

use super::plan::{Plan, Resource, Update, is_lower};

/// Does what a plan has of updates in a sandbox; answers with those that were done.
///
/// # Errors
/// Beside them with why the next one was not: a memory limit would be below what is used, or the kernel refuses.
pub(crate) async fn actuate(
    runtime: &dyn RuntimeService,
    sandbox: &str,
    plan: Plan,
) -> (Vec<Update>, Result<(), String>) {
    let mut done = Vec::new();
    let result = all(runtime, sandbox, &plan, &mut done).await;
    (done, result)
}

async fn all(runtime: &dyn RuntimeService, sandbox: &str, plan: &Plan, done: &mut Vec<Update>) -> Result<(), String> {
    is_enough(runtime, sandbox, plan).await?;
    let (now, then) = &plan.pod;
    for resource in Resource::ALL {
        let shrinks = is_lower(resource.limit(then), resource.limit(now));
        if !shrinks {
            of_pod(runtime, sandbox, resource, then).await?;
        }
        for update in plan.updates.iter().filter(|update| update.resource == resource) {
            let updated = runtime.update_container_resources(&update.id, resource.only(&update.to)).await;
            updated.map_err(|error| {
                format!("failed to update {} of container {:?}: {error}", resource.name(), update.name)
            })?;
            done.push(update.clone());
        }
        if shrinks {
            of_pod(runtime, sandbox, resource, then).await?;
        }
    }
    Ok(())
}

async fn of_pod(
    runtime: &dyn RuntimeService,
    sandbox: &str,
    resource: Resource,
    to: &LinuxContainerResources,
) -> Result<(), String> {
    let updated = runtime.update_pod_sandbox_resources(sandbox, resource.only(to)).await;
    updated.map_err(|error| format!("failed to update {} of the pod: {error}", resource.name()))
}

/// Whether what is used fits what will be left. The kernel would end a process to make it fit.
async fn is_enough(runtime: &dyn RuntimeService, sandbox: &str, plan: &Plan) -> Result<(), String> {
    let mut excess = Vec::new();
    let mut check = |what: String, limit: i64, used: u64| {
        if u64::try_from(limit).is_ok_and(|limit| limit < used) {
            excess.push(format!("attempting to set {what} memory limit ({limit}) below current usage ({used})"));
        }
    };
    let (now, then) = &plan.pod;
    if is_lower(then.memory_limit_in_bytes, now.memory_limit_in_bytes) {
        let stats = runtime.pod_sandbox_stats(sandbox).await.map_err(|error| error.to_string())?;
        check("pod".to_owned(), then.memory_limit_in_bytes, stats.memory.usage_bytes);
    }
    for update in plan.updates.iter().filter(|update| update.resource == Resource::Memory) {
        let limit = update.to.memory_limit_in_bytes;
        if is_lower(limit, update.from.memory_limit_in_bytes) {
            let stats = runtime.container_stats(&update.id).await.map_err(|error| error.to_string())?;
            check(format!("container {:?}", update.name), limit, stats.memory.usage_bytes);
        }
    }
    match excess.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("cannot decrease memory limits: {one}")),
        several => Err(format!("cannot decrease memory limits: [{}]", several.join(", "))),
    }
}
