//! The API as clients see it, over connections within the process.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::store::entries;
use crate::{Access, Config, Digest, Registry, serve_connection};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with a disk of its own size.
struct Bench {
    dir: TempDir,
    registry: Arc<Registry>,
    room: Arc<AtomicU64>,
}

struct Answer {
    status: StatusCode,
    headers: HashMap<String, String>,
    body: Bytes,
}

impl Answer {
    fn location(&self) -> String {
        self.headers["location"].clone()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let room = Arc::new(AtomicU64::new(u64::MAX));
        let left = room.clone();
        let config = Config {
            dir: dir.path().to_owned(),
            room: Box::new(move || Ok(left.load(Ordering::Relaxed))),
            hosts: vec!["dev-registry".into()],
        };
        Bench { registry: Arc::new(Registry::open(config).unwrap()), dir, room }
    }

    async fn send(&self, access: Access, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(serve_connection(self.registry.clone(), theirs, access));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost:5000");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Answer { status: response.status(), headers, body: response.into_body().collect().await.unwrap().to_bytes() }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(Access::Write, method.parse().unwrap(), path, headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"").await
    }

    async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let answer = self.ask("POST", &format!("/v2/{name}/blobs/uploads/?digest={digest}"), &[], bytes).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        digest
    }

    /// Pushes an image of one layer; answers with its manifest.
    async fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> Vec<u8> {
        let (config, layer) = (self.push_blob(name, b"{}").await, self.push_blob(name, layer).await);
        let of = |digest: &Digest| json!({"mediaType": "x", "digest": digest.to_string(), "size": 1});
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": of(&config), "layers": [of(&layer)]});
        let bytes = manifest.to_string().into_bytes();
        let path = format!("/v2/{name}/manifests/{tag}");
        let answer = self.ask("PUT", &path, &[("content-type", MANIFEST)], &bytes).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        bytes
    }

    fn files(&self, part: &str) -> usize {
        std::fs::read_dir(self.dir.path().join(part)).unwrap().count()
    }
}

#[tokio::test]
async fn what_was_pushed_in_pieces_is_pulled_as_it_was() {
    let bench = Bench::new();
    let base = bench.get("/v2/").await;
    assert_eq!(
        (base.status, base.headers["docker-distribution-api-version"].as_str()),
        (StatusCode::OK, "registry/2.0")
    );
    let start = bench.ask("POST", "/v2/a/b/blobs/uploads/", &[], b"").await;
    assert_eq!(start.status, StatusCode::ACCEPTED);
    let at = start.location();
    let first = bench.ask("PATCH", &at, &[("content-range", "0-2")], b"abc").await;
    assert_eq!((first.status, first.headers["range"].as_str()), (StatusCode::ACCEPTED, "0-2"));
    let wrong = bench.ask("PATCH", &at, &[("content-range", "7-9")], b"xyz").await;
    assert_eq!(wrong.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(bench.get(&at).await.headers["range"], "0-2");
    let digest = Digest::of(b"abcdef");
    let end = bench.ask("PUT", &format!("{at}?digest={digest}"), &[("content-range", "3-5")], b"def").await;
    assert_eq!((end.status, end.location()), (StatusCode::CREATED, format!("/v2/a/b/blobs/{digest}")));
    let blob = bench.get(&end.location()).await;
    assert_eq!((&blob.body[..], blob.headers["docker-content-digest"].clone()), (&b"abcdef"[..], digest.to_string()));
    let part = bench.ask("GET", &end.location(), &[("range", "bytes=2-3")], b"").await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &b"cd"[..]));
    let head = bench.ask("HEAD", &end.location(), &[], b"").await;
    assert_eq!((head.status, head.headers["content-length"].as_str()), (StatusCode::OK, "6"));
    assert_eq!(bench.get(&at).await.code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(bench.files("uploads"), 0);
}

#[tokio::test]
async fn blobs_are_of_their_repository_and_given_to_others_by_mounting() {
    let bench = Bench::new();
    let digest = bench.push_blob("a", b"x").await;
    assert_eq!(bench.get(&format!("/v2/b/blobs/{digest}")).await.code(), "BLOB_UNKNOWN");
    let mount = format!("/v2/b/blobs/uploads/?mount={digest}&from=a");
    assert_eq!(bench.ask("POST", &mount, &[], b"").await.status, StatusCode::CREATED);
    assert_eq!(bench.get(&format!("/v2/b/blobs/{digest}")).await.status, StatusCode::OK);
    let absent = Digest::of(b"absent");
    let mount = format!("/v2/b/blobs/uploads/?mount={absent}&from=a");
    assert_eq!(bench.ask("POST", &mount, &[], b"").await.status, StatusCode::ACCEPTED);
    assert_eq!(bench.ask("DELETE", &format!("/v2/a/blobs/{digest}"), &[], b"").await.status, StatusCode::ACCEPTED);
    assert_eq!(bench.get(&format!("/v2/a/blobs/{digest}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bench.get(&format!("/v2/b/blobs/{digest}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn manifests_have_tags_lists_and_an_end() {
    let bench = Bench::new();
    let bytes = bench.push_image("a", "1", b"one").await;
    bench.push_image("a", "2", b"two").await;
    bench.push_image("b/c", "1", b"three").await;
    let digest = Digest::of(&bytes);
    for reference in ["1".to_owned(), digest.to_string()] {
        let found = bench.get(&format!("/v2/a/manifests/{reference}")).await;
        assert_eq!((&found.body[..], found.headers["content-type"].as_str()), (&bytes[..], MANIFEST));
        assert_eq!(found.headers["docker-content-digest"], digest.to_string());
    }
    let head = bench.ask("HEAD", "/v2/a/manifests/1", &[], b"").await;
    assert_eq!((head.status, head.headers["content-length"].clone()), (StatusCode::OK, bytes.len().to_string()));
    assert_eq!(bench.get("/v2/a/tags/list").await.json(), json!({"name": "a", "tags": ["1", "2"]}));
    let page = bench.get("/v2/a/tags/list?n=1").await;
    assert_eq!(page.json()["tags"], json!(["1"]));
    assert_eq!(page.headers["link"], "</v2/a/tags/list?n=1&last=1>; rel=\"next\"");
    assert_eq!(bench.get("/v2/a/tags/list?n=1&last=1").await.json()["tags"], json!(["2"]));
    assert_eq!(bench.get("/v2/_catalog").await.json(), json!({"repositories": ["a", "b/c"]}));
    assert_eq!(bench.get("/v2/x/tags/list").await.code(), "NAME_UNKNOWN");

    assert_eq!(bench.ask("DELETE", &format!("/v2/a/manifests/{digest}"), &[], b"").await.status, StatusCode::ACCEPTED);
    assert_eq!(bench.get("/v2/a/manifests/1").await.code(), "MANIFEST_UNKNOWN");
    assert_eq!(bench.get("/v2/a/tags/list").await.json()["tags"], json!(["2"]));
    // A referrer is found by its tag, as the specification has it where there is no such end point.
    assert_eq!(bench.get(&format!("/v2/a/referrers/{digest}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_the_codes_of_the_specification() {
    let bench = Bench::new();
    let digest = bench.push_blob("a", b"x").await;
    let lie = bench.ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], b"y").await;
    assert_eq!((lie.status, lie.code()), (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into()));
    assert_eq!(bench.files("uploads"), 0, "nothing stays of what was refused");
    let absent = Digest::of(b"absent");
    let manifest = json!({"schemaVersion": 2, "layers": [{"digest": absent.to_string()}]}).to_string();
    let put = async |name: &str, kind: &str, bytes: &[u8]| {
        bench.ask("PUT", &format!("/v2/a/manifests/{name}"), &[("content-type", kind)], bytes).await.code()
    };
    assert_eq!(put("1", MANIFEST, manifest.as_bytes()).await, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(put("1", MANIFEST, b"{").await, "MANIFEST_INVALID");
    assert_eq!(put("1", "", br#"{"schemaVersion":2}"#).await, "MANIFEST_INVALID");
    assert_eq!(put(&absent.to_string(), MANIFEST, br#"{"schemaVersion":2}"#).await, "DIGEST_INVALID");
    assert_eq!(put("1", MANIFEST, &vec![b' '; 5 << 20]).await, "SIZE_INVALID");
    assert_eq!(bench.ask("POST", "/v2/a/manifests/1", &[], b"").await.status, StatusCode::METHOD_NOT_ALLOWED);
    let text = bench.ask("PUT", "/v2/../a/manifests/1", &[], b"").await;
    assert_eq!(text.code(), "NAME_INVALID");
    let range =
        bench.ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[("content-range", "0-9")], b"x").await;
    assert_eq!((range.status, bench.files("uploads")), (StatusCode::BAD_REQUEST, 0));
}

#[tokio::test]
async fn who_may_only_read_changes_nothing_and_pages_of_browsers_get_nothing() {
    let bench = Bench::new();
    bench.push_image("a", "1", b"one").await;
    let read = |method: Method, path: &'static str| bench.send(Access::Read, method, path, &[], b"");
    assert_eq!(read(Method::GET, "/v2/a/manifests/1").await.status, StatusCode::OK);
    for (method, path) in [(Method::DELETE, "/v2/a/manifests/1"), (Method::POST, "/v2/a/blobs/uploads/")] {
        let refused = read(method, path).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "DENIED".into()));
    }
    for host in ["localhost", "127.0.0.1:1", "[::1]:5000", "dev-registry:5000"] {
        assert_eq!(bench.ask("GET", "/v2/", &[("host", host)], b"").await.status, StatusCode::OK, "{host}");
    }
    for headers in [[("host", "evil.example:5000")].as_slice(), &[("origin", "http://evil.example")]] {
        assert_eq!(bench.ask("GET", "/v2/", headers, b"").await.code(), "DENIED", "{headers:?}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_uploads_and_manifests_but_not_pulls() {
    let bench = Bench::new();
    let bytes = bench.push_image("a", "1", b"one").await;
    bench.room.store(0, Ordering::Relaxed);
    let refused = bench.ask("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    assert_eq!((refused.status, refused.code()), (StatusCode::INSUFFICIENT_STORAGE, "DENIED".into()));
    let refused = bench.ask("PUT", "/v2/a/manifests/2", &[("content-type", MANIFEST)], &bytes).await;
    assert_eq!(refused.status, StatusCode::INSUFFICIENT_STORAGE);
    assert_eq!(bench.get("/v2/a/manifests/1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_no_manifest_names_goes_after_a_while_and_what_is_named_or_new_stays() {
    let bench = Bench::new();
    let kept = bench.push_image("a", "1", b"one").await;
    let left = bench.push_blob("a", b"left").await;
    let elsewhere = bench.push_image("b", "1", b"one").await;
    bench.ask("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    assert_eq!(bench.registry.sweep(Duration::from_secs(3600)).unwrap(), 0, "all of it is new");
    assert_eq!(bench.registry.sweep(Duration::ZERO).unwrap(), 1);
    assert_eq!(bench.files("uploads"), 0);
    assert_eq!(bench.get(&format!("/v2/a/blobs/{left}")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(kept, elsewhere);
    let layer = Digest::of(b"one");
    bench.ask("DELETE", &format!("/v2/b/manifests/{}", Digest::of(&kept)), &[], b"").await;
    assert_eq!(bench.registry.sweep(Duration::ZERO).unwrap(), 0, "the other repository has them");
    assert_eq!(bench.get(&format!("/v2/a/blobs/{layer}")).await.status, StatusCode::OK);
    assert_eq!(bench.get("/v2/_catalog").await.json(), json!({"repositories": ["a"]}));
    bench.ask("DELETE", &format!("/v2/a/manifests/{}", Digest::of(&kept)), &[], b"").await;
    assert_eq!(bench.registry.sweep(Duration::ZERO).unwrap(), 3);
    assert_eq!((bench.files("blobs/sha256"), bench.files("repositories")), (0, 0));
}

#[tokio::test]
async fn layers_stay_as_long_as_others_come_and_for_a_while_after_the_last() {
    let bench = Bench::new();
    let hour = Duration::from_secs(3600);
    let long_ago = SystemTime::now() - 2 * hour;
    let layers = bench.dir.path().join("repositories/a/layers");
    let age = |path: &Path| File::open(path).unwrap().set_modified(long_ago).unwrap();
    let first = bench.push_blob("a", b"first").await;
    entries(&layers).unwrap().iter().for_each(|(_, link)| age(link));
    age(&layers);
    bench.ask("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    assert_eq!(bench.registry.sweep(hour).unwrap(), 0, "another layer is coming");
    entries(&bench.dir.path().join("uploads")).unwrap().iter().for_each(|(_, upload)| age(upload));
    bench.push_blob("a", b"second").await;
    assert_eq!(bench.registry.sweep(hour).unwrap(), 0, "another layer has just come");
    assert_eq!(bench.get(&format!("/v2/a/blobs/{first}")).await.status, StatusCode::OK);
    entries(&layers).unwrap().iter().for_each(|(_, link)| age(link));
    age(&layers);
    assert_eq!(bench.registry.sweep(hour).unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_takes_nothing_from_those_who_push() {
    let bench = Arc::new(Bench::new());
    let (own, sweeper) = (bench.registry.clone(), Arc::new(AtomicU64::new(1)));
    let goes_on = sweeper.clone();
    let sweeps = std::thread::spawn(move || {
        while goes_on.load(Ordering::Relaxed) == 1 {
            own.sweep(Duration::from_secs(60)).unwrap();
        }
    });
    for round in 0..50 {
        let layer = format!("layer {round}");
        let bytes = bench.push_image("a", "1", layer.as_bytes()).await;
        let blob = bench.get(&format!("/v2/a/blobs/{}", Digest::of(layer.as_bytes()))).await;
        assert_eq!(&blob.body[..], layer.as_bytes());
        assert_eq!(&bench.get("/v2/a/manifests/1").await.body[..], &bytes[..]);
    }
    sweeper.store(0, Ordering::Relaxed);
    sweeps.join().unwrap();
}
