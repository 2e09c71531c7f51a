//! Written by coracle-schema-gen from k8s-openapi and k8s-pb: do not edit.

use super::{Def, DefId, Field, ListType, Ty};

const F: Field = Field::EMPTY;

/// Every definition, sorted by name.
pub(super) static DEFS: [Def; 577] = [
Def { name: "io.k8s.api.admissionregistration.v1.AuditAnnotation", gvk: None, atomic: false, fields: &[
    Field { name: "key", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "valueExpression", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ExpressionWarning", gvk: None, atomic: false, fields: &[
    Field { name: "fieldRef", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "warning", ty: Ty::String, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.MatchCondition", gvk: None, atomic: false, fields: &[
    Field { name: "expression", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.MatchResources", gvk: None, atomic: true, fields: &[
    Field { name: "excludeResourceRules", ty: Ty::Array(&Ty::Ref(DefId(7))), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "matchPolicy", ty: Ty::String, pb: &[7], ..F },
    Field { name: "namespaceSelector", ty: Ty::Ref(DefId(557)), pb: &[1], ..F },
    Field { name: "objectSelector", ty: Ty::Ref(DefId(557)), pb: &[2], ..F },
    Field { name: "resourceRules", ty: Ty::Array(&Ty::Ref(DefId(7))), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.MutatingWebhook", gvk: None, atomic: false, fields: &[
    Field { name: "admissionReviewVersions", ty: Ty::Array(&Ty::String), required: true, pb: &[8], list: ListType::Atomic, ..F },
    Field { name: "clientConfig", ty: Ty::Ref(DefId(25)), required: true, pb: &[2], ..F },
    Field { name: "failurePolicy", ty: Ty::String, pb: &[4], ..F },
    Field { name: "matchConditions", ty: Ty::Array(&Ty::Ref(DefId(2))), pb: &[12], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "matchPolicy", ty: Ty::String, pb: &[9], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "namespaceSelector", ty: Ty::Ref(DefId(557)), pb: &[5], ..F },
    Field { name: "objectSelector", ty: Ty::Ref(DefId(557)), pb: &[11], ..F },
    Field { name: "reinvocationPolicy", ty: Ty::String, pb: &[10], ..F },
    Field { name: "rules", ty: Ty::Array(&Ty::Ref(DefId(10))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "sideEffects", ty: Ty::String, required: true, pb: &[6], ..F },
    Field { name: "timeoutSeconds", ty: Ty::Int32, pb: &[7], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration", gvk: Some(("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "webhooks", ty: Ty::Array(&Ty::Ref(DefId(4))), pb: &[2], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.MutatingWebhookConfigurationList", gvk: Some(("admissionregistration.k8s.io", "v1", "MutatingWebhookConfigurationList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(5))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.NamedRuleWithOperations", gvk: None, atomic: true, fields: &[
    Field { name: "apiGroups", ty: Ty::Array(&Ty::String), pb: &[2, 2, 1], list: ListType::Atomic, ..F },
    Field { name: "apiVersions", ty: Ty::Array(&Ty::String), pb: &[2, 2, 2], list: ListType::Atomic, ..F },
    Field { name: "operations", ty: Ty::Array(&Ty::String), pb: &[2, 1], list: ListType::Atomic, ..F },
    Field { name: "resourceNames", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "resources", ty: Ty::Array(&Ty::String), pb: &[2, 2, 3], list: ListType::Atomic, ..F },
    Field { name: "scope", ty: Ty::String, pb: &[2, 2, 4], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ParamKind", gvk: None, atomic: true, fields: &[
    Field { name: "apiVersion", ty: Ty::String, pb: &[1], ..F },
    Field { name: "kind", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ParamRef", gvk: None, atomic: true, fields: &[
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[2], ..F },
    Field { name: "parameterNotFoundAction", ty: Ty::String, pb: &[4], ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.RuleWithOperations", gvk: None, atomic: false, fields: &[
    Field { name: "apiGroups", ty: Ty::Array(&Ty::String), pb: &[2, 1], list: ListType::Atomic, ..F },
    Field { name: "apiVersions", ty: Ty::Array(&Ty::String), pb: &[2, 2], list: ListType::Atomic, ..F },
    Field { name: "operations", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "resources", ty: Ty::Array(&Ty::String), pb: &[2, 3], list: ListType::Atomic, ..F },
    Field { name: "scope", ty: Ty::String, pb: &[2, 4], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ServiceReference", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "namespace", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "path", ty: Ty::String, pb: &[3], ..F },
    Field { name: "port", ty: Ty::Int32, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.TypeChecking", gvk: None, atomic: false, fields: &[
    Field { name: "expressionWarnings", ty: Ty::Array(&Ty::Ref(DefId(1))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy", gvk: Some(("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(18)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(19)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding", gvk: Some(("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(16)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingList", gvk: Some(("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBindingList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(14))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", gvk: None, atomic: false, fields: &[
    Field { name: "matchResources", ty: Ty::Ref(DefId(3)), pb: &[3], ..F },
    Field { name: "paramRef", ty: Ty::Ref(DefId(9)), pb: &[2], ..F },
    Field { name: "policyName", ty: Ty::String, pb: &[1], ..F },
    Field { name: "validationActions", ty: Ty::Array(&Ty::String), pb: &[4], list: ListType::Set, ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyList", gvk: Some(("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(13))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec", gvk: None, atomic: false, fields: &[
    Field { name: "auditAnnotations", ty: Ty::Array(&Ty::Ref(DefId(0))), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "failurePolicy", ty: Ty::String, pb: &[4], ..F },
    Field { name: "matchConditions", ty: Ty::Array(&Ty::Ref(DefId(2))), pb: &[6], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "matchConstraints", ty: Ty::Ref(DefId(3)), pb: &[2], ..F },
    Field { name: "paramKind", ty: Ty::Ref(DefId(8)), pb: &[1], ..F },
    Field { name: "validations", ty: Ty::Array(&Ty::Ref(DefId(23))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "variables", ty: Ty::Array(&Ty::Ref(DefId(24))), pb: &[7], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(552))), pb: &[3], list: ListType::Map, list_keys: &["type"], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[1], ..F },
    Field { name: "typeChecking", ty: Ty::Ref(DefId(12)), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingWebhook", gvk: None, atomic: false, fields: &[
    Field { name: "admissionReviewVersions", ty: Ty::Array(&Ty::String), required: true, pb: &[8], list: ListType::Atomic, ..F },
    Field { name: "clientConfig", ty: Ty::Ref(DefId(25)), required: true, pb: &[2], ..F },
    Field { name: "failurePolicy", ty: Ty::String, pb: &[4], ..F },
    Field { name: "matchConditions", ty: Ty::Array(&Ty::Ref(DefId(2))), pb: &[11], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "matchPolicy", ty: Ty::String, pb: &[9], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "namespaceSelector", ty: Ty::Ref(DefId(557)), pb: &[5], ..F },
    Field { name: "objectSelector", ty: Ty::Ref(DefId(557)), pb: &[10], ..F },
    Field { name: "rules", ty: Ty::Array(&Ty::Ref(DefId(10))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "sideEffects", ty: Ty::String, required: true, pb: &[6], ..F },
    Field { name: "timeoutSeconds", ty: Ty::Int32, pb: &[7], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration", gvk: Some(("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "webhooks", ty: Ty::Array(&Ty::Ref(DefId(20))), pb: &[2], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfigurationList", gvk: Some(("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfigurationList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(21))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.Validation", gvk: None, atomic: false, fields: &[
    Field { name: "expression", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "message", ty: Ty::String, pb: &[2], ..F },
    Field { name: "messageExpression", ty: Ty::String, pb: &[4], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.Variable", gvk: None, atomic: true, fields: &[
    Field { name: "expression", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1.WebhookClientConfig", gvk: None, atomic: false, fields: &[
    Field { name: "caBundle", ty: Ty::Bytes, pb: &[2], ..F },
    Field { name: "service", ty: Ty::Ref(DefId(11)), pb: &[1], ..F },
    Field { name: "url", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.ApplyConfiguration", gvk: None, atomic: false, fields: &[
    Field { name: "expression", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.JSONPatch", gvk: None, atomic: false, fields: &[
    Field { name: "expression", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.MatchCondition", gvk: None, atomic: false, fields: &[
    Field { name: "expression", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.MatchResources", gvk: None, atomic: true, fields: &[
    Field { name: "excludeResourceRules", ty: Ty::Array(&Ty::Ref(DefId(37))), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "matchPolicy", ty: Ty::String, pb: &[7], ..F },
    Field { name: "namespaceSelector", ty: Ty::Ref(DefId(557)), pb: &[1], ..F },
    Field { name: "objectSelector", ty: Ty::Ref(DefId(557)), pb: &[2], ..F },
    Field { name: "resourceRules", ty: Ty::Array(&Ty::Ref(DefId(37))), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicy", gvk: Some(("admissionregistration.k8s.io", "v1beta1", "MutatingAdmissionPolicy")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(35)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicyBinding", gvk: Some(("admissionregistration.k8s.io", "v1beta1", "MutatingAdmissionPolicyBinding")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(33)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicyBindingList", gvk: Some(("admissionregistration.k8s.io", "v1beta1", "MutatingAdmissionPolicyBindingList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(31))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicyBindingSpec", gvk: None, atomic: false, fields: &[
    Field { name: "matchResources", ty: Ty::Ref(DefId(29)), pb: &[3], ..F },
    Field { name: "paramRef", ty: Ty::Ref(DefId(39)), pb: &[2], ..F },
    Field { name: "policyName", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicyList", gvk: Some(("admissionregistration.k8s.io", "v1beta1", "MutatingAdmissionPolicyList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(30))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicySpec", gvk: None, atomic: false, fields: &[
    Field { name: "failurePolicy", ty: Ty::String, pb: &[5], ..F },
    Field { name: "matchConditions", ty: Ty::Array(&Ty::Ref(DefId(28))), pb: &[6], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "matchConstraints", ty: Ty::Ref(DefId(29)), pb: &[2], ..F },
    Field { name: "mutations", ty: Ty::Array(&Ty::Ref(DefId(36))), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "paramKind", ty: Ty::Ref(DefId(38)), pb: &[1], ..F },
    Field { name: "reinvocationPolicy", ty: Ty::String, pb: &[7], ..F },
    Field { name: "variables", ty: Ty::Array(&Ty::Ref(DefId(40))), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.Mutation", gvk: None, atomic: false, fields: &[
    Field { name: "applyConfiguration", ty: Ty::Ref(DefId(26)), pb: &[3], ..F },
    Field { name: "jsonPatch", ty: Ty::Ref(DefId(27)), pb: &[4], ..F },
    Field { name: "patchType", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.NamedRuleWithOperations", gvk: None, atomic: true, fields: &[
    Field { name: "apiGroups", ty: Ty::Array(&Ty::String), pb: &[2, 2, 1], list: ListType::Atomic, ..F },
    Field { name: "apiVersions", ty: Ty::Array(&Ty::String), pb: &[2, 2, 2], list: ListType::Atomic, ..F },
    Field { name: "operations", ty: Ty::Array(&Ty::String), pb: &[2, 1], list: ListType::Atomic, ..F },
    Field { name: "resourceNames", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "resources", ty: Ty::Array(&Ty::String), pb: &[2, 2, 3], list: ListType::Atomic, ..F },
    Field { name: "scope", ty: Ty::String, pb: &[2, 2, 4], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.ParamKind", gvk: None, atomic: true, fields: &[
    Field { name: "apiVersion", ty: Ty::String, pb: &[1], ..F },
    Field { name: "kind", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.ParamRef", gvk: None, atomic: true, fields: &[
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[2], ..F },
    Field { name: "parameterNotFoundAction", ty: Ty::String, pb: &[4], ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.admissionregistration.v1beta1.Variable", gvk: None, atomic: true, fields: &[
    Field { name: "expression", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.ControllerRevision", gvk: Some(("apps", "v1", "ControllerRevision")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "data", ty: Ty::Object, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "revision", ty: Ty::Int64, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.apps.v1.ControllerRevisionList", gvk: Some(("apps", "v1", "ControllerRevisionList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(41))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.DaemonSet", gvk: Some(("apps", "v1", "DaemonSet")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(46)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(47)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.apps.v1.DaemonSetCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.DaemonSetList", gvk: Some(("apps", "v1", "DaemonSetList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(43))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.DaemonSetSpec", gvk: None, atomic: false, fields: &[
    Field { name: "minReadySeconds", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "revisionHistoryLimit", ty: Ty::Int32, pb: &[6], ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), required: true, pb: &[1], ..F },
    Field { name: "template", ty: Ty::Ref(DefId(303)), required: true, pb: &[2], ..F },
    Field { name: "updateStrategy", ty: Ty::Ref(DefId(48)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.apps.v1.DaemonSetStatus", gvk: None, atomic: false, fields: &[
    Field { name: "collisionCount", ty: Ty::Int32, pb: &[9], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(44))), pb: &[10], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "currentNumberScheduled", ty: Ty::Int32, required: true, pb: &[1], ..F },
    Field { name: "desiredNumberScheduled", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "numberAvailable", ty: Ty::Int32, pb: &[7], ..F },
    Field { name: "numberMisscheduled", ty: Ty::Int32, required: true, pb: &[2], ..F },
    Field { name: "numberReady", ty: Ty::Int32, required: true, pb: &[4], ..F },
    Field { name: "numberUnavailable", ty: Ty::Int32, pb: &[8], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[5], ..F },
    Field { name: "updatedNumberScheduled", ty: Ty::Int32, pb: &[6], ..F },
] },
Def { name: "io.k8s.api.apps.v1.DaemonSetUpdateStrategy", gvk: None, atomic: false, fields: &[
    Field { name: "rollingUpdate", ty: Ty::Ref(DefId(60)), pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.Deployment", gvk: Some(("apps", "v1", "Deployment")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(52)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(53)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.apps.v1.DeploymentCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[7], ..F },
    Field { name: "lastUpdateTime", ty: Ty::Time, pb: &[6], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.DeploymentList", gvk: Some(("apps", "v1", "DeploymentList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(49))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.DeploymentSpec", gvk: None, atomic: false, fields: &[
    Field { name: "minReadySeconds", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "paused", ty: Ty::Bool, pb: &[7], ..F },
    Field { name: "progressDeadlineSeconds", ty: Ty::Int32, pb: &[9], ..F },
    Field { name: "replicas", ty: Ty::Int32, pb: &[1], ..F },
    Field { name: "revisionHistoryLimit", ty: Ty::Int32, pb: &[6], ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), required: true, pb: &[2], ..F },
    Field { name: "strategy", ty: Ty::Ref(DefId(54)), pb: &[4], patch_retain_keys: true, held: true, ..F },
    Field { name: "template", ty: Ty::Ref(DefId(303)), required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.apps.v1.DeploymentStatus", gvk: None, atomic: false, fields: &[
    Field { name: "availableReplicas", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "collisionCount", ty: Ty::Int32, pb: &[8], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(50))), pb: &[6], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[1], ..F },
    Field { name: "readyReplicas", ty: Ty::Int32, pb: &[7], ..F },
    Field { name: "replicas", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "terminatingReplicas", ty: Ty::Int32, pb: &[9], ..F },
    Field { name: "unavailableReplicas", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "updatedReplicas", ty: Ty::Int32, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.apps.v1.DeploymentStrategy", gvk: None, atomic: false, fields: &[
    Field { name: "rollingUpdate", ty: Ty::Ref(DefId(61)), pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.ReplicaSet", gvk: Some(("apps", "v1", "ReplicaSet")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(58)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(59)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.apps.v1.ReplicaSetCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.ReplicaSetList", gvk: Some(("apps", "v1", "ReplicaSetList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(55))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.ReplicaSetSpec", gvk: None, atomic: false, fields: &[
    Field { name: "minReadySeconds", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "replicas", ty: Ty::Int32, pb: &[1], ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), required: true, pb: &[2], ..F },
    Field { name: "template", ty: Ty::Ref(DefId(303)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.apps.v1.ReplicaSetStatus", gvk: None, atomic: false, fields: &[
    Field { name: "availableReplicas", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(56))), pb: &[6], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "fullyLabeledReplicas", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[3], ..F },
    Field { name: "readyReplicas", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "replicas", ty: Ty::Int32, required: true, pb: &[1], ..F },
    Field { name: "terminatingReplicas", ty: Ty::Int32, pb: &[7], ..F },
] },
Def { name: "io.k8s.api.apps.v1.RollingUpdateDaemonSet", gvk: None, atomic: false, fields: &[
    Field { name: "maxSurge", ty: Ty::IntOrString, pb: &[2], ..F },
    Field { name: "maxUnavailable", ty: Ty::IntOrString, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.RollingUpdateDeployment", gvk: None, atomic: false, fields: &[
    Field { name: "maxSurge", ty: Ty::IntOrString, pb: &[2], ..F },
    Field { name: "maxUnavailable", ty: Ty::IntOrString, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.RollingUpdateStatefulSetStrategy", gvk: None, atomic: false, fields: &[
    Field { name: "maxUnavailable", ty: Ty::IntOrString, pb: &[2], ..F },
    Field { name: "partition", ty: Ty::Int32, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.StatefulSet", gvk: Some(("apps", "v1", "StatefulSet")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(68)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(69)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.apps.v1.StatefulSetCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.StatefulSetList", gvk: Some(("apps", "v1", "StatefulSetList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(63))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.StatefulSetOrdinals", gvk: None, atomic: false, fields: &[
    Field { name: "start", ty: Ty::Int32, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy", gvk: None, atomic: false, fields: &[
    Field { name: "whenDeleted", ty: Ty::String, pb: &[1], ..F },
    Field { name: "whenScaled", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.apps.v1.StatefulSetSpec", gvk: None, atomic: false, fields: &[
    Field { name: "minReadySeconds", ty: Ty::Int32, pb: &[9], ..F },
    Field { name: "ordinals", ty: Ty::Ref(DefId(66)), pb: &[11], ..F },
    Field { name: "persistentVolumeClaimRetentionPolicy", ty: Ty::Ref(DefId(67)), pb: &[10], ..F },
    Field { name: "podManagementPolicy", ty: Ty::String, pb: &[6], ..F },
    Field { name: "replicas", ty: Ty::Int32, pb: &[1], ..F },
    Field { name: "revisionHistoryLimit", ty: Ty::Int32, pb: &[8], ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), required: true, pb: &[2], ..F },
    Field { name: "serviceName", ty: Ty::String, pb: &[5], ..F },
    Field { name: "template", ty: Ty::Ref(DefId(303)), required: true, pb: &[3], ..F },
    Field { name: "updateStrategy", ty: Ty::Ref(DefId(70)), pb: &[7], held: true, ..F },
    Field { name: "volumeClaimTemplates", ty: Ty::Array(&Ty::Ref(DefId(271))), pb: &[4], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.apps.v1.StatefulSetStatus", gvk: None, atomic: false, fields: &[
    Field { name: "availableReplicas", ty: Ty::Int32, pb: &[11], ..F },
    Field { name: "collisionCount", ty: Ty::Int32, pb: &[9], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(64))), pb: &[10], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "currentReplicas", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "currentRevision", ty: Ty::String, pb: &[6], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[1], ..F },
    Field { name: "readyReplicas", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "replicas", ty: Ty::Int32, required: true, pb: &[2], ..F },
    Field { name: "updateRevision", ty: Ty::String, pb: &[7], ..F },
    Field { name: "updatedReplicas", ty: Ty::Int32, pb: &[5], ..F },
] },
Def { name: "io.k8s.api.apps.v1.StatefulSetUpdateStrategy", gvk: None, atomic: false, fields: &[
    Field { name: "rollingUpdate", ty: Ty::Ref(DefId(62)), pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.authentication.v1.BoundObjectReference", gvk: None, atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, pb: &[1], ..F },
    Field { name: "name", ty: Ty::String, pb: &[3], ..F },
    Field { name: "uid", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.authentication.v1.SelfSubjectReview", gvk: Some(("authentication.k8s.io", "v1", "SelfSubjectReview")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(73)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.authentication.v1.SelfSubjectReviewStatus", gvk: None, atomic: false, fields: &[
    Field { name: "userInfo", ty: Ty::Ref(DefId(80)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.authentication.v1.TokenRequest", gvk: Some(("authentication.k8s.io", "v1", "TokenRequest")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(75)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(76)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.authentication.v1.TokenRequestSpec", gvk: None, atomic: false, fields: &[
    Field { name: "audiences", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "boundObjectRef", ty: Ty::Ref(DefId(71)), pb: &[3], ..F },
    Field { name: "expirationSeconds", ty: Ty::Int64, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.authentication.v1.TokenRequestStatus", gvk: None, atomic: false, fields: &[
    Field { name: "expirationTimestamp", ty: Ty::Time, required: true, pb: &[2], ..F },
    Field { name: "token", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.authentication.v1.TokenReview", gvk: Some(("authentication.k8s.io", "v1", "TokenReview")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(78)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(79)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.authentication.v1.TokenReviewSpec", gvk: None, atomic: false, fields: &[
    Field { name: "audiences", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "token", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.authentication.v1.TokenReviewStatus", gvk: None, atomic: false, fields: &[
    Field { name: "audiences", ty: Ty::Array(&Ty::String), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "authenticated", ty: Ty::Bool, pb: &[1], ..F },
    Field { name: "error", ty: Ty::String, pb: &[3], ..F },
    Field { name: "user", ty: Ty::Ref(DefId(80)), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.authentication.v1.UserInfo", gvk: None, atomic: false, fields: &[
    Field { name: "extra", ty: Ty::Map(&Ty::Array(&Ty::String)), pb: &[4], ..F },
    Field { name: "groups", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "uid", ty: Ty::String, pb: &[2], ..F },
    Field { name: "username", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.authorization.v1.FieldSelectorAttributes", gvk: None, atomic: false, fields: &[
    Field { name: "rawSelector", ty: Ty::String, pb: &[1], ..F },
    Field { name: "requirements", ty: Ty::Array(&Ty::Ref(DefId(554))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.authorization.v1.LabelSelectorAttributes", gvk: None, atomic: false, fields: &[
    Field { name: "rawSelector", ty: Ty::String, pb: &[1], ..F },
    Field { name: "requirements", ty: Ty::Array(&Ty::Ref(DefId(558))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.authorization.v1.LocalSubjectAccessReview", gvk: Some(("authorization.k8s.io", "v1", "LocalSubjectAccessReview")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(93)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(94)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.authorization.v1.NonResourceAttributes", gvk: None, atomic: false, fields: &[
    Field { name: "path", ty: Ty::String, pb: &[1], ..F },
    Field { name: "verb", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.authorization.v1.NonResourceRule", gvk: None, atomic: false, fields: &[
    Field { name: "nonResourceURLs", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "verbs", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.authorization.v1.ResourceAttributes", gvk: None, atomic: false, fields: &[
    Field { name: "fieldSelector", ty: Ty::Ref(DefId(81)), pb: &[8], ..F },
    Field { name: "group", ty: Ty::String, pb: &[3], ..F },
    Field { name: "labelSelector", ty: Ty::Ref(DefId(82)), pb: &[9], ..F },
    Field { name: "name", ty: Ty::String, pb: &[7], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[1], ..F },
    Field { name: "resource", ty: Ty::String, pb: &[5], ..F },
    Field { name: "subresource", ty: Ty::String, pb: &[6], ..F },
    Field { name: "verb", ty: Ty::String, pb: &[2], ..F },
    Field { name: "version", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.authorization.v1.ResourceRule", gvk: None, atomic: false, fields: &[
    Field { name: "apiGroups", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "resourceNames", ty: Ty::Array(&Ty::String), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "resources", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "verbs", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.authorization.v1.SelfSubjectAccessReview", gvk: Some(("authorization.k8s.io", "v1", "SelfSubjectAccessReview")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(89)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(94)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.authorization.v1.SelfSubjectAccessReviewSpec", gvk: None, atomic: false, fields: &[
    Field { name: "nonResourceAttributes", ty: Ty::Ref(DefId(84)), pb: &[2], ..F },
    Field { name: "resourceAttributes", ty: Ty::Ref(DefId(86)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.authorization.v1.SelfSubjectRulesReview", gvk: Some(("authorization.k8s.io", "v1", "SelfSubjectRulesReview")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(91)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(95)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.authorization.v1.SelfSubjectRulesReviewSpec", gvk: None, atomic: false, fields: &[
    Field { name: "namespace", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.authorization.v1.SubjectAccessReview", gvk: Some(("authorization.k8s.io", "v1", "SubjectAccessReview")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(93)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(94)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.authorization.v1.SubjectAccessReviewSpec", gvk: None, atomic: false, fields: &[
    Field { name: "extra", ty: Ty::Map(&Ty::Array(&Ty::String)), pb: &[5], ..F },
    Field { name: "groups", ty: Ty::Array(&Ty::String), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "nonResourceAttributes", ty: Ty::Ref(DefId(84)), pb: &[2], ..F },
    Field { name: "resourceAttributes", ty: Ty::Ref(DefId(86)), pb: &[1], ..F },
    Field { name: "uid", ty: Ty::String, pb: &[6], ..F },
    Field { name: "user", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.authorization.v1.SubjectAccessReviewStatus", gvk: None, atomic: false, fields: &[
    Field { name: "allowed", ty: Ty::Bool, required: true, pb: &[1], ..F },
    Field { name: "denied", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "evaluationError", ty: Ty::String, pb: &[3], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.authorization.v1.SubjectRulesReviewStatus", gvk: None, atomic: false, fields: &[
    Field { name: "evaluationError", ty: Ty::String, pb: &[4], ..F },
    Field { name: "incomplete", ty: Ty::Bool, required: true, pb: &[3], ..F },
    Field { name: "nonResourceRules", ty: Ty::Array(&Ty::Ref(DefId(85))), required: true, pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "resourceRules", ty: Ty::Array(&Ty::Ref(DefId(87))), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.autoscaling.v1.CrossVersionObjectReference", gvk: None, atomic: true, fields: &[
    Field { name: "apiVersion", ty: Ty::String, pb: &[3], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler", gvk: Some(("autoscaling", "v1", "HorizontalPodAutoscaler")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(99)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(100)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerList", gvk: Some(("autoscaling", "v1", "HorizontalPodAutoscalerList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(97))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerSpec", gvk: None, atomic: false, fields: &[
    Field { name: "maxReplicas", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "minReplicas", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "scaleTargetRef", ty: Ty::Ref(DefId(96)), required: true, pb: &[1], ..F },
    Field { name: "targetCPUUtilizationPercentage", ty: Ty::Int32, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerStatus", gvk: None, atomic: false, fields: &[
    Field { name: "currentCPUUtilizationPercentage", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "currentReplicas", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "desiredReplicas", ty: Ty::Int32, required: true, pb: &[4], ..F },
    Field { name: "lastScaleTime", ty: Ty::Time, pb: &[2], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v1.Scale", gvk: Some(("autoscaling", "v1", "Scale")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(102)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(103)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.autoscaling.v1.ScaleSpec", gvk: None, atomic: false, fields: &[
    Field { name: "replicas", ty: Ty::Int32, pb: &[1], default: Some("0"), ..F },
] },
Def { name: "io.k8s.api.autoscaling.v1.ScaleStatus", gvk: None, atomic: false, fields: &[
    Field { name: "replicas", ty: Ty::Int32, required: true, pb: &[1], ..F },
    Field { name: "selector", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.ContainerResourceMetricSource", gvk: None, atomic: false, fields: &[
    Field { name: "container", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "target", ty: Ty::Ref(DefId(120)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.ContainerResourceMetricStatus", gvk: None, atomic: false, fields: &[
    Field { name: "container", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "current", ty: Ty::Ref(DefId(121)), required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.CrossVersionObjectReference", gvk: None, atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, pb: &[3], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.ExternalMetricSource", gvk: None, atomic: false, fields: &[
    Field { name: "metric", ty: Ty::Ref(DefId(117)), required: true, pb: &[1], ..F },
    Field { name: "target", ty: Ty::Ref(DefId(120)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.ExternalMetricStatus", gvk: None, atomic: false, fields: &[
    Field { name: "current", ty: Ty::Ref(DefId(121)), required: true, pb: &[2], ..F },
    Field { name: "metric", ty: Ty::Ref(DefId(117)), required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.HPAScalingPolicy", gvk: None, atomic: false, fields: &[
    Field { name: "periodSeconds", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "value", ty: Ty::Int32, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.HPAScalingRules", gvk: None, atomic: false, fields: &[
    Field { name: "policies", ty: Ty::Array(&Ty::Ref(DefId(109))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "selectPolicy", ty: Ty::String, pb: &[1], ..F },
    Field { name: "stabilizationWindowSeconds", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "tolerance", ty: Ty::Quantity, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler", gvk: Some(("autoscaling", "v2", "HorizontalPodAutoscaler")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(115)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(116)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior", gvk: None, atomic: false, fields: &[
    Field { name: "scaleDown", ty: Ty::Ref(DefId(110)), pb: &[2], ..F },
    Field { name: "scaleUp", ty: Ty::Ref(DefId(110)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerList", gvk: Some(("autoscaling", "v2", "HorizontalPodAutoscalerList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(111))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec", gvk: None, atomic: false, fields: &[
    Field { name: "behavior", ty: Ty::Ref(DefId(112)), pb: &[5], ..F },
    Field { name: "maxReplicas", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "metrics", ty: Ty::Array(&Ty::Ref(DefId(118))), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "minReplicas", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "scaleTargetRef", ty: Ty::Ref(DefId(106)), required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(113))), pb: &[6], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "currentMetrics", ty: Ty::Array(&Ty::Ref(DefId(119))), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "currentReplicas", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "desiredReplicas", ty: Ty::Int32, required: true, pb: &[4], ..F },
    Field { name: "lastScaleTime", ty: Ty::Time, pb: &[2], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.MetricIdentifier", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.MetricSpec", gvk: None, atomic: false, fields: &[
    Field { name: "containerResource", ty: Ty::Ref(DefId(104)), pb: &[7], ..F },
    Field { name: "external", ty: Ty::Ref(DefId(107)), pb: &[5], ..F },
    Field { name: "object", ty: Ty::Ref(DefId(122)), pb: &[2], ..F },
    Field { name: "pods", ty: Ty::Ref(DefId(124)), pb: &[3], ..F },
    Field { name: "resource", ty: Ty::Ref(DefId(126)), pb: &[4], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.MetricStatus", gvk: None, atomic: false, fields: &[
    Field { name: "containerResource", ty: Ty::Ref(DefId(105)), pb: &[7], ..F },
    Field { name: "external", ty: Ty::Ref(DefId(108)), pb: &[5], ..F },
    Field { name: "object", ty: Ty::Ref(DefId(123)), pb: &[2], ..F },
    Field { name: "pods", ty: Ty::Ref(DefId(125)), pb: &[3], ..F },
    Field { name: "resource", ty: Ty::Ref(DefId(127)), pb: &[4], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.MetricTarget", gvk: None, atomic: false, fields: &[
    Field { name: "averageUtilization", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "averageValue", ty: Ty::Quantity, pb: &[3], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "value", ty: Ty::Quantity, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.MetricValueStatus", gvk: None, atomic: false, fields: &[
    Field { name: "averageUtilization", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "averageValue", ty: Ty::Quantity, pb: &[2], ..F },
    Field { name: "value", ty: Ty::Quantity, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.ObjectMetricSource", gvk: None, atomic: false, fields: &[
    Field { name: "describedObject", ty: Ty::Ref(DefId(106)), required: true, pb: &[1], ..F },
    Field { name: "metric", ty: Ty::Ref(DefId(117)), required: true, pb: &[3], ..F },
    Field { name: "target", ty: Ty::Ref(DefId(120)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.ObjectMetricStatus", gvk: None, atomic: false, fields: &[
    Field { name: "current", ty: Ty::Ref(DefId(121)), required: true, pb: &[2], ..F },
    Field { name: "describedObject", ty: Ty::Ref(DefId(106)), required: true, pb: &[3], ..F },
    Field { name: "metric", ty: Ty::Ref(DefId(117)), required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.PodsMetricSource", gvk: None, atomic: false, fields: &[
    Field { name: "metric", ty: Ty::Ref(DefId(117)), required: true, pb: &[1], ..F },
    Field { name: "target", ty: Ty::Ref(DefId(120)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.PodsMetricStatus", gvk: None, atomic: false, fields: &[
    Field { name: "current", ty: Ty::Ref(DefId(121)), required: true, pb: &[2], ..F },
    Field { name: "metric", ty: Ty::Ref(DefId(117)), required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.ResourceMetricSource", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "target", ty: Ty::Ref(DefId(120)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.autoscaling.v2.ResourceMetricStatus", gvk: None, atomic: false, fields: &[
    Field { name: "current", ty: Ty::Ref(DefId(121)), required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.batch.v1.CronJob", gvk: Some(("batch", "v1", "CronJob")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(130)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(131)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.batch.v1.CronJobList", gvk: Some(("batch", "v1", "CronJobList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(128))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.batch.v1.CronJobSpec", gvk: None, atomic: false, fields: &[
    Field { name: "concurrencyPolicy", ty: Ty::String, pb: &[3], ..F },
    Field { name: "failedJobsHistoryLimit", ty: Ty::Int32, pb: &[7], ..F },
    Field { name: "jobTemplate", ty: Ty::Ref(DefId(137)), required: true, pb: &[5], ..F },
    Field { name: "schedule", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "startingDeadlineSeconds", ty: Ty::Int64, pb: &[2], ..F },
    Field { name: "successfulJobsHistoryLimit", ty: Ty::Int32, pb: &[6], ..F },
    Field { name: "suspend", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "timeZone", ty: Ty::String, pb: &[8], ..F },
] },
Def { name: "io.k8s.api.batch.v1.CronJobStatus", gvk: None, atomic: false, fields: &[
    Field { name: "active", ty: Ty::Array(&Ty::Ref(DefId(269))), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "lastScheduleTime", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "lastSuccessfulTime", ty: Ty::Time, pb: &[5], ..F },
] },
Def { name: "io.k8s.api.batch.v1.Job", gvk: Some(("batch", "v1", "Job")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(135)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(136)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.batch.v1.JobCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastProbeTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "message", ty: Ty::String, pb: &[6], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[5], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.batch.v1.JobList", gvk: Some(("batch", "v1", "JobList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(132))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.batch.v1.JobSpec", gvk: None, atomic: false, fields: &[
    Field { name: "activeDeadlineSeconds", ty: Ty::Int64, pb: &[3], ..F },
    Field { name: "backoffLimit", ty: Ty::Int32, pb: &[7], ..F },
    Field { name: "backoffLimitPerIndex", ty: Ty::Int32, pb: &[12], ..F },
    Field { name: "completionMode", ty: Ty::String, pb: &[9], ..F },
    Field { name: "completions", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "managedBy", ty: Ty::String, pb: &[15], ..F },
    Field { name: "manualSelector", ty: Ty::Bool, pb: &[5], ..F },
    Field { name: "maxFailedIndexes", ty: Ty::Int32, pb: &[13], ..F },
    Field { name: "parallelism", ty: Ty::Int32, pb: &[1], ..F },
    Field { name: "podFailurePolicy", ty: Ty::Ref(DefId(138)), pb: &[11], ..F },
    Field { name: "podReplacementPolicy", ty: Ty::String, pb: &[14], ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), pb: &[4], ..F },
    Field { name: "successPolicy", ty: Ty::Ref(DefId(142)), pb: &[16], ..F },
    Field { name: "suspend", ty: Ty::Bool, pb: &[10], ..F },
    Field { name: "template", ty: Ty::Ref(DefId(303)), required: true, pb: &[6], ..F },
    Field { name: "ttlSecondsAfterFinished", ty: Ty::Int32, pb: &[8], ..F },
] },
Def { name: "io.k8s.api.batch.v1.JobStatus", gvk: None, atomic: false, fields: &[
    Field { name: "active", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "completedIndexes", ty: Ty::String, pb: &[7], ..F },
    Field { name: "completionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(133))), pb: &[1], list: ListType::Atomic, patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "failed", ty: Ty::Int32, pb: &[6], ..F },
    Field { name: "failedIndexes", ty: Ty::String, pb: &[10], ..F },
    Field { name: "ready", ty: Ty::Int32, pb: &[9], ..F },
    Field { name: "startTime", ty: Ty::Time, pb: &[2], ..F },
    Field { name: "succeeded", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "terminating", ty: Ty::Int32, pb: &[11], ..F },
    Field { name: "uncountedTerminatedPods", ty: Ty::Ref(DefId(144)), pb: &[8], ..F },
] },
Def { name: "io.k8s.api.batch.v1.JobTemplateSpec", gvk: None, atomic: false, fields: &[
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), pb: &[1], held: true, ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(135)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.batch.v1.PodFailurePolicy", gvk: None, atomic: false, fields: &[
    Field { name: "rules", ty: Ty::Array(&Ty::Ref(DefId(141))), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.batch.v1.PodFailurePolicyOnExitCodesRequirement", gvk: None, atomic: false, fields: &[
    Field { name: "containerName", ty: Ty::String, pb: &[1], ..F },
    Field { name: "operator", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "values", ty: Ty::Array(&Ty::Int32), required: true, pb: &[3], list: ListType::Set, ..F },
] },
Def { name: "io.k8s.api.batch.v1.PodFailurePolicyOnPodConditionsPattern", gvk: None, atomic: false, fields: &[
    Field { name: "status", ty: Ty::String, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.batch.v1.PodFailurePolicyRule", gvk: None, atomic: false, fields: &[
    Field { name: "action", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "onExitCodes", ty: Ty::Ref(DefId(139)), pb: &[2], ..F },
    Field { name: "onPodConditions", ty: Ty::Array(&Ty::Ref(DefId(140))), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.batch.v1.SuccessPolicy", gvk: None, atomic: false, fields: &[
    Field { name: "rules", ty: Ty::Array(&Ty::Ref(DefId(143))), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.batch.v1.SuccessPolicyRule", gvk: None, atomic: false, fields: &[
    Field { name: "succeededCount", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "succeededIndexes", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.batch.v1.UncountedTerminatedPods", gvk: None, atomic: false, fields: &[
    Field { name: "failed", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Set, ..F },
    Field { name: "succeeded", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Set, ..F },
] },
Def { name: "io.k8s.api.certificates.v1.CertificateSigningRequest", gvk: Some(("certificates.k8s.io", "v1", "CertificateSigningRequest")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(148)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(149)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.certificates.v1.CertificateSigningRequestCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[5], ..F },
    Field { name: "lastUpdateTime", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "message", ty: Ty::String, pb: &[3], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[2], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[6], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.certificates.v1.CertificateSigningRequestList", gvk: Some(("certificates.k8s.io", "v1", "CertificateSigningRequestList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(145))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.certificates.v1.CertificateSigningRequestSpec", gvk: None, atomic: false, fields: &[
    Field { name: "expirationSeconds", ty: Ty::Int32, pb: &[8], ..F },
    Field { name: "extra", ty: Ty::Map(&Ty::Array(&Ty::String)), pb: &[6], ..F },
    Field { name: "groups", ty: Ty::Array(&Ty::String), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "request", ty: Ty::Bytes, required: true, pb: &[1], ..F },
    Field { name: "signerName", ty: Ty::String, required: true, pb: &[7], ..F },
    Field { name: "uid", ty: Ty::String, pb: &[3], ..F },
    Field { name: "usages", ty: Ty::Array(&Ty::String), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "username", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.certificates.v1.CertificateSigningRequestStatus", gvk: None, atomic: false, fields: &[
    Field { name: "certificate", ty: Ty::Bytes, pb: &[2], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(146))), pb: &[1], list: ListType::Map, list_keys: &["type"], ..F },
] },
Def { name: "io.k8s.api.coordination.v1.Lease", gvk: Some(("coordination.k8s.io", "v1", "Lease")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(152)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.coordination.v1.LeaseList", gvk: Some(("coordination.k8s.io", "v1", "LeaseList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(150))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.coordination.v1.LeaseSpec", gvk: None, atomic: false, fields: &[
    Field { name: "acquireTime", ty: Ty::MicroTime, pb: &[3], ..F },
    Field { name: "holderIdentity", ty: Ty::String, pb: &[1], ..F },
    Field { name: "leaseDurationSeconds", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "leaseTransitions", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "preferredHolder", ty: Ty::String, pb: &[7], ..F },
    Field { name: "renewTime", ty: Ty::MicroTime, pb: &[4], ..F },
    Field { name: "strategy", ty: Ty::String, pb: &[6], ..F },
] },
Def { name: "io.k8s.api.core.v1.AWSElasticBlockStoreVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "partition", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "volumeID", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.Affinity", gvk: None, atomic: false, fields: &[
    Field { name: "nodeAffinity", ty: Ty::Ref(DefId(252)), pb: &[1], ..F },
    Field { name: "podAffinity", ty: Ty::Ref(DefId(283)), pb: &[2], ..F },
    Field { name: "podAntiAffinity", ty: Ty::Ref(DefId(285)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.AppArmorProfile", gvk: None, atomic: false, fields: &[
    Field { name: "localhostProfile", ty: Ty::String, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.AttachedVolume", gvk: None, atomic: false, fields: &[
    Field { name: "devicePath", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.AzureDiskVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "cachingMode", ty: Ty::String, pb: &[3], default: Some("\"ReadWrite\""), ..F },
    Field { name: "diskName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "diskURI", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "fsType", ty: Ty::String, pb: &[4], default: Some("\"ext4\""), ..F },
    Field { name: "kind", ty: Ty::String, pb: &[6], default: Some("\"Shared\""), ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[5], default: Some("false"), ..F },
] },
Def { name: "io.k8s.api.core.v1.AzureFilePersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "secretName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "secretNamespace", ty: Ty::String, pb: &[4], ..F },
    Field { name: "shareName", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.AzureFileVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "secretName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "shareName", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.Binding", gvk: Some(("", "v1", "Binding")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "target", ty: Ty::Ref(DefId(269)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.CSIPersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "controllerExpandSecretRef", ty: Ty::Ref(DefId(337)), pb: &[9], ..F },
    Field { name: "controllerPublishSecretRef", ty: Ty::Ref(DefId(337)), pb: &[6], ..F },
    Field { name: "driver", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "fsType", ty: Ty::String, pb: &[4], ..F },
    Field { name: "nodeExpandSecretRef", ty: Ty::Ref(DefId(337)), pb: &[10], ..F },
    Field { name: "nodePublishSecretRef", ty: Ty::Ref(DefId(337)), pb: &[8], ..F },
    Field { name: "nodeStageSecretRef", ty: Ty::Ref(DefId(337)), pb: &[7], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "volumeAttributes", ty: Ty::Map(&Ty::String), pb: &[5], ..F },
    Field { name: "volumeHandle", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.CSIVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "driver", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "fsType", ty: Ty::String, pb: &[3], ..F },
    Field { name: "nodePublishSecretRef", ty: Ty::Ref(DefId(241)), pb: &[5], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[2], ..F },
    Field { name: "volumeAttributes", ty: Ty::Map(&Ty::String), pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.Capabilities", gvk: None, atomic: false, fields: &[
    Field { name: "add", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "drop", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.CephFSPersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "monitors", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "path", ty: Ty::String, pb: &[2], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[6], ..F },
    Field { name: "secretFile", ty: Ty::String, pb: &[4], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(337)), pb: &[5], ..F },
    Field { name: "user", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.CephFSVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "monitors", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "path", ty: Ty::String, pb: &[2], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[6], ..F },
    Field { name: "secretFile", ty: Ty::String, pb: &[4], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(241)), pb: &[5], ..F },
    Field { name: "user", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.CinderPersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(337)), pb: &[4], ..F },
    Field { name: "volumeID", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.CinderVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(241)), pb: &[4], ..F },
    Field { name: "volumeID", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ClientIPConfig", gvk: None, atomic: false, fields: &[
    Field { name: "timeoutSeconds", ty: Ty::Int32, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ClusterTrustBundleProjection", gvk: None, atomic: false, fields: &[
    Field { name: "labelSelector", ty: Ty::Ref(DefId(557)), pb: &[3], ..F },
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[5], ..F },
    Field { name: "path", ty: Ty::String, required: true, pb: &[4], ..F },
    Field { name: "signerName", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ComponentCondition", gvk: None, atomic: false, fields: &[
    Field { name: "error", ty: Ty::String, pb: &[4], ..F },
    Field { name: "message", ty: Ty::String, pb: &[3], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ComponentStatus", gvk: Some(("", "v1", "ComponentStatus")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(170))), pb: &[2], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ComponentStatusList", gvk: Some(("", "v1", "ComponentStatusList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(171))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ConfigMap", gvk: Some(("", "v1", "ConfigMap")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "binaryData", ty: Ty::Map(&Ty::Bytes), pb: &[3], ..F },
    Field { name: "data", ty: Ty::Map(&Ty::String), pb: &[2], ..F },
    Field { name: "immutable", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ConfigMapEnvSource", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1, 1], default: Some("\"\""), ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ConfigMapKeySelector", gvk: None, atomic: true, fields: &[
    Field { name: "key", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1, 1], default: Some("\"\""), ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.ConfigMapList", gvk: Some(("", "v1", "ConfigMapList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(173))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ConfigMapNodeConfigSource", gvk: None, atomic: false, fields: &[
    Field { name: "kubeletConfigKey", ty: Ty::String, required: true, pb: &[5], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "namespace", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "resourceVersion", ty: Ty::String, pb: &[4], ..F },
    Field { name: "uid", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.ConfigMapProjection", gvk: None, atomic: false, fields: &[
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(231))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1, 1], default: Some("\"\""), ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.ConfigMapVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "defaultMode", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(231))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1, 1], default: Some("\"\""), ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.Container", gvk: None, atomic: false, fields: &[
    Field { name: "args", ty: Ty::Array(&Ty::String), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "command", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "env", ty: Ty::Array(&Ty::Ref(DefId(204))), pb: &[7], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "envFrom", ty: Ty::Array(&Ty::Ref(DefId(203))), pb: &[19], list: ListType::Atomic, ..F },
    Field { name: "image", ty: Ty::String, pb: &[2], ..F },
    Field { name: "imagePullPolicy", ty: Ty::String, pb: &[14], ..F },
    Field { name: "lifecycle", ty: Ty::Ref(DefId(232)), pb: &[12], ..F },
    Field { name: "livenessProbe", ty: Ty::Ref(DefId(307)), pb: &[10], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "ports", ty: Ty::Array(&Ty::Ref(DefId(183))), pb: &[6], list: ListType::Map, list_keys: &["containerPort", "protocol"], patch_merge: true, merge_key: Some("containerPort"), ..F },
    Field { name: "readinessProbe", ty: Ty::Ref(DefId(307)), pb: &[11], ..F },
    Field { name: "resizePolicy", ty: Ty::Array(&Ty::Ref(DefId(184))), pb: &[23], list: ListType::Atomic, ..F },
    Field { name: "resources", ty: Ty::Ref(DefId(324)), pb: &[8], held: true, ..F },
    Field { name: "restartPolicy", ty: Ty::String, pb: &[24], ..F },
    Field { name: "restartPolicyRules", ty: Ty::Array(&Ty::Ref(DefId(185))), pb: &[25], list: ListType::Atomic, ..F },
    Field { name: "securityContext", ty: Ty::Ref(DefId(339)), pb: &[15], ..F },
    Field { name: "startupProbe", ty: Ty::Ref(DefId(307)), pb: &[22], ..F },
    Field { name: "stdin", ty: Ty::Bool, pb: &[16], ..F },
    Field { name: "stdinOnce", ty: Ty::Bool, pb: &[17], ..F },
    Field { name: "terminationMessagePath", ty: Ty::String, pb: &[13], ..F },
    Field { name: "terminationMessagePolicy", ty: Ty::String, pb: &[20], ..F },
    Field { name: "tty", ty: Ty::Bool, pb: &[18], ..F },
    Field { name: "volumeDevices", ty: Ty::Array(&Ty::Ref(DefId(362))), pb: &[21], list: ListType::Map, list_keys: &["devicePath"], patch_merge: true, merge_key: Some("devicePath"), ..F },
    Field { name: "volumeMounts", ty: Ty::Array(&Ty::Ref(DefId(363))), pb: &[9], list: ListType::Map, list_keys: &["mountPath"], patch_merge: true, merge_key: Some("mountPath"), ..F },
    Field { name: "workingDir", ty: Ty::String, pb: &[5], ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerExtendedResourceRequest", gvk: None, atomic: false, fields: &[
    Field { name: "containerName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "requestName", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "resourceName", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerImage", gvk: None, atomic: false, fields: &[
    Field { name: "names", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "sizeBytes", ty: Ty::Int64, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerPort", gvk: None, atomic: false, fields: &[
    Field { name: "containerPort", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "hostIP", ty: Ty::String, pb: &[5], ..F },
    Field { name: "hostPort", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "protocol", ty: Ty::String, pb: &[4], default: Some("\"TCP\""), ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerResizePolicy", gvk: None, atomic: false, fields: &[
    Field { name: "resourceName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "restartPolicy", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerRestartRule", gvk: None, atomic: false, fields: &[
    Field { name: "action", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "exitCodes", ty: Ty::Ref(DefId(186)), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerRestartRuleOnExitCodes", gvk: None, atomic: false, fields: &[
    Field { name: "operator", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "values", ty: Ty::Array(&Ty::Int32), pb: &[2], list: ListType::Set, ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerState", gvk: None, atomic: false, fields: &[
    Field { name: "running", ty: Ty::Ref(DefId(188)), pb: &[2], ..F },
    Field { name: "terminated", ty: Ty::Ref(DefId(189)), pb: &[3], ..F },
    Field { name: "waiting", ty: Ty::Ref(DefId(190)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerStateRunning", gvk: None, atomic: false, fields: &[
    Field { name: "startedAt", ty: Ty::Time, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerStateTerminated", gvk: None, atomic: false, fields: &[
    Field { name: "containerID", ty: Ty::String, pb: &[7], ..F },
    Field { name: "exitCode", ty: Ty::Int32, required: true, pb: &[1], ..F },
    Field { name: "finishedAt", ty: Ty::Time, pb: &[6], ..F },
    Field { name: "message", ty: Ty::String, pb: &[4], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[3], ..F },
    Field { name: "signal", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "startedAt", ty: Ty::Time, pb: &[5], ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerStateWaiting", gvk: None, atomic: false, fields: &[
    Field { name: "message", ty: Ty::String, pb: &[2], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerStatus", gvk: None, atomic: false, fields: &[
    Field { name: "allocatedResources", ty: Ty::Map(&Ty::Quantity), pb: &[10], ..F },
    Field { name: "allocatedResourcesStatus", ty: Ty::Array(&Ty::Ref(DefId(325))), pb: &[14], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "containerID", ty: Ty::String, pb: &[8], ..F },
    Field { name: "image", ty: Ty::String, required: true, pb: &[6], ..F },
    Field { name: "imageID", ty: Ty::String, required: true, pb: &[7], ..F },
    Field { name: "lastState", ty: Ty::Ref(DefId(187)), pb: &[3], held: true, ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "ready", ty: Ty::Bool, required: true, pb: &[4], ..F },
    Field { name: "resources", ty: Ty::Ref(DefId(324)), pb: &[11], ..F },
    Field { name: "restartCount", ty: Ty::Int32, required: true, pb: &[5], ..F },
    Field { name: "started", ty: Ty::Bool, pb: &[9], ..F },
    Field { name: "state", ty: Ty::Ref(DefId(187)), pb: &[2], held: true, ..F },
    Field { name: "stopSignal", ty: Ty::String, pb: &[15], ..F },
    Field { name: "user", ty: Ty::Ref(DefId(192)), pb: &[13], ..F },
    Field { name: "volumeMounts", ty: Ty::Array(&Ty::Ref(DefId(364))), pb: &[12], list: ListType::Map, list_keys: &["mountPath"], patch_merge: true, merge_key: Some("mountPath"), ..F },
] },
Def { name: "io.k8s.api.core.v1.ContainerUser", gvk: None, atomic: false, fields: &[
    Field { name: "linux", ty: Ty::Ref(DefId(238)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.DaemonEndpoint", gvk: None, atomic: false, fields: &[
    Field { name: "Port", ty: Ty::Int32, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.DownwardAPIProjection", gvk: None, atomic: false, fields: &[
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(195))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.DownwardAPIVolumeFile", gvk: None, atomic: false, fields: &[
    Field { name: "fieldRef", ty: Ty::Ref(DefId(268)), pb: &[2], ..F },
    Field { name: "mode", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "path", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "resourceFieldRef", ty: Ty::Ref(DefId(318)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.DownwardAPIVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "defaultMode", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(195))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.EmptyDirVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "medium", ty: Ty::String, pb: &[1], ..F },
    Field { name: "sizeLimit", ty: Ty::Quantity, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.EndpointAddress", gvk: None, atomic: true, fields: &[
    Field { name: "hostname", ty: Ty::String, pb: &[3], ..F },
    Field { name: "ip", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "nodeName", ty: Ty::String, pb: &[4], ..F },
    Field { name: "targetRef", ty: Ty::Ref(DefId(269)), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.EndpointPort", gvk: None, atomic: true, fields: &[
    Field { name: "appProtocol", ty: Ty::String, pb: &[4], ..F },
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "port", ty: Ty::Int32, required: true, pb: &[2], ..F },
    Field { name: "protocol", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.EndpointSubset", gvk: None, atomic: false, fields: &[
    Field { name: "addresses", ty: Ty::Array(&Ty::Ref(DefId(198))), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "notReadyAddresses", ty: Ty::Array(&Ty::Ref(DefId(198))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "ports", ty: Ty::Array(&Ty::Ref(DefId(199))), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.Endpoints", gvk: Some(("", "v1", "Endpoints")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "subsets", ty: Ty::Array(&Ty::Ref(DefId(200))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.EndpointsList", gvk: Some(("", "v1", "EndpointsList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(201))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.EnvFromSource", gvk: None, atomic: false, fields: &[
    Field { name: "configMapRef", ty: Ty::Ref(DefId(174)), pb: &[2], ..F },
    Field { name: "prefix", ty: Ty::String, pb: &[1], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(333)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.EnvVar", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "value", ty: Ty::String, pb: &[2], ..F },
    Field { name: "valueFrom", ty: Ty::Ref(DefId(205)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.EnvVarSource", gvk: None, atomic: false, fields: &[
    Field { name: "configMapKeyRef", ty: Ty::Ref(DefId(175)), pb: &[3], ..F },
    Field { name: "fieldRef", ty: Ty::Ref(DefId(268)), pb: &[1], ..F },
    Field { name: "fileKeyRef", ty: Ty::Ref(DefId(214)), pb: &[5], ..F },
    Field { name: "resourceFieldRef", ty: Ty::Ref(DefId(318)), pb: &[2], ..F },
    Field { name: "secretKeyRef", ty: Ty::Ref(DefId(334)), pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.EphemeralContainer", gvk: None, atomic: false, fields: &[
    Field { name: "args", ty: Ty::Array(&Ty::String), pb: &[1, 4], list: ListType::Atomic, ..F },
    Field { name: "command", ty: Ty::Array(&Ty::String), pb: &[1, 3], list: ListType::Atomic, ..F },
    Field { name: "env", ty: Ty::Array(&Ty::Ref(DefId(204))), pb: &[1, 7], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "envFrom", ty: Ty::Array(&Ty::Ref(DefId(203))), pb: &[1, 19], list: ListType::Atomic, ..F },
    Field { name: "image", ty: Ty::String, pb: &[1, 2], ..F },
    Field { name: "imagePullPolicy", ty: Ty::String, pb: &[1, 14], ..F },
    Field { name: "lifecycle", ty: Ty::Ref(DefId(232)), pb: &[1, 12], ..F },
    Field { name: "livenessProbe", ty: Ty::Ref(DefId(307)), pb: &[1, 10], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1, 1], ..F },
    Field { name: "ports", ty: Ty::Array(&Ty::Ref(DefId(183))), pb: &[1, 6], list: ListType::Map, list_keys: &["containerPort", "protocol"], patch_merge: true, merge_key: Some("containerPort"), ..F },
    Field { name: "readinessProbe", ty: Ty::Ref(DefId(307)), pb: &[1, 11], ..F },
    Field { name: "resizePolicy", ty: Ty::Array(&Ty::Ref(DefId(184))), pb: &[1, 23], list: ListType::Atomic, ..F },
    Field { name: "resources", ty: Ty::Ref(DefId(324)), pb: &[1, 8], held: true, ..F },
    Field { name: "restartPolicy", ty: Ty::String, pb: &[1, 24], ..F },
    Field { name: "restartPolicyRules", ty: Ty::Array(&Ty::Ref(DefId(185))), pb: &[1, 25], list: ListType::Atomic, ..F },
    Field { name: "securityContext", ty: Ty::Ref(DefId(339)), pb: &[1, 15], ..F },
    Field { name: "startupProbe", ty: Ty::Ref(DefId(307)), pb: &[1, 22], ..F },
    Field { name: "stdin", ty: Ty::Bool, pb: &[1, 16], ..F },
    Field { name: "stdinOnce", ty: Ty::Bool, pb: &[1, 17], ..F },
    Field { name: "targetContainerName", ty: Ty::String, pb: &[2], ..F },
    Field { name: "terminationMessagePath", ty: Ty::String, pb: &[1, 13], ..F },
    Field { name: "terminationMessagePolicy", ty: Ty::String, pb: &[1, 20], ..F },
    Field { name: "tty", ty: Ty::Bool, pb: &[1, 18], ..F },
    Field { name: "volumeDevices", ty: Ty::Array(&Ty::Ref(DefId(362))), pb: &[1, 21], list: ListType::Map, list_keys: &["devicePath"], patch_merge: true, merge_key: Some("devicePath"), ..F },
    Field { name: "volumeMounts", ty: Ty::Array(&Ty::Ref(DefId(363))), pb: &[1, 9], list: ListType::Map, list_keys: &["mountPath"], patch_merge: true, merge_key: Some("mountPath"), ..F },
    Field { name: "workingDir", ty: Ty::String, pb: &[1, 5], ..F },
] },
Def { name: "io.k8s.api.core.v1.EphemeralVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "volumeClaimTemplate", ty: Ty::Ref(DefId(276)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.Event", gvk: Some(("", "v1", "Event")), atomic: false, fields: &[
    Field { name: "action", ty: Ty::String, pb: &[12], ..F },
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "count", ty: Ty::Int32, pb: &[8], ..F },
    Field { name: "eventTime", ty: Ty::MicroTime, pb: &[10], ..F },
    Field { name: "firstTimestamp", ty: Ty::Time, pb: &[6], ..F },
    Field { name: "involvedObject", ty: Ty::Ref(DefId(269)), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "lastTimestamp", ty: Ty::Time, pb: &[7], ..F },
    Field { name: "message", ty: Ty::String, pb: &[4], ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[3], ..F },
    Field { name: "related", ty: Ty::Ref(DefId(269)), pb: &[13], ..F },
    Field { name: "reportingComponent", ty: Ty::String, pb: &[14], ..F },
    Field { name: "reportingInstance", ty: Ty::String, pb: &[15], ..F },
    Field { name: "series", ty: Ty::Ref(DefId(210)), pb: &[11], ..F },
    Field { name: "source", ty: Ty::Ref(DefId(211)), pb: &[5], held: true, ..F },
    Field { name: "type", ty: Ty::String, pb: &[9], ..F },
] },
Def { name: "io.k8s.api.core.v1.EventList", gvk: Some(("", "v1", "EventList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(208))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.EventSeries", gvk: None, atomic: false, fields: &[
    Field { name: "count", ty: Ty::Int32, pb: &[1], ..F },
    Field { name: "lastObservedTime", ty: Ty::MicroTime, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.EventSource", gvk: None, atomic: false, fields: &[
    Field { name: "component", ty: Ty::String, pb: &[1], ..F },
    Field { name: "host", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ExecAction", gvk: None, atomic: false, fields: &[
    Field { name: "command", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.FCVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[3], ..F },
    Field { name: "lun", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "targetWWNs", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "wwids", ty: Ty::Array(&Ty::String), pb: &[5], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.FileKeySelector", gvk: None, atomic: true, fields: &[
    Field { name: "key", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[4], default: Some("false"), ..F },
    Field { name: "path", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "volumeName", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.FlexPersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "driver", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "options", ty: Ty::Map(&Ty::String), pb: &[5], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(337)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.FlexVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "driver", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "options", ty: Ty::Map(&Ty::String), pb: &[5], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(241)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.FlockerVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "datasetName", ty: Ty::String, pb: &[1], ..F },
    Field { name: "datasetUUID", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.GCEPersistentDiskVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "partition", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "pdName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.GRPCAction", gvk: None, atomic: false, fields: &[
    Field { name: "port", ty: Ty::Int32, required: true, pb: &[1], ..F },
    Field { name: "service", ty: Ty::String, pb: &[2], default: Some("\"\""), ..F },
] },
Def { name: "io.k8s.api.core.v1.GitRepoVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "directory", ty: Ty::String, pb: &[3], ..F },
    Field { name: "repository", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "revision", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.GlusterfsPersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "endpoints", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "endpointsNamespace", ty: Ty::String, pb: &[4], ..F },
    Field { name: "path", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.GlusterfsVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "endpoints", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "path", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.HTTPGetAction", gvk: None, atomic: false, fields: &[
    Field { name: "host", ty: Ty::String, pb: &[3], ..F },
    Field { name: "httpHeaders", ty: Ty::Array(&Ty::Ref(DefId(224))), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "path", ty: Ty::String, pb: &[1], ..F },
    Field { name: "port", ty: Ty::IntOrString, required: true, pb: &[2], ..F },
    Field { name: "scheme", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.HTTPHeader", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "value", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.HostAlias", gvk: None, atomic: false, fields: &[
    Field { name: "hostnames", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "ip", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.HostIP", gvk: None, atomic: false, fields: &[
    Field { name: "ip", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.HostPathVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "path", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "type", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ISCSIPersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "chapAuthDiscovery", ty: Ty::Bool, pb: &[8], ..F },
    Field { name: "chapAuthSession", ty: Ty::Bool, pb: &[11], ..F },
    Field { name: "fsType", ty: Ty::String, pb: &[5], ..F },
    Field { name: "initiatorName", ty: Ty::String, pb: &[12], ..F },
    Field { name: "iqn", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "iscsiInterface", ty: Ty::String, pb: &[4], default: Some("\"default\""), ..F },
    Field { name: "lun", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "portals", ty: Ty::Array(&Ty::String), pb: &[7], list: ListType::Atomic, ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[6], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(337)), pb: &[10], ..F },
    Field { name: "targetPortal", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ISCSIVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "chapAuthDiscovery", ty: Ty::Bool, pb: &[8], ..F },
    Field { name: "chapAuthSession", ty: Ty::Bool, pb: &[11], ..F },
    Field { name: "fsType", ty: Ty::String, pb: &[5], ..F },
    Field { name: "initiatorName", ty: Ty::String, pb: &[12], ..F },
    Field { name: "iqn", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "iscsiInterface", ty: Ty::String, pb: &[4], default: Some("\"default\""), ..F },
    Field { name: "lun", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "portals", ty: Ty::Array(&Ty::String), pb: &[7], list: ListType::Atomic, ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[6], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(241)), pb: &[10], ..F },
    Field { name: "targetPortal", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ImageVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "pullPolicy", ty: Ty::String, pb: &[2], ..F },
    Field { name: "reference", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.KeyToPath", gvk: None, atomic: false, fields: &[
    Field { name: "key", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "mode", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "path", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.Lifecycle", gvk: None, atomic: false, fields: &[
    Field { name: "postStart", ty: Ty::Ref(DefId(233)), pb: &[1], ..F },
    Field { name: "preStop", ty: Ty::Ref(DefId(233)), pb: &[2], ..F },
    Field { name: "stopSignal", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.LifecycleHandler", gvk: None, atomic: false, fields: &[
    Field { name: "exec", ty: Ty::Ref(DefId(212)), pb: &[1], ..F },
    Field { name: "httpGet", ty: Ty::Ref(DefId(223)), pb: &[2], ..F },
    Field { name: "sleep", ty: Ty::Ref(DefId(349)), pb: &[4], ..F },
    Field { name: "tcpSocket", ty: Ty::Ref(DefId(353)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.LimitRange", gvk: Some(("", "v1", "LimitRange")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(237)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.LimitRangeItem", gvk: None, atomic: false, fields: &[
    Field { name: "default", ty: Ty::Map(&Ty::Quantity), pb: &[4], ..F },
    Field { name: "defaultRequest", ty: Ty::Map(&Ty::Quantity), pb: &[5], ..F },
    Field { name: "max", ty: Ty::Map(&Ty::Quantity), pb: &[2], ..F },
    Field { name: "maxLimitRequestRatio", ty: Ty::Map(&Ty::Quantity), pb: &[6], ..F },
    Field { name: "min", ty: Ty::Map(&Ty::Quantity), pb: &[3], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.LimitRangeList", gvk: Some(("", "v1", "LimitRangeList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(234))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.LimitRangeSpec", gvk: None, atomic: false, fields: &[
    Field { name: "limits", ty: Ty::Array(&Ty::Ref(DefId(235))), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.LinuxContainerUser", gvk: None, atomic: false, fields: &[
    Field { name: "gid", ty: Ty::Int64, required: true, pb: &[2], ..F },
    Field { name: "supplementalGroups", ty: Ty::Array(&Ty::Int64), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "uid", ty: Ty::Int64, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.LoadBalancerIngress", gvk: None, atomic: false, fields: &[
    Field { name: "hostname", ty: Ty::String, pb: &[2], ..F },
    Field { name: "ip", ty: Ty::String, pb: &[1], ..F },
    Field { name: "ipMode", ty: Ty::String, pb: &[3], ..F },
    Field { name: "ports", ty: Ty::Array(&Ty::Ref(DefId(304))), pb: &[4], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.LoadBalancerStatus", gvk: None, atomic: false, fields: &[
    Field { name: "ingress", ty: Ty::Array(&Ty::Ref(DefId(239))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.LocalObjectReference", gvk: None, atomic: true, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], default: Some("\"\""), ..F },
] },
Def { name: "io.k8s.api.core.v1.LocalVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "path", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ModifyVolumeStatus", gvk: None, atomic: false, fields: &[
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "targetVolumeAttributesClassName", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NFSVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "path", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "server", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.Namespace", gvk: Some(("", "v1", "Namespace")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(248)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(249)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.NamespaceCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "message", ty: Ty::String, pb: &[6], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[5], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NamespaceList", gvk: Some(("", "v1", "NamespaceList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(245))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NamespaceSpec", gvk: None, atomic: false, fields: &[
    Field { name: "finalizers", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.NamespaceStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(246))), pb: &[2], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "phase", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.Node", gvk: Some(("", "v1", "Node")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(264)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(265)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeAddress", gvk: None, atomic: false, fields: &[
    Field { name: "address", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeAffinity", gvk: None, atomic: false, fields: &[
    Field { name: "preferredDuringSchedulingIgnoredDuringExecution", ty: Ty::Array(&Ty::Ref(DefId(306))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "requiredDuringSchedulingIgnoredDuringExecution", ty: Ty::Ref(DefId(261)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastHeartbeatTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "message", ty: Ty::String, pb: &[6], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[5], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeConfigSource", gvk: None, atomic: false, fields: &[
    Field { name: "configMap", ty: Ty::Ref(DefId(177)), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeConfigStatus", gvk: None, atomic: false, fields: &[
    Field { name: "active", ty: Ty::Ref(DefId(254)), pb: &[2], ..F },
    Field { name: "assigned", ty: Ty::Ref(DefId(254)), pb: &[1], ..F },
    Field { name: "error", ty: Ty::String, pb: &[4], ..F },
    Field { name: "lastKnownGood", ty: Ty::Ref(DefId(254)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeDaemonEndpoints", gvk: None, atomic: false, fields: &[
    Field { name: "kubeletEndpoint", ty: Ty::Ref(DefId(193)), pb: &[1], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeFeatures", gvk: None, atomic: false, fields: &[
    Field { name: "supplementalGroupsPolicy", ty: Ty::Bool, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeList", gvk: Some(("", "v1", "NodeList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(250))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeRuntimeHandler", gvk: None, atomic: false, fields: &[
    Field { name: "features", ty: Ty::Ref(DefId(260)), pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeRuntimeHandlerFeatures", gvk: None, atomic: false, fields: &[
    Field { name: "recursiveReadOnlyMounts", ty: Ty::Bool, pb: &[1], ..F },
    Field { name: "userNamespaces", ty: Ty::Bool, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeSelector", gvk: None, atomic: true, fields: &[
    Field { name: "nodeSelectorTerms", ty: Ty::Array(&Ty::Ref(DefId(263))), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeSelectorRequirement", gvk: None, atomic: false, fields: &[
    Field { name: "key", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "operator", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "values", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeSelectorTerm", gvk: None, atomic: true, fields: &[
    Field { name: "matchExpressions", ty: Ty::Array(&Ty::Ref(DefId(262))), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "matchFields", ty: Ty::Array(&Ty::Ref(DefId(262))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeSpec", gvk: None, atomic: false, fields: &[
    Field { name: "configSource", ty: Ty::Ref(DefId(254)), pb: &[6], ..F },
    Field { name: "externalID", ty: Ty::String, pb: &[2], ..F },
    Field { name: "podCIDR", ty: Ty::String, pb: &[1], ..F },
    Field { name: "podCIDRs", ty: Ty::Array(&Ty::String), pb: &[7], list: ListType::Set, patch_merge: true, ..F },
    Field { name: "providerID", ty: Ty::String, pb: &[3], ..F },
    Field { name: "taints", ty: Ty::Array(&Ty::Ref(DefId(354))), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "unschedulable", ty: Ty::Bool, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeStatus", gvk: None, atomic: false, fields: &[
    Field { name: "addresses", ty: Ty::Array(&Ty::Ref(DefId(251))), pb: &[5], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "allocatable", ty: Ty::Map(&Ty::Quantity), pb: &[2], ..F },
    Field { name: "capacity", ty: Ty::Map(&Ty::Quantity), pb: &[1], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(253))), pb: &[4], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "config", ty: Ty::Ref(DefId(255)), pb: &[11], ..F },
    Field { name: "daemonEndpoints", ty: Ty::Ref(DefId(256)), pb: &[6], held: true, ..F },
    Field { name: "declaredFeatures", ty: Ty::Array(&Ty::String), pb: &[14], list: ListType::Atomic, ..F },
    Field { name: "features", ty: Ty::Ref(DefId(257)), pb: &[13], ..F },
    Field { name: "images", ty: Ty::Array(&Ty::Ref(DefId(182))), pb: &[8], list: ListType::Atomic, ..F },
    Field { name: "nodeInfo", ty: Ty::Ref(DefId(267)), pb: &[7], held: true, ..F },
    Field { name: "phase", ty: Ty::String, pb: &[3], ..F },
    Field { name: "runtimeHandlers", ty: Ty::Array(&Ty::Ref(DefId(259))), pb: &[12], list: ListType::Atomic, ..F },
    Field { name: "volumesAttached", ty: Ty::Array(&Ty::Ref(DefId(156))), pb: &[10], list: ListType::Atomic, ..F },
    Field { name: "volumesInUse", ty: Ty::Array(&Ty::String), pb: &[9], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeSwapStatus", gvk: None, atomic: false, fields: &[
    Field { name: "capacity", ty: Ty::Int64, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.NodeSystemInfo", gvk: None, atomic: false, fields: &[
    Field { name: "architecture", ty: Ty::String, required: true, pb: &[10], ..F },
    Field { name: "bootID", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "containerRuntimeVersion", ty: Ty::String, required: true, pb: &[6], ..F },
    Field { name: "kernelVersion", ty: Ty::String, required: true, pb: &[4], ..F },
    Field { name: "kubeProxyVersion", ty: Ty::String, required: true, pb: &[8], ..F },
    Field { name: "kubeletVersion", ty: Ty::String, required: true, pb: &[7], ..F },
    Field { name: "machineID", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "operatingSystem", ty: Ty::String, required: true, pb: &[9], ..F },
    Field { name: "osImage", ty: Ty::String, required: true, pb: &[5], ..F },
    Field { name: "swap", ty: Ty::Ref(DefId(266)), pb: &[11], ..F },
    Field { name: "systemUUID", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ObjectFieldSelector", gvk: None, atomic: true, fields: &[
    Field { name: "apiVersion", ty: Ty::String, pb: &[1], ..F },
    Field { name: "fieldPath", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ObjectReference", gvk: None, atomic: true, fields: &[
    Field { name: "apiVersion", ty: Ty::String, pb: &[5], ..F },
    Field { name: "fieldPath", ty: Ty::String, pb: &[7], ..F },
    Field { name: "kind", ty: Ty::String, pb: &[1], ..F },
    Field { name: "name", ty: Ty::String, pb: &[3], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[2], ..F },
    Field { name: "resourceVersion", ty: Ty::String, pb: &[6], ..F },
    Field { name: "uid", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolume", gvk: Some(("", "v1", "PersistentVolume")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(279)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(280)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeClaim", gvk: Some(("", "v1", "PersistentVolumeClaim")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(274)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(275)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeClaimCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastProbeTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "message", ty: Ty::String, pb: &[6], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[5], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeClaimList", gvk: Some(("", "v1", "PersistentVolumeClaimList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(271))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeClaimSpec", gvk: None, atomic: false, fields: &[
    Field { name: "accessModes", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "dataSource", ty: Ty::Ref(DefId(359)), pb: &[7], ..F },
    Field { name: "dataSourceRef", ty: Ty::Ref(DefId(360)), pb: &[8], ..F },
    Field { name: "resources", ty: Ty::Ref(DefId(367)), pb: &[2], held: true, ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), pb: &[4], ..F },
    Field { name: "storageClassName", ty: Ty::String, pb: &[5], ..F },
    Field { name: "volumeAttributesClassName", ty: Ty::String, pb: &[9], ..F },
    Field { name: "volumeMode", ty: Ty::String, pb: &[6], ..F },
    Field { name: "volumeName", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeClaimStatus", gvk: None, atomic: false, fields: &[
    Field { name: "accessModes", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "allocatedResourceStatuses", ty: Ty::Map(&Ty::String), pb: &[7], ..F },
    Field { name: "allocatedResources", ty: Ty::Map(&Ty::Quantity), pb: &[5], ..F },
    Field { name: "capacity", ty: Ty::Map(&Ty::Quantity), pb: &[3], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(272))), pb: &[4], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "currentVolumeAttributesClassName", ty: Ty::String, pb: &[8], ..F },
    Field { name: "modifyVolumeStatus", ty: Ty::Ref(DefId(243)), pb: &[9], ..F },
    Field { name: "phase", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeClaimTemplate", gvk: None, atomic: false, fields: &[
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), pb: &[1], held: true, ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(274)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeClaimVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "claimName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeList", gvk: Some(("", "v1", "PersistentVolumeList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(270))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeSpec", gvk: None, atomic: false, fields: &[
    Field { name: "accessModes", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "awsElasticBlockStore", ty: Ty::Ref(DefId(153)), pb: &[2, 2], ..F },
    Field { name: "azureDisk", ty: Ty::Ref(DefId(157)), pb: &[2, 16], ..F },
    Field { name: "azureFile", ty: Ty::Ref(DefId(158)), pb: &[2, 13], ..F },
    Field { name: "capacity", ty: Ty::Map(&Ty::Quantity), pb: &[1], ..F },
    Field { name: "cephfs", ty: Ty::Ref(DefId(164)), pb: &[2, 9], ..F },
    Field { name: "cinder", ty: Ty::Ref(DefId(166)), pb: &[2, 8], ..F },
    Field { name: "claimRef", ty: Ty::Ref(DefId(269)), pb: &[4], ..F },
    Field { name: "csi", ty: Ty::Ref(DefId(161)), pb: &[2, 22], ..F },
    Field { name: "fc", ty: Ty::Ref(DefId(213)), pb: &[2, 10], ..F },
    Field { name: "flexVolume", ty: Ty::Ref(DefId(215)), pb: &[2, 12], ..F },
    Field { name: "flocker", ty: Ty::Ref(DefId(217)), pb: &[2, 11], ..F },
    Field { name: "gcePersistentDisk", ty: Ty::Ref(DefId(218)), pb: &[2, 1], ..F },
    Field { name: "glusterfs", ty: Ty::Ref(DefId(221)), pb: &[2, 4], ..F },
    Field { name: "hostPath", ty: Ty::Ref(DefId(227)), pb: &[2, 3], ..F },
    Field { name: "iscsi", ty: Ty::Ref(DefId(228)), pb: &[2, 7], ..F },
    Field { name: "local", ty: Ty::Ref(DefId(242)), pb: &[2, 20], ..F },
    Field { name: "mountOptions", ty: Ty::Array(&Ty::String), pb: &[7], list: ListType::Atomic, ..F },
    Field { name: "nfs", ty: Ty::Ref(DefId(244)), pb: &[2, 5], ..F },
    Field { name: "nodeAffinity", ty: Ty::Ref(DefId(365)), pb: &[9], ..F },
    Field { name: "persistentVolumeReclaimPolicy", ty: Ty::String, pb: &[5], ..F },
    Field { name: "photonPersistentDisk", ty: Ty::Ref(DefId(281)), pb: &[2, 17], ..F },
    Field { name: "portworxVolume", ty: Ty::Ref(DefId(305)), pb: &[2, 18], ..F },
    Field { name: "quobyte", ty: Ty::Ref(DefId(309)), pb: &[2, 15], ..F },
    Field { name: "rbd", ty: Ty::Ref(DefId(310)), pb: &[2, 6], ..F },
    Field { name: "scaleIO", ty: Ty::Ref(DefId(327)), pb: &[2, 19], ..F },
    Field { name: "storageClassName", ty: Ty::String, pb: &[6], ..F },
    Field { name: "storageos", ty: Ty::Ref(DefId(350)), pb: &[2, 21], ..F },
    Field { name: "volumeAttributesClassName", ty: Ty::String, pb: &[10], ..F },
    Field { name: "volumeMode", ty: Ty::String, pb: &[8], ..F },
    Field { name: "vsphereVolume", ty: Ty::Ref(DefId(368)), pb: &[2, 14], ..F },
] },
Def { name: "io.k8s.api.core.v1.PersistentVolumeStatus", gvk: None, atomic: false, fields: &[
    Field { name: "lastPhaseTransitionTime", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "message", ty: Ty::String, pb: &[2], ..F },
    Field { name: "phase", ty: Ty::String, pb: &[1], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.PhotonPersistentDiskVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "pdID", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.Pod", gvk: Some(("", "v1", "Pod")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(299)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(300)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.PodAffinity", gvk: None, atomic: false, fields: &[
    Field { name: "preferredDuringSchedulingIgnoredDuringExecution", ty: Ty::Array(&Ty::Ref(DefId(369))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "requiredDuringSchedulingIgnoredDuringExecution", ty: Ty::Array(&Ty::Ref(DefId(284))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.PodAffinityTerm", gvk: None, atomic: false, fields: &[
    Field { name: "labelSelector", ty: Ty::Ref(DefId(557)), pb: &[1], ..F },
    Field { name: "matchLabelKeys", ty: Ty::Array(&Ty::String), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "mismatchLabelKeys", ty: Ty::Array(&Ty::String), pb: &[6], list: ListType::Atomic, ..F },
    Field { name: "namespaceSelector", ty: Ty::Ref(DefId(557)), pb: &[4], ..F },
    Field { name: "namespaces", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "topologyKey", ty: Ty::String, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodAntiAffinity", gvk: None, atomic: false, fields: &[
    Field { name: "preferredDuringSchedulingIgnoredDuringExecution", ty: Ty::Array(&Ty::Ref(DefId(369))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "requiredDuringSchedulingIgnoredDuringExecution", ty: Ty::Array(&Ty::Ref(DefId(284))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.PodCertificateProjection", gvk: None, atomic: false, fields: &[
    Field { name: "certificateChainPath", ty: Ty::String, pb: &[6], ..F },
    Field { name: "credentialBundlePath", ty: Ty::String, pb: &[4], ..F },
    Field { name: "keyPath", ty: Ty::String, pb: &[5], ..F },
    Field { name: "keyType", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "maxExpirationSeconds", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "signerName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "userAnnotations", ty: Ty::Map(&Ty::String), pb: &[7], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastProbeTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "message", ty: Ty::String, pb: &[6], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[7], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[5], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodDNSConfig", gvk: None, atomic: false, fields: &[
    Field { name: "nameservers", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "options", ty: Ty::Array(&Ty::Ref(DefId(289))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "searches", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.PodDNSConfigOption", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "value", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodExtendedResourceClaimStatus", gvk: None, atomic: false, fields: &[
    Field { name: "requestMappings", ty: Ty::Array(&Ty::Ref(DefId(181))), required: true, pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "resourceClaimName", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodIP", gvk: None, atomic: false, fields: &[
    Field { name: "ip", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodList", gvk: Some(("", "v1", "PodList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(282))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodOS", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodReadinessGate", gvk: None, atomic: false, fields: &[
    Field { name: "conditionType", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodResourceClaim", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "resourceClaimName", ty: Ty::String, pb: &[3], ..F },
    Field { name: "resourceClaimTemplateName", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodResourceClaimStatus", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "resourceClaimName", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodSchedulingGate", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodSecurityContext", gvk: None, atomic: false, fields: &[
    Field { name: "appArmorProfile", ty: Ty::Ref(DefId(155)), pb: &[11], ..F },
    Field { name: "fsGroup", ty: Ty::Int64, pb: &[5], ..F },
    Field { name: "fsGroupChangePolicy", ty: Ty::String, pb: &[9], ..F },
    Field { name: "runAsGroup", ty: Ty::Int64, pb: &[6], ..F },
    Field { name: "runAsNonRoot", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "runAsUser", ty: Ty::Int64, pb: &[2], ..F },
    Field { name: "seLinuxChangePolicy", ty: Ty::String, pb: &[13], ..F },
    Field { name: "seLinuxOptions", ty: Ty::Ref(DefId(326)), pb: &[1], ..F },
    Field { name: "seccompProfile", ty: Ty::Ref(DefId(331)), pb: &[10], ..F },
    Field { name: "supplementalGroups", ty: Ty::Array(&Ty::Int64), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "supplementalGroupsPolicy", ty: Ty::String, pb: &[12], ..F },
    Field { name: "sysctls", ty: Ty::Array(&Ty::Ref(DefId(352))), pb: &[7], list: ListType::Atomic, ..F },
    Field { name: "windowsOptions", ty: Ty::Ref(DefId(370)), pb: &[8], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodSpec", gvk: None, atomic: false, fields: &[
    Field { name: "activeDeadlineSeconds", ty: Ty::Int64, pb: &[5], ..F },
    Field { name: "affinity", ty: Ty::Ref(DefId(154)), pb: &[18], ..F },
    Field { name: "automountServiceAccountToken", ty: Ty::Bool, pb: &[21], ..F },
    Field { name: "containers", ty: Ty::Array(&Ty::Ref(DefId(180))), required: true, pb: &[2], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "dnsConfig", ty: Ty::Ref(DefId(288)), pb: &[26], ..F },
    Field { name: "dnsPolicy", ty: Ty::String, pb: &[6], ..F },
    Field { name: "enableServiceLinks", ty: Ty::Bool, pb: &[30], ..F },
    Field { name: "ephemeralContainers", ty: Ty::Array(&Ty::Ref(DefId(206))), pb: &[34], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "hostAliases", ty: Ty::Array(&Ty::Ref(DefId(225))), pb: &[23], list: ListType::Map, list_keys: &["ip"], patch_merge: true, merge_key: Some("ip"), ..F },
    Field { name: "hostIPC", ty: Ty::Bool, pb: &[13], ..F },
    Field { name: "hostNetwork", ty: Ty::Bool, pb: &[11], ..F },
    Field { name: "hostPID", ty: Ty::Bool, pb: &[12], ..F },
    Field { name: "hostUsers", ty: Ty::Bool, pb: &[37], ..F },
    Field { name: "hostname", ty: Ty::String, pb: &[16], ..F },
    Field { name: "hostnameOverride", ty: Ty::String, pb: &[41], ..F },
    Field { name: "imagePullSecrets", ty: Ty::Array(&Ty::Ref(DefId(241))), pb: &[15], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "initContainers", ty: Ty::Array(&Ty::Ref(DefId(180))), pb: &[20], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "nodeName", ty: Ty::String, pb: &[10], ..F },
    Field { name: "nodeSelector", ty: Ty::Map(&Ty::String), pb: &[7], atomic: true, ..F },
    Field { name: "os", ty: Ty::Ref(DefId(293)), pb: &[36], ..F },
    Field { name: "overhead", ty: Ty::Map(&Ty::Quantity), pb: &[32], ..F },
    Field { name: "preemptionPolicy", ty: Ty::String, pb: &[31], ..F },
    Field { name: "priority", ty: Ty::Int32, pb: &[25], ..F },
    Field { name: "priorityClassName", ty: Ty::String, pb: &[24], ..F },
    Field { name: "readinessGates", ty: Ty::Array(&Ty::Ref(DefId(294))), pb: &[28], list: ListType::Atomic, ..F },
    Field { name: "resourceClaims", ty: Ty::Array(&Ty::Ref(DefId(295))), pb: &[39], list: ListType::Map, list_keys: &["name"], patch_merge: true, patch_retain_keys: true, merge_key: Some("name"), ..F },
    Field { name: "resources", ty: Ty::Ref(DefId(324)), pb: &[40], ..F },
    Field { name: "restartPolicy", ty: Ty::String, pb: &[3], ..F },
    Field { name: "runtimeClassName", ty: Ty::String, pb: &[29], ..F },
    Field { name: "schedulerName", ty: Ty::String, pb: &[19], ..F },
    Field { name: "schedulingGates", ty: Ty::Array(&Ty::Ref(DefId(297))), pb: &[38], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
    Field { name: "securityContext", ty: Ty::Ref(DefId(298)), pb: &[14], ..F },
    Field { name: "serviceAccount", ty: Ty::String, pb: &[9], ..F },
    Field { name: "serviceAccountName", ty: Ty::String, pb: &[8], ..F },
    Field { name: "setHostnameAsFQDN", ty: Ty::Bool, pb: &[35], ..F },
    Field { name: "shareProcessNamespace", ty: Ty::Bool, pb: &[27], ..F },
    Field { name: "subdomain", ty: Ty::String, pb: &[17], ..F },
    Field { name: "terminationGracePeriodSeconds", ty: Ty::Int64, pb: &[4], ..F },
    Field { name: "tolerations", ty: Ty::Array(&Ty::Ref(DefId(355))), pb: &[22], list: ListType::Atomic, ..F },
    Field { name: "topologySpreadConstraints", ty: Ty::Array(&Ty::Ref(DefId(358))), pb: &[33], list: ListType::Map, list_keys: &["topologyKey", "whenUnsatisfiable"], patch_merge: true, merge_key: Some("topologyKey"), ..F },
    Field { name: "volumes", ty: Ty::Array(&Ty::Ref(DefId(361))), pb: &[1], list: ListType::Map, list_keys: &["name"], patch_merge: true, patch_retain_keys: true, merge_key: Some("name"), ..F },
    Field { name: "workloadRef", ty: Ty::Ref(DefId(371)), pb: &[42], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodStatus", gvk: None, atomic: false, fields: &[
    Field { name: "allocatedResources", ty: Ty::Map(&Ty::Quantity), pb: &[19], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(287))), pb: &[2], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "containerStatuses", ty: Ty::Array(&Ty::Ref(DefId(191))), pb: &[8], list: ListType::Atomic, ..F },
    Field { name: "ephemeralContainerStatuses", ty: Ty::Array(&Ty::Ref(DefId(191))), pb: &[13], list: ListType::Atomic, ..F },
    Field { name: "extendedResourceClaimStatus", ty: Ty::Ref(DefId(290)), pb: &[18], ..F },
    Field { name: "hostIP", ty: Ty::String, pb: &[5], ..F },
    Field { name: "hostIPs", ty: Ty::Array(&Ty::Ref(DefId(226))), pb: &[16], list: ListType::Atomic, patch_merge: true, merge_key: Some("ip"), ..F },
    Field { name: "initContainerStatuses", ty: Ty::Array(&Ty::Ref(DefId(191))), pb: &[10], list: ListType::Atomic, ..F },
    Field { name: "message", ty: Ty::String, pb: &[3], ..F },
    Field { name: "nominatedNodeName", ty: Ty::String, pb: &[11], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[17], ..F },
    Field { name: "phase", ty: Ty::String, pb: &[1], ..F },
    Field { name: "podIP", ty: Ty::String, pb: &[6], ..F },
    Field { name: "podIPs", ty: Ty::Array(&Ty::Ref(DefId(291))), pb: &[12], list: ListType::Map, list_keys: &["ip"], patch_merge: true, merge_key: Some("ip"), ..F },
    Field { name: "qosClass", ty: Ty::String, pb: &[9], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "resize", ty: Ty::String, pb: &[14], ..F },
    Field { name: "resourceClaimStatuses", ty: Ty::Array(&Ty::Ref(DefId(296))), pb: &[15], list: ListType::Map, list_keys: &["name"], patch_merge: true, patch_retain_keys: true, merge_key: Some("name"), ..F },
    Field { name: "resources", ty: Ty::Ref(DefId(324)), pb: &[20], ..F },
    Field { name: "startTime", ty: Ty::Time, pb: &[7], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodTemplate", gvk: Some(("", "v1", "PodTemplate")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "template", ty: Ty::Ref(DefId(303)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.PodTemplateList", gvk: Some(("", "v1", "PodTemplateList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(301))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PodTemplateSpec", gvk: None, atomic: false, fields: &[
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), pb: &[1], held: true, ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(299)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.PortStatus", gvk: None, atomic: false, fields: &[
    Field { name: "error", ty: Ty::String, pb: &[3], ..F },
    Field { name: "port", ty: Ty::Int32, required: true, pb: &[1], ..F },
    Field { name: "protocol", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.PortworxVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "volumeID", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.PreferredSchedulingTerm", gvk: None, atomic: false, fields: &[
    Field { name: "preference", ty: Ty::Ref(DefId(263)), required: true, pb: &[2], ..F },
    Field { name: "weight", ty: Ty::Int32, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.Probe", gvk: None, atomic: false, fields: &[
    Field { name: "exec", ty: Ty::Ref(DefId(212)), pb: &[1, 1], ..F },
    Field { name: "failureThreshold", ty: Ty::Int32, pb: &[6], ..F },
    Field { name: "grpc", ty: Ty::Ref(DefId(219)), pb: &[1, 4], ..F },
    Field { name: "httpGet", ty: Ty::Ref(DefId(223)), pb: &[1, 2], ..F },
    Field { name: "initialDelaySeconds", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "periodSeconds", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "successThreshold", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "tcpSocket", ty: Ty::Ref(DefId(353)), pb: &[1, 3], ..F },
    Field { name: "terminationGracePeriodSeconds", ty: Ty::Int64, pb: &[7], ..F },
    Field { name: "timeoutSeconds", ty: Ty::Int32, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.ProjectedVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "defaultMode", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "sources", ty: Ty::Array(&Ty::Ref(DefId(366))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.QuobyteVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "group", ty: Ty::String, pb: &[5], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "registry", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "tenant", ty: Ty::String, pb: &[6], ..F },
    Field { name: "user", ty: Ty::String, pb: &[4], ..F },
    Field { name: "volume", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.RBDPersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[3], ..F },
    Field { name: "image", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "keyring", ty: Ty::String, pb: &[6], default: Some("\"/etc/ceph/keyring\""), ..F },
    Field { name: "monitors", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "pool", ty: Ty::String, pb: &[4], default: Some("\"rbd\""), ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[8], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(337)), pb: &[7], ..F },
    Field { name: "user", ty: Ty::String, pb: &[5], default: Some("\"admin\""), ..F },
] },
Def { name: "io.k8s.api.core.v1.RBDVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[3], ..F },
    Field { name: "image", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "keyring", ty: Ty::String, pb: &[6], default: Some("\"/etc/ceph/keyring\""), ..F },
    Field { name: "monitors", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "pool", ty: Ty::String, pb: &[4], default: Some("\"rbd\""), ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[8], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(241)), pb: &[7], ..F },
    Field { name: "user", ty: Ty::String, pb: &[5], default: Some("\"admin\""), ..F },
] },
Def { name: "io.k8s.api.core.v1.ReplicationController", gvk: Some(("", "v1", "ReplicationController")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(315)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(316)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.ReplicationControllerCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ReplicationControllerList", gvk: Some(("", "v1", "ReplicationControllerList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(312))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ReplicationControllerSpec", gvk: None, atomic: false, fields: &[
    Field { name: "minReadySeconds", ty: Ty::Int32, pb: &[4], default: Some("0"), ..F },
    Field { name: "replicas", ty: Ty::Int32, pb: &[1], default: Some("1"), ..F },
    Field { name: "selector", ty: Ty::Map(&Ty::String), pb: &[2], atomic: true, ..F },
    Field { name: "template", ty: Ty::Ref(DefId(303)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.ReplicationControllerStatus", gvk: None, atomic: false, fields: &[
    Field { name: "availableReplicas", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(313))), pb: &[6], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "fullyLabeledReplicas", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[3], ..F },
    Field { name: "readyReplicas", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "replicas", ty: Ty::Int32, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ResourceClaim", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "request", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ResourceFieldSelector", gvk: None, atomic: true, fields: &[
    Field { name: "containerName", ty: Ty::String, pb: &[1], ..F },
    Field { name: "divisor", ty: Ty::Quantity, pb: &[3], ..F },
    Field { name: "resource", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ResourceHealth", gvk: None, atomic: false, fields: &[
    Field { name: "health", ty: Ty::String, pb: &[2], ..F },
    Field { name: "resourceID", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ResourceQuota", gvk: Some(("", "v1", "ResourceQuota")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(322)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(323)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.ResourceQuotaList", gvk: Some(("", "v1", "ResourceQuotaList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(320))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ResourceQuotaSpec", gvk: None, atomic: false, fields: &[
    Field { name: "hard", ty: Ty::Map(&Ty::Quantity), pb: &[1], ..F },
    Field { name: "scopeSelector", ty: Ty::Ref(DefId(329)), pb: &[3], ..F },
    Field { name: "scopes", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.ResourceQuotaStatus", gvk: None, atomic: false, fields: &[
    Field { name: "hard", ty: Ty::Map(&Ty::Quantity), pb: &[1], ..F },
    Field { name: "used", ty: Ty::Map(&Ty::Quantity), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ResourceRequirements", gvk: None, atomic: false, fields: &[
    Field { name: "claims", ty: Ty::Array(&Ty::Ref(DefId(317))), pb: &[3], list: ListType::Map, list_keys: &["name"], ..F },
    Field { name: "limits", ty: Ty::Map(&Ty::Quantity), pb: &[1], ..F },
    Field { name: "requests", ty: Ty::Map(&Ty::Quantity), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.ResourceStatus", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "resources", ty: Ty::Array(&Ty::Ref(DefId(319))), pb: &[2], list: ListType::Map, list_keys: &["resourceID"], ..F },
] },
Def { name: "io.k8s.api.core.v1.SELinuxOptions", gvk: None, atomic: false, fields: &[
    Field { name: "level", ty: Ty::String, pb: &[4], ..F },
    Field { name: "role", ty: Ty::String, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, pb: &[3], ..F },
    Field { name: "user", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ScaleIOPersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[9], default: Some("\"xfs\""), ..F },
    Field { name: "gateway", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "protectionDomain", ty: Ty::String, pb: &[5], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[10], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(337)), required: true, pb: &[3], ..F },
    Field { name: "sslEnabled", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "storageMode", ty: Ty::String, pb: &[7], default: Some("\"ThinProvisioned\""), ..F },
    Field { name: "storagePool", ty: Ty::String, pb: &[6], ..F },
    Field { name: "system", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "volumeName", ty: Ty::String, pb: &[8], ..F },
] },
Def { name: "io.k8s.api.core.v1.ScaleIOVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[9], default: Some("\"xfs\""), ..F },
    Field { name: "gateway", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "protectionDomain", ty: Ty::String, pb: &[5], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[10], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(241)), required: true, pb: &[3], ..F },
    Field { name: "sslEnabled", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "storageMode", ty: Ty::String, pb: &[7], default: Some("\"ThinProvisioned\""), ..F },
    Field { name: "storagePool", ty: Ty::String, pb: &[6], ..F },
    Field { name: "system", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "volumeName", ty: Ty::String, pb: &[8], ..F },
] },
Def { name: "io.k8s.api.core.v1.ScopeSelector", gvk: None, atomic: true, fields: &[
    Field { name: "matchExpressions", ty: Ty::Array(&Ty::Ref(DefId(330))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.ScopedResourceSelectorRequirement", gvk: None, atomic: false, fields: &[
    Field { name: "operator", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "scopeName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "values", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.SeccompProfile", gvk: None, atomic: false, fields: &[
    Field { name: "localhostProfile", ty: Ty::String, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.Secret", gvk: Some(("", "v1", "Secret")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "data", ty: Ty::Map(&Ty::Bytes), pb: &[2], ..F },
    Field { name: "immutable", ty: Ty::Bool, pb: &[5], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "stringData", ty: Ty::Map(&Ty::String), pb: &[4], ..F },
    Field { name: "type", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.SecretEnvSource", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1, 1], default: Some("\"\""), ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.SecretKeySelector", gvk: None, atomic: true, fields: &[
    Field { name: "key", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1, 1], default: Some("\"\""), ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.SecretList", gvk: Some(("", "v1", "SecretList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(332))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.SecretProjection", gvk: None, atomic: false, fields: &[
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(231))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1, 1], default: Some("\"\""), ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.SecretReference", gvk: None, atomic: true, fields: &[
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.SecretVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "defaultMode", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(231))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "optional", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "secretName", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.SecurityContext", gvk: None, atomic: false, fields: &[
    Field { name: "allowPrivilegeEscalation", ty: Ty::Bool, pb: &[7], ..F },
    Field { name: "appArmorProfile", ty: Ty::Ref(DefId(155)), pb: &[12], ..F },
    Field { name: "capabilities", ty: Ty::Ref(DefId(163)), pb: &[1], ..F },
    Field { name: "privileged", ty: Ty::Bool, pb: &[2], ..F },
    Field { name: "procMount", ty: Ty::String, pb: &[9], ..F },
    Field { name: "readOnlyRootFilesystem", ty: Ty::Bool, pb: &[6], ..F },
    Field { name: "runAsGroup", ty: Ty::Int64, pb: &[8], ..F },
    Field { name: "runAsNonRoot", ty: Ty::Bool, pb: &[5], ..F },
    Field { name: "runAsUser", ty: Ty::Int64, pb: &[4], ..F },
    Field { name: "seLinuxOptions", ty: Ty::Ref(DefId(326)), pb: &[3], ..F },
    Field { name: "seccompProfile", ty: Ty::Ref(DefId(331)), pb: &[11], ..F },
    Field { name: "windowsOptions", ty: Ty::Ref(DefId(370)), pb: &[10], ..F },
] },
Def { name: "io.k8s.api.core.v1.Service", gvk: Some(("", "v1", "Service")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(346)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(347)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.ServiceAccount", gvk: Some(("", "v1", "ServiceAccount")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "automountServiceAccountToken", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "imagePullSecrets", ty: Ty::Array(&Ty::Ref(DefId(241))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "secrets", ty: Ty::Array(&Ty::Ref(DefId(269))), pb: &[2], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
] },
Def { name: "io.k8s.api.core.v1.ServiceAccountList", gvk: Some(("", "v1", "ServiceAccountList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(341))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ServiceAccountTokenProjection", gvk: None, atomic: false, fields: &[
    Field { name: "audience", ty: Ty::String, pb: &[1], ..F },
    Field { name: "expirationSeconds", ty: Ty::Int64, pb: &[2], ..F },
    Field { name: "path", ty: Ty::String, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.ServiceList", gvk: Some(("", "v1", "ServiceList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(340))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.ServicePort", gvk: None, atomic: false, fields: &[
    Field { name: "appProtocol", ty: Ty::String, pb: &[6], ..F },
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "nodePort", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "port", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "protocol", ty: Ty::String, pb: &[2], default: Some("\"TCP\""), ..F },
    Field { name: "targetPort", ty: Ty::IntOrString, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.ServiceSpec", gvk: None, atomic: false, fields: &[
    Field { name: "allocateLoadBalancerNodePorts", ty: Ty::Bool, pb: &[20], ..F },
    Field { name: "clusterIP", ty: Ty::String, pb: &[3], ..F },
    Field { name: "clusterIPs", ty: Ty::Array(&Ty::String), pb: &[18], list: ListType::Atomic, ..F },
    Field { name: "externalIPs", ty: Ty::Array(&Ty::String), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "externalName", ty: Ty::String, pb: &[10], ..F },
    Field { name: "externalTrafficPolicy", ty: Ty::String, pb: &[11], ..F },
    Field { name: "healthCheckNodePort", ty: Ty::Int32, pb: &[12], ..F },
    Field { name: "internalTrafficPolicy", ty: Ty::String, pb: &[22], ..F },
    Field { name: "ipFamilies", ty: Ty::Array(&Ty::String), pb: &[19], list: ListType::Atomic, ..F },
    Field { name: "ipFamilyPolicy", ty: Ty::String, pb: &[17], ..F },
    Field { name: "loadBalancerClass", ty: Ty::String, pb: &[21], ..F },
    Field { name: "loadBalancerIP", ty: Ty::String, pb: &[8], ..F },
    Field { name: "loadBalancerSourceRanges", ty: Ty::Array(&Ty::String), pb: &[9], list: ListType::Atomic, ..F },
    Field { name: "ports", ty: Ty::Array(&Ty::Ref(DefId(345))), pb: &[1], list: ListType::Map, list_keys: &["port", "protocol"], patch_merge: true, merge_key: Some("port"), ..F },
    Field { name: "publishNotReadyAddresses", ty: Ty::Bool, pb: &[13], ..F },
    Field { name: "selector", ty: Ty::Map(&Ty::String), pb: &[2], atomic: true, ..F },
    Field { name: "sessionAffinity", ty: Ty::String, pb: &[7], ..F },
    Field { name: "sessionAffinityConfig", ty: Ty::Ref(DefId(348)), pb: &[14], ..F },
    Field { name: "trafficDistribution", ty: Ty::String, pb: &[23], ..F },
    Field { name: "type", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.ServiceStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(552))), pb: &[2], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "loadBalancer", ty: Ty::Ref(DefId(240)), pb: &[1], held: true, ..F },
] },
Def { name: "io.k8s.api.core.v1.SessionAffinityConfig", gvk: None, atomic: false, fields: &[
    Field { name: "clientIP", ty: Ty::Ref(DefId(168)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.SleepAction", gvk: None, atomic: false, fields: &[
    Field { name: "seconds", ty: Ty::Int64, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.StorageOSPersistentVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[3], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(269)), pb: &[5], ..F },
    Field { name: "volumeName", ty: Ty::String, pb: &[1], ..F },
    Field { name: "volumeNamespace", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.StorageOSVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[3], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "secretRef", ty: Ty::Ref(DefId(241)), pb: &[5], ..F },
    Field { name: "volumeName", ty: Ty::String, pb: &[1], ..F },
    Field { name: "volumeNamespace", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.Sysctl", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "value", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.TCPSocketAction", gvk: None, atomic: false, fields: &[
    Field { name: "host", ty: Ty::String, pb: &[2], ..F },
    Field { name: "port", ty: Ty::IntOrString, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.Taint", gvk: None, atomic: false, fields: &[
    Field { name: "effect", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "key", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "timeAdded", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "value", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.Toleration", gvk: None, atomic: false, fields: &[
    Field { name: "effect", ty: Ty::String, pb: &[4], ..F },
    Field { name: "key", ty: Ty::String, pb: &[1], ..F },
    Field { name: "operator", ty: Ty::String, pb: &[2], ..F },
    Field { name: "tolerationSeconds", ty: Ty::Int64, pb: &[5], ..F },
    Field { name: "value", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.TopologySelectorLabelRequirement", gvk: None, atomic: false, fields: &[
    Field { name: "key", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "values", ty: Ty::Array(&Ty::String), required: true, pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.TopologySelectorTerm", gvk: None, atomic: true, fields: &[
    Field { name: "matchLabelExpressions", ty: Ty::Array(&Ty::Ref(DefId(356))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.core.v1.TopologySpreadConstraint", gvk: None, atomic: false, fields: &[
    Field { name: "labelSelector", ty: Ty::Ref(DefId(557)), pb: &[4], ..F },
    Field { name: "matchLabelKeys", ty: Ty::Array(&Ty::String), pb: &[8], list: ListType::Atomic, ..F },
    Field { name: "maxSkew", ty: Ty::Int32, required: true, pb: &[1], ..F },
    Field { name: "minDomains", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "nodeAffinityPolicy", ty: Ty::String, pb: &[6], ..F },
    Field { name: "nodeTaintsPolicy", ty: Ty::String, pb: &[7], ..F },
    Field { name: "topologyKey", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "whenUnsatisfiable", ty: Ty::String, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.TypedLocalObjectReference", gvk: None, atomic: true, fields: &[
    Field { name: "apiGroup", ty: Ty::String, pb: &[1], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.TypedObjectReference", gvk: None, atomic: false, fields: &[
    Field { name: "apiGroup", ty: Ty::String, pb: &[1], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.Volume", gvk: None, atomic: false, fields: &[
    Field { name: "awsElasticBlockStore", ty: Ty::Ref(DefId(153)), pb: &[2, 4], ..F },
    Field { name: "azureDisk", ty: Ty::Ref(DefId(157)), pb: &[2, 22], ..F },
    Field { name: "azureFile", ty: Ty::Ref(DefId(159)), pb: &[2, 18], ..F },
    Field { name: "cephfs", ty: Ty::Ref(DefId(165)), pb: &[2, 14], ..F },
    Field { name: "cinder", ty: Ty::Ref(DefId(167)), pb: &[2, 13], ..F },
    Field { name: "configMap", ty: Ty::Ref(DefId(179)), pb: &[2, 19], ..F },
    Field { name: "csi", ty: Ty::Ref(DefId(162)), pb: &[2, 28], ..F },
    Field { name: "downwardAPI", ty: Ty::Ref(DefId(196)), pb: &[2, 16], ..F },
    Field { name: "emptyDir", ty: Ty::Ref(DefId(197)), pb: &[2, 2], ..F },
    Field { name: "ephemeral", ty: Ty::Ref(DefId(207)), pb: &[2, 29], ..F },
    Field { name: "fc", ty: Ty::Ref(DefId(213)), pb: &[2, 17], ..F },
    Field { name: "flexVolume", ty: Ty::Ref(DefId(216)), pb: &[2, 12], ..F },
    Field { name: "flocker", ty: Ty::Ref(DefId(217)), pb: &[2, 15], ..F },
    Field { name: "gcePersistentDisk", ty: Ty::Ref(DefId(218)), pb: &[2, 3], ..F },
    Field { name: "gitRepo", ty: Ty::Ref(DefId(220)), pb: &[2, 5], ..F },
    Field { name: "glusterfs", ty: Ty::Ref(DefId(222)), pb: &[2, 9], ..F },
    Field { name: "hostPath", ty: Ty::Ref(DefId(227)), pb: &[2, 1], ..F },
    Field { name: "image", ty: Ty::Ref(DefId(230)), pb: &[2, 30], ..F },
    Field { name: "iscsi", ty: Ty::Ref(DefId(229)), pb: &[2, 8], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "nfs", ty: Ty::Ref(DefId(244)), pb: &[2, 7], ..F },
    Field { name: "persistentVolumeClaim", ty: Ty::Ref(DefId(277)), pb: &[2, 10], ..F },
    Field { name: "photonPersistentDisk", ty: Ty::Ref(DefId(281)), pb: &[2, 23], ..F },
    Field { name: "portworxVolume", ty: Ty::Ref(DefId(305)), pb: &[2, 24], ..F },
    Field { name: "projected", ty: Ty::Ref(DefId(308)), pb: &[2, 26], ..F },
    Field { name: "quobyte", ty: Ty::Ref(DefId(309)), pb: &[2, 21], ..F },
    Field { name: "rbd", ty: Ty::Ref(DefId(311)), pb: &[2, 11], ..F },
    Field { name: "scaleIO", ty: Ty::Ref(DefId(328)), pb: &[2, 25], ..F },
    Field { name: "secret", ty: Ty::Ref(DefId(338)), pb: &[2, 6], ..F },
    Field { name: "storageos", ty: Ty::Ref(DefId(351)), pb: &[2, 27], ..F },
    Field { name: "vsphereVolume", ty: Ty::Ref(DefId(368)), pb: &[2, 20], ..F },
] },
Def { name: "io.k8s.api.core.v1.VolumeDevice", gvk: None, atomic: false, fields: &[
    Field { name: "devicePath", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.VolumeMount", gvk: None, atomic: false, fields: &[
    Field { name: "mountPath", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "mountPropagation", ty: Ty::String, pb: &[5], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[2], ..F },
    Field { name: "recursiveReadOnly", ty: Ty::String, pb: &[7], ..F },
    Field { name: "subPath", ty: Ty::String, pb: &[4], ..F },
    Field { name: "subPathExpr", ty: Ty::String, pb: &[6], ..F },
] },
Def { name: "io.k8s.api.core.v1.VolumeMountStatus", gvk: None, atomic: false, fields: &[
    Field { name: "mountPath", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "readOnly", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "recursiveReadOnly", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.VolumeNodeAffinity", gvk: None, atomic: false, fields: &[
    Field { name: "required", ty: Ty::Ref(DefId(261)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.VolumeProjection", gvk: None, atomic: false, fields: &[
    Field { name: "clusterTrustBundle", ty: Ty::Ref(DefId(169)), pb: &[5], ..F },
    Field { name: "configMap", ty: Ty::Ref(DefId(178)), pb: &[3], ..F },
    Field { name: "downwardAPI", ty: Ty::Ref(DefId(194)), pb: &[2], ..F },
    Field { name: "podCertificate", ty: Ty::Ref(DefId(286)), pb: &[6], ..F },
    Field { name: "secret", ty: Ty::Ref(DefId(336)), pb: &[1], ..F },
    Field { name: "serviceAccountToken", ty: Ty::Ref(DefId(343)), pb: &[4], ..F },
] },
Def { name: "io.k8s.api.core.v1.VolumeResourceRequirements", gvk: None, atomic: false, fields: &[
    Field { name: "limits", ty: Ty::Map(&Ty::Quantity), pb: &[1], ..F },
    Field { name: "requests", ty: Ty::Map(&Ty::Quantity), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.core.v1.VsphereVirtualDiskVolumeSource", gvk: None, atomic: false, fields: &[
    Field { name: "fsType", ty: Ty::String, pb: &[2], ..F },
    Field { name: "storagePolicyID", ty: Ty::String, pb: &[4], ..F },
    Field { name: "storagePolicyName", ty: Ty::String, pb: &[3], ..F },
    Field { name: "volumePath", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.WeightedPodAffinityTerm", gvk: None, atomic: false, fields: &[
    Field { name: "podAffinityTerm", ty: Ty::Ref(DefId(284)), required: true, pb: &[2], ..F },
    Field { name: "weight", ty: Ty::Int32, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.core.v1.WindowsSecurityContextOptions", gvk: None, atomic: false, fields: &[
    Field { name: "gmsaCredentialSpec", ty: Ty::String, pb: &[2], ..F },
    Field { name: "gmsaCredentialSpecName", ty: Ty::String, pb: &[1], ..F },
    Field { name: "hostProcess", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "runAsUserName", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.core.v1.WorkloadReference", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "podGroup", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "podGroupReplicaKey", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.discovery.v1.Endpoint", gvk: None, atomic: false, fields: &[
    Field { name: "addresses", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Set, ..F },
    Field { name: "conditions", ty: Ty::Ref(DefId(373)), pb: &[2], held: true, ..F },
    Field { name: "deprecatedTopology", ty: Ty::Map(&Ty::String), pb: &[5], ..F },
    Field { name: "hints", ty: Ty::Ref(DefId(374)), pb: &[8], ..F },
    Field { name: "hostname", ty: Ty::String, pb: &[3], ..F },
    Field { name: "nodeName", ty: Ty::String, pb: &[6], ..F },
    Field { name: "targetRef", ty: Ty::Ref(DefId(269)), pb: &[4], ..F },
    Field { name: "zone", ty: Ty::String, pb: &[7], ..F },
] },
Def { name: "io.k8s.api.discovery.v1.EndpointConditions", gvk: None, atomic: false, fields: &[
    Field { name: "ready", ty: Ty::Bool, pb: &[1], ..F },
    Field { name: "serving", ty: Ty::Bool, pb: &[2], ..F },
    Field { name: "terminating", ty: Ty::Bool, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.discovery.v1.EndpointHints", gvk: None, atomic: false, fields: &[
    Field { name: "forNodes", ty: Ty::Array(&Ty::Ref(DefId(378))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "forZones", ty: Ty::Array(&Ty::Ref(DefId(379))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.discovery.v1.EndpointPort", gvk: None, atomic: true, fields: &[
    Field { name: "appProtocol", ty: Ty::String, pb: &[4], ..F },
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "port", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "protocol", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.discovery.v1.EndpointSlice", gvk: Some(("discovery.k8s.io", "v1", "EndpointSlice")), atomic: false, fields: &[
    Field { name: "addressType", ty: Ty::String, required: true, pb: &[4], ..F },
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "endpoints", ty: Ty::Array(&Ty::Ref(DefId(372))), required: true, pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "ports", ty: Ty::Array(&Ty::Ref(DefId(375))), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.discovery.v1.EndpointSliceList", gvk: Some(("discovery.k8s.io", "v1", "EndpointSliceList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(376))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.discovery.v1.ForNode", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.discovery.v1.ForZone", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.events.v1.Event", gvk: Some(("events.k8s.io", "v1", "Event")), atomic: false, fields: &[
    Field { name: "action", ty: Ty::String, pb: &[6], ..F },
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "deprecatedCount", ty: Ty::Int32, pb: &[15], ..F },
    Field { name: "deprecatedFirstTimestamp", ty: Ty::Time, pb: &[13], ..F },
    Field { name: "deprecatedLastTimestamp", ty: Ty::Time, pb: &[14], ..F },
    Field { name: "deprecatedSource", ty: Ty::Ref(DefId(211)), pb: &[12], held: true, ..F },
    Field { name: "eventTime", ty: Ty::MicroTime, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "note", ty: Ty::String, pb: &[10], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[7], ..F },
    Field { name: "regarding", ty: Ty::Ref(DefId(269)), pb: &[8], held: true, ..F },
    Field { name: "related", ty: Ty::Ref(DefId(269)), pb: &[9], ..F },
    Field { name: "reportingController", ty: Ty::String, pb: &[4], ..F },
    Field { name: "reportingInstance", ty: Ty::String, pb: &[5], ..F },
    Field { name: "series", ty: Ty::Ref(DefId(382)), pb: &[3], ..F },
    Field { name: "type", ty: Ty::String, pb: &[11], ..F },
] },
Def { name: "io.k8s.api.events.v1.EventList", gvk: Some(("events.k8s.io", "v1", "EventList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(380))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.events.v1.EventSeries", gvk: None, atomic: false, fields: &[
    Field { name: "count", ty: Ty::Int32, required: true, pb: &[1], ..F },
    Field { name: "lastObservedTime", ty: Ty::MicroTime, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.ExemptPriorityLevelConfiguration", gvk: None, atomic: false, fields: &[
    Field { name: "lendablePercent", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "nominalConcurrencyShares", ty: Ty::Int32, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.FlowDistinguisherMethod", gvk: None, atomic: false, fields: &[
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.FlowSchema", gvk: Some(("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(388)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(389)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.FlowSchemaCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.FlowSchemaList", gvk: Some(("flowcontrol.apiserver.k8s.io", "v1", "FlowSchemaList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(385))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.FlowSchemaSpec", gvk: None, atomic: false, fields: &[
    Field { name: "distinguisherMethod", ty: Ty::Ref(DefId(384)), pb: &[3], ..F },
    Field { name: "matchingPrecedence", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "priorityLevelConfiguration", ty: Ty::Ref(DefId(398)), required: true, pb: &[1], ..F },
    Field { name: "rules", ty: Ty::Array(&Ty::Ref(DefId(394))), pb: &[4], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.FlowSchemaStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(386))), pb: &[1], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.GroupSubject", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.LimitResponse", gvk: None, atomic: false, fields: &[
    Field { name: "queuing", ty: Ty::Ref(DefId(401)), pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration", gvk: None, atomic: false, fields: &[
    Field { name: "borrowingLimitPercent", ty: Ty::Int32, pb: &[4], ..F },
    Field { name: "lendablePercent", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "limitResponse", ty: Ty::Ref(DefId(391)), pb: &[2], held: true, ..F },
    Field { name: "nominalConcurrencyShares", ty: Ty::Int32, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.NonResourcePolicyRule", gvk: None, atomic: false, fields: &[
    Field { name: "nonResourceURLs", ty: Ty::Array(&Ty::String), required: true, pb: &[6], list: ListType::Set, ..F },
    Field { name: "verbs", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Set, ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.PolicyRulesWithSubjects", gvk: None, atomic: false, fields: &[
    Field { name: "nonResourceRules", ty: Ty::Array(&Ty::Ref(DefId(393))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "resourceRules", ty: Ty::Array(&Ty::Ref(DefId(402))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "subjects", ty: Ty::Array(&Ty::Ref(DefId(404))), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration", gvk: Some(("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(399)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(400)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationList", gvk: Some(("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfigurationList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(395))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationReference", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec", gvk: None, atomic: false, fields: &[
    Field { name: "exempt", ty: Ty::Ref(DefId(383)), pb: &[3], ..F },
    Field { name: "limited", ty: Ty::Ref(DefId(392)), pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(396))), pb: &[1], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.QueuingConfiguration", gvk: None, atomic: false, fields: &[
    Field { name: "handSize", ty: Ty::Int32, pb: &[2], ..F },
    Field { name: "queueLengthLimit", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "queues", ty: Ty::Int32, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.ResourcePolicyRule", gvk: None, atomic: false, fields: &[
    Field { name: "apiGroups", ty: Ty::Array(&Ty::String), required: true, pb: &[2], list: ListType::Set, ..F },
    Field { name: "clusterScope", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "namespaces", ty: Ty::Array(&Ty::String), pb: &[5], list: ListType::Set, ..F },
    Field { name: "resources", ty: Ty::Array(&Ty::String), required: true, pb: &[3], list: ListType::Set, ..F },
    Field { name: "verbs", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Set, ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.ServiceAccountSubject", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "namespace", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.Subject", gvk: None, atomic: false, fields: &[
    Field { name: "group", ty: Ty::Ref(DefId(390)), pb: &[3], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "serviceAccount", ty: Ty::Ref(DefId(403)), pb: &[4], ..F },
    Field { name: "user", ty: Ty::Ref(DefId(405)), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.flowcontrol.v1.UserSubject", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.HTTPIngressPath", gvk: None, atomic: false, fields: &[
    Field { name: "backend", ty: Ty::Ref(DefId(413)), required: true, pb: &[2], ..F },
    Field { name: "path", ty: Ty::String, pb: &[1], ..F },
    Field { name: "pathType", ty: Ty::String, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.networking.v1.HTTPIngressRuleValue", gvk: None, atomic: false, fields: &[
    Field { name: "paths", ty: Ty::Array(&Ty::Ref(DefId(406))), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.networking.v1.IPAddress", gvk: Some(("networking.k8s.io", "v1", "IPAddress")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(410)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.networking.v1.IPAddressList", gvk: Some(("networking.k8s.io", "v1", "IPAddressList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(408))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.IPAddressSpec", gvk: None, atomic: false, fields: &[
    Field { name: "parentRef", ty: Ty::Ref(DefId(434)), required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.IPBlock", gvk: None, atomic: false, fields: &[
    Field { name: "cidr", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "except", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.networking.v1.Ingress", gvk: Some(("networking.k8s.io", "v1", "Ingress")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(424)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(425)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressBackend", gvk: None, atomic: false, fields: &[
    Field { name: "resource", ty: Ty::Ref(DefId(359)), pb: &[3], ..F },
    Field { name: "service", ty: Ty::Ref(DefId(423)), pb: &[4], ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressClass", gvk: Some(("networking.k8s.io", "v1", "IngressClass")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(417)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressClassList", gvk: Some(("networking.k8s.io", "v1", "IngressClassList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(414))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressClassParametersReference", gvk: None, atomic: false, fields: &[
    Field { name: "apiGroup", ty: Ty::String, pb: &[1], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[5], ..F },
    Field { name: "scope", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressClassSpec", gvk: None, atomic: false, fields: &[
    Field { name: "controller", ty: Ty::String, pb: &[1], ..F },
    Field { name: "parameters", ty: Ty::Ref(DefId(416)), pb: &[2], ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressList", gvk: Some(("networking.k8s.io", "v1", "IngressList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(412))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressLoadBalancerIngress", gvk: None, atomic: false, fields: &[
    Field { name: "hostname", ty: Ty::String, pb: &[2], ..F },
    Field { name: "ip", ty: Ty::String, pb: &[1], ..F },
    Field { name: "ports", ty: Ty::Array(&Ty::Ref(DefId(421))), pb: &[4], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressLoadBalancerStatus", gvk: None, atomic: false, fields: &[
    Field { name: "ingress", ty: Ty::Array(&Ty::Ref(DefId(419))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressPortStatus", gvk: None, atomic: false, fields: &[
    Field { name: "error", ty: Ty::String, pb: &[3], ..F },
    Field { name: "port", ty: Ty::Int32, required: true, pb: &[1], ..F },
    Field { name: "protocol", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressRule", gvk: None, atomic: false, fields: &[
    Field { name: "host", ty: Ty::String, pb: &[1], ..F },
    Field { name: "http", ty: Ty::Ref(DefId(407)), pb: &[2, 1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressServiceBackend", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "port", ty: Ty::Ref(DefId(435)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressSpec", gvk: None, atomic: false, fields: &[
    Field { name: "defaultBackend", ty: Ty::Ref(DefId(413)), pb: &[1], ..F },
    Field { name: "ingressClassName", ty: Ty::String, pb: &[4], ..F },
    Field { name: "rules", ty: Ty::Array(&Ty::Ref(DefId(422))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "tls", ty: Ty::Array(&Ty::Ref(DefId(426))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressStatus", gvk: None, atomic: false, fields: &[
    Field { name: "loadBalancer", ty: Ty::Ref(DefId(420)), pb: &[1], held: true, ..F },
] },
Def { name: "io.k8s.api.networking.v1.IngressTLS", gvk: None, atomic: false, fields: &[
    Field { name: "hosts", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "secretName", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.networking.v1.NetworkPolicy", gvk: Some(("networking.k8s.io", "v1", "NetworkPolicy")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(433)), pb: &[2], held: true, ..F },
] },
Def { name: "io.k8s.api.networking.v1.NetworkPolicyEgressRule", gvk: None, atomic: false, fields: &[
    Field { name: "ports", ty: Ty::Array(&Ty::Ref(DefId(432))), pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "to", ty: Ty::Array(&Ty::Ref(DefId(431))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.networking.v1.NetworkPolicyIngressRule", gvk: None, atomic: false, fields: &[
    Field { name: "from", ty: Ty::Array(&Ty::Ref(DefId(431))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "ports", ty: Ty::Array(&Ty::Ref(DefId(432))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.networking.v1.NetworkPolicyList", gvk: Some(("networking.k8s.io", "v1", "NetworkPolicyList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(427))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.NetworkPolicyPeer", gvk: None, atomic: false, fields: &[
    Field { name: "ipBlock", ty: Ty::Ref(DefId(411)), pb: &[3], ..F },
    Field { name: "namespaceSelector", ty: Ty::Ref(DefId(557)), pb: &[2], ..F },
    Field { name: "podSelector", ty: Ty::Ref(DefId(557)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.NetworkPolicyPort", gvk: None, atomic: false, fields: &[
    Field { name: "endPort", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "port", ty: Ty::IntOrString, pb: &[2], ..F },
    Field { name: "protocol", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.NetworkPolicySpec", gvk: None, atomic: false, fields: &[
    Field { name: "egress", ty: Ty::Array(&Ty::Ref(DefId(428))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "ingress", ty: Ty::Array(&Ty::Ref(DefId(429))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "podSelector", ty: Ty::Ref(DefId(557)), pb: &[1], held: true, ..F },
    Field { name: "policyTypes", ty: Ty::Array(&Ty::String), pb: &[4], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.networking.v1.ParentReference", gvk: None, atomic: false, fields: &[
    Field { name: "group", ty: Ty::String, pb: &[1], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[4], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[3], ..F },
    Field { name: "resource", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.networking.v1.ServiceBackendPort", gvk: None, atomic: true, fields: &[
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "number", ty: Ty::Int32, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.networking.v1.ServiceCIDR", gvk: Some(("networking.k8s.io", "v1", "ServiceCIDR")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(438)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(439)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.networking.v1.ServiceCIDRList", gvk: Some(("networking.k8s.io", "v1", "ServiceCIDRList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(436))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.networking.v1.ServiceCIDRSpec", gvk: None, atomic: false, fields: &[
    Field { name: "cidrs", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.networking.v1.ServiceCIDRStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(552))), pb: &[1], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
] },
Def { name: "io.k8s.api.node.v1.Overhead", gvk: None, atomic: false, fields: &[
    Field { name: "podFixed", ty: Ty::Map(&Ty::Quantity), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.node.v1.RuntimeClass", gvk: Some(("node.k8s.io", "v1", "RuntimeClass")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "handler", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "overhead", ty: Ty::Ref(DefId(440)), pb: &[3], ..F },
    Field { name: "scheduling", ty: Ty::Ref(DefId(443)), pb: &[4], ..F },
] },
Def { name: "io.k8s.api.node.v1.RuntimeClassList", gvk: Some(("node.k8s.io", "v1", "RuntimeClassList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(441))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.node.v1.Scheduling", gvk: None, atomic: false, fields: &[
    Field { name: "nodeSelector", ty: Ty::Map(&Ty::String), pb: &[1], atomic: true, ..F },
    Field { name: "tolerations", ty: Ty::Array(&Ty::Ref(DefId(355))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.policy.v1.Eviction", gvk: Some(("policy", "v1", "Eviction")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "deleteOptions", ty: Ty::Ref(DefId(553)), pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.policy.v1.PodDisruptionBudget", gvk: Some(("policy", "v1", "PodDisruptionBudget")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(447)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(448)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.policy.v1.PodDisruptionBudgetList", gvk: Some(("policy", "v1", "PodDisruptionBudgetList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(445))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.policy.v1.PodDisruptionBudgetSpec", gvk: None, atomic: false, fields: &[
    Field { name: "maxUnavailable", ty: Ty::IntOrString, pb: &[3], ..F },
    Field { name: "minAvailable", ty: Ty::IntOrString, pb: &[1], ..F },
    Field { name: "selector", ty: Ty::Ref(DefId(557)), pb: &[2], ..F },
    Field { name: "unhealthyPodEvictionPolicy", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.policy.v1.PodDisruptionBudgetStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(552))), pb: &[7], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
    Field { name: "currentHealthy", ty: Ty::Int32, required: true, pb: &[4], ..F },
    Field { name: "desiredHealthy", ty: Ty::Int32, required: true, pb: &[5], ..F },
    Field { name: "disruptedPods", ty: Ty::Map(&Ty::Time), pb: &[2], ..F },
    Field { name: "disruptionsAllowed", ty: Ty::Int32, required: true, pb: &[3], ..F },
    Field { name: "expectedPods", ty: Ty::Int32, required: true, pb: &[6], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.rbac.v1.AggregationRule", gvk: None, atomic: false, fields: &[
    Field { name: "clusterRoleSelectors", ty: Ty::Array(&Ty::Ref(DefId(557))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.rbac.v1.ClusterRole", gvk: Some(("rbac.authorization.k8s.io", "v1", "ClusterRole")), atomic: false, fields: &[
    Field { name: "aggregationRule", ty: Ty::Ref(DefId(449)), pb: &[3], ..F },
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "rules", ty: Ty::Array(&Ty::Ref(DefId(454))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.rbac.v1.ClusterRoleBinding", gvk: Some(("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "roleRef", ty: Ty::Ref(DefId(459)), required: true, pb: &[3], ..F },
    Field { name: "subjects", ty: Ty::Array(&Ty::Ref(DefId(460))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.rbac.v1.ClusterRoleBindingList", gvk: Some(("rbac.authorization.k8s.io", "v1", "ClusterRoleBindingList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(451))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.rbac.v1.ClusterRoleList", gvk: Some(("rbac.authorization.k8s.io", "v1", "ClusterRoleList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(450))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.rbac.v1.PolicyRule", gvk: None, atomic: false, fields: &[
    Field { name: "apiGroups", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "nonResourceURLs", ty: Ty::Array(&Ty::String), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "resourceNames", ty: Ty::Array(&Ty::String), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "resources", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "verbs", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.rbac.v1.Role", gvk: Some(("rbac.authorization.k8s.io", "v1", "Role")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "rules", ty: Ty::Array(&Ty::Ref(DefId(454))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.rbac.v1.RoleBinding", gvk: Some(("rbac.authorization.k8s.io", "v1", "RoleBinding")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "roleRef", ty: Ty::Ref(DefId(459)), required: true, pb: &[3], ..F },
    Field { name: "subjects", ty: Ty::Array(&Ty::Ref(DefId(460))), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.rbac.v1.RoleBindingList", gvk: Some(("rbac.authorization.k8s.io", "v1", "RoleBindingList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(456))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.rbac.v1.RoleList", gvk: Some(("rbac.authorization.k8s.io", "v1", "RoleList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(455))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.rbac.v1.RoleRef", gvk: None, atomic: true, fields: &[
    Field { name: "apiGroup", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.rbac.v1.Subject", gvk: None, atomic: true, fields: &[
    Field { name: "apiGroup", ty: Ty::String, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.api.resource.v1.AllocatedDeviceStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(552))), pb: &[4], list: ListType::Map, list_keys: &["type"], ..F },
    Field { name: "data", ty: Ty::Object, pb: &[5], ..F },
    Field { name: "device", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "driver", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "networkData", ty: Ty::Ref(DefId(489)), pb: &[6], ..F },
    Field { name: "pool", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "shareID", ty: Ty::String, pb: &[7], ..F },
] },
Def { name: "io.k8s.api.resource.v1.AllocationResult", gvk: None, atomic: false, fields: &[
    Field { name: "allocationTimestamp", ty: Ty::Time, pb: &[5], ..F },
    Field { name: "devices", ty: Ty::Ref(DefId(471)), pb: &[1], held: true, ..F },
    Field { name: "nodeSelector", ty: Ty::Ref(DefId(261)), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.resource.v1.CELDeviceSelector", gvk: None, atomic: false, fields: &[
    Field { name: "expression", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.CapacityRequestPolicy", gvk: None, atomic: false, fields: &[
    Field { name: "default", ty: Ty::Quantity, pb: &[1], ..F },
    Field { name: "validRange", ty: Ty::Ref(DefId(465)), pb: &[4], ..F },
    Field { name: "validValues", ty: Ty::Array(&Ty::Quantity), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.CapacityRequestPolicyRange", gvk: None, atomic: false, fields: &[
    Field { name: "max", ty: Ty::Quantity, pb: &[2], ..F },
    Field { name: "min", ty: Ty::Quantity, required: true, pb: &[1], ..F },
    Field { name: "step", ty: Ty::Quantity, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.resource.v1.CapacityRequirements", gvk: None, atomic: false, fields: &[
    Field { name: "requests", ty: Ty::Map(&Ty::Quantity), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.Counter", gvk: None, atomic: false, fields: &[
    Field { name: "value", ty: Ty::Quantity, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.CounterSet", gvk: None, atomic: false, fields: &[
    Field { name: "counters", ty: Ty::Map(&Ty::Ref(DefId(467))), required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.Device", gvk: None, atomic: false, fields: &[
    Field { name: "allNodes", ty: Ty::Bool, pb: &[7], ..F },
    Field { name: "allowMultipleAllocations", ty: Ty::Bool, pb: &[12], ..F },
    Field { name: "attributes", ty: Ty::Map(&Ty::Ref(DefId(472))), pb: &[2], ..F },
    Field { name: "bindingConditions", ty: Ty::Array(&Ty::String), pb: &[10], list: ListType::Atomic, ..F },
    Field { name: "bindingFailureConditions", ty: Ty::Array(&Ty::String), pb: &[11], list: ListType::Atomic, ..F },
    Field { name: "bindsToNode", ty: Ty::Bool, pb: &[9], ..F },
    Field { name: "capacity", ty: Ty::Map(&Ty::Ref(DefId(473))), pb: &[3], ..F },
    Field { name: "consumesCounters", ty: Ty::Array(&Ty::Ref(DefId(481))), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "nodeName", ty: Ty::String, pb: &[5], ..F },
    Field { name: "nodeSelector", ty: Ty::Ref(DefId(261)), pb: &[6], ..F },
    Field { name: "taints", ty: Ty::Array(&Ty::Ref(DefId(486))), pb: &[8], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceAllocationConfiguration", gvk: None, atomic: false, fields: &[
    Field { name: "opaque", ty: Ty::Ref(DefId(490)), pb: &[3, 1], ..F },
    Field { name: "requests", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "source", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceAllocationResult", gvk: None, atomic: false, fields: &[
    Field { name: "config", ty: Ty::Array(&Ty::Ref(DefId(470))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "results", ty: Ty::Array(&Ty::Ref(DefId(483))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceAttribute", gvk: None, atomic: false, fields: &[
    Field { name: "bool", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "int", ty: Ty::Int64, pb: &[2], ..F },
    Field { name: "string", ty: Ty::String, pb: &[4], ..F },
    Field { name: "version", ty: Ty::String, pb: &[5], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceCapacity", gvk: None, atomic: false, fields: &[
    Field { name: "requestPolicy", ty: Ty::Ref(DefId(464)), pb: &[2], ..F },
    Field { name: "value", ty: Ty::Quantity, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceClaim", gvk: None, atomic: false, fields: &[
    Field { name: "config", ty: Ty::Array(&Ty::Ref(DefId(475))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "constraints", ty: Ty::Array(&Ty::Ref(DefId(480))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "requests", ty: Ty::Array(&Ty::Ref(DefId(482))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceClaimConfiguration", gvk: None, atomic: false, fields: &[
    Field { name: "opaque", ty: Ty::Ref(DefId(490)), pb: &[2, 1], ..F },
    Field { name: "requests", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceClass", gvk: Some(("resource.k8s.io", "v1", "DeviceClass")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(479)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceClassConfiguration", gvk: None, atomic: false, fields: &[
    Field { name: "opaque", ty: Ty::Ref(DefId(490)), pb: &[1, 1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceClassList", gvk: Some(("resource.k8s.io", "v1", "DeviceClassList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(476))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceClassSpec", gvk: None, atomic: false, fields: &[
    Field { name: "config", ty: Ty::Array(&Ty::Ref(DefId(477))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "extendedResourceName", ty: Ty::String, pb: &[4], ..F },
    Field { name: "selectors", ty: Ty::Array(&Ty::Ref(DefId(484))), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceConstraint", gvk: None, atomic: false, fields: &[
    Field { name: "distinctAttribute", ty: Ty::String, pb: &[3], ..F },
    Field { name: "matchAttribute", ty: Ty::String, pb: &[2], ..F },
    Field { name: "requests", ty: Ty::Array(&Ty::String), pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceCounterConsumption", gvk: None, atomic: false, fields: &[
    Field { name: "counterSet", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "counters", ty: Ty::Map(&Ty::Ref(DefId(467))), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceRequest", gvk: None, atomic: false, fields: &[
    Field { name: "exactly", ty: Ty::Ref(DefId(488)), pb: &[2], ..F },
    Field { name: "firstAvailable", ty: Ty::Array(&Ty::Ref(DefId(485))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceRequestAllocationResult", gvk: None, atomic: false, fields: &[
    Field { name: "adminAccess", ty: Ty::Bool, pb: &[5], ..F },
    Field { name: "bindingConditions", ty: Ty::Array(&Ty::String), pb: &[7], list: ListType::Atomic, ..F },
    Field { name: "bindingFailureConditions", ty: Ty::Array(&Ty::String), pb: &[8], list: ListType::Atomic, ..F },
    Field { name: "consumedCapacity", ty: Ty::Map(&Ty::Quantity), pb: &[10], ..F },
    Field { name: "device", ty: Ty::String, required: true, pb: &[4], ..F },
    Field { name: "driver", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "pool", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "request", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "shareID", ty: Ty::String, pb: &[9], ..F },
    Field { name: "tolerations", ty: Ty::Array(&Ty::Ref(DefId(487))), pb: &[6], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceSelector", gvk: None, atomic: false, fields: &[
    Field { name: "cel", ty: Ty::Ref(DefId(463)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceSubRequest", gvk: None, atomic: false, fields: &[
    Field { name: "allocationMode", ty: Ty::String, pb: &[4], ..F },
    Field { name: "capacity", ty: Ty::Ref(DefId(466)), pb: &[7], ..F },
    Field { name: "count", ty: Ty::Int64, pb: &[5], ..F },
    Field { name: "deviceClassName", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "selectors", ty: Ty::Array(&Ty::Ref(DefId(484))), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "tolerations", ty: Ty::Array(&Ty::Ref(DefId(487))), pb: &[6], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceTaint", gvk: None, atomic: false, fields: &[
    Field { name: "effect", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "key", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "timeAdded", ty: Ty::Time, pb: &[4], ..F },
    Field { name: "value", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.resource.v1.DeviceToleration", gvk: None, atomic: false, fields: &[
    Field { name: "effect", ty: Ty::String, pb: &[4], ..F },
    Field { name: "key", ty: Ty::String, pb: &[1], ..F },
    Field { name: "operator", ty: Ty::String, pb: &[2], default: Some("\"Equal\""), ..F },
    Field { name: "tolerationSeconds", ty: Ty::Int64, pb: &[5], ..F },
    Field { name: "value", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ExactDeviceRequest", gvk: None, atomic: false, fields: &[
    Field { name: "adminAccess", ty: Ty::Bool, pb: &[5], ..F },
    Field { name: "allocationMode", ty: Ty::String, pb: &[3], ..F },
    Field { name: "capacity", ty: Ty::Ref(DefId(466)), pb: &[7], ..F },
    Field { name: "count", ty: Ty::Int64, pb: &[4], ..F },
    Field { name: "deviceClassName", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "selectors", ty: Ty::Array(&Ty::Ref(DefId(484))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "tolerations", ty: Ty::Array(&Ty::Ref(DefId(487))), pb: &[6], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.NetworkDeviceData", gvk: None, atomic: false, fields: &[
    Field { name: "hardwareAddress", ty: Ty::String, pb: &[3], ..F },
    Field { name: "interfaceName", ty: Ty::String, pb: &[1], ..F },
    Field { name: "ips", ty: Ty::Array(&Ty::String), pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.resource.v1.OpaqueDeviceConfiguration", gvk: None, atomic: false, fields: &[
    Field { name: "driver", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "parameters", ty: Ty::Object, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceClaim", gvk: Some(("resource.k8s.io", "v1", "ResourceClaim")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(494)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(495)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceClaimConsumerReference", gvk: None, atomic: false, fields: &[
    Field { name: "apiGroup", ty: Ty::String, pb: &[1], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[4], ..F },
    Field { name: "resource", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "uid", ty: Ty::String, required: true, pb: &[5], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceClaimList", gvk: Some(("resource.k8s.io", "v1", "ResourceClaimList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(491))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceClaimSpec", gvk: None, atomic: false, fields: &[
    Field { name: "devices", ty: Ty::Ref(DefId(474)), pb: &[1], held: true, ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceClaimStatus", gvk: None, atomic: false, fields: &[
    Field { name: "allocation", ty: Ty::Ref(DefId(462)), pb: &[1], ..F },
    Field { name: "devices", ty: Ty::Array(&Ty::Ref(DefId(461))), pb: &[4], list: ListType::Map, list_keys: &["driver", "device", "pool", "shareID"], ..F },
    Field { name: "reservedFor", ty: Ty::Array(&Ty::Ref(DefId(492))), pb: &[2], list: ListType::Map, list_keys: &["uid"], patch_merge: true, merge_key: Some("uid"), ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceClaimTemplate", gvk: Some(("resource.k8s.io", "v1", "ResourceClaimTemplate")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(498)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceClaimTemplateList", gvk: Some(("resource.k8s.io", "v1", "ResourceClaimTemplateList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(496))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceClaimTemplateSpec", gvk: None, atomic: false, fields: &[
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), pb: &[1], held: true, ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(494)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourcePool", gvk: None, atomic: false, fields: &[
    Field { name: "generation", ty: Ty::Int64, required: true, pb: &[2], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "resourceSliceCount", ty: Ty::Int64, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceSlice", gvk: Some(("resource.k8s.io", "v1", "ResourceSlice")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(502)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceSliceList", gvk: Some(("resource.k8s.io", "v1", "ResourceSliceList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(500))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.resource.v1.ResourceSliceSpec", gvk: None, atomic: false, fields: &[
    Field { name: "allNodes", ty: Ty::Bool, pb: &[5], ..F },
    Field { name: "devices", ty: Ty::Array(&Ty::Ref(DefId(469))), pb: &[6], list: ListType::Atomic, ..F },
    Field { name: "driver", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "nodeName", ty: Ty::String, pb: &[3], ..F },
    Field { name: "nodeSelector", ty: Ty::Ref(DefId(261)), pb: &[4], ..F },
    Field { name: "perDeviceNodeSelection", ty: Ty::Bool, pb: &[7], ..F },
    Field { name: "pool", ty: Ty::Ref(DefId(499)), required: true, pb: &[2], ..F },
    Field { name: "sharedCounters", ty: Ty::Array(&Ty::Ref(DefId(468))), pb: &[8], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.scheduling.v1.PriorityClass", gvk: Some(("scheduling.k8s.io", "v1", "PriorityClass")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "description", ty: Ty::String, pb: &[4], ..F },
    Field { name: "globalDefault", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "preemptionPolicy", ty: Ty::String, pb: &[5], ..F },
    Field { name: "value", ty: Ty::Int32, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.scheduling.v1.PriorityClassList", gvk: Some(("scheduling.k8s.io", "v1", "PriorityClassList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(503))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.storage.v1.CSIDriver", gvk: Some(("storage.k8s.io", "v1", "CSIDriver")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(507)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.storage.v1.CSIDriverList", gvk: Some(("storage.k8s.io", "v1", "CSIDriverList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(505))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.storage.v1.CSIDriverSpec", gvk: None, atomic: false, fields: &[
    Field { name: "attachRequired", ty: Ty::Bool, pb: &[1], ..F },
    Field { name: "fsGroupPolicy", ty: Ty::String, pb: &[5], ..F },
    Field { name: "nodeAllocatableUpdatePeriodSeconds", ty: Ty::Int64, pb: &[9], ..F },
    Field { name: "podInfoOnMount", ty: Ty::Bool, pb: &[2], ..F },
    Field { name: "requiresRepublish", ty: Ty::Bool, pb: &[7], ..F },
    Field { name: "seLinuxMount", ty: Ty::Bool, pb: &[8], ..F },
    Field { name: "serviceAccountTokenInSecrets", ty: Ty::Bool, pb: &[10], ..F },
    Field { name: "storageCapacity", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "tokenRequests", ty: Ty::Array(&Ty::Ref(DefId(516))), pb: &[6], list: ListType::Atomic, ..F },
    Field { name: "volumeLifecycleModes", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Set, ..F },
] },
Def { name: "io.k8s.api.storage.v1.CSINode", gvk: Some(("storage.k8s.io", "v1", "CSINode")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(511)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.storage.v1.CSINodeDriver", gvk: None, atomic: false, fields: &[
    Field { name: "allocatable", ty: Ty::Ref(DefId(525)), pb: &[4], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "nodeID", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "topologyKeys", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.api.storage.v1.CSINodeList", gvk: Some(("storage.k8s.io", "v1", "CSINodeList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(508))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.storage.v1.CSINodeSpec", gvk: None, atomic: false, fields: &[
    Field { name: "drivers", ty: Ty::Array(&Ty::Ref(DefId(509))), required: true, pb: &[1], list: ListType::Map, list_keys: &["name"], patch_merge: true, merge_key: Some("name"), ..F },
] },
Def { name: "io.k8s.api.storage.v1.CSIStorageCapacity", gvk: Some(("storage.k8s.io", "v1", "CSIStorageCapacity")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "capacity", ty: Ty::Quantity, pb: &[4], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "maximumVolumeSize", ty: Ty::Quantity, pb: &[5], ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "nodeTopology", ty: Ty::Ref(DefId(557)), pb: &[2], ..F },
    Field { name: "storageClassName", ty: Ty::String, required: true, pb: &[3], ..F },
] },
Def { name: "io.k8s.api.storage.v1.CSIStorageCapacityList", gvk: Some(("storage.k8s.io", "v1", "CSIStorageCapacityList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(512))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.storage.v1.StorageClass", gvk: Some(("storage.k8s.io", "v1", "StorageClass")), atomic: false, fields: &[
    Field { name: "allowVolumeExpansion", ty: Ty::Bool, pb: &[6], ..F },
    Field { name: "allowedTopologies", ty: Ty::Array(&Ty::Ref(DefId(357))), pb: &[8], list: ListType::Atomic, ..F },
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "mountOptions", ty: Ty::Array(&Ty::String), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "parameters", ty: Ty::Map(&Ty::String), pb: &[3], ..F },
    Field { name: "provisioner", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "reclaimPolicy", ty: Ty::String, pb: &[4], ..F },
    Field { name: "volumeBindingMode", ty: Ty::String, pb: &[7], ..F },
] },
Def { name: "io.k8s.api.storage.v1.StorageClassList", gvk: Some(("storage.k8s.io", "v1", "StorageClassList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(514))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.storage.v1.TokenRequest", gvk: None, atomic: false, fields: &[
    Field { name: "audience", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "expirationSeconds", ty: Ty::Int64, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.storage.v1.VolumeAttachment", gvk: Some(("storage.k8s.io", "v1", "VolumeAttachment")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(520)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(521)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.api.storage.v1.VolumeAttachmentList", gvk: Some(("storage.k8s.io", "v1", "VolumeAttachmentList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(517))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.storage.v1.VolumeAttachmentSource", gvk: None, atomic: false, fields: &[
    Field { name: "inlineVolumeSpec", ty: Ty::Ref(DefId(279)), pb: &[2], ..F },
    Field { name: "persistentVolumeName", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.storage.v1.VolumeAttachmentSpec", gvk: None, atomic: false, fields: &[
    Field { name: "attacher", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "nodeName", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "source", ty: Ty::Ref(DefId(519)), required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.api.storage.v1.VolumeAttachmentStatus", gvk: None, atomic: false, fields: &[
    Field { name: "attachError", ty: Ty::Ref(DefId(524)), pb: &[3], ..F },
    Field { name: "attached", ty: Ty::Bool, required: true, pb: &[1], ..F },
    Field { name: "attachmentMetadata", ty: Ty::Map(&Ty::String), pb: &[2], ..F },
    Field { name: "detachError", ty: Ty::Ref(DefId(524)), pb: &[4], ..F },
] },
Def { name: "io.k8s.api.storage.v1.VolumeAttributesClass", gvk: Some(("storage.k8s.io", "v1", "VolumeAttributesClass")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "driverName", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "parameters", ty: Ty::Map(&Ty::String), pb: &[3], ..F },
] },
Def { name: "io.k8s.api.storage.v1.VolumeAttributesClassList", gvk: Some(("storage.k8s.io", "v1", "VolumeAttributesClassList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(522))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.api.storage.v1.VolumeError", gvk: None, atomic: false, fields: &[
    Field { name: "errorCode", ty: Ty::Int32, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[2], ..F },
    Field { name: "time", ty: Ty::Time, pb: &[1], ..F },
] },
Def { name: "io.k8s.api.storage.v1.VolumeNodeResources", gvk: None, atomic: false, fields: &[
    Field { name: "count", ty: Ty::Int32, pb: &[1], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceColumnDefinition", gvk: None, atomic: false, fields: &[
    Field { name: "description", ty: Ty::String, pb: &[4], ..F },
    Field { name: "format", ty: Ty::String, pb: &[3], ..F },
    Field { name: "jsonPath", ty: Ty::String, required: true, pb: &[6], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "priority", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceConversion", gvk: None, atomic: false, fields: &[
    Field { name: "strategy", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "webhook", ty: Ty::Ref(DefId(546)), pb: &[2], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition", gvk: Some(("apiextensions.k8s.io", "v1", "CustomResourceDefinition")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(532)), required: true, pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(533)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[6], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionList", gvk: Some(("apiextensions.k8s.io", "v1", "CustomResourceDefinitionList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(528))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionNames", gvk: None, atomic: false, fields: &[
    Field { name: "categories", ty: Ty::Array(&Ty::String), pb: &[6], list: ListType::Atomic, ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[4], ..F },
    Field { name: "listKind", ty: Ty::String, pb: &[5], ..F },
    Field { name: "plural", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "shortNames", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
    Field { name: "singular", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionSpec", gvk: None, atomic: false, fields: &[
    Field { name: "conversion", ty: Ty::Ref(DefId(527)), pb: &[9], ..F },
    Field { name: "group", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "names", ty: Ty::Ref(DefId(531)), required: true, pb: &[3], ..F },
    Field { name: "preserveUnknownFields", ty: Ty::Bool, pb: &[10], ..F },
    Field { name: "scope", ty: Ty::String, required: true, pb: &[4], ..F },
    Field { name: "versions", ty: Ty::Array(&Ty::Ref(DefId(534))), required: true, pb: &[7], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus", gvk: None, atomic: false, fields: &[
    Field { name: "acceptedNames", ty: Ty::Ref(DefId(531)), pb: &[2], held: true, ..F },
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(529))), pb: &[1], list: ListType::Map, list_keys: &["type"], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[4], ..F },
    Field { name: "storedVersions", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionVersion", gvk: None, atomic: false, fields: &[
    Field { name: "additionalPrinterColumns", ty: Ty::Array(&Ty::Ref(DefId(526))), pb: &[6], list: ListType::Atomic, ..F },
    Field { name: "deprecated", ty: Ty::Bool, pb: &[7], ..F },
    Field { name: "deprecationWarning", ty: Ty::String, pb: &[8], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "schema", ty: Ty::Ref(DefId(538)), pb: &[4], ..F },
    Field { name: "selectableFields", ty: Ty::Array(&Ty::Ref(DefId(542))), pb: &[9], list: ListType::Atomic, ..F },
    Field { name: "served", ty: Ty::Bool, required: true, pb: &[2], ..F },
    Field { name: "storage", ty: Ty::Bool, required: true, pb: &[3], ..F },
    Field { name: "subresources", ty: Ty::Ref(DefId(537)), pb: &[5], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceSubresourceScale", gvk: None, atomic: false, fields: &[
    Field { name: "labelSelectorPath", ty: Ty::String, pb: &[3], ..F },
    Field { name: "specReplicasPath", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "statusReplicasPath", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceSubresourceStatus", gvk: None, atomic: false, fields: &[
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceSubresources", gvk: None, atomic: false, fields: &[
    Field { name: "scale", ty: Ty::Ref(DefId(535)), pb: &[2], ..F },
    Field { name: "status", ty: Ty::Ref(DefId(536)), pb: &[1], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceValidation", gvk: None, atomic: false, fields: &[
    Field { name: "openAPIV3Schema", ty: Ty::Ref(DefId(541)), pb: &[1], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ExternalDocumentation", gvk: None, atomic: false, fields: &[
    Field { name: "description", ty: Ty::String, pb: &[1], ..F },
    Field { name: "url", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", gvk: None, atomic: false, fields: &[
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps", gvk: None, atomic: false, fields: &[
    Field { name: "$ref", ty: Ty::String, pb: &[3], ..F },
    Field { name: "$schema", ty: Ty::String, pb: &[2], ..F },
    Field { name: "additionalItems", ty: Ty::Any, pb: &[33], ..F },
    Field { name: "additionalProperties", ty: Ty::Any, pb: &[30], ..F },
    Field { name: "allOf", ty: Ty::Array(&Ty::Ref(DefId(541))), pb: &[25], list: ListType::Atomic, ..F },
    Field { name: "anyOf", ty: Ty::Array(&Ty::Ref(DefId(541))), pb: &[27], list: ListType::Atomic, ..F },
    Field { name: "default", ty: Ty::Ref(DefId(540)), pb: &[8], ..F },
    Field { name: "definitions", ty: Ty::Map(&Ty::Ref(DefId(541))), pb: &[34], ..F },
    Field { name: "dependencies", ty: Ty::Map(&Ty::Any), pb: &[32], ..F },
    Field { name: "description", ty: Ty::String, pb: &[4], ..F },
    Field { name: "enum", ty: Ty::Array(&Ty::Ref(DefId(540))), pb: &[20], list: ListType::Atomic, ..F },
    Field { name: "example", ty: Ty::Ref(DefId(540)), pb: &[36], ..F },
    Field { name: "exclusiveMaximum", ty: Ty::Bool, pb: &[10], ..F },
    Field { name: "exclusiveMinimum", ty: Ty::Bool, pb: &[12], ..F },
    Field { name: "externalDocs", ty: Ty::Ref(DefId(539)), pb: &[35], ..F },
    Field { name: "format", ty: Ty::String, pb: &[6], ..F },
    Field { name: "id", ty: Ty::String, pb: &[1], ..F },
    Field { name: "items", ty: Ty::Any, pb: &[24], ..F },
    Field { name: "maxItems", ty: Ty::Int64, pb: &[16], ..F },
    Field { name: "maxLength", ty: Ty::Int64, pb: &[13], ..F },
    Field { name: "maxProperties", ty: Ty::Int64, pb: &[21], ..F },
    Field { name: "maximum", ty: Ty::Double, pb: &[9], ..F },
    Field { name: "minItems", ty: Ty::Int64, pb: &[17], ..F },
    Field { name: "minLength", ty: Ty::Int64, pb: &[14], ..F },
    Field { name: "minProperties", ty: Ty::Int64, pb: &[22], ..F },
    Field { name: "minimum", ty: Ty::Double, pb: &[11], ..F },
    Field { name: "multipleOf", ty: Ty::Double, pb: &[19], ..F },
    Field { name: "not", ty: Ty::Ref(DefId(541)), pb: &[28], ..F },
    Field { name: "nullable", ty: Ty::Bool, pb: &[37], ..F },
    Field { name: "oneOf", ty: Ty::Array(&Ty::Ref(DefId(541))), pb: &[26], list: ListType::Atomic, ..F },
    Field { name: "pattern", ty: Ty::String, pb: &[15], ..F },
    Field { name: "patternProperties", ty: Ty::Map(&Ty::Ref(DefId(541))), pb: &[31], ..F },
    Field { name: "properties", ty: Ty::Map(&Ty::Ref(DefId(541))), pb: &[29], ..F },
    Field { name: "required", ty: Ty::Array(&Ty::String), pb: &[23], list: ListType::Atomic, ..F },
    Field { name: "title", ty: Ty::String, pb: &[7], ..F },
    Field { name: "type", ty: Ty::String, pb: &[5], ..F },
    Field { name: "uniqueItems", ty: Ty::Bool, pb: &[18], ..F },
    Field { name: "x-kubernetes-embedded-resource", ty: Ty::Bool, pb: &[39], ..F },
    Field { name: "x-kubernetes-int-or-string", ty: Ty::Bool, pb: &[40], ..F },
    Field { name: "x-kubernetes-list-map-keys", ty: Ty::Array(&Ty::String), pb: &[41], list: ListType::Atomic, ..F },
    Field { name: "x-kubernetes-list-type", ty: Ty::String, pb: &[42], ..F },
    Field { name: "x-kubernetes-map-type", ty: Ty::String, pb: &[43], ..F },
    Field { name: "x-kubernetes-preserve-unknown-fields", ty: Ty::Bool, pb: &[38], ..F },
    Field { name: "x-kubernetes-validations", ty: Ty::Array(&Ty::Ref(DefId(544))), pb: &[44], list: ListType::Map, list_keys: &["rule"], patch_merge: true, merge_key: Some("rule"), ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.SelectableField", gvk: None, atomic: false, fields: &[
    Field { name: "jsonPath", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ServiceReference", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "namespace", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "path", ty: Ty::String, pb: &[3], ..F },
    Field { name: "port", ty: Ty::Int32, pb: &[4], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ValidationRule", gvk: None, atomic: false, fields: &[
    Field { name: "fieldPath", ty: Ty::String, pb: &[5], ..F },
    Field { name: "message", ty: Ty::String, pb: &[2], ..F },
    Field { name: "messageExpression", ty: Ty::String, pb: &[3], ..F },
    Field { name: "optionalOldSelf", ty: Ty::Bool, pb: &[6], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "rule", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.WebhookClientConfig", gvk: None, atomic: false, fields: &[
    Field { name: "caBundle", ty: Ty::Bytes, pb: &[2], ..F },
    Field { name: "service", ty: Ty::Ref(DefId(543)), pb: &[1], ..F },
    Field { name: "url", ty: Ty::String, pb: &[3], ..F },
] },
Def { name: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.WebhookConversion", gvk: None, atomic: false, fields: &[
    Field { name: "clientConfig", ty: Ty::Ref(DefId(545)), pb: &[2], ..F },
    Field { name: "conversionReviewVersions", ty: Ty::Array(&Ty::String), required: true, pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup", gvk: Some(("", "v1", "APIGroup")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "preferredVersion", ty: Ty::Ref(DefId(556)), pb: &[3], ..F },
    Field { name: "serverAddressByClientCIDRs", ty: Ty::Array(&Ty::Ref(DefId(565))), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "versions", ty: Ty::Array(&Ty::Ref(DefId(556))), required: true, pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList", gvk: Some(("", "v1", "APIGroupList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "groups", ty: Ty::Array(&Ty::Ref(DefId(547))), required: true, pb: &[1], list: ListType::Atomic, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.APIResource", gvk: None, atomic: false, fields: &[
    Field { name: "categories", ty: Ty::Array(&Ty::String), pb: &[7], list: ListType::Atomic, ..F },
    Field { name: "group", ty: Ty::String, pb: &[8], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "namespaced", ty: Ty::Bool, required: true, pb: &[2], ..F },
    Field { name: "shortNames", ty: Ty::Array(&Ty::String), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "singularName", ty: Ty::String, required: true, pb: &[6], ..F },
    Field { name: "storageVersionHash", ty: Ty::String, pb: &[10], ..F },
    Field { name: "verbs", ty: Ty::Array(&Ty::String), required: true, pb: &[4], ..F },
    Field { name: "version", ty: Ty::String, pb: &[9], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList", gvk: Some(("", "v1", "APIResourceList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "groupVersion", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "resources", ty: Ty::Array(&Ty::Ref(DefId(549))), required: true, pb: &[2], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions", gvk: Some(("", "v1", "APIVersions")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "serverAddressByClientCIDRs", ty: Ty::Array(&Ty::Ref(DefId(565))), required: true, pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "versions", ty: Ty::Array(&Ty::String), required: true, pb: &[1], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.Condition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, required: true, pb: &[4], ..F },
    Field { name: "message", ty: Ty::String, required: true, pb: &[6], ..F },
    Field { name: "observedGeneration", ty: Ty::Int64, pb: &[3], ..F },
    Field { name: "reason", ty: Ty::String, required: true, pb: &[5], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions", gvk: None, atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "dryRun", ty: Ty::Array(&Ty::String), pb: &[5], list: ListType::Atomic, ..F },
    Field { name: "gracePeriodSeconds", ty: Ty::Int64, pb: &[1], ..F },
    Field { name: "ignoreStoreReadErrorWithClusterBreakingPotential", ty: Ty::Bool, pb: &[6], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "orphanDependents", ty: Ty::Bool, pb: &[3], ..F },
    Field { name: "preconditions", ty: Ty::Ref(DefId(564)), pb: &[2], ..F },
    Field { name: "propagationPolicy", ty: Ty::String, pb: &[4], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.FieldSelectorRequirement", gvk: None, atomic: false, fields: &[
    Field { name: "key", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "operator", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "values", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.GroupResource", gvk: None, atomic: false, fields: &[
    Field { name: "group", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "resource", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.GroupVersionForDiscovery", gvk: None, atomic: false, fields: &[
    Field { name: "groupVersion", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "version", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector", gvk: None, atomic: true, fields: &[
    Field { name: "matchExpressions", ty: Ty::Array(&Ty::Ref(DefId(558))), pb: &[2], list: ListType::Atomic, ..F },
    Field { name: "matchLabels", ty: Ty::Map(&Ty::String), pb: &[1], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement", gvk: None, atomic: false, fields: &[
    Field { name: "key", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "operator", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "values", ty: Ty::Array(&Ty::String), pb: &[3], list: ListType::Atomic, ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta", gvk: None, atomic: false, fields: &[
    Field { name: "continue", ty: Ty::String, pb: &[3], ..F },
    Field { name: "remainingItemCount", ty: Ty::Int64, pb: &[4], ..F },
    Field { name: "resourceVersion", ty: Ty::String, pb: &[2], ..F },
    Field { name: "selfLink", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry", gvk: None, atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, pb: &[3], ..F },
    Field { name: "fieldsType", ty: Ty::String, pb: &[6], ..F },
    Field { name: "fieldsV1", ty: Ty::Object, pb: &[7], ..F },
    Field { name: "manager", ty: Ty::String, pb: &[1], ..F },
    Field { name: "operation", ty: Ty::String, pb: &[2], ..F },
    Field { name: "subresource", ty: Ty::String, pb: &[8], ..F },
    Field { name: "time", ty: Ty::Time, pb: &[4], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", gvk: None, atomic: false, fields: &[
    Field { name: "annotations", ty: Ty::Map(&Ty::String), pb: &[12], ..F },
    Field { name: "creationTimestamp", ty: Ty::Time, pb: &[8], ..F },
    Field { name: "deletionGracePeriodSeconds", ty: Ty::Int64, pb: &[10], ..F },
    Field { name: "deletionTimestamp", ty: Ty::Time, pb: &[9], ..F },
    Field { name: "finalizers", ty: Ty::Array(&Ty::String), pb: &[14], list: ListType::Set, patch_merge: true, ..F },
    Field { name: "generateName", ty: Ty::String, pb: &[2], ..F },
    Field { name: "generation", ty: Ty::Int64, pb: &[7], ..F },
    Field { name: "labels", ty: Ty::Map(&Ty::String), pb: &[11], ..F },
    Field { name: "managedFields", ty: Ty::Array(&Ty::Ref(DefId(560))), pb: &[17], list: ListType::Atomic, ..F },
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[3], ..F },
    Field { name: "ownerReferences", ty: Ty::Array(&Ty::Ref(DefId(562))), pb: &[13], list: ListType::Map, list_keys: &["uid"], patch_merge: true, merge_key: Some("uid"), ..F },
    Field { name: "resourceVersion", ty: Ty::String, pb: &[6], ..F },
    Field { name: "selfLink", ty: Ty::String, pb: &[4], ..F },
    Field { name: "uid", ty: Ty::String, pb: &[5], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference", gvk: None, atomic: true, fields: &[
    Field { name: "apiVersion", ty: Ty::String, required: true, pb: &[5], ..F },
    Field { name: "blockOwnerDeletion", ty: Ty::Bool, pb: &[7], ..F },
    Field { name: "controller", ty: Ty::Bool, pb: &[6], ..F },
    Field { name: "kind", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "name", ty: Ty::String, required: true, pb: &[3], ..F },
    Field { name: "uid", ty: Ty::String, required: true, pb: &[4], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.Patch", gvk: None, atomic: false, fields: &[
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.Preconditions", gvk: None, atomic: false, fields: &[
    Field { name: "resourceVersion", ty: Ty::String, pb: &[2], ..F },
    Field { name: "uid", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.ServerAddressByClientCIDR", gvk: None, atomic: false, fields: &[
    Field { name: "clientCIDR", ty: Ty::String, required: true, pb: &[1], ..F },
    Field { name: "serverAddress", ty: Ty::String, required: true, pb: &[2], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.Status", gvk: Some(("", "v1", "Status")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "code", ty: Ty::Int32, pb: &[6], ..F },
    Field { name: "details", ty: Ty::Ref(DefId(568)), pb: &[5], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "message", ty: Ty::String, pb: &[3], ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), required: true, pb: &[1], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, pb: &[2], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.StatusCause", gvk: None, atomic: false, fields: &[
    Field { name: "field", ty: Ty::String, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[2], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[1], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.StatusDetails", gvk: None, atomic: false, fields: &[
    Field { name: "causes", ty: Ty::Array(&Ty::Ref(DefId(567))), pb: &[4], list: ListType::Atomic, ..F },
    Field { name: "group", ty: Ty::String, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, pb: &[3], ..F },
    Field { name: "name", ty: Ty::String, pb: &[1], ..F },
    Field { name: "retryAfterSeconds", ty: Ty::Int32, pb: &[5], ..F },
    Field { name: "uid", ty: Ty::String, pb: &[6], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent", gvk: None, atomic: false, fields: &[
    Field { name: "object", ty: Ty::Object, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.apimachinery.pkg.version.Info", gvk: None, atomic: false, fields: &[
    Field { name: "buildDate", ty: Ty::String, required: true, ..F },
    Field { name: "compiler", ty: Ty::String, required: true, ..F },
    Field { name: "emulationMajor", ty: Ty::String, ..F },
    Field { name: "emulationMinor", ty: Ty::String, ..F },
    Field { name: "gitCommit", ty: Ty::String, required: true, ..F },
    Field { name: "gitTreeState", ty: Ty::String, required: true, ..F },
    Field { name: "gitVersion", ty: Ty::String, required: true, ..F },
    Field { name: "goVersion", ty: Ty::String, required: true, ..F },
    Field { name: "major", ty: Ty::String, required: true, ..F },
    Field { name: "minCompatibilityMajor", ty: Ty::String, ..F },
    Field { name: "minCompatibilityMinor", ty: Ty::String, ..F },
    Field { name: "minor", ty: Ty::String, required: true, ..F },
    Field { name: "platform", ty: Ty::String, required: true, ..F },
] },
Def { name: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService", gvk: Some(("apiregistration.k8s.io", "v1", "APIService")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(561)), required: true, pb: &[1], ..F },
    Field { name: "spec", ty: Ty::Ref(DefId(574)), pb: &[2], held: true, ..F },
    Field { name: "status", ty: Ty::Ref(DefId(575)), pb: &[3], held: true, ..F },
] },
Def { name: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceCondition", gvk: None, atomic: false, fields: &[
    Field { name: "lastTransitionTime", ty: Ty::Time, pb: &[3], ..F },
    Field { name: "message", ty: Ty::String, pb: &[5], ..F },
    Field { name: "reason", ty: Ty::String, pb: &[4], ..F },
    Field { name: "status", ty: Ty::String, required: true, pb: &[2], ..F },
    Field { name: "type", ty: Ty::String, required: true, pb: &[1], ..F },
] },
Def { name: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceList", gvk: Some(("apiregistration.k8s.io", "v1", "APIServiceList")), atomic: false, fields: &[
    Field { name: "apiVersion", ty: Ty::String, ..F },
    Field { name: "items", ty: Ty::Array(&Ty::Ref(DefId(571))), required: true, pb: &[2], ..F },
    Field { name: "kind", ty: Ty::String, ..F },
    Field { name: "metadata", ty: Ty::Ref(DefId(559)), pb: &[1], ..F },
] },
Def { name: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec", gvk: None, atomic: false, fields: &[
    Field { name: "caBundle", ty: Ty::Bytes, pb: &[5], ..F },
    Field { name: "group", ty: Ty::String, pb: &[2], ..F },
    Field { name: "groupPriorityMinimum", ty: Ty::Int32, required: true, pb: &[7], ..F },
    Field { name: "insecureSkipTLSVerify", ty: Ty::Bool, pb: &[4], ..F },
    Field { name: "service", ty: Ty::Ref(DefId(576)), pb: &[1], ..F },
    Field { name: "version", ty: Ty::String, pb: &[3], ..F },
    Field { name: "versionPriority", ty: Ty::Int32, required: true, pb: &[8], ..F },
] },
Def { name: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceStatus", gvk: None, atomic: false, fields: &[
    Field { name: "conditions", ty: Ty::Array(&Ty::Ref(DefId(572))), pb: &[1], list: ListType::Map, list_keys: &["type"], patch_merge: true, merge_key: Some("type"), ..F },
] },
Def { name: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.ServiceReference", gvk: None, atomic: false, fields: &[
    Field { name: "name", ty: Ty::String, pb: &[2], ..F },
    Field { name: "namespace", ty: Ty::String, pb: &[1], ..F },
    Field { name: "port", ty: Ty::Int32, pb: &[3], ..F },
] },
];

/// `io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration`.
pub const ADMISSIONREGISTRATION_V1_MUTATING_WEBHOOK_CONFIGURATION: DefId = DefId(5);
/// `io.k8s.api.admissionregistration.v1.MutatingWebhookConfigurationList`.
pub const ADMISSIONREGISTRATION_V1_MUTATING_WEBHOOK_CONFIGURATION_LIST: DefId = DefId(6);
/// `io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy`.
pub const ADMISSIONREGISTRATION_V1_VALIDATING_ADMISSION_POLICY: DefId = DefId(13);
/// `io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding`.
pub const ADMISSIONREGISTRATION_V1_VALIDATING_ADMISSION_POLICY_BINDING: DefId = DefId(14);
/// `io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingList`.
pub const ADMISSIONREGISTRATION_V1_VALIDATING_ADMISSION_POLICY_BINDING_LIST: DefId = DefId(15);
/// `io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyList`.
pub const ADMISSIONREGISTRATION_V1_VALIDATING_ADMISSION_POLICY_LIST: DefId = DefId(17);
/// `io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration`.
pub const ADMISSIONREGISTRATION_V1_VALIDATING_WEBHOOK_CONFIGURATION: DefId = DefId(21);
/// `io.k8s.api.admissionregistration.v1.ValidatingWebhookConfigurationList`.
pub const ADMISSIONREGISTRATION_V1_VALIDATING_WEBHOOK_CONFIGURATION_LIST: DefId = DefId(22);
/// `io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicy`.
pub const ADMISSIONREGISTRATION_V1BETA1_MUTATING_ADMISSION_POLICY: DefId = DefId(30);
/// `io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicyBinding`.
pub const ADMISSIONREGISTRATION_V1BETA1_MUTATING_ADMISSION_POLICY_BINDING: DefId = DefId(31);
/// `io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicyBindingList`.
pub const ADMISSIONREGISTRATION_V1BETA1_MUTATING_ADMISSION_POLICY_BINDING_LIST: DefId = DefId(32);
/// `io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicyList`.
pub const ADMISSIONREGISTRATION_V1BETA1_MUTATING_ADMISSION_POLICY_LIST: DefId = DefId(34);
/// `io.k8s.api.apps.v1.ControllerRevision`.
pub const APPS_V1_CONTROLLER_REVISION: DefId = DefId(41);
/// `io.k8s.api.apps.v1.ControllerRevisionList`.
pub const APPS_V1_CONTROLLER_REVISION_LIST: DefId = DefId(42);
/// `io.k8s.api.apps.v1.DaemonSet`.
pub const APPS_V1_DAEMON_SET: DefId = DefId(43);
/// `io.k8s.api.apps.v1.DaemonSetList`.
pub const APPS_V1_DAEMON_SET_LIST: DefId = DefId(45);
/// `io.k8s.api.apps.v1.Deployment`.
pub const APPS_V1_DEPLOYMENT: DefId = DefId(49);
/// `io.k8s.api.apps.v1.DeploymentList`.
pub const APPS_V1_DEPLOYMENT_LIST: DefId = DefId(51);
/// `io.k8s.api.apps.v1.ReplicaSet`.
pub const APPS_V1_REPLICA_SET: DefId = DefId(55);
/// `io.k8s.api.apps.v1.ReplicaSetList`.
pub const APPS_V1_REPLICA_SET_LIST: DefId = DefId(57);
/// `io.k8s.api.apps.v1.StatefulSet`.
pub const APPS_V1_STATEFUL_SET: DefId = DefId(63);
/// `io.k8s.api.apps.v1.StatefulSetList`.
pub const APPS_V1_STATEFUL_SET_LIST: DefId = DefId(65);
/// `io.k8s.api.authentication.v1.SelfSubjectReview`.
pub const AUTHENTICATION_V1_SELF_SUBJECT_REVIEW: DefId = DefId(72);
/// `io.k8s.api.authentication.v1.TokenRequest`.
pub const AUTHENTICATION_V1_TOKEN_REQUEST: DefId = DefId(74);
/// `io.k8s.api.authentication.v1.TokenReview`.
pub const AUTHENTICATION_V1_TOKEN_REVIEW: DefId = DefId(77);
/// `io.k8s.api.authorization.v1.LocalSubjectAccessReview`.
pub const AUTHORIZATION_V1_LOCAL_SUBJECT_ACCESS_REVIEW: DefId = DefId(83);
/// `io.k8s.api.authorization.v1.SelfSubjectAccessReview`.
pub const AUTHORIZATION_V1_SELF_SUBJECT_ACCESS_REVIEW: DefId = DefId(88);
/// `io.k8s.api.authorization.v1.SelfSubjectRulesReview`.
pub const AUTHORIZATION_V1_SELF_SUBJECT_RULES_REVIEW: DefId = DefId(90);
/// `io.k8s.api.authorization.v1.SubjectAccessReview`.
pub const AUTHORIZATION_V1_SUBJECT_ACCESS_REVIEW: DefId = DefId(92);
/// `io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler`.
pub const AUTOSCALING_V1_HORIZONTAL_POD_AUTOSCALER: DefId = DefId(97);
/// `io.k8s.api.autoscaling.v1.HorizontalPodAutoscalerList`.
pub const AUTOSCALING_V1_HORIZONTAL_POD_AUTOSCALER_LIST: DefId = DefId(98);
/// `io.k8s.api.autoscaling.v1.Scale`.
pub const AUTOSCALING_V1_SCALE: DefId = DefId(101);
/// `io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler`.
pub const AUTOSCALING_V2_HORIZONTAL_POD_AUTOSCALER: DefId = DefId(111);
/// `io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerList`.
pub const AUTOSCALING_V2_HORIZONTAL_POD_AUTOSCALER_LIST: DefId = DefId(114);
/// `io.k8s.api.batch.v1.CronJob`.
pub const BATCH_V1_CRON_JOB: DefId = DefId(128);
/// `io.k8s.api.batch.v1.CronJobList`.
pub const BATCH_V1_CRON_JOB_LIST: DefId = DefId(129);
/// `io.k8s.api.batch.v1.Job`.
pub const BATCH_V1_JOB: DefId = DefId(132);
/// `io.k8s.api.batch.v1.JobList`.
pub const BATCH_V1_JOB_LIST: DefId = DefId(134);
/// `io.k8s.api.certificates.v1.CertificateSigningRequest`.
pub const CERTIFICATES_V1_CERTIFICATE_SIGNING_REQUEST: DefId = DefId(145);
/// `io.k8s.api.certificates.v1.CertificateSigningRequestList`.
pub const CERTIFICATES_V1_CERTIFICATE_SIGNING_REQUEST_LIST: DefId = DefId(147);
/// `io.k8s.api.coordination.v1.Lease`.
pub const COORDINATION_V1_LEASE: DefId = DefId(150);
/// `io.k8s.api.coordination.v1.LeaseList`.
pub const COORDINATION_V1_LEASE_LIST: DefId = DefId(151);
/// `io.k8s.api.core.v1.Binding`.
pub const CORE_V1_BINDING: DefId = DefId(160);
/// `io.k8s.api.core.v1.ComponentStatus`.
pub const CORE_V1_COMPONENT_STATUS: DefId = DefId(171);
/// `io.k8s.api.core.v1.ComponentStatusList`.
pub const CORE_V1_COMPONENT_STATUS_LIST: DefId = DefId(172);
/// `io.k8s.api.core.v1.ConfigMap`.
pub const CORE_V1_CONFIG_MAP: DefId = DefId(173);
/// `io.k8s.api.core.v1.ConfigMapList`.
pub const CORE_V1_CONFIG_MAP_LIST: DefId = DefId(176);
/// `io.k8s.api.core.v1.Endpoints`.
pub const CORE_V1_ENDPOINTS: DefId = DefId(201);
/// `io.k8s.api.core.v1.EndpointsList`.
pub const CORE_V1_ENDPOINTS_LIST: DefId = DefId(202);
/// `io.k8s.api.core.v1.Event`.
pub const CORE_V1_EVENT: DefId = DefId(208);
/// `io.k8s.api.core.v1.EventList`.
pub const CORE_V1_EVENT_LIST: DefId = DefId(209);
/// `io.k8s.api.core.v1.LimitRange`.
pub const CORE_V1_LIMIT_RANGE: DefId = DefId(234);
/// `io.k8s.api.core.v1.LimitRangeList`.
pub const CORE_V1_LIMIT_RANGE_LIST: DefId = DefId(236);
/// `io.k8s.api.core.v1.Namespace`.
pub const CORE_V1_NAMESPACE: DefId = DefId(245);
/// `io.k8s.api.core.v1.NamespaceList`.
pub const CORE_V1_NAMESPACE_LIST: DefId = DefId(247);
/// `io.k8s.api.core.v1.Node`.
pub const CORE_V1_NODE: DefId = DefId(250);
/// `io.k8s.api.core.v1.NodeList`.
pub const CORE_V1_NODE_LIST: DefId = DefId(258);
/// `io.k8s.api.core.v1.PersistentVolume`.
pub const CORE_V1_PERSISTENT_VOLUME: DefId = DefId(270);
/// `io.k8s.api.core.v1.PersistentVolumeClaim`.
pub const CORE_V1_PERSISTENT_VOLUME_CLAIM: DefId = DefId(271);
/// `io.k8s.api.core.v1.PersistentVolumeClaimList`.
pub const CORE_V1_PERSISTENT_VOLUME_CLAIM_LIST: DefId = DefId(273);
/// `io.k8s.api.core.v1.PersistentVolumeList`.
pub const CORE_V1_PERSISTENT_VOLUME_LIST: DefId = DefId(278);
/// `io.k8s.api.core.v1.Pod`.
pub const CORE_V1_POD: DefId = DefId(282);
/// `io.k8s.api.core.v1.PodList`.
pub const CORE_V1_POD_LIST: DefId = DefId(292);
/// `io.k8s.api.core.v1.PodTemplate`.
pub const CORE_V1_POD_TEMPLATE: DefId = DefId(301);
/// `io.k8s.api.core.v1.PodTemplateList`.
pub const CORE_V1_POD_TEMPLATE_LIST: DefId = DefId(302);
/// `io.k8s.api.core.v1.PodTemplateSpec`.
pub const CORE_V1_POD_TEMPLATE_SPEC: DefId = DefId(303);
/// `io.k8s.api.core.v1.ReplicationController`.
pub const CORE_V1_REPLICATION_CONTROLLER: DefId = DefId(312);
/// `io.k8s.api.core.v1.ReplicationControllerList`.
pub const CORE_V1_REPLICATION_CONTROLLER_LIST: DefId = DefId(314);
/// `io.k8s.api.core.v1.ResourceQuota`.
pub const CORE_V1_RESOURCE_QUOTA: DefId = DefId(320);
/// `io.k8s.api.core.v1.ResourceQuotaList`.
pub const CORE_V1_RESOURCE_QUOTA_LIST: DefId = DefId(321);
/// `io.k8s.api.core.v1.Secret`.
pub const CORE_V1_SECRET: DefId = DefId(332);
/// `io.k8s.api.core.v1.SecretList`.
pub const CORE_V1_SECRET_LIST: DefId = DefId(335);
/// `io.k8s.api.core.v1.Service`.
pub const CORE_V1_SERVICE: DefId = DefId(340);
/// `io.k8s.api.core.v1.ServiceAccount`.
pub const CORE_V1_SERVICE_ACCOUNT: DefId = DefId(341);
/// `io.k8s.api.core.v1.ServiceAccountList`.
pub const CORE_V1_SERVICE_ACCOUNT_LIST: DefId = DefId(342);
/// `io.k8s.api.core.v1.ServiceList`.
pub const CORE_V1_SERVICE_LIST: DefId = DefId(344);
/// `io.k8s.api.discovery.v1.EndpointSlice`.
pub const DISCOVERY_V1_ENDPOINT_SLICE: DefId = DefId(376);
/// `io.k8s.api.discovery.v1.EndpointSliceList`.
pub const DISCOVERY_V1_ENDPOINT_SLICE_LIST: DefId = DefId(377);
/// `io.k8s.api.events.v1.Event`.
pub const EVENTS_V1_EVENT: DefId = DefId(380);
/// `io.k8s.api.events.v1.EventList`.
pub const EVENTS_V1_EVENT_LIST: DefId = DefId(381);
/// `io.k8s.api.flowcontrol.v1.FlowSchema`.
pub const FLOWCONTROL_V1_FLOW_SCHEMA: DefId = DefId(385);
/// `io.k8s.api.flowcontrol.v1.FlowSchemaList`.
pub const FLOWCONTROL_V1_FLOW_SCHEMA_LIST: DefId = DefId(387);
/// `io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration`.
pub const FLOWCONTROL_V1_PRIORITY_LEVEL_CONFIGURATION: DefId = DefId(395);
/// `io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationList`.
pub const FLOWCONTROL_V1_PRIORITY_LEVEL_CONFIGURATION_LIST: DefId = DefId(397);
/// `io.k8s.api.networking.v1.IPAddress`.
pub const NETWORKING_V1_IP_ADDRESS: DefId = DefId(408);
/// `io.k8s.api.networking.v1.IPAddressList`.
pub const NETWORKING_V1_IP_ADDRESS_LIST: DefId = DefId(409);
/// `io.k8s.api.networking.v1.Ingress`.
pub const NETWORKING_V1_INGRESS: DefId = DefId(412);
/// `io.k8s.api.networking.v1.IngressClass`.
pub const NETWORKING_V1_INGRESS_CLASS: DefId = DefId(414);
/// `io.k8s.api.networking.v1.IngressClassList`.
pub const NETWORKING_V1_INGRESS_CLASS_LIST: DefId = DefId(415);
/// `io.k8s.api.networking.v1.IngressList`.
pub const NETWORKING_V1_INGRESS_LIST: DefId = DefId(418);
/// `io.k8s.api.networking.v1.NetworkPolicy`.
pub const NETWORKING_V1_NETWORK_POLICY: DefId = DefId(427);
/// `io.k8s.api.networking.v1.NetworkPolicyList`.
pub const NETWORKING_V1_NETWORK_POLICY_LIST: DefId = DefId(430);
/// `io.k8s.api.networking.v1.ServiceCIDR`.
pub const NETWORKING_V1_SERVICE_CIDR: DefId = DefId(436);
/// `io.k8s.api.networking.v1.ServiceCIDRList`.
pub const NETWORKING_V1_SERVICE_CIDR_LIST: DefId = DefId(437);
/// `io.k8s.api.node.v1.RuntimeClass`.
pub const NODE_V1_RUNTIME_CLASS: DefId = DefId(441);
/// `io.k8s.api.node.v1.RuntimeClassList`.
pub const NODE_V1_RUNTIME_CLASS_LIST: DefId = DefId(442);
/// `io.k8s.api.policy.v1.Eviction`.
pub const POLICY_V1_EVICTION: DefId = DefId(444);
/// `io.k8s.api.policy.v1.PodDisruptionBudget`.
pub const POLICY_V1_POD_DISRUPTION_BUDGET: DefId = DefId(445);
/// `io.k8s.api.policy.v1.PodDisruptionBudgetList`.
pub const POLICY_V1_POD_DISRUPTION_BUDGET_LIST: DefId = DefId(446);
/// `io.k8s.api.rbac.v1.ClusterRole`.
pub const RBAC_V1_CLUSTER_ROLE: DefId = DefId(450);
/// `io.k8s.api.rbac.v1.ClusterRoleBinding`.
pub const RBAC_V1_CLUSTER_ROLE_BINDING: DefId = DefId(451);
/// `io.k8s.api.rbac.v1.ClusterRoleBindingList`.
pub const RBAC_V1_CLUSTER_ROLE_BINDING_LIST: DefId = DefId(452);
/// `io.k8s.api.rbac.v1.ClusterRoleList`.
pub const RBAC_V1_CLUSTER_ROLE_LIST: DefId = DefId(453);
/// `io.k8s.api.rbac.v1.Role`.
pub const RBAC_V1_ROLE: DefId = DefId(455);
/// `io.k8s.api.rbac.v1.RoleBinding`.
pub const RBAC_V1_ROLE_BINDING: DefId = DefId(456);
/// `io.k8s.api.rbac.v1.RoleBindingList`.
pub const RBAC_V1_ROLE_BINDING_LIST: DefId = DefId(457);
/// `io.k8s.api.rbac.v1.RoleList`.
pub const RBAC_V1_ROLE_LIST: DefId = DefId(458);
/// `io.k8s.api.resource.v1.DeviceClass`.
pub const RESOURCE_V1_DEVICE_CLASS: DefId = DefId(476);
/// `io.k8s.api.resource.v1.DeviceClassList`.
pub const RESOURCE_V1_DEVICE_CLASS_LIST: DefId = DefId(478);
/// `io.k8s.api.resource.v1.ResourceClaim`.
pub const RESOURCE_V1_RESOURCE_CLAIM: DefId = DefId(491);
/// `io.k8s.api.resource.v1.ResourceClaimList`.
pub const RESOURCE_V1_RESOURCE_CLAIM_LIST: DefId = DefId(493);
/// `io.k8s.api.resource.v1.ResourceClaimTemplate`.
pub const RESOURCE_V1_RESOURCE_CLAIM_TEMPLATE: DefId = DefId(496);
/// `io.k8s.api.resource.v1.ResourceClaimTemplateList`.
pub const RESOURCE_V1_RESOURCE_CLAIM_TEMPLATE_LIST: DefId = DefId(497);
/// `io.k8s.api.resource.v1.ResourceSlice`.
pub const RESOURCE_V1_RESOURCE_SLICE: DefId = DefId(500);
/// `io.k8s.api.resource.v1.ResourceSliceList`.
pub const RESOURCE_V1_RESOURCE_SLICE_LIST: DefId = DefId(501);
/// `io.k8s.api.scheduling.v1.PriorityClass`.
pub const SCHEDULING_V1_PRIORITY_CLASS: DefId = DefId(503);
/// `io.k8s.api.scheduling.v1.PriorityClassList`.
pub const SCHEDULING_V1_PRIORITY_CLASS_LIST: DefId = DefId(504);
/// `io.k8s.api.storage.v1.CSIDriver`.
pub const STORAGE_V1_CSI_DRIVER: DefId = DefId(505);
/// `io.k8s.api.storage.v1.CSIDriverList`.
pub const STORAGE_V1_CSI_DRIVER_LIST: DefId = DefId(506);
/// `io.k8s.api.storage.v1.CSINode`.
pub const STORAGE_V1_CSI_NODE: DefId = DefId(508);
/// `io.k8s.api.storage.v1.CSINodeList`.
pub const STORAGE_V1_CSI_NODE_LIST: DefId = DefId(510);
/// `io.k8s.api.storage.v1.CSIStorageCapacity`.
pub const STORAGE_V1_CSI_STORAGE_CAPACITY: DefId = DefId(512);
/// `io.k8s.api.storage.v1.CSIStorageCapacityList`.
pub const STORAGE_V1_CSI_STORAGE_CAPACITY_LIST: DefId = DefId(513);
/// `io.k8s.api.storage.v1.StorageClass`.
pub const STORAGE_V1_STORAGE_CLASS: DefId = DefId(514);
/// `io.k8s.api.storage.v1.StorageClassList`.
pub const STORAGE_V1_STORAGE_CLASS_LIST: DefId = DefId(515);
/// `io.k8s.api.storage.v1.VolumeAttachment`.
pub const STORAGE_V1_VOLUME_ATTACHMENT: DefId = DefId(517);
/// `io.k8s.api.storage.v1.VolumeAttachmentList`.
pub const STORAGE_V1_VOLUME_ATTACHMENT_LIST: DefId = DefId(518);
/// `io.k8s.api.storage.v1.VolumeAttributesClass`.
pub const STORAGE_V1_VOLUME_ATTRIBUTES_CLASS: DefId = DefId(522);
/// `io.k8s.api.storage.v1.VolumeAttributesClassList`.
pub const STORAGE_V1_VOLUME_ATTRIBUTES_CLASS_LIST: DefId = DefId(523);
/// `io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition`.
pub const APIEXTENSIONS_V1_CUSTOM_RESOURCE_DEFINITION: DefId = DefId(528);
/// `io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionList`.
pub const APIEXTENSIONS_V1_CUSTOM_RESOURCE_DEFINITION_LIST: DefId = DefId(530);
/// `io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON`.
pub const APIEXTENSIONS_V1_JSON: DefId = DefId(540);
/// `io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps`.
pub const APIEXTENSIONS_V1_JSON_SCHEMA_PROPS: DefId = DefId(541);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup`.
pub const META_V1_API_GROUP: DefId = DefId(547);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList`.
pub const META_V1_API_GROUP_LIST: DefId = DefId(548);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.APIResource`.
pub const META_V1_API_RESOURCE: DefId = DefId(549);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList`.
pub const META_V1_API_RESOURCE_LIST: DefId = DefId(550);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions`.
pub const META_V1_API_VERSIONS: DefId = DefId(551);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.Condition`.
pub const META_V1_CONDITION: DefId = DefId(552);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions`.
pub const META_V1_DELETE_OPTIONS: DefId = DefId(553);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.FieldSelectorRequirement`.
pub const META_V1_FIELD_SELECTOR_REQUIREMENT: DefId = DefId(554);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.GroupResource`.
pub const META_V1_GROUP_RESOURCE: DefId = DefId(555);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.GroupVersionForDiscovery`.
pub const META_V1_GROUP_VERSION_FOR_DISCOVERY: DefId = DefId(556);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector`.
pub const META_V1_LABEL_SELECTOR: DefId = DefId(557);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement`.
pub const META_V1_LABEL_SELECTOR_REQUIREMENT: DefId = DefId(558);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta`.
pub const META_V1_LIST_META: DefId = DefId(559);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry`.
pub const META_V1_MANAGED_FIELDS_ENTRY: DefId = DefId(560);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta`.
pub const META_V1_OBJECT_META: DefId = DefId(561);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference`.
pub const META_V1_OWNER_REFERENCE: DefId = DefId(562);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.Patch`.
pub const META_V1_PATCH: DefId = DefId(563);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.Preconditions`.
pub const META_V1_PRECONDITIONS: DefId = DefId(564);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.ServerAddressByClientCIDR`.
pub const META_V1_SERVER_ADDRESS_BY_CLIENT_CIDR: DefId = DefId(565);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.Status`.
pub const META_V1_STATUS: DefId = DefId(566);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.StatusCause`.
pub const META_V1_STATUS_CAUSE: DefId = DefId(567);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.StatusDetails`.
pub const META_V1_STATUS_DETAILS: DefId = DefId(568);
/// `io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent`.
pub const META_V1_WATCH_EVENT: DefId = DefId(569);
/// `io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService`.
pub const APIREGISTRATION_V1_API_SERVICE: DefId = DefId(571);
/// `io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceList`.
pub const APIREGISTRATION_V1_API_SERVICE_LIST: DefId = DefId(573);
