use super::*;
use crate::testing::plugin_folder;
use coracle_testing::until_so;
use serde_json::Value;
use std::fs::{self, File};
use tempfile::TempDir;

/// Says what it is asked to a file, and does what files beside that say.
const SCRIPT: &str = r#"
D=DIR
REQUEST=$(cat)
if [ -n "$CNI_NETNS" ]; then NETNS='"here"'; else NETNS='"gone"'; fi
echo "{\"plugin\": \"$0\", \"verb\": \"$CNI_COMMAND\", \"id\": \"$CNI_CONTAINERID\", \"netns\": $NETNS, \"args\": \"$CNI_ARGS\", \"request\": $REQUEST}" >> $D/log
if [ -e "$D/refuse-$CNI_COMMAND-$(basename $0)" ]; then echo '{"code": 11, "msg": "not now"}'; exit 1; fi
if [ "$CNI_COMMAND" = ADD ]; then echo '{"ips": [{"address": "10.9.0.5/24"}], "dns": {"domain": "'$(basename $0)'"}}'; fi
"#;
const LIST: &str = r#"{"cniVersion": "VERSION", "name": "net", "plugins": [
    {"type": "one", "key": [1]}, {"type": "two", "capabilities": {"portMappings": true, "dns": false}}]}"#;

struct Scene {
    dir: TempDir,
    plugins: TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.dir.path().join("state")).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "netns") {
                let _ = netns::unbind(&entry.path());
            }
        }
    }
}

impl Scene {
    fn new(version: &str) -> Option<Scene> {
        if !coracle_testing::is_root() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let script = SCRIPT.replace("DIR", &dir.path().display().to_string());
        let scene = Scene { dir, plugins: plugin_folder(&[("one", &script), ("two", &script)]) };
        fs::create_dir(scene.dir.path().join("conf")).unwrap();
        scene.configure(&LIST.replace("VERSION", version));
        Some(scene)
    }

    fn configure(&self, text: &str) {
        let file = self.dir.path().join("conf/10-net.conflist");
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), file).unwrap();
    }

    fn open(&self) -> Arc<Cni> {
        let config = CniConfig {
            conf_dir: self.dir.path().join("conf"),
            bin_dirs: vec!["/nowhere".into(), self.plugins.path().into()],
            state: self.dir.path().join("state"),
        };
        Cni::open(config).unwrap()
    }

    /// One that follows its folder, and can connect pods.
    async fn ready(&self) -> Arc<Cni> {
        let cni = self.open();
        tokio::spawn(cni.clone().follow());
        cni.not_ready().wait_for(Option::is_none).await.unwrap();
        cni
    }

    fn refuse(&self, what: &str, refuse: bool) {
        let file = self.dir.path().join(format!("refuse-{what}"));
        if refuse { fs::write(file, "").unwrap() } else { fs::remove_file(file).unwrap() }
    }

    /// What plugins were asked so far, about pods or not.
    fn asked(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// The same in short, since that is forgotten.
    fn calls(&self) -> Vec<String> {
        let short = |call: &Value| {
            let plugin = call["plugin"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            format!("{} {plugin} {}", call["verb"].as_str().unwrap(), call["id"].as_str().unwrap())
        };
        let calls = self.asked().iter().map(short).collect();
        let _ = fs::remove_file(self.dir.path().join("log"));
        calls
    }

    /// Nothing is left of any pod.
    fn is_clean(&self) -> bool {
        fs::read_dir(self.dir.path().join("state")).unwrap().next().is_none()
    }
}

fn pod(name: &str) -> Pod {
    let port =
        capabilities::HostPort { protocol: "TCP".into(), container_port: 80, host_port: 8080, host_ip: String::new() };
    Pod { name: name.into(), namespace: "default".into(), uid: "u".into(), host_ports: vec![port], ..Pod::default() }
}

async fn add(cni: &Arc<Cni>, sandbox: &str) -> Result<Added> {
    let netns = File::open("/proc/self/ns/net").unwrap().into();
    cni.add(sandbox, pod(sandbox), Vec::new(), netns).await
}

#[tokio::test]
async fn a_pod_is_connected_by_all_plugins_in_order_and_disconnected_in_the_other() {
    let Some(scene) = Scene::new("1.0.0") else { return };
    let cni = scene.ready().await;
    let added = add(&cni, "a").await.unwrap();
    let addresses: Vec<IpAddr> = vec!["10.9.0.5".parse().unwrap()];
    assert_eq!(added, Added { addresses: addresses.clone(), lacks_host_ports: false, lacks_bandwidth: false });
    let asked = scene.asked();
    let result = |by: &str| json!({"cniVersion": "1.0.0", "ips": [{"address": "10.9.0.5/24"}], "dns": {"domain": by}});
    assert_eq!(asked[0]["request"], json!({"cniVersion": "1.0.0", "name": "net", "type": "one", "key": [1]}));
    let ports = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}]);
    assert_eq!(
        asked[1]["request"],
        json!({"cniVersion": "1.0.0", "name": "net", "type": "two", "runtimeConfig": {"portMappings": ports},
            "prevResult": result("one")})
    );
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a;K8S_POD_INFRA_CONTAINER_ID=a;K8S_POD_UID=u";
    assert_eq!((asked[0]["args"].as_str(), asked[0]["netns"].as_str()), (Some(args), Some("here")));
    assert_eq!(add(&cni, "a").await.unwrap(), added, "again");
    assert_eq!(scene.calls(), ["ADD one a", "ADD two a"]);

    // The folder has another chain by now.
    scene.configure(r#"{"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "one"}]}"#);
    until_so("the other chain counts", async || cni.network.borrow().as_ref().is_some_and(|now| now.name == "other"))
        .await;
    assert_eq!(cni.del("a").await.unwrap(), addresses);
    let asked = scene.asked();
    assert!(asked.iter().all(|call| call["request"]["prevResult"] == result("two") && call["netns"] == "here"));
    assert_eq!(asked[1]["request"]["name"], "net");
    assert_eq!(scene.calls(), ["DEL two a", "DEL one a"]);
    assert!(scene.is_clean());
    assert!(cni.del("a").await.unwrap().is_empty() && cni.del("never").await.unwrap().is_empty());
    assert!(scene.calls().is_empty());
}

#[tokio::test]
async fn what_nobody_of_the_chain_does_is_told() {
    let Some(scene) = Scene::new("1.0.0") else { return };
    scene.configure(r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "one"}]}"#);
    let cni = scene.ready().await;
    let mut limited = pod("a");
    limited.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "1M".into());
    let netns = || File::open("/proc/self/ns/net").unwrap().into();
    let added = cni.add("a", limited.clone(), Vec::new(), netns()).await.unwrap();
    assert!(added.lacks_host_ports && added.lacks_bandwidth);
    cni.del("a").await.unwrap();
    limited.annotations.insert("kubernetes.io/ingress-bandwidth".into(), "1".into());
    let told = cni.add("b", limited, Vec::new(), netns()).await.unwrap_err().to_string();
    assert!(told.contains("unreasonably small"), "{told}");
    assert!(scene.is_clean());
}

#[tokio::test]
async fn a_pod_whose_plugin_refuses_is_taken_back_until_that_succeeds() {
    let Some(scene) = Scene::new("0.3.1") else { return };
    let cni = scene.ready().await;
    cni.retain(&[]);
    scene.refuse("ADD-two", true);
    scene.refuse("DEL-one", true);
    let told = add(&cni, "a").await.unwrap_err().to_string();
    assert_eq!(told, "plugin type=\"two\" failed (add): not now (code 11: try again later)");
    assert!(cni.del("a").await.unwrap().is_empty(), "the runtime need not try");
    until_so("it is tried again", async || scene.asked().iter().filter(|call| call["verb"] == "DEL").count() > 2).await;
    assert!(scene.asked().iter().all(|call| call["verb"] == "ADD" || call["request"]["prevResult"].is_null()));
    assert!(!scene.is_clean());
    scene.refuse("DEL-one", false);
    until_so("nothing is left", async || scene.is_clean()).await;
    until_so("it is forgotten", async || cni.abandoned.lock().is_empty()).await;
}

#[tokio::test]
async fn a_chain_that_cannot_take_back_what_it_did_is_asked_again_as_it_is_mended() {
    let Some(scene) = Scene::new("1.0.0") else { return };
    let cni = scene.ready().await;
    cni.retain(&[]);
    scene.refuse("ADD-two", true);
    scene.refuse("DEL-two", true);
    add(&cni, "a").await.unwrap_err();
    until_so("it is refused", async || scene.asked().iter().any(|call| call["verb"] == "DEL")).await;
    scene.configure(r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "one", "key": [2]}]}"#);
    until_so("nothing is left", async || scene.is_clean()).await;
    assert_eq!(scene.asked().last().unwrap()["request"]["key"], json!([2]));
}

#[tokio::test]
async fn a_refused_end_of_a_pod_is_told_and_asked_again() {
    let Some(scene) = Scene::new("1.0.0") else { return };
    let cni = scene.ready().await;
    add(&cni, "a").await.unwrap();
    scene.refuse("DEL-two", true);
    let told = cni.del("a").await.unwrap_err().to_string();
    assert_eq!(told, "plugin type=\"two\" failed (delete): not now (code 11: try again later)");
    scene.refuse("DEL-two", false);
    assert_eq!(cni.del("a").await.unwrap().len(), 1);
    assert_eq!(scene.calls(), ["ADD one a", "ADD two a", "DEL two a", "DEL two a", "DEL one a"]);
    assert!(scene.is_clean());
}

#[tokio::test]
async fn the_next_process_knows_all_pods_and_clears_those_that_are_gone() {
    let Some(scene) = Scene::new("1.0.0") else { return };
    let cni = scene.ready().await;
    add(&cni, "a").await.unwrap();
    add(&cni, "b").await.unwrap();
    scene.calls();
    // As one that was killed while it asked a plugin left it, with no namespace any more.
    let half = Record { sandbox: "c".into(), result: None, addresses: Vec::new(), ..cni.known.lock()["b"].clone() };
    cni.records.save(&half).unwrap();
    let next = scene.open();
    assert!(next.has("a") && next.has("c"));
    let addresses: Vec<IpAddr> = vec!["10.9.0.5".parse().unwrap()];
    assert_eq!(next.retain(&["a".into()]), addresses);
    until_so("the others are gone", async || !next.has("b") && !next.has("c")).await;
    until_so("the one that lives is looked at", async || scene.asked().len() >= 6).await;
    let netns_of = |id: &str| scene.asked().iter().find(|call| call["id"] == id).unwrap()["netns"].clone();
    assert_eq!((netns_of("b"), netns_of("c")), (json!("here"), json!("gone")));
    let mut calls = scene.calls();
    calls.sort();
    assert_eq!(calls, ["CHECK one a", "CHECK two a", "DEL one b", "DEL one c", "DEL two b", "DEL two c"]);
    assert!(Cni::remove_all(&scene.dir.path().join("state")).await.unwrap().is_empty());
    assert!(scene.is_clean());
}

#[tokio::test]
async fn why_no_pod_can_be_connected_follows_the_folder_and_what_plugins_say() {
    let Some(scene) = Scene::new("1.1.0") else { return };
    let list = scene.dir.path().join("conf/10-net.conflist");
    fs::remove_dir_all(scene.dir.path().join("conf")).unwrap();
    let cni = scene.open();
    let mut why = cni.not_ready();
    assert_eq!(why.borrow_and_update().as_deref(), Some("cni plugin not initialized"));
    tokio::spawn(cni.clone().follow());
    let told = add(&cni, "a").await.unwrap_err().to_string();
    assert_eq!(told, "cni plugin not initialized");
    fs::create_dir(list.parent().unwrap()).unwrap();
    scene.configure(&LIST.replace("VERSION", "1.1.0"));
    why.wait_for(Option::is_none).await.unwrap();
    until_so("they are told", async || scene.asked().iter().filter(|call| call["verb"] == "GC").count() == 2).await;
    assert_eq!(scene.calls()[..2], ["STATUS one ", "STATUS two "]);
    scene.refuse("STATUS-two", true);
    scene.configure(&LIST.replace("VERSION", "1.1.0"));
    let said = |text: &'static str| move |why: &Option<String>| why.as_ref().is_some_and(|why| why.contains(text));
    why.wait_for(said("plugin type=\"two\" failed (status): not now")).await.unwrap();
    scene.refuse("STATUS-two", false);
    why.wait_for(Option::is_none).await.unwrap();
    scene.configure("{");
    why.wait_for(said("cni plugin not initialized: ")).await.unwrap();
    scene.configure(r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "three"}]}"#);
    why.wait_for(said("failed to find plugin \"three\" in path [/nowhere ")).await.unwrap();
    fs::remove_file(list).unwrap();
    why.wait_for(|why| why.as_deref() == Some("cni plugin not initialized")).await.unwrap();
    assert!(scene.is_clean());
}

#[tokio::test]
async fn plugins_are_told_which_pods_there_are_when_their_network_comes() {
    let Some(scene) = Scene::new("1.1.0") else { return };
    let cni = scene.ready().await;
    until_so("they are told", async || scene.asked().iter().filter(|call| call["verb"] == "GC").count() == 2).await;
    assert_eq!(scene.asked().last().unwrap()["request"]["cni.dev/valid-attachments"], json!([]));
    add(&cni, "a").await.unwrap();
    scene.configure(&LIST.replace("VERSION", "1.1.0").replace("[1]", "[2]"));
    until_so("they are told again", async || scene.asked().iter().filter(|call| call["verb"] == "GC").count() == 4)
        .await;
    let request = scene.asked().last().unwrap()["request"].clone();
    assert_eq!(request["cni.dev/valid-attachments"], json!([{"containerID": "a", "ifname": "eth0"}]));
    assert!(request["capabilities"].is_null() && request["prevResult"].is_null());
    cni.del("a").await.unwrap();
}
