//! Which Ingresses are ours.
//! <https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-class>

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt;
use serde_json::{Value, json};

/// The controller that classes of ours name.
pub const CONTROLLER: &str = "coracle.io/ingress";
/// How the class was named before there was a field for it.
const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The class `coracle`, which a new cluster begins with: Ingresses that name none get it.
pub fn default_class() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "coracle", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": CONTROLLER},
    })
}

/// The names of the classes that are ours.
pub fn ours(classes: &[Arc<IngressClass>]) -> BTreeSet<String> {
    let is_ours = |class: &&Arc<IngressClass>| {
        class.spec.as_ref().is_some_and(|spec| spec.controller.as_deref() == Some(CONTROLLER))
            && class.metadata.deletion_timestamp.is_none()
    };
    classes.iter().filter(is_ours).map(|class| class.name_any()).collect()
}

/// Whether an Ingress is of one of these classes. One that names none is nobody's: the class that is the default is
/// written into an Ingress when it is made. Where both are there, the annotation counts, as it did before there was a field.
pub fn has_class(ingress: &Ingress, classes: &BTreeSet<String>) -> bool {
    let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
    ingress.annotations().get(ANNOTATION).or(field).is_some_and(|class| classes.contains(class))
}
