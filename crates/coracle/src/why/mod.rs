//! `coracle why KIND/NAME`: why something is not as one would have it, step by step, and what would help. It reads objects and
//! events alone, of any API server.

mod access;
mod claim;
mod container;
mod facts;
mod node;
mod pod;
mod scheduling;
mod service;
mod story;
mod workload;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use coracle_client::Remote;
use std::path::{Path, PathBuf};

use facts::Facts;
use story::Story;

/// Options of `why`.
#[derive(ClapArgs)]
pub struct Why {
    /// What to explain, as KIND/NAME: a pod, service, persistentvolumeclaim, deployment, statefulset, daemonset, replicaset,
    /// job or node, or a short name of these
    #[arg(value_name = "KIND/NAME", value_parser = subject)]
    pub subject: Subject,
    /// The namespace [default: that of the context]
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The kubeconfig [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it [default: the current one]
    #[arg(long)]
    pub context: Option<String>,
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    kind: Kind,
    name: String,
}

/// The kinds that can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pod,
    Service,
    Claim,
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Job,
    Node,
}

fn subject(text: &str) -> Result<Subject, String> {
    let (kind, name) = text.split_once('/').ok_or("it must be KIND/NAME, as pod/web-0")?;
    let kind = match kind.to_lowercase().as_str() {
        "pod" | "pods" | "po" => Kind::Pod,
        "service" | "services" | "svc" => Kind::Service,
        "persistentvolumeclaim" | "persistentvolumeclaims" | "pvc" => Kind::Claim,
        "deployment" | "deployments" | "deploy" | "deployment.apps" => Kind::Deployment,
        "statefulset" | "statefulsets" | "sts" | "statefulset.apps" => Kind::StatefulSet,
        "daemonset" | "daemonsets" | "ds" | "daemonset.apps" => Kind::DaemonSet,
        "replicaset" | "replicasets" | "rs" | "replicaset.apps" => Kind::ReplicaSet,
        "job" | "jobs" | "job.batch" => Kind::Job,
        "node" | "nodes" | "no" => Kind::Node,
        other => return Err(format!("{other} is not explained: pods, services, claims, workloads and nodes are")),
    };
    if name.is_empty() {
        return Err("the name is missing".into());
    }
    Ok(Subject { kind, name: name.to_owned() })
}

/// How the server of a kubeconfig's current context is reached.
///
/// # Errors
/// The file does not say so.
pub fn server_of(kubeconfig: &Path) -> Result<Remote> {
    Ok(access::Access::read(Some(kubeconfig), None)?.remote)
}

/// Prints why.
pub fn run(options: &Why) -> Result<()> {
    let access = access::Access::read(options.kubeconfig.as_deref(), options.context.as_deref())?;
    let namespace = options.namespace.clone().unwrap_or(access.namespace);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let facts = runtime.block_on(Facts::read(&access.remote, &namespace))?;
    let story = explain(&facts, &options.subject)?;
    print!("{}", story.text());
    Ok(())
}

fn explain(facts: &Facts, subject: &Subject) -> Result<Story> {
    let name = subject.name.as_str();
    let mut story = Story::default();
    let told = match subject.kind {
        Kind::Pod => pod::by_name(facts, name, &mut story),
        Kind::Service => service::explain(facts, name, &mut story),
        Kind::Claim => claim::by_name(facts, name, &mut story),
        Kind::Deployment => workload::explain(facts, "deployments", name, &mut story),
        Kind::StatefulSet => workload::explain(facts, "statefulsets", name, &mut story),
        Kind::DaemonSet => workload::explain(facts, "daemonsets", name, &mut story),
        Kind::ReplicaSet => workload::explain(facts, "replicasets", name, &mut story),
        Kind::Job => workload::explain(facts, "jobs", name, &mut story),
        Kind::Node => node::by_name(facts, name, &mut story),
    };
    if told.is_none() {
        bail!("there is no {:?} \"{name}\" in the namespace \"{}\"", subject.kind, facts.namespace);
    }
    Ok(story)
}

#[cfg(test)]
mod tests;
