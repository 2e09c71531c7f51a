//! Import and pull of images.
#![allow(missing_docs, reason = "tests are no interface")]

mod common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use common::{Bench, archive, config, docker_archive, hex, is_root, layers};
use coracle_runtime::cri::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Blobs by digest, and the manifest's digest, of the test image with gzip'd layers.
fn blobs() -> (HashMap<String, Vec<u8>>, String) {
    let layers = layers();
    let config = config(&layers);
    let mut blobs = HashMap::new();
    let mut put = |bytes: Vec<u8>| {
        let digest = format!("sha256:{}", hex(&bytes));
        let size = bytes.len();
        blobs.insert(digest.clone(), bytes);
        serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size})
    };
    let layers: Vec<_> = layers.iter().map(|layer| put(gzip(layer))).collect();
    let mut config = put(config);
    config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers});
    let manifest = put(serde_json::to_vec(&manifest).unwrap());
    let digest = manifest["digest"].as_str().unwrap().to_string();
    (blobs, digest)
}

#[tokio::test]
async fn archives_are_imported_once_and_removed_whole() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::new().await;
    let loaded = bench.runtime.import(&gzip(&docker_archive("web:1"))[..], None).unwrap();
    assert_eq!(loaded, ["docker.io/library/web:1"]);
    let (blobs, digest) = blobs();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": blobs[&digest].len(), "annotations": {"io.containerd.image.name": "docker.io/library/web:2"}}]});
    let mut members = vec![("index.json".to_string(), serde_json::to_vec(&index).unwrap())];
    members.extend(blobs.iter().map(|(digest, bytes)| (format!("blobs/{}", digest.replace(':', "/")), bytes.clone())));
    let loaded = bench.runtime.import(&archive(&members)[..], None).unwrap();
    assert_eq!(loaded, ["docker.io/library/web:2"]);
    let image = bench.runtime.image_status("web:2").await.unwrap().unwrap();
    assert_eq!(image.repo_tags.len(), 2);
    assert_eq!(image.repo_digests, [format!("docker.io/library/web@{digest}")]);
    assert_eq!((image.uid, image.created), (Some(0), 1_577_836_800));
    let dir = bench.config.root.join("layers");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
    bench.restart().await;
    assert!(bench.runtime.image_status(&image.id).await.unwrap().is_some());
    bench.runtime.remove_image("web:1").await.unwrap();
    assert!(bench.runtime.image_status("web:1").await.unwrap().is_none());
    bench.runtime.remove_image(&image.id).await.unwrap();
    assert!(bench.runtime.list_images().await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    for bad in [&b"nonsense"[..], &archive(&[("a".into(), b"b".to_vec())])] {
        assert!(matches!(bench.runtime.import(bad, None), Err(CriError::InvalidArgument(_))));
    }
    // What is told of a file that is none is for a terminal.
    let error = bench.runtime.import(&[0x1b; 1024][..], None).unwrap_err().to_string();
    assert!(error.ends_with("it is neither a tar archive nor a gzipped one"), "{error}");
    let mut damaged = docker_archive("web:1");
    damaged.truncate(damaged.len() - 1024);
    damaged.extend([0x1b; 1024]);
    let error = bench.runtime.import(&damaged[..], None).unwrap_err().to_string();
    assert!(error.contains("invalid tar header") && !error.contains('\x1b'), "{error}");
    bench.end().await;
}

type Answers = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// A registry on loopback that wants a token; answers by path.
fn registry(answers: Answers) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let realm = host.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_string();
            let (status, extra, body) = if path.starts_with("/token") {
                let good = head.to_lowercase().contains("authorization: basic bwu6cgfzcw==")
                    && path.contains("scope=repository:team/web:pull");
                if good {
                    ("200 OK", String::new(), br#"{"token":"secret"}"#.to_vec())
                } else {
                    ("401 Unauthorized", String::new(), vec![])
                }
            } else if !head.to_lowercase().contains("authorization: bearer secret") {
                (
                    "401 Unauthorized",
                    format!("WWW-Authenticate: Bearer realm=\"http://{realm}/token\",service=\"test\"\r\n"),
                    vec![],
                )
            } else {
                match answers.lock().unwrap().get(&path) {
                    Some(body) => ("200 OK", String::new(), body.clone()),
                    None => ("404 Not Found", String::new(), vec![]),
                }
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&body);
        }
    });
    host
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_pulled_with_a_token_and_its_digests_checked() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    let (blobs, digest) = blobs();
    let index = serde_json::to_vec(&serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1, "platform": {"os": "linux", "architecture": "s390x"}},
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": blobs[&digest].len(), "platform": {"os": "linux", "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }}},
    ]})).unwrap();
    let mut answers = HashMap::from([("/v2/team/web/manifests/1".to_string(), index)]);
    answers.insert(format!("/v2/team/web/manifests/{digest}"), blobs[&digest].clone());
    answers.extend(blobs.iter().map(|(digest, bytes)| (format!("/v2/team/web/blobs/{digest}"), bytes.clone())));
    let biggest = blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0.clone();
    let answers = Arc::new(Mutex::new(answers));
    let host = registry(answers.clone());
    let auth = || Some(AuthConfig { username: "me".into(), password: "pass".into() });
    let name = format!("{host}/team/web:1");

    let error = bench.runtime.pull_image(&name, None).await.unwrap_err();
    assert!(
        matches!(&error, CriError::Pull { not_found: true, message } if message.contains("pull access denied")),
        "{error}"
    );
    let error = bench.runtime.pull_image(&format!("{host}/team/web:9"), auth()).await.unwrap_err();
    let missing = format!(
        "failed to pull and unpack image \"{host}/team/web:9\": failed to resolve reference \"{host}/team/web:9\": {host}/team/web:9: not found"
    );
    assert_eq!(error.to_string(), missing);

    let path = format!("/v2/team/web/blobs/{biggest}");
    answers.lock().unwrap().get_mut(&path).unwrap()[100] ^= 1;
    let error = bench.runtime.pull_image(&name, auth()).await.unwrap_err();
    assert!(error.to_string().contains("unexpected commit digest"), "{error}");
    assert!(bench.runtime.image_status(&name).await.unwrap().is_none());
    answers.lock().unwrap().insert(path, blobs[&biggest].clone());

    let id = bench.runtime.pull_image(&name, auth()).await.unwrap();
    let image = bench.runtime.image_status(&name).await.unwrap().unwrap();
    assert_eq!(image.id, id);
    let sandbox = bench.sandbox().await;
    let config = ContainerConfig { image: name, ..Bench::container_config(&["echo", "pulled"]) };
    assert_eq!(bench.run(&sandbox, config).await.1, ["pulled"]);
    let leftovers = std::fs::read_dir(bench.config.root.join("ingest")).unwrap().count();
    assert_eq!(leftovers, 0);
    bench.end().await;
}

/// A header that claims some content, and the start of that content.
fn claim(kind: tar::EntryType, path: &str, link: &str, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o755);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..path.len()].copy_from_slice(path.as_bytes());
    gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[tokio::test]
async fn hostile_layers_are_refused_and_leave_nothing() {
    use tar::EntryType::*;
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    let long = 1 << 36;
    let layers: Vec<(&str, Vec<u8>)> = vec![
        ("1048576 at most are read", claim(GNULongName, "x", "", long, b"")),
        ("1048576 at most are read", claim(GNULongLink, "x", "", long, b"")),
        ("1048576 at most are read", claim(XHeader, "x", "", long, b"")),
        ("sparse files are not supported", claim(GNUSparse, "x", "", 0, b"")),
        ("unexpected end of file", claim(Regular, "x", "", 1 << 60, b"")),
        ("leads out of the layer", claim(Regular, "../x", "", 1, b"x")),
        ("leads out of the layer", claim(Link, "x", "../../../../etc/passwd", 0, b"")),
        ("a hard link to the root", claim(Link, "x", "/", 0, b"")),
        ("a whiteout of nothing", claim(Regular, ".wh...", "", 0, b"")),
        ("invalid tar header", b"nonsense".repeat(128)),
        ("PAX record", claim(XHeader, "x", "", 9, b"99 path=x")),
        (
            "is no number",
            claim(XHeader, "x", "", 11, b"11 size=xx\n").into_iter().chain(claim(Regular, "f", "", 0, b"")).collect(),
        ),
        (
            "a negative size",
            claim(XHeader, "x", "", 11, b"11 size=-1\n").into_iter().chain(claim(Regular, "f", "", 0, b"")).collect(),
        ),
    ];
    for (wanted, layer) in layers {
        let config = config(std::slice::from_ref(&layer));
        let manifest = serde_json::json!([{"Config": "c", "RepoTags": ["hostile:1"], "Layers": ["l"]}]);
        let members = [("c", config), ("l", gzip(&layer)), ("manifest.json", manifest.to_string().into_bytes())];
        let bytes = archive(&members.map(|(name, bytes)| (name.to_string(), bytes)));
        let error = bench.runtime.import(&bytes[..], None).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
        assert_eq!(std::fs::read_dir(bench.config.root.join("ingest")).unwrap().count(), 0, "{wanted}");
        assert_eq!(std::fs::read_dir(bench.config.root.join("layers")).unwrap().count(), 0, "{wanted}");
    }
    assert!(bench.runtime.list_images().await.unwrap().is_empty());
    // Blank device fields of something that is no device say nothing.
    let mut fifo = claim(Fifo, "fifo", "", 0, b"");
    fifo[329..345].fill(b' ');
    let sum: u32 = fifo[..512]
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    fifo[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let config = config(std::slice::from_ref(&fifo));
    let manifest = serde_json::json!([{"Config": "c", "RepoTags": ["fifo:1"], "Layers": ["l"]}]);
    let members = [("c", config), ("l", fifo), ("manifest.json", manifest.to_string().into_bytes())];
    bench.runtime.import(&archive(&members.map(|(name, bytes)| (name.to_string(), bytes)))[..], None).unwrap();
    bench.end().await;
}
