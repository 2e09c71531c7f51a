//! Upstream's scheduler and this one, on the same clusters: upstream's chooses a node that this one finds best, and refuses a
//! pod for the same reasons. `CORACLE_KUBE_SCHEDULER` is the path of upstream's `kube-scheduler`, 1.23 or newer;
//! `CORACLE_DIFFERENTIAL_ROUNDS` says how many clusters are made. One that is older than what is served here needs
//! `CORACLE_KUBE_SCHEDULER_ARGS`: 1.24 takes `--feature-gates=CSIStorageCapacity=false`; and `CORACLE_KUBE_SCHEDULER_IS_OLD`, since
//! before 1.27 the scores of topologies were cut and not rounded, so that there is no preferred spreading to compare; and before
//! 1.25 a domain was counted with the pods of its nodes that a node selector excludes, so that no pod has both that and a
//! constraint.
//! `CORACLE_DIFFERENTIAL_SEED` chooses one cluster.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coracle_scheduler::bench::Offline;
use coracle_testing::{Lacks, skip};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::cluster::{Cluster, until};

/// Pods that are tried on one cluster.
const PODS: usize = 60;

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Upstream's scheduler, which ends with the test.
struct Upstream(Child);

impl Upstream {
    async fn start(program: &std::ffi::OsStr, cluster: &Cluster) -> Upstream {
        let address = cluster.listen().await;
        let encode = |text: &str| STANDARD.encode(text);
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://{address}"),
                "certificate-authority-data": encode(&cluster.authority.certificate)}}],
            "users": [{"name": "u", "user": {"client-certificate-data": encode(&cluster.admin.certificate),
                "client-key-data": encode(&cluster.admin.key)}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        let dir = cluster.dir.path();
        std::fs::write(dir.join("kubeconfig"), kubeconfig.to_string()).expect("a file");
        let version = std::env::var("CORACLE_KUBE_SCHEDULER_CONFIG_VERSION").unwrap_or_else(|_| "v1beta3".into());
        let config = json!({"apiVersion": format!("kubescheduler.config.k8s.io/{version}"),
            "kind": "KubeSchedulerConfiguration", "leaderElection": {"leaderElect": false},
            "clientConnection": {"kubeconfig": dir.join("kubeconfig")}, "profiles": [{"schedulerName": "upstream"}]});
        std::fs::write(dir.join("config"), config.to_string()).expect("a file");
        let more = std::env::var("CORACLE_KUBE_SCHEDULER_ARGS").unwrap_or_default();
        let log = std::fs::File::create(dir.join("log")).expect("a file");
        let child = Command::new(program)
            .arg("--config")
            .arg(dir.join("config"))
            .arg("--secure-port=0")
            .args(more.split_whitespace())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Upstream(child.expect("upstream's scheduler starts"))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn node(random: &mut Random) -> Value {
    let mut node = json!({"metadata": {"labels": {"disk": random.of(&["ssd", "hdd"])}}, "spec": {"taints": []}});
    if !random.one_in(5) {
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] = random.of(&["a", "b", "c"]).into();
    }
    let mut taint = |odds: u64, key: &str, effect: &str| {
        if random.one_in(odds) {
            let taint = json!({"key": key, "value": "v", "effect": effect});
            node["spec"]["taints"].as_array_mut().expect("a list").push(taint);
        }
    };
    taint(5, "hard", "NoSchedule");
    taint(4, "soft", "PreferNoSchedule");
    if random.one_in(10) {
        node["spec"]["unschedulable"] = true.into();
    }
    // No images: up to 1.24 a node goes on counting the nodes with an image that there were when it was seen first.
    node
}

fn selector(random: &mut Random) -> Value {
    json!({"matchLabels": {"app": random.of(&["a", "b", "c"])}})
}

fn pod_term(random: &mut Random) -> Value {
    let key = random.of(&["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    json!({"labelSelector": selector(random), "topologyKey": key})
}

fn pod(random: &mut Random) -> Value {
    let requests =
        json!({"cpu": format!("{}m", 50 + random.below(8) * 100), "memory": format!("{}Mi", 32 + random.below(900))});
    let container = json!({"name": "c", "image": "i", "resources": {"requests": requests}});
    let mut spec = json!({"schedulerName": "upstream", "containers": [container], "terminationGracePeriodSeconds": 0});
    if random.one_in(6) {
        let port = 8000 + random.below(2);
        spec["containers"][0]["ports"] = json!([{"containerPort": port, "hostPort": port}]);
    }
    if random.one_in(3) {
        spec["tolerations"] = json!([{"key": random.of(&["hard", "soft"]), "operator": "Exists"}]);
    }
    if random.one_in(8) {
        spec["nodeSelector"] = json!({"disk": random.of(&["ssd", "hdd", "none"])});
    }
    let mut affinity = json!({});
    if random.one_in(3) {
        let expression = json!({"key": "disk", "operator": random.of(&["In", "NotIn"]), "values": ["ssd"]});
        let preference = json!({"weight": 1 + random.below(50), "preference": {"matchExpressions": [expression]}});
        affinity["nodeAffinity"] = json!({"preferredDuringSchedulingIgnoredDuringExecution": [preference]});
    }
    for (odds, kind) in [(6, "podAffinity"), (6, "podAntiAffinity")] {
        if random.one_in(odds) {
            affinity[kind]["requiredDuringSchedulingIgnoredDuringExecution"] = json!([pod_term(random)]);
        }
        if random.one_in(odds) {
            let term = json!({"weight": 1 + random.below(99), "podAffinityTerm": pod_term(random)});
            affinity[kind]["preferredDuringSchedulingIgnoredDuringExecution"] = json!([term]);
        }
    }
    spec["affinity"] = affinity;
    if random.one_in(3) {
        let kinds: &[&str] = if is_old() { &["DoNotSchedule"] } else { &["DoNotSchedule", "ScheduleAnyway"] };
        let constraints = (0..1 + random.below(2)).map(|number| {
            let key = ["kubernetes.io/hostname", "topology.kubernetes.io/zone"][number as usize];
            json!({"maxSkew": 1 + random.below(3), "topologyKey": key, "labelSelector": selector(random),
                "whenUnsatisfiable": random.of(kinds)})
        });
        let constraints: Value = constraints.collect();
        if !is_old() || spec.get("nodeSelector").is_none() {
            spec["topologySpreadConstraints"] = constraints;
        }
    }
    json!({"metadata": {"labels": {"app": random.of(&["a", "b", "c"])}}, "spec": spec})
}

fn is_old() -> bool {
    std::env::var_os("CORACLE_KUBE_SCHEDULER_IS_OLD").is_some()
}

/// What is said of the nodes, without what is said of preemption, as one version says it.
fn reasons(message: &str) -> Vec<String> {
    let nodes = message.split(" preemption: ").next().unwrap_or_default().trim_end_matches('.');
    let (_, nodes) = nodes.split_once("available: ").unwrap_or_default();
    // Older ones name the taints: what each is counted for becomes one count.
    let mut tainted = 0;
    let mut reasons: Vec<String> = Vec::new();
    for reason in nodes.split(", ").filter(|reason| *reason != "that the pod didn't tolerate") {
        match reason.split_once(" node(s) had ") {
            Some((count, taint)) if taint.contains("taint") => tainted += count.parse::<usize>().unwrap_or(0),
            _ => reasons.push(reason.to_owned()),
        }
    }
    reasons.push(format!("{tainted} tainted"));
    reasons.sort();
    reasons
}

/// What became of a pod: its node, or why it has none.
async fn outcome(cluster: &Cluster, name: &str) -> Result<String, String> {
    until(&format!("upstream's decision about {name}"), || async {
        let pod = cluster.pods().get(name).await.ok()?;
        if let Some(node) = pod.spec?.node_name.filter(|node| !node.is_empty()) {
            return Some(Ok(node));
        }
        let conditions = pod.status?.conditions?;
        let scheduled = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled")?;
        scheduled.message.filter(|_| scheduled.status == "False").map(Err)
    })
    .await
}

async fn compare(program: &std::ffi::OsStr, seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    let cluster = Cluster::bare().await;
    let mut nodes = Vec::new();
    for number in 0..6 + random.below(14) {
        let cpu = (1 + random.below(8)).to_string();
        nodes.push(cluster.node(&format!("n{number}"), &cpu, node(&mut random)).await);
    }
    let mut ours = Offline::new(&nodes).expect("a scheduler");
    if !is_old() {
        let service = json!({"metadata": {"name": "a"}, "spec": {"selector": {"app": "a"}, "ports": [{"port": 1}]}});
        let service = cluster.post("/api/v1/namespaces/default/services", &service).await;
        ours.service(&serde_json::from_value(service).expect("a service"));
    }
    let _upstream = Upstream::start(program, &cluster).await;
    let mut differences = Vec::new();
    let mut placed: Vec<Pod> = Vec::new();
    for number in 0..PODS {
        if !placed.is_empty() && random.one_in(8) {
            let gone = placed.swap_remove(random.below(placed.len() as u64) as usize);
            ours.remove(gone.metadata.uid.as_deref().unwrap_or_default());
            cluster.bury(gone.metadata.name.as_deref().unwrap_or_default()).await;
            // Upstream hears of pods with and without a node by two ways, of which one may be faster.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let name = format!("p{number}");
        let made = cluster.pod(&name, "1m", pod(&mut random)).await;
        let theirs = outcome(&cluster, &name).await;
        if std::env::var_os("CORACLE_DIFFERENTIAL_TELLS").is_some() {
            eprintln!("seed {seed}, {name}: {theirs:?}");
        }
        let mut asked = made.clone();
        asked.spec.as_mut().expect("a spec").scheduler_name = None;
        let mine = ours.evaluate(asked);
        let same = match (&theirs, &mine) {
            (Ok(node), Ok(best)) => best.contains(node),
            (Err(theirs), Err(mine)) => reasons(theirs) == reasons(mine),
            _ => false,
        };
        if !same {
            let spec = serde_json::to_string(&made.spec).unwrap_or_default();
            differences.push(format!("seed {seed}, {name}: upstream {theirs:?}, here {mine:?}, for {spec}"));
        }
        match theirs {
            Ok(_) => {
                let bound = cluster.pods().get(&name).await.expect("a pod");
                ours.add(bound.clone());
                placed.push(bound);
            }
            Err(_) => drop(cluster.pods().delete(&name, &DeleteParams::default()).await),
        }
    }
    differences
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_scheduler_chooses_what_this_one_finds_best() {
    let Some(program) = std::env::var_os("CORACLE_KUBE_SCHEDULER") else {
        return skip(Lacks::Tool("CORACLE_KUBE_SCHEDULER does not name upstream's kube-scheduler"));
    };
    let rounds = std::env::var("CORACLE_DIFFERENTIAL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let mut differences = Vec::new();
    let seed = std::env::var("CORACLE_DIFFERENTIAL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = (0..rounds).map(|round| 0x9e37_79b9_7f4a_7c15 ^ (round + 1));
    for seed in seed.map_or_else(|| seeds.collect(), |seed| vec![seed]) {
        differences.extend(compare(&program, seed).await);
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
