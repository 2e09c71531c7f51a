use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::decode::{FieldValidation, Format};
use crate::kinds;

fn round_trip(object: &Value) -> Value {
    let body = encode_object(object).expect("it has a protobuf form");
    let envelope = Envelope::parse(&body).expect("it is a body");
    envelope.object(envelope.def().expect("its type is known")).expect("it decodes")
}

#[test]
fn objects_come_back_as_they_were() {
    let objects = [
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
            "name": "a", "namespace": "default", "labels": {"a": "", "b": "c"}, "creationTimestamp": "2024-05-01T10:00:00Z",
            "deletionGracePeriodSeconds": 0, "finalizers": ["x/y"],
            "managedFields": [{"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {".": {}}}, "time": "2024-05-01T10:00:00Z"}],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": false, "blockOwnerDeletion": true}]},
            "spec": {"containers": [{"name": "c", "image": "i", "args": ["", "b"], "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
                "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k", "optional": false}}},
                    {"name": "F", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "0"}}}],
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3},
                "readinessProbe": {"tcpSocket": {"port": 8080}, "terminationGracePeriodSeconds": 0},
                "securityContext": {"privileged": false, "runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}},
                "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}], "lifecycle": {"preStop": {"sleep": {"seconds": 0}}}}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3607}}], "defaultMode": 420}},
                    {"name": "x", "hostPath": {"path": "/x", "type": ""}}, {"name": "y", "csi": {"driver": "d", "readOnly": false, "volumeAttributes": {"a": "b"}}}],
                "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "priority": 0, "securityContext": {"fsGroup": 0, "supplementalGroups": [0, 7, -1]},
                "tolerations": [{"operator": "Exists", "tolerationSeconds": 0}], "enableServiceLinks": false,
                "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}, "topologyKey": "k"}]}}},
            "status": {"phase": "Running", "startTime": "1969-12-31T23:59:59Z", "containerStatuses": [{"name": "c", "ready": false, "restartCount": 0, "image": "i", "imageID": "", "started": false,
                "state": {"terminated": {"exitCode": 0, "signal": 9, "finishedAt": "2024-05-01T10:00:00Z"}}, "lastState": {}}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}, "progressDeadlineSeconds": 0, "revisionHistoryLimit": 0,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}}}),
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "data": {"spec": {"x": [1, null, 2.5]}}, "revision": 3}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "", "b": "AP8="}, "immutable": false, "type": "Opaque"}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "é"}, "binaryData": {"b": "/w=="}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "targetPort": "http", "appProtocol": ""}],
            "allocateLoadBalancerNodePorts": false, "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}, "status": {"loadBalancer": {}}}),
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"cpu": "1", "pods": "2"}, "scopes": ["BestEffort"]}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "p"}, "spec": {"storageClassName": "", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {"holderIdentity": "", "leaseTransitions": 0, "renewTime": "2024-05-01T10:00:00.123456Z"}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": {"minAvailable": 0, "selector": {}},
            "status": {"disruptedPods": {"p": "2024-05-01T10:00:00Z"}, "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "n"}, "spec": {"podSelector": {}, "ingress": [{}], "egress": [{"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}]}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"}, "spec": {"rules": [{"host": "h", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "v"}, "webhooks": [{"name": "w", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"caBundle": "AAE=", "url": "https://x"}, "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "*"}]}]}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "c"}, "spec": {"group": "g", "scope": "Namespaced",
            "names": {"kind": "C", "plural": "cs"}, "versions": [{"name": "v1", "served": true, "storage": false, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": false, "properties": {
                "a": {"type": "array", "items": {"type": "string", "maxLength": 0}}, "b": {"additionalProperties": true}, "c": {"additionalProperties": {"type": "integer", "maximum": 10, "minimum": 0.5}},
                "d": {"enum": ["x", 1, null], "default": {"y": []}}, "e": {"items": [{"type": "string"}], "additionalItems": false}, "f": {"dependencies": {"g": ["h"], "i": {"type": "null"}}}}}}}]}}),
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}, "spec": {"user": "u", "extra": {"scopes": ["a", "b"], "none": []}}, "status": {"allowed": false}}),
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "s"}, "spec": {"replicas": 3}, "status": {"replicas": 0, "selector": "a=b"}}),
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": {"audiences": ["a"], "expirationSeconds": 0, "boundObjectRef": {"kind": "Pod", "name": "p"}}, "status": {"token": "t", "expirationTimestamp": "2024-05-01T10:00:00Z"}}),
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0, "preconditions": {"uid": ""}}}),
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "orphanDependents": false, "propagationPolicy": "Foreground", "dryRun": ["All"]}),
        json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404, "message": "m",
            "details": {"name": "x", "kind": "pods", "causes": [{"reason": "r", "field": "f"}], "retryAfterSeconds": 1}}),
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "d", "count": 1}}],
            "config": [{"opaque": {"driver": "d", "parameters": {"a": 1}}}]}}}),
    ];
    for object in &objects {
        assert_eq!(&round_trip(object), object);
    }
}

/// Bytes as upstream's encoder writes them: all fields held by value are there, zero or not.
#[test]
fn zero_values_that_mean_absent_are_dropped() {
    let mut pod = Writer::default();
    pod.message(1, |meta| {
        for (number, text) in [(1, "p"), (2, ""), (3, ""), (4, ""), (5, ""), (6, "")] {
            meta.bytes(number, text.as_bytes());
        }
        meta.varint(7, 0);
        meta.bytes(8, b"");
    });
    pod.message(2, |spec| {
        spec.message(2, |container| {
            for (number, text) in [(1, "c"), (2, "i"), (5, "")] {
                container.bytes(number, text.as_bytes());
            }
            container.bytes(8, b"");
            container.varint(16, 0);
        });
        spec.bytes(3, b"");
        spec.varint(4, 0);
        spec.varint(11, 0);
        spec.varint(21, 0);
    });
    let decoded = decode(id::CORE_V1_POD, &pod.0).expect("it decodes");
    let expected = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "resources": {}}],
        "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false}});
    assert_eq!(decoded, expected);
}

#[test]
fn bodies_are_read_as_the_endpoint_expects() {
    let kind = kinds::by_kind("", "v1", "ServiceAccount").expect("the kind is there");
    let read = |body: &[u8]| {
        crate::decode::decode(kind, body, Format::Protobuf, FieldValidation::Strict).map_err(|status| status.message)
    };
    let account = encode(kind.def().unwrap(), &json!({"metadata": {"name": "x"}}));
    let (object, warnings) = read(&wrap("v1", "ServiceAccount", &account)).expect("it decodes");
    assert_eq!(object, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}}));
    assert!(warnings.is_empty());
    assert_eq!(read(&wrap("", "", &account)).expect("it decodes").0, object);
    assert!(
        read(&wrap("v1", "Pod", &account))
            .unwrap_err()
            .starts_with("Pod in version \"v1\" cannot be handled as a ServiceAccount")
    );
    assert!(read(b"{}").unwrap_err().contains("does not appear to be a protobuf message"));
    assert!(read(b"").is_err());
    let cut = wrap("v1", "ServiceAccount", account.get(..3).expect("it is longer"));
    assert!(read(&cut).unwrap_err().contains("ends in the middle of a field"));
}

#[test]
fn options_are_read_from_any_group() {
    let options = json!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
    let body = encode_object(&options).expect("it has a protobuf form");
    let name = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
    let read = crate::decode::decode_options(name, &body, Format::Protobuf).expect("it decodes");
    assert_eq!(read["gracePeriodSeconds"], 0);
}

#[test]
fn packed_lists_and_repeated_messages_are_read() {
    let mut context = Writer::default();
    context.bytes(4, &[1, 0x80, 1]);
    context.varint(4, 7);
    let mut spec = Writer::default();
    spec.bytes(14, &context.0);
    spec.message(14, |second| second.varint(5, 0));
    let mut pod = Writer::default();
    pod.bytes(2, &spec.0);
    let decoded = decode(id::CORE_V1_POD, &pod.0).expect("it decodes");
    assert_eq!(decoded["spec"]["securityContext"], json!({"supplementalGroups": [1, 128, 7], "fsGroup": 0}));
}

#[test]
fn depth_is_bounded() {
    let mut schema = Vec::new();
    for _ in 0..2000 {
        let mut outer = Writer::default();
        outer.bytes(28, &schema);
        schema = outer.0;
    }
    assert!(decode(id::APIEXTENSIONS_V1_JSON_SCHEMA_PROPS, &schema).unwrap_err().contains("more than 100 messages"));
    let mut body = wrap("apps/v1", "ControllerRevision", &[]);
    for _ in 0..2000 {
        let mut revision = Writer::default();
        revision.message(2, |data| data.bytes(1, &body));
        body = wrap("apps/v1", "ControllerRevision", &revision.0);
    }
    let envelope = Envelope::parse(&body).expect("it is a body");
    assert!(envelope.object(id::APPS_V1_CONTROLLER_REVISION).unwrap_err().contains("more than 100 messages"));
}

#[test]
fn a_watch_frame_is_a_length_and_an_event() {
    let frame = watch_frame("ADDED", b"xyz");
    assert_eq!(frame, [&[0, 0, 0, 14, 10, 5][..], b"ADDED", &[18, 5, 10, 3], b"xyz"].concat());
}

#[test]
fn a_list_has_metadata_and_items() {
    let item = encode(id::CORE_V1_CONFIG_MAP, &json!({"metadata": {"name": "a"}}));
    let body = encode_list("v1", "ConfigMapList", &json!({"resourceVersion": "7"}), std::iter::once(item));
    let envelope = Envelope::parse(&body).expect("it is a body");
    let list = envelope.object(envelope.def().expect("the type is known")).expect("it decodes");
    let expected = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]});
    assert_eq!(list, expected);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-zA-Z0-9:.-]{0,6}".prop_map(Into::into)
    ];
    let key = prop_oneof![
        Just("metadata".to_owned()),
        Just("spec".to_owned()),
        Just("containers".to_owned()),
        Just("labels".to_owned()),
        Just("creationTimestamp".to_owned()),
        Just("ports".to_owned()),
        "[a-z]{0,4}"
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        ]
    })
}

proptest! {
    #[test]
    fn no_body_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), number in 0u16..562) {
        let _ = decode(DefId(number), &bytes);
        let _ = Envelope::parse(&[MAGIC, &bytes].concat());
    }

    #[test]
    fn no_damaged_object_panics(at in 0usize..200, byte: u8) {
        let object = json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 1}]}], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1"}}]}, "metadata": {"name": "x", "creationTimestamp": "2024-05-01T10:00:00Z"}});
        let mut bytes = encode(id::CORE_V1_POD, &object);
        let length = bytes.len();
        if let Some(place) = bytes.get_mut(at % length) {
            *place = byte;
        }
        let _ = decode(id::CORE_V1_POD, &bytes);
    }

    #[test]
    fn no_value_panics_and_what_is_written_is_read(value in any_json(), number in 0u16..562) {
        let bytes = encode(DefId(number), &value);
        let _ = decode(DefId(number), &bytes);
    }
}

#[test]
fn the_frame_of_an_event_can_be_made_around_a_message_that_is_elsewhere() {
    for length in [0, 1, 127, 128, 20_000, 3 << 20] {
        let message = vec![7; length];
        let whole = watch_frame("ADDED", &wrap("apps/v1", "Deployment", &message));
        let head = watch_head("ADDED", "apps/v1", "Deployment", length);
        assert_eq!([head, message].concat(), whole, "{length}");
    }
}
