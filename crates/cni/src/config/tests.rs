use super::*;
use proptest::prelude::*;
use serde_json::json;

/// The first configuration of a folder with these files.
fn first(files: &[(&str, &str)]) -> Result<Option<NetworkConfig>, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    NetworkConfig::first_of(dir.path())
}

fn kinds(network: &NetworkConfig) -> Vec<&str> {
    network.plugins.iter().map(PluginConfig::kind).collect()
}

const LIST: &str = r#"{
    "cniVersion": "1.0.0", "name": "net.1_a-b", "plugins": [
        {"type": "bridge", "bridge": "br9", "isGateway": true, "ipMasq": true,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.9.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": true}, "runtimeConfig": {"a": 1}, "cni.dev/a": 1},
        {"type": "bandwidth", "capabilities": {"bandwidth": true, "mac": false}}
    ]}"#;
const PLUGIN: &str = r#"{"cniVersion": "0.3.1", "name": "one", "type": "ptp", "ipam": {}}"#;

#[test]
fn a_list_is_read_with_all_that_its_plugins_say() {
    let network = first(&[("10-a.conflist", LIST)]).unwrap().unwrap();
    assert_eq!((&*network.name, network.version), ("net.1_a-b", Version::V1_0_0));
    assert_eq!(kinds(&network), ["bridge", "portmap", "bandwidth"]);
    assert_eq!(network.plugins[0].0["ipam"]["ranges"][0][0]["subnet"], "10.9.0.0/24");
    assert_eq!(
        Value::Object(network.plugins[1].0.clone()),
        json!({"type": "portmap", "capabilities": {"portMappings": true}})
    );
    assert!(network.takes("portMappings") && network.takes("bandwidth") && !network.takes("mac"));
    assert_eq!(network.plugins[2].capabilities().collect::<Vec<_>>(), ["bandwidth"]);
}

#[test]
fn the_first_file_by_name_counts_and_other_files_do_not() {
    let files = [
        ("20-b.conflist", LIST),
        ("10-a.conf", PLUGIN),
        ("00-a.txt", "{"),
        ("00.conf.bak", "{"),
        ("05.conflist/a", "{"),
    ];
    assert_eq!(first(&files).unwrap().unwrap().name, "one");
    assert_eq!(first(&[("b.json", PLUGIN), ("c.conf", "{")]).unwrap().unwrap().name, "one");
    assert_eq!(first(&[("a.txt", LIST)]).unwrap(), None);
    assert_eq!(NetworkConfig::first_of(Path::new("/nowhere/at/all")).unwrap(), None);
    let told = first(&[("a.conflist", "{"), ("b.conflist", LIST)]).unwrap_err();
    assert!(told.contains("a.conflist: it is not JSON"), "{told}");
}

#[test]
fn plugins_of_the_folder_of_the_network_come_after_those_of_the_list() {
    let own = r#"{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "a"}]}"#;
    let files = [
        ("x.conflist", own),
        ("net/2.conf", r#"{"type": "c"}"#),
        ("net/1.conf", r#"{"type": "b"}"#),
        ("net/3.txt", ""),
    ];
    assert_eq!(kinds(&first(&files).unwrap().unwrap()), ["a", "b", "c"]);
    let none = r#"{"cniVersion": "1.1.0", "name": "net"}"#;
    assert_eq!(kinds(&first(&[("x.conflist", none), files[1]]).unwrap().unwrap()), ["c"]);
    let only = r#"{"cniVersion": "1.1.0", "name": "net", "loadOnlyInlinedPlugins": true, "plugins": [{"type": "a"}]}"#;
    assert_eq!(kinds(&first(&[("x.conflist", only), files[1]]).unwrap().unwrap()), ["a"]);
    let told = first(&[("x.conflist", own), ("net/1.conf", "{}")]).unwrap_err();
    assert!(told.contains("net/1.conf: a plugin has no type"), "{told}");
}

#[test]
fn the_highest_version_that_is_known_is_spoken() {
    let of = |versions: &str| {
        let text = format!(r#"{{{versions} "name": "n", "plugins": [{{"type": "a"}}]}}"#);
        first(&[("a.conflist", &text)]).map(|network| network.unwrap().version.as_str())
    };
    for version in Version::ALL {
        assert_eq!(of(&format!("\"cniVersion\": \"{}\",", version.as_str())), Ok(version.as_str()));
    }
    assert_eq!(of(r#""cniVersion": "0.4.0", "cniVersions": ["1.1.0", "1.0.0", "7.0.0"],"#), Ok("1.1.0"));
    assert_eq!(of(r#""cniVersions": ["0.3.1", "0.1.0"],"#), Ok("0.3.1"));
    for (versions, why) in [
        ("", "it has no cniVersion, of which there are 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
        (r#""cniVersion": "0.2.0","#, "cniVersion 0.2.0 is not spoken here"),
        (r#""cniVersion": "9.0.0", "cniVersions": ["8.0.0"],"#, "9.0.0, 8.0.0 is not spoken here"),
        (r#""cniVersion": 1,"#, "is not a text"),
        (r#""cniVersion": "1.0.0", "cniVersions": {},"#, "not a list"),
    ] {
        let told = of(versions).unwrap_err();
        assert!(told.contains(why), "{versions}: {told}");
    }
}

#[test]
fn switches_are_read_as_old_files_have_them_too() {
    let of = |value: &str| {
        let text = format!(
            r#"{{"cniVersion": "1.1.0", "name": "n", "disableCheck": {value}, "disableGC": {value}, "plugins": [{{"type": "a"}}]}}"#
        );
        first(&[("a.conflist", &text)]).map(|network| network.map(|n| (n.disable_check, n.disable_gc)))
    };
    assert_eq!(of("true"), Ok(Some((true, true))));
    assert_eq!(of("\"False\""), Ok(Some((false, false))));
    assert!(of("1").unwrap_err().contains("disableCheck is neither true nor false"));
}

#[test]
fn what_cannot_be_used_is_named_with_its_file_and_what_is_wrong() {
    let long = format!(r#"{{"cniVersion": "1.0.0", "name": "{}", "type": "a"}}"#, "a".repeat(300));
    let plugin = |kind: &str| format!(r#"{{"cniVersion": "1.0.0", "name": "n", "plugins": [{{"type": {kind}}}]}}"#);
    let many =
        format!(r#"{{"cniVersion": "1.0.0", "name": "n", "plugins": [{}]}}"#, [r#"{"type": "a"}"#; 40].join(","));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let big = format!("{{\"a\": \"{}\"}}", "x".repeat(2 << 20));
    let cases: Vec<(&str, String, &str)> = vec![
        ("a.conflist", "".into(), "not JSON"),
        ("a.conflist", "[]".into(), "not a JSON object"),
        ("a.conflist", deep, "not JSON"),
        ("a.conflist", big, "more than 1048576 bytes"),
        ("a.conflist", r#"{"cniVersion": "1.0.0"}"#.into(), "no name"),
        ("a.conflist", r#"{"cniVersion": "1.0.0", "name": 1}"#.into(), "no name"),
        (
            "a.conflist",
            r#"{"cniVersion": "1.0.0", "name": "../etc", "plugins": []}"#.into(),
            "is not a letter or digit",
        ),
        ("a.conflist", r#"{"cniVersion": "1.0.0", "name": "", "plugins": []}"#.into(), "is not a letter or digit"),
        ("a.conf", long, "is not a letter or digit"),
        ("a.conflist", r#"{"cniVersion": "1.0.0", "name": "n", "plugins": []}"#.into(), "no plugins"),
        ("a.conflist", r#"{"cniVersion": "1.0.0", "name": "n", "plugins": {}}"#.into(), "plugins is not a list"),
        ("a.conflist", r#"{"cniVersion": "1.0.0", "name": "n", "plugins": [1]}"#.into(), "not an object"),
        ("a.conflist", r#"{"cniVersion": "1.0.0", "name": "n", "loadOnlyInlinedPlugins": true}"#.into(), "no plugins"),
        ("a.conflist", many, "40 plugins"),
        ("a.conflist", plugin("\"../../bin/sh\""), "no name of a program"),
        ("a.conflist", plugin("\"..\""), "no name of a program"),
        ("a.conflist", plugin("\"\""), "no name of a program"),
        ("a.conflist", plugin("\"a\\u0000b\""), "no name of a program"),
        ("a.conflist", plugin("\"a\\\\b\""), "no name of a program"),
        ("a.conflist", plugin("null"), "has no type"),
        ("a.conflist", plugin("\"a\", \"capabilities\": {\"b\": 1}"), "not all true or false"),
        ("a.conf", r#"{"cniVersion": "1.0.0", "name": "n"}"#.into(), "has no type"),
        ("a.json", LIST.into(), "a file named .conflist"),
    ];
    for (name, text, why) in cases {
        let told = first(&[(name, &text)]).unwrap_err();
        assert!(told.contains(name) && told.contains(why), "{}: {told}", text.get(..80).unwrap_or(&text));
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]{}:,\"a-zV0-9./]{0,80}") {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = NetworkConfig::of_list(value.clone(), None);
            let _ = NetworkConfig::of_plugin(value);
        }
    }
}
