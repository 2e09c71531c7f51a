//! The pods that a job makes.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use kube::ResourceExt;

use super::failure_policy::Policy;
use super::pod::{COMPLETION_INDEX, INDEX_FAILURES, INDEX_IGNORED_FAILURES, TRACKING, failures_with};
use crate::pod_control::pod_from_template;

/// The environment variable in which containers find their index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// How much of a generated name is given; the API server adds five characters.
const LONGEST_PREFIX: usize = 58;

/// A pod of a job without indexes.
pub(super) fn pod(job: &Job) -> Pod {
    let template = job.spec.clone().unwrap_or_default().template;
    let mut pod = pod_from_template(&template, job);
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
        finalizers.push(TRACKING.to_owned());
    }
    pod
}

/// A pod of an index. When failures are counted for each index, it takes them over from the pod that it replaces.
pub(super) fn indexed_pod(job: &Job, index: i32, counts_failures: bool, replaced: Option<&Pod>) -> Pod {
    let mut pod = pod(job);
    pod.labels_mut().insert(COMPLETION_INDEX.to_owned(), index.to_string());
    pod.annotations_mut().insert(COMPLETION_INDEX.to_owned(), index.to_string());
    if counts_failures {
        let (counted, ignored) = replaced.map_or((0, 0), |replaced| failures_with(replaced, Policy::of(job)));
        pod.annotations_mut().insert(INDEX_FAILURES.to_owned(), counted.to_string());
        if ignored > 0 {
            pod.annotations_mut().insert(INDEX_IGNORED_FAILURES.to_owned(), ignored.to_string());
        }
    }
    pod.metadata.generate_name = Some(generate_name(&job.name_any(), index));
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(format!("{}-{index}", job.name_any()));
    spec.containers.iter_mut().for_each(add_index_variable);
    spec.init_containers.iter_mut().flatten().for_each(add_index_variable);
    pod
}

/// `JOB-INDEX-`; of a long name the end goes, not the index.
fn generate_name(job: &str, index: i32) -> String {
    let suffix = format!("-{index}-");
    let room = LONGEST_PREFIX.saturating_sub(suffix.len());
    let kept: String = job.chars().take(room).collect();
    kept + &suffix
}

fn add_index_variable(container: &mut Container) {
    let env = container.env.get_or_insert_default();
    if env.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{COMPLETION_INDEX}']") };
    env.push(EnvVar {
        name: INDEX_VARIABLE.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing;
    use super::*;

    #[test]
    fn a_pod_of_an_index_knows_it_by_every_way() {
        let job = testing::job(
            json!({"template": {"metadata": {"finalizers": [TRACKING]}, "spec": {"containers": [{"name": "c"},
                {"name": "own", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "x"}]}],
                "initContainers": [{"name": "i"}]}}}),
            json!({}),
        );
        let pod = indexed_pod(&job, 3, false, None);
        assert_eq!(pod.labels()[COMPLETION_INDEX], "3");
        assert_eq!(pod.annotations()[COMPLETION_INDEX], "3");
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("j-3-"));
        assert_eq!(pod.finalizers(), [TRACKING]);
        let spec = pod.spec.unwrap_or_default();
        assert_eq!(spec.hostname.as_deref(), Some("j-3"));
        let env = spec.containers[0].env.clone().unwrap_or_default();
        assert_eq!(env.len(), 1);
        assert_eq!(spec.containers[1].env.as_ref().map(Vec::len), Some(1));
        assert!(spec.init_containers.unwrap_or_default()[0].env.is_some());
    }

    #[test]
    fn a_replacement_takes_over_the_failures_of_its_index() {
        let job = testing::job(json!({"backoffLimitPerIndex": 3}), json!({}));
        let first = indexed_pod(&job, 0, true, None);
        assert_eq!(first.annotations()[INDEX_FAILURES], "0");
        let second = indexed_pod(&job, 0, true, Some(&first));
        assert_eq!(second.annotations()[INDEX_FAILURES], "1");
        assert_eq!(second.annotations().get(INDEX_IGNORED_FAILURES), None);
    }

    #[test]
    fn a_long_name_keeps_its_index() {
        let name = generate_name(&"x".repeat(63), 12345);
        assert_eq!(name.len(), 58);
        assert!(name.ends_with("x-12345-"));
    }
}
