//! What policies of administrators do to packets besides the matrix: on the way to the node itself, and to what is under way.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::super::objects::Labels;
use super::super::policy::PolicyKey;
use super::packets::{Echo, Scene, in_scene, pod};
use super::*;

fn admin(name: &str, spec: &Value) -> (PolicyKey, Option<Policy>) {
    (PolicyKey::Admin(name.to_owned()), Some(Spec::deserialize(spec).unwrap().admin(name)))
}

fn baseline(spec: &Value) -> (PolicyKey, Option<Policy>) {
    (PolicyKey::Baseline, Some(Spec::deserialize(spec).unwrap().baseline()))
}

impl Scene {
    fn set(&mut self, policy: (PolicyKey, Option<Policy>)) {
        self.state.set_policy(&policy.0, policy.1);
        self.commit();
    }

    /// Pods of these names, in the namespace `a`.
    fn with_pods(&mut self, names: &[&str]) {
        self.state.set_namespace("a", Some(Labels::new()));
        for (name, address) in names.iter().zip(self.addresses.clone()) {
            let (key, seen) = pod("a", name, address);
            self.state.set_pod(&key, seen);
        }
        self.commit();
    }
}

#[test]
fn a_pod_is_kept_from_its_own_node_but_not_from_names() {
    in_scene(|mut scene| {
        let node: IpAddr = match scene.family {
            Family::V4 => "10.244.0.1",
            Family::V6 => "fd00:10:244::1",
        }
        .parse()
        .unwrap();
        scene.state = State::new(&[scene.family], Some(node));
        scene.state.knows_pods(true);
        scene.with_pods(&["client"]);
        [53, 80].into_iter().for_each(Echo::server);
        let client = scene.addresses[0];
        scene.pods[0].run(|| Echo::server(80));
        let open = |scene: &Scene, port| scene.pods[0].run(|| Echo::open(node, port));
        let (mut names, mut other) = (open(&scene, 53).unwrap(), open(&scene, 80).unwrap());
        assert!(names.answers() && other.answers());
        let mut probe = Echo::open(client, 80).unwrap();
        let networks = json!({"networks": ["0.0.0.0/0", "::/0"]});
        let deny =
            json!({"priority": 1, "subject": {"namespaces": {}}, "egress": [{"action": "Deny", "to": [networks]}]});
        scene.set(admin("deny", &deny));
        assert!(!other.answers() && open(&scene, 80).is_none());
        assert!(names.answers() && open(&scene, 53).is_some(), "the cluster's names");
        assert!(probe.answers() && Echo::open(client, 80).is_some(), "the node reaches its pods");
        let pass = json!([{"action": "Pass", "to": [{"networks": [IpNet::from(node)]}]}]);
        let pass = json!({"priority": 0, "subject": {"namespaces": {}}, "egress": pass});
        scene.set(admin("pass", &pass));
        assert!(open(&scene, 80).is_some(), "nothing is behind the policies of administrators");
        scene.set(baseline(&deny));
        assert!(open(&scene, 80).is_none(), "but the baseline");
        let all = json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
        let network = PolicyKey::Network(ObjectKey::new("a", "p"));
        scene.set((network, Some(Policy::read(&serde_json::from_value(all).unwrap()))));
        assert!(open(&scene, 80).is_some(), "network policies come before it, and say nothing about the node");
    });
}

#[test]
fn connections_end_when_an_administrator_comes_to_forbid_them() {
    in_scene(|mut scene| {
        scene.with_pods(&["client", "server"]);
        let server = scene.addresses[1];
        scene.pods[1].run(|| Echo::server(80));
        let open = |scene: &Scene| scene.pods[0].run(|| Echo::open(server, 80));
        let to_foes = json!([{"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"foe": "yes"}}}}]);
        let spec = json!({"priority": 9, "subject": {"namespaces": {}}, "egress": [{"action": "Deny", "to": to_foes}]});
        scene.set(admin("p", &spec));
        let mut connection = open(&scene).unwrap();
        let (key, seen) = pod("a", "server", server);
        let mut foe = seen.clone().unwrap();
        foe.labels.insert("foe".into(), "yes".into());
        scene.state.set_pod(&key, Some(foe));
        scene.commit();
        assert!(!connection.answers() && open(&scene).is_none(), "who joins those that are forbidden");
        scene.state.set_pod(&key, seen);
        scene.commit();
        let mut connection = open(&scene).unwrap();
        let labels = [("kubernetes.io/metadata.name".to_owned(), "a".to_owned())];
        let of_namespace = json!({"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}});
        let deny = json!([{"action": "Deny", "from": [{"namespaces": {}}]}]);
        scene.set(admin("q", &json!({"priority": 9, "subject": of_namespace, "ingress": deny})));
        assert!(connection.answers(), "the namespace has no such label");
        scene.state.set_namespace("a", Some(labels.into()));
        scene.commit();
        assert!(!connection.answers() && open(&scene).is_none(), "now it is one that the policy is about");
        scene.state.set_namespace("a", Some(Labels::new()));
        scene.commit();
        assert!(open(&scene).is_some());
    });
}

#[test]
fn a_rule_of_many_peers_and_ports_passes_and_the_rules_behind_it_are_not_asked() {
    in_scene(|mut scene| {
        scene.with_pods(&["client", "server"]);
        let server = scene.addresses[1];
        scene.pods[1].run(|| [80, 81, 90].into_iter().for_each(Echo::server));
        let reached = |scene: &Scene, port| scene.pods[0].run(|| Echo::open(server, port)).is_some();
        let named =
            |name: String| json!({"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"name": name}}}});
        let peers: Vec<Value> = (0..20).map(|n| format!("s{n}")).chain(["server".to_owned()]).map(named).collect();
        let ports = |last: u16| {
            json!([{"portNumber": {"port": last}}, {"portNumber": {"protocol": "UDP", "port": last}},
            {"portNumber": {"protocol": "SCTP", "port": last}}])
        };
        let rule = |action: &str, port: u16| json!({"action": action, "to": peers, "ports": ports(port)});
        let everything = json!({"action": "Deny", "to": [{"namespaces": {}}]});
        let egress = json!([rule("Pass", 80), rule("Pass", 81), everything]);
        scene.set(admin("wide", &json!({"priority": 1, "subject": {"namespaces": {}}, "egress": egress})));
        let deny = json!([{"action": "Deny", "to": [{"namespaces": {}}]}]);
        scene.set(admin("late", &json!({"priority": 2, "subject": {"namespaces": {}}, "egress": deny})));
        assert_eq!([80, 81, 90].map(|port| reached(&scene, port)), [true, true, false]);
        let except = json!([rule("Allow", 81), everything]);
        scene.set(baseline(&json!({"subject": {"namespaces": {}}, "egress": except})));
        assert_eq!([80, 81, 90].map(|port| reached(&scene, port)), [false, true, false]);
        for key in [PolicyKey::Admin("wide".into()), PolicyKey::Admin("late".into()), PolicyKey::Baseline] {
            scene.set((key, None));
        }
        assert!(reached(&scene, 90));
    });
}
