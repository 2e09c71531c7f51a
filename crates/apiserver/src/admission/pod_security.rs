//! Pods are what the labels of their namespace allow; who makes something that makes pods is warned of them.
//! <https://kubernetes.io/docs/concepts/security/pod-security-admission/>

use std::sync::Arc;

use coracle_api::meta;
use coracle_api::status::Status;
use coracle_policy::pod_security::{
    Level, LevelVersion, Pod, Policy, details, evaluate, is_significant, violations_in_namespace,
};
use serde_json::Value;

use super::{Plugin, Request, Verdict, at_once};
use crate::object::Object;
use crate::operation::{Operation, Verb};
use crate::storage::{Storage, core};

/// Subresources of pods that leave the pod itself as it is.
const IGNORED: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// What the labels of a namespace begin with that has a policy.
const LABEL: &[u8] = b"\"pod-security.kubernetes.io/";

pub(super) struct PodSecurity(pub Arc<Storage>);

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, op: &Operation) -> bool {
        let main = op.subresource.is_empty();
        op.verb != Verb::Delete
            && match (&*op.kind.group, &*op.kind.kind) {
                ("", "Pod") => !IGNORED.contains(&op.subresource),
                ("", "Namespace" | "ReplicationController" | "PodTemplate") => main,
                ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => main,
                ("batch", "Job" | "CronJob") => main,
                _ => false,
            }
    }

    fn validate<'a>(&'a self, request: &'a Request<'a>, object: &'a Value) -> Verdict<'a> {
        let kind = &request.op.kind;
        at_once(match (&*kind.group, &*kind.kind) {
            ("", "Namespace") => self.namespace(request, object),
            ("", "Pod") => self.pod(request, object),
            (group, name) => match Pod::of_workload(group, name, object) {
                Some(pod) => self.workload(request, object, &pod),
                None => Ok(()),
            },
        })
    }
}

impl PodSecurity {
    /// The labels of a namespace must make sense; who makes them stricter hears of the pods that do not fit.
    fn namespace(&self, request: &Request<'_>, namespace: &Value) -> Result<(), Status> {
        let (new, errors) = Policy::of_namespace(namespace);
        let old = request.old.map(Policy::of_namespace);
        let told_before = old.as_ref().is_some_and(|(_, before)| *before == errors);
        if !errors.is_empty() && !told_before {
            return Err(Status::invalid("", "Namespace", meta::name(namespace), errors));
        }
        let (before, now) = (old.map(|(old, _)| old.enforce), new.enforce);
        let is_stricter = |before: LevelVersion| {
            before != now
                && now.level != Level::Privileged
                && (now.version != before.version || now.level > before.level)
        };
        if before.is_some_and(is_stricter) {
            self.warn_of_pods(request, meta::name(namespace), now)?;
        }
        Ok(())
    }

    fn warn_of_pods(&self, request: &Request<'_>, namespace: &str, enforce: LevelVersion) -> Result<(), Status> {
        let snapshot = self.0.cache(core("pods"))?.snapshot();
        let prefix = format!("{namespace}/");
        let pods = || snapshot.range(&prefix, None);
        let warnings = violations_in_namespace(namespace, enforce, pods().count(), pods().map(Object::value));
        warnings.into_iter().for_each(|warning| request.op.notes.warn(warning));
        Ok(())
    }

    fn pod(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        if request.old.is_some_and(|old| !is_significant(pod, old)) {
            return Ok(());
        }
        let policy = self.policy(request, pod)?;
        if policy.is_privileged() {
            return Ok(());
        }
        let (notes, enforce) = (&request.op.notes, policy.enforce);
        notes.annotate("pod-security.kubernetes.io/enforce-policy", enforce.to_string());
        let found = evaluate(enforce, &Pod::of(pod));
        if found.is_empty() {
            inform(request, &policy, &Pod::of(pod));
            return Ok(());
        }
        audit(request, policy.audit, &Pod::of(pod));
        let why = format!("violates PodSecurity \"{enforce}\": {}", details(&found));
        Err(Status::forbidden("", "pods", meta::name(pod), &why))
    }

    fn workload(&self, request: &Request<'_>, object: &Value, pod: &Pod<'_>) -> Result<(), Status> {
        let policy = self.policy(request, object)?;
        inform(request, &policy, pod);
        Ok(())
    }

    /// What counts in the namespace of an object.
    fn policy(&self, request: &Request<'_>, object: &Value) -> Result<Policy, Status> {
        let namespace = self.0.cache(core("namespaces"))?.get(meta::namespace(object))?;
        // Parsing the namespace for every pod would be waste: one with a policy has this in its bytes.
        let labelled = namespace.filter(|namespace| namespace.stored().windows(LABEL.len()).any(|part| part == LABEL));
        let (policy, errors) = Policy::of_namespace(&labelled.map(|namespace| namespace.value()).unwrap_or_default());
        if let Some(error) = errors.first() {
            let why = format!("Failed to parse policy: {error}");
            request.op.notes.annotate("pod-security.kubernetes.io/error", why);
        }
        Ok(policy)
    }
}

/// Notes what would be refused by the levels that only inform.
fn inform(request: &Request<'_>, policy: &Policy, pod: &Pod<'_>) {
    audit(request, policy.audit, pod);
    if let Some(text) = would_violate(policy.warn, pod) {
        request.op.notes.warn(text);
    }
}

fn audit(request: &Request<'_>, level: LevelVersion, pod: &Pod<'_>) {
    if let Some(text) = would_violate(level, pod) {
        request.op.notes.annotate("pod-security.kubernetes.io/audit-violations", text);
    }
}

fn would_violate(level: LevelVersion, pod: &Pod<'_>) -> Option<String> {
    let found = evaluate(level, pod);
    (!found.is_empty()).then(|| format!("would violate PodSecurity \"{level}\": {}", details(&found)))
}
