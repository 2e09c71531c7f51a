//! Our agent as a node of upstream's API server. `CORACLE_KUBE_APISERVER` and `CORACLE_KUBE_CONTROLLER_MANAGER` name upstream's.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use coracle_client::Remote;
use coracle_e2e::*;
use coracle_pki::{Authority, BootstrapToken, public_key_hash};
use serde_json::{Value, json};

use super::{has_tools, program, write};
use crate::machine::{Daemon, Machine};

/// Processes of a machine, which end with this.
struct Programs<'a> {
    machine: &'a Machine,
    dir: &'a Path,
    running: Vec<Child>,
}

impl Programs<'_> {
    fn start(&mut self, name: &str, program: &std::ffi::OsStr, arguments: &[String]) {
        let log = File::create(self.dir.join(format!("{name}.log"))).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running.push(self.machine.enter(&mut command).spawn().unwrap());
    }

    /// The ends of their logs.
    fn logs(&self) -> String {
        let end = |name: &str| {
            let text = fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(10)..].join("\n")
        };
        ["etcd", "apiserver", "controllers"].map(end).join("\n")
    }
}

impl Drop for Programs<'_> {
    fn drop(&mut self) {
        for process in self.running.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// What kubeadm writes so that nodes join, and what docs/nodes.md says that ours need beyond that.
fn let_nodes_join(api: &Api, server: &str, authority: &str, token: &BootstrapToken) {
    use base64::Engine as _;
    let authority = base64::engine::general_purpose::STANDARD.encode(authority);
    let (id, secret) =
        token.to_string().split_once('.').map(|(id, secret)| (id.to_owned(), secret.to_owned())).unwrap();
    let group = "system:bootstrappers:kubeadm:default-node-token";
    let data = json!({
        "token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true", "auth-extra-groups": group,
    });
    let object =
        json!({"metadata": {"name": token.secret_name()}, "type": "bootstrap.kubernetes.io/token", "stringData": data});
    api.post("/api/v1/namespaces/kube-system/secrets", &object).ok();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "", "cluster": {"server": server, "certificate-authority-data": authority}}],
    });
    let map = json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": kubeconfig.to_string()}});
    api.post("/api/v1/namespaces/kube-public/configmaps", &map).ok();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let rule =
        json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"], "verbs": ["get"]});
    api.post(&format!("{rbac}/namespaces/kube-public/roles"), &json!({"metadata": {"name": "info"}, "rules": [rule]}))
        .ok();
    let of = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let everybody = json!({"metadata": {"name": "info"}, "roleRef": of("Role", "info"), "subjects": [of("User", "system:anonymous")]});
    api.post(&format!("{rbac}/namespaces/kube-public/rolebindings"), &everybody).ok();
    let requests = "system:certificates.k8s.io:certificatesigningrequests";
    let rule = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]});
    let rules = [
        rule("", &["pods", "namespaces", "nodes"]),
        rule("networking.k8s.io", &["networkpolicies"]),
        rule("policy.networking.k8s.io", &["adminnetworkpolicies", "baselineadminnetworkpolicies"]),
        rule("apiextensions.k8s.io", &["customresourcedefinitions"]),
    ];
    let role = json!({"metadata": {"name": "network-policy-of-nodes"}, "rules": rules});
    api.post(&format!("{rbac}/clusterroles"), &role).ok();
    for (name, role, group) in [
        ("network-policy-of-nodes", "network-policy-of-nodes", "system:nodes"),
        ("a", "system:node-bootstrapper", group),
        ("b", &*format!("{requests}:nodeclient"), group),
        ("c", &*format!("{requests}:selfnodeclient"), "system:nodes"),
        ("system:node-proxier-of-nodes", "system:node-proxier", "system:nodes"),
    ] {
        let object =
            json!({"metadata": {"name": name}, "roleRef": of("ClusterRole", role), "subjects": [of("Group", group)]});
        api.post(&format!("{rbac}/clusterrolebindings"), &object).ok();
    }
}

/// Nobody approves what nodes ask for their servers, but an administrator.
fn approve(api: &Api) {
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let requests = api.get(path).ok();
    for request in requests["items"].as_array().into_iter().flatten() {
        if request["spec"]["signerName"] == "kubernetes.io/kubelet-serving" && request["status"]["conditions"].is_null()
        {
            let mut approved = request.clone();
            approved["apiVersion"] = json!("certificates.k8s.io/v1");
            approved["kind"] = json!("CertificateSigningRequest");
            approved["status"]["conditions"] =
                json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "of a test"}]);
            api.put(&format!("{path}/{}/approval", request["metadata"]["name"].as_str().unwrap()), &approved).ok();
        }
    }
}

#[test]
fn our_agent_joins_upstreams_api_server_and_runs_pods() {
    if !can_run() {
        return;
    }
    let Some(server) = program("CORACLE_KUBE_APISERVER") else { return };
    let Some(controllers) = program("CORACLE_KUBE_CONTROLLER_MANAGER") else { return };
    if !has_tools(&[("etcd", "--version")]) {
        return;
    }
    let (router, one, two) = (Machine::router(&[1]), Machine::new(), Machine::new());
    let (address, other) = (router.connect(&one, 1, 2), router.connect(&two, 1, 3).to_string());
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    let authority = Authority::open(&pki).unwrap();
    let names = ["kubernetes", "kubernetes.default.svc"].map(str::to_owned);
    let addresses: [IpAddr; 2] = [address.into(), Ipv4Addr::new(10, 96, 0, 1).into()];
    authority.server("kube-apiserver", &[], &names, &addresses).unwrap().save(&pki, "server").unwrap();
    authority.service_account_key().unwrap();
    let admin = authority.client("admin", "kubernetes-admin", &["system:masters"]).unwrap();
    authority.client("kubelets", "kube-apiserver-kubelet-client", &["system:masters"]).unwrap();
    let url = format!("https://{address}:6443");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": pki.join("ca.crt")}}],
        "users": [{"name": "u", "user": {"client-certificate": pki.join("admin.crt"), "client-key": pki.join("admin.key")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    write(dir.path().join("kubeconfig"), &kubeconfig.to_string());
    let at = dir.path().display();

    let mut programs = Programs { machine: &one, dir: dir.path(), running: Vec::new() };
    let peers = format!("http://{address}:2380");
    let etcd = format!(
        "--data-dir {at}/etcd --listen-client-urls http://{address}:2379 --advertise-client-urls http://{address}:2379 \
         --listen-peer-urls {peers} --initial-advertise-peer-urls {peers} --initial-cluster default={peers}"
    );
    programs.start("etcd", "etcd".as_ref(), &words(&etcd));
    let of_server = format!(
        "--etcd-servers http://{address}:2379 --advertise-address {address} --secure-port 6443 --allow-privileged \
         --client-ca-file {at}/pki/ca.crt --tls-cert-file {at}/pki/server.crt --tls-private-key-file {at}/pki/server.key \
         --service-account-issuer https://kubernetes.default.svc --service-account-key-file {at}/pki/sa.crt \
         --service-account-signing-key-file {at}/pki/sa.key --service-cluster-ip-range 10.96.0.0/16 \
         --enable-bootstrap-token-auth --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
         --kubelet-client-certificate {at}/pki/kubelets.crt --kubelet-client-key {at}/pki/kubelets.key \
         --kubelet-certificate-authority {at}/pki/ca.crt --kubelet-preferred-address-types InternalIP --cert-dir {at}/made"
    );
    programs.start("apiserver", &server, &words(&of_server));
    let remote = Remote {
        server: url.clone(),
        ca_pem: authority.certificate.clone().into_bytes(),
        client_cert_pem: Some(admin.certificate.into_bytes()),
        client_key_pem: Some(admin.key.into_bytes()),
        ..Remote::default()
    };
    let api = Api::new(&remote);
    let get = |path: &str| {
        let request = http::Request::get(path).header("accept", "application/json").body(Vec::new()).unwrap();
        one.in_network(|| api.try_send(request))
    };
    eventually("upstream's server is ready", || match get("/readyz") {
        Some(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}\n{}", programs.logs())),
    });
    let of_controllers = format!(
        "--kubeconfig {at}/kubeconfig --controllers *,bootstrapsigner,tokencleaner --allocate-node-cidrs \
         --cluster-cidr 10.244.0.0/16 --cluster-signing-cert-file {at}/pki/ca.crt --cluster-signing-key-file {at}/pki/ca.key \
         --root-ca-file {at}/pki/ca.crt --service-account-private-key-file {at}/pki/sa.key --use-service-account-credentials \
         --cert-dir {at}/made"
    );
    programs.start("controllers", &controllers, &words(&of_controllers));
    let token = BootstrapToken::generate().unwrap();
    one.in_network(|| let_nodes_join(&api, &url, &authority.certificate, &token));
    eventually("the token is signed with", || match get("/api/v1/namespaces/kube-public/configmaps/cluster-info") {
        Some(answer) if answer.text.contains("jws-kubeconfig-") => Ok(()),
        other => Err(format!("{other:?}\n{}", programs.logs())),
    });
    let hash = public_key_hash(&authority.certificate).unwrap();
    let token = token.to_string();
    let join = [
        "--server",
        &url,
        "--token",
        &token,
        "--discovery-token-ca-cert-hash",
        &hash,
        "--node-name",
        "two",
        "--node-ip",
        &other,
    ];
    let agent = Daemon::start(&two, "tojoin", "agent", &join);
    one.in_network(|| {
        eventually("the node is Ready", || {
            approve(&api);
            let node = api.get("/api/v1/nodes/two");
            let is_ready = node.text.contains("kubelet is posting ready status");
            if is_ready {
                Ok(())
            } else {
                Err(format!(
                    "{}\n{}\n{}\n{}",
                    node.text,
                    api.get("/apis/certificates.k8s.io/v1/certificatesigningrequests").text,
                    agent.log(),
                    programs.logs()
                ))
            }
        });
    });
    let archive = dir.path().join("image.tar");
    write_archive(&built("coracle-test-image"), &["test:1"], &archive).unwrap();
    agent.ok("image load", &[&archive.to_string_lossy()]);
    one.in_network(|| {
        let create = |path: &str, object: &Value| {
            eventually("it is created", || {
                let answer = api.post(path, object);
                // The account that pods have comes with the namespace.
                if answer.status == 201 { Ok(()) } else { Err(answer.text) }
            });
        };
        let pods = "/api/v1/namespaces/default/pods";
        let mut serves = pod("serves", &["serve", "--port", "8080", "--body", "hello"]);
        serves["spec"]["nodeName"] = json!("two");
        serves["metadata"]["labels"] = json!({"app": "serves"});
        create(pods, &serves);
        let ports = json!([{"port": 80, "targetPort": 8080}]);
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "serves"}, "ports": ports}});
        create("/api/v1/namespaces/default/services", &service);
        let mut asks = pod("asks", &["sh", "-c", "wget http://web.default.svc.cluster.local/"]);
        asks["spec"]["nodeName"] = json!("two");
        asks["spec"]["restartPolicy"] = json!("OnFailure");
        create(pods, &asks);
        eventually("a pod reaches the service by its name", || {
            let pod = api.get(&format!("{pods}/asks")).ok();
            let log = api.get(&format!("{pods}/asks/log"));
            match pod["status"]["phase"] == "Succeeded" && log.text.trim() == "hello" {
                true => Ok(()),
                false => Err(format!("{}\n{}\n{}\n{}", pod["status"], log.text, agent.log(), programs.logs())),
            }
        });
        api.delete(&format!("{pods}/serves"), &json!({})).ok();
        eventually("the pod is gone", || {
            let answer = api.get(&format!("{pods}/serves"));
            if answer.status == 404 { Ok(()) } else { Err(answer.text) }
        });
    });
}
