//! Upstream's kube-state-metrics, unchanged and with its own manifests for who it is: all that it tells of is there to read.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use coracle_e2e::*;

use crate::program::{Language, Running, build, directory_of};

const MODULE: &str = "k8s.io/kube-state-metrics/v2";

/// One of each kind that is not there anyhow.
const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
---
apiVersion: v1
kind: Secret
metadata: {name: a}
stringData: {k: v}
---
apiVersion: v1
kind: LimitRange
metadata: {name: a}
spec: {limits: [{type: Pod, max: {cpu: "8"}}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: a}
spec: {hard: {configmaps: "100"}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: a}
spec: {replicas: 0, selector: {app: rc}, template: {metadata: {labels: {app: rc}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {replicas: 1, selector: {matchLabels: {app: d}}, template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 1m, memory: 1Mi}, requests: {cpu: 1m}}}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: a}
spec: {replicas: 0, selector: {matchLabels: {app: s}}, serviceName: a, template: {metadata: {labels: {app: s}}, spec: {containers: [{name: c, image: i}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: a}
spec: {selector: {matchLabels: {app: ds}}, template: {metadata: {labels: {app: ds}}, spec: {nodeSelector: {none: such}, containers: [{name: c, image: i}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: a}
spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: a}
spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: a}
spec: {maxReplicas: 3, minReplicas: 1, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 90}}}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: a}
spec: {minAvailable: 1, selector: {matchLabels: {app: d}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: a}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a}
spec: {rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{}]}
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: d}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: b}
subsets: [{addresses: [{ip: 192.0.2.1}], ports: [{port: 80}]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: a}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}
subjects: [{kind: User, name: u, apiGroup: rbac.authorization.k8s.io}]
"#;

/// All resources that it may tell of; some it tells of only when it is asked to.
const RESOURCES: &str = "certificatesigningrequests,clusterroles,configmaps,clusterrolebindings,cronjobs,daemonsets,\
    deployments,endpoints,endpointslices,horizontalpodautoscalers,ingresses,ingressclasses,jobs,\
    leases,limitranges,mutatingwebhookconfigurations,namespaces,networkpolicies,nodes,\
    persistentvolumeclaims,persistentvolumes,poddisruptionbudgets,pods,replicasets,\
    replicationcontrollers,resourcequotas,roles,rolebindings,secrets,serviceaccounts,services,\
    statefulsets,storageclasses,validatingwebhookconfigurations,volumeattachments";

/// A name of each kind that it tells of, with something of what the sample must say.
const SAMPLES: [(&str, &str); 29] = [
    ("kube_certificatesigningrequest_created", ""),
    ("kube_clusterrole_info", "clusterrole=\"cluster-admin\""),
    ("kube_clusterrolebinding_info", "clusterrolebinding=\"cluster-admin\""),
    ("kube_configmap_info", "configmap=\"a\""),
    ("kube_cronjob_info", "cronjob=\"a\""),
    ("kube_daemonset_created", "daemonset=\"a\""),
    ("kube_deployment_spec_replicas", "deployment=\"a\""),
    ("kube_endpoint_info", "endpoint=\"b\""),
    ("kube_endpointslice_info", ""),
    ("kube_horizontalpodautoscaler_spec_max_replicas", "horizontalpodautoscaler=\"a\""),
    ("kube_ingress_info", "ingress=\"a\""),
    ("kube_job_info", "job_name=\"a\""),
    ("kube_lease_owner", ""),
    ("kube_limitrange", "limitrange=\"a\""),
    ("kube_namespace_status_phase", "phase=\"Active\""),
    ("kube_networkpolicy_created", "networkpolicy=\"a\""),
    ("kube_node_info", "kubelet_version=\"v1.35"),
    ("kube_persistentvolumeclaim_info", "persistentvolumeclaim=\"a\""),
    ("kube_pod_info", "created_by_kind=\"ReplicaSet\""),
    ("kube_poddisruptionbudget_status_expected_pods", "poddisruptionbudget=\"a\""),
    ("kube_replicaset_owner", "owner_name=\"a\""),
    ("kube_replicationcontroller_spec_replicas", "replicationcontroller=\"a\""),
    ("kube_resourcequota", "resource=\"configmaps\""),
    ("kube_role_info", "role=\"a\""),
    ("kube_rolebinding_info", "rolebinding=\"a\""),
    ("kube_secret_info", "secret=\"a\""),
    ("kube_service_info", "service=\"a\""),
    ("kube_statefulset_replicas", "statefulset=\"a\""),
    ("kube_storageclass_info", "provisioner="),
];

#[test]
fn kube_state_metrics_tells_of_all_kinds_and_complains_of_none() {
    let cluster = cluster!();
    let Some(program) = build("kube-state-metrics", Language::Go(MODULE)) else { return };
    let Some(module) = directory_of("kube-state-metrics", MODULE) else { return };
    let namespace = cluster.namespace("state");
    let kubectl = kubectl!(cluster, namespace);
    let manifests = module.join("examples/standard");
    for file in ["service-account", "cluster-role", "cluster-role-binding"] {
        kubectl.ok(&format!("apply -n kube-system -f {}", manifests.join(file).with_extension("yaml").display()));
    }
    let ran = kubectl.with_input(OBJECTS, &["apply", "-f", "-"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let token = kubectl.ok("create token kube-state-metrics -n kube-system --duration=1h");
    let config = kubeconfig(cluster, token.trim());
    let (port, own) = (free_port(), free_port());
    let log = cluster.directory().join("kube-state-metrics.log");
    let mut command = Command::new(&program);
    command.arg(format!("--kubeconfig={}", config.display()));
    command.arg(format!("--resources={RESOURCES}"));
    command.args(["--host=127.0.0.1", "--telemetry-host=127.0.0.1"]);
    command.args([format!("--port={port}"), format!("--telemetry-port={own}")]);
    let state = Running::start(command, log);
    let mut page = String::new();
    eventually("it tells of all kinds", || {
        page = get(port, "/metrics").unwrap_or_default();
        let lacks = |(name, what): &&(&str, &str)| {
            let begins = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            !page.lines().any(|line| begins(line) && line.contains(what))
        };
        match SAMPLES.iter().filter(lacks).collect::<Vec<_>>() {
            missing if missing.is_empty() => Ok(()),
            missing => Err(format!("{missing:?}\n{}", state.output())),
        }
    });
    let failed = get(own, "/metrics").unwrap_or_default();
    let failed = failed.lines().filter(|line| line.contains("result=\"error\"") && !line.ends_with(" 0"));
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(complaints(&state.output()), Vec::<String>::new());
}

/// Errors and warnings among what klog wrote. That it uses no configuration of a cluster is no matter of ours.
fn complaints(log: &str) -> Vec<String> {
    let is_one =
        |line: &&str| line.starts_with(['E', 'W', 'F']) && line.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    log.lines().filter(is_one).filter(|line| !line.contains("inClusterConfig")).map(str::to_owned).collect()
}

/// How it reaches the cluster, by a token.
fn kubeconfig(cluster: &Cluster, token: &str) -> PathBuf {
    let remote = cluster.remote();
    let path = cluster.directory().join("state.kubeconfig");
    let authority = cluster.directory().join("state.crt");
    std::fs::write(&authority, &remote.ca_pem).expect("a file");
    let config = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": remote.server, "certificate-authority": authority}}],
        "users": [{"name": "c", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
    std::fs::write(&path, config.to_string()).expect("a file");
    path
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// What is answered by plain HTTP.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}
