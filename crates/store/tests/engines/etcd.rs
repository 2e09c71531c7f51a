//! What is etcd's own: members, certificates, users, its space, and history that others forget.

use std::sync::Arc;
use std::time::Duration;

use coracle_store::etcd::{Config, Etcd};
use coracle_store::{Error, Op, Outcome, Store};
use coracle_testing::etcd::{Cluster, Tls};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::time::{sleep, timeout};

use crate::proxy::{Network, Proxy};
use crate::semantics::Told;
use crate::{config, connect, put, write};

const LONG: Duration = Duration::from_secs(60);

/// Waits until something is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn writes(store: &Etcd, key: &str) -> u64 {
    match store.txn(write(vec![put(key, "x")])).await.unwrap() {
        Outcome::Committed { revision } => revision,
        Outcome::Conflict { .. } => panic!("conflict"),
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for loopback, and its key.
    fn issue(&self) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

#[tokio::test]
async fn members_and_clients_prove_who_they_are() {
    let (members, clients) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = members.issue();
    let tls = Tls {
        certificate: file("member.crt", &certificate),
        key: file("member.key", &key),
        client_authority: file("clients.crt", &clients.certificate),
    };
    let Some(cluster) = Cluster::start_with(1, Some(&tls), &[]) else { return };
    let url = format!("https://127.0.0.1:{}", cluster.port(0));
    let (certificate, key) = clients.issue();
    let with = |authority: &Authority, client| Config {
        authorities: Some(authority.certificate.clone().into_bytes()),
        client,
        ..config(vec![url.clone()])
    };
    let client = Some((certificate.into_bytes(), key.into_bytes()));
    let store = Etcd::connect(&with(&members, client.clone())).await.unwrap();
    writes(&store, "/registry/a").await;
    let other = Authority::new();
    let stranger = Etcd::connect(&with(&other, client)).await.err().unwrap();
    assert!(stranger.to_string().contains("certificate"), "{stranger}");
    let nobody = Etcd::connect(&with(&members, None)).await.err().unwrap();
    assert!(matches!(nobody, Error::Unavailable(_)), "{nobody}");
}

#[tokio::test]
async fn users_are_known_by_their_password() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    for (path, json) in [
        ("/v3/auth/user/add", r#"{"name":"root","password":"r"}"#),
        ("/v3/auth/role/add", r#"{"name":"root"}"#),
        ("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#),
        ("/v3/auth/user/add", r#"{"name":"coracle","password":"secret"}"#),
        ("/v3/auth/role/add", r#"{"name":"registry"}"#),
        // From /registry/ to /registry0.
        (
            "/v3/auth/role/grant",
            r#"{"name":"registry","perm":{"permType":"READWRITE","key":"L3JlZ2lzdHJ5Lw==","range_end":"L3JlZ2lzdHJ5MA=="}}"#,
        ),
        ("/v3/auth/user/grant", r#"{"user":"coracle","role":"registry"}"#),
        ("/v3/auth/enable", "{}"),
    ] {
        cluster.call(0, path, json);
    }
    let with = |password: &str| Config {
        user: Some(("coracle".into(), password.into())),
        compaction: Duration::ZERO,
        ..config(cluster.urls())
    };
    let store = Etcd::connect(&with("secret")).await.unwrap();
    let begin = store.current_revision().await.unwrap();
    let told = Told::default();
    let _subscription = store.subscribe("/registry/", begin, told.feed()).await.unwrap();
    let last = writes(&store, "/registry/a").await;
    told.until(last).await;
    let refused = store.get("/other", None).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let nobody = Etcd::connect(&config(cluster.urls())).await.err().unwrap();
    assert!(matches!(nobody, Error::Refused(_)), "{nobody}");
    let stranger = Etcd::connect(&with("wrong")).await.err().unwrap();
    assert!(stranger.to_string().contains("authentication failed"), "{stranger}");
}

#[tokio::test]
async fn keys_may_begin_otherwise_in_etcd() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    let store = Etcd::connect(&Config { prefix: Some("/mine".into()), ..config(cluster.urls()) }).await.unwrap();
    let begin = store.current_revision().await.unwrap();
    let told = Told::default();
    let _subscription = store.subscribe("/registry/pods/", begin, told.feed()).await.unwrap();
    let last = writes(&store, "/registry/pods/a").await;
    assert_eq!(told.until(last).await, [(last, "/registry/pods/a".to_owned(), Some("x".to_owned()))]);
    let list = store.list("/registry/pods/", None, None, None).await.unwrap();
    assert_eq!(list.items[0].key(), "/registry/pods/a");
    let other = connect(&cluster).await;
    assert!(other.get("/registry/pods/a", None).await.unwrap().is_none());
    assert!(other.get("/mine/pods/a", None).await.unwrap().is_some());
}

/// The alarm keeps the cluster from writing until its operator has made space.
#[tokio::test]
async fn a_full_cluster_says_so_and_is_read_all_the_same() {
    let Some(cluster) = Cluster::start(1, &["--quota-backend-bytes=4000000"]) else { return };
    let store = connect(&cluster).await;
    let large = "x".repeat(500_000);
    let refused = async {
        loop {
            if let Err(error) = store.txn(write(vec![put("/registry/a", &large)])).await {
                return error;
            }
        }
    };
    let refused = timeout(LONG, refused).await.unwrap();
    assert!(matches!(refused, Error::NoSpace(_)), "{refused}");
    assert!(matches!(store.failure(), Some(Error::NoSpace(_))));
    let newest = store.get("/registry/a", None).await.unwrap().unwrap().mod_revision();
    // Another process learns it without a write of its own.
    let other = connect(&cluster).await;
    until("the alarm is seen", async || matches!(other.failure(), Some(Error::NoSpace(_)))).await;
    store.compact(newest).await.unwrap();
    cluster.call(0, "/v3/maintenance/defragment", "{}");
    cluster.call(0, "/v3/maintenance/alarm", r#"{"action":"DEACTIVATE","alarm":"NOSPACE","memberID":"0"}"#);
    let alarms = cluster.call(0, "/v3/maintenance/alarm", "{}");
    if let Some(member) = alarms.split("\"memberID\":\"").nth(1).and_then(|rest| rest.split('"').next()) {
        let disarm = format!(r#"{{"action":"DEACTIVATE","alarm":"NOSPACE","memberID":"{member}"}}"#);
        cluster.call(0, "/v3/maintenance/alarm", &disarm);
    }
    writes(&store, "/registry/b").await;
    assert!(store.failure().is_none());
    until("the alarm is over", async || other.failure().is_none()).await;
}

#[tokio::test]
async fn keys_that_live_equally_long_share_a_lease() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    let store = connect(&cluster).await;
    for n in 0..50 {
        for seconds in [3600, 7200] {
            let key = format!("/registry/{seconds}/{n}").into();
            let op = Op::Put { key, value: "x".into(), ttl: Some(Duration::from_secs(seconds)) };
            store.txn(write(vec![op])).await.unwrap();
        }
    }
    let leases = cluster.call(0, "/v3/lease/leases", "{}");
    let ids: Vec<&str> = leases.split("\"ID\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(ids.len(), 2, "{leases}");
    // One that someone revokes takes its keys along, and is not used any more.
    for id in ids {
        cluster.call(0, "/v3/lease/revoke", &format!(r#"{{"ID":"{id}"}}"#));
    }
    assert!(store.list("/registry/", None, None, None).await.unwrap().items.is_empty());
    let op = Op::Put { key: "/registry/new".into(), value: "x".into(), ttl: Some(Duration::from_secs(3600)) };
    store.txn(write(vec![op])).await.unwrap();
    assert!(store.get("/registry/new", None).await.unwrap().is_some());
}

#[tokio::test]
async fn old_history_is_forgotten_by_one_of_many() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    let often = Config { compaction: Duration::from_millis(300), ..config(cluster.urls()) };
    let (a, b) = (Etcd::connect(&often).await.unwrap(), Etcd::connect(&often).await.unwrap());
    let begin = a.current_revision().await.unwrap();
    let told = Told::default();
    let _subscription = a.subscribe("/registry/", begin, told.feed()).await.unwrap();
    let first = writes(&a, "/registry/a").await;
    let second = writes(&b, "/registry/a").await;
    until("history is forgotten", async || {
        matches!(a.get("/registry/a", Some(first)).await, Err(Error::Compacted { .. }))
    })
    .await;
    // A feed that is up to date goes on, and what is there stays.
    let third = writes(&b, "/registry/a").await;
    let revisions: Vec<_> = told.until(third).await.into_iter().map(|event| event.0).collect();
    assert_eq!(revisions, [first, second, third]);
    let written = a.get("compact_rev_key", None).await.unwrap().unwrap();
    let written: u64 = std::str::from_utf8(written.value()).unwrap().parse().unwrap();
    assert!((first..=a.current_revision().await.unwrap()).contains(&written), "{written}");
}

/// More than one answer holds, for a list and for a feed.
#[tokio::test]
async fn what_is_large_comes_in_parts() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    let store = Arc::new(connect(&cluster).await);
    let begin = store.current_revision().await.unwrap();
    let large = "x".repeat(1_000_000);
    let mut last = 0;
    for n in 0..80 {
        let outcome = store.txn(write(vec![put(&format!("/registry/{n:02}"), &large)])).await.unwrap();
        let Outcome::Committed { revision } = outcome else { panic!("{outcome:?}") };
        last = revision;
    }
    let all = store.list("/registry/", None, None, None).await.unwrap();
    assert_eq!((all.items.len(), all.more, all.revision), (80, false, last));
    let told = Told::default();
    let _subscription = store.subscribe("/registry/", begin, told.feed()).await.unwrap();
    let revisions: Vec<_> = told.until(last).await.into_iter().map(|event| event.0).collect();
    assert_eq!(revisions, (begin + 1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_feed_that_was_away_for_too_long_is_told_so() {
    let Some(cluster) = Cluster::start(1, &[]) else { return };
    let proxy = Proxy::to(cluster.port(0)).await;
    let (near, far) = (connect(&cluster).await, Etcd::connect(&config(vec![proxy.url()])).await.unwrap());
    let begin = near.current_revision().await.unwrap();
    let told = Told::default();
    let _subscription = far.subscribe("/registry/", begin, told.feed()).await.unwrap();
    let first = writes(&near, "/registry/a").await;
    told.until(first).await;
    proxy.set(Network::Silent);
    proxy.cut();
    writes(&near, "/registry/a").await;
    near.compact(writes(&near, "/registry/a").await).await.unwrap();
    proxy.set(Network::Works);
    proxy.cut();
    let end = told.end().await;
    assert!(matches!(end, Error::Compacted { .. }), "{end}");
    assert_eq!(told.all().len(), 1);
}

#[tokio::test]
async fn a_member_that_falls_silent_is_left() {
    let Some(cluster) = Cluster::start(3, &[]) else { return };
    let mut proxies = Vec::new();
    for member in 0..3 {
        proxies.push(Proxy::to(cluster.port(member)).await);
    }
    let store = Etcd::connect(&config(proxies.iter().map(Proxy::url).collect())).await.unwrap();
    let begin = store.current_revision().await.unwrap();
    let told = Told::default();
    let _subscription = store.subscribe("/registry/", begin, told.feed()).await.unwrap();
    let first = writes(&store, "/registry/a").await;
    told.until(first).await;
    proxies[0].set(Network::Silent);
    // Reads go elsewhere; then writes do.
    let newest = store.current_revision().await.unwrap();
    assert_eq!(newest, first);
    let second = writes(&store, "/registry/b").await;
    store.hasten().await.unwrap();
    let events = timeout(Duration::from_secs(30), told.until(second)).await.unwrap();
    assert!(events.contains(&(second, "/registry/b".to_owned(), Some("x".to_owned()))), "{events:?}");
}

#[tokio::test]
async fn a_cluster_without_a_majority_is_unavailable_until_it_has_one() {
    let Some(mut cluster) = Cluster::start(3, &[]) else { return };
    let store = connect(&cluster).await;
    let last = writes(&store, "/registry/a").await;
    let told = Told::default();
    let _subscription = store.subscribe("/registry/", last, told.feed()).await.unwrap();
    cluster.kill(0);
    cluster.kill(1);
    let refused = store.txn(write(vec![put("/registry/b", "x")])).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_) | Error::Unknown(_)), "{refused}");
    assert!(store.current_revision().await.is_err());
    assert!(matches!(store.failure(), Some(Error::Unavailable(_))), "{:?}", store.failure());
    cluster.restart(0);
    until("it takes writes", async || store.txn(write(vec![put("/registry/c", "x")])).await.is_ok()).await;
    assert!(store.failure().is_none());
    let newest = store.get("/registry/c", None).await.unwrap().unwrap().mod_revision();
    assert!(told.until(newest).await.iter().any(|event| event.0 == newest));
}

#[tokio::test]
async fn another_cluster_in_the_place_of_the_first_is_not_taken_for_it() {
    let (Some(first), Some(second)) = (Cluster::start(1, &[]), Cluster::start(1, &["--initial-cluster-token=other"]))
    else {
        return;
    };
    let mut urls = first.urls();
    urls.extend(second.urls());
    let store = Etcd::connect(&config(urls)).await.unwrap();
    writes(&store, "/registry/a").await;
    drop(first);
    let refused = store.get("/registry/a", None).await;
    assert!(matches!(refused, Err(Error::Closed(_))), "{refused:?}");
    assert!(matches!(store.failed().await, Error::Closed(_)));
    assert!(store.failure().is_some());
}

#[tokio::test]
async fn where_nobody_answers_it_is_said_which_servers_were_asked() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = Etcd::connect(&config(vec![format!("http://127.0.0.1:{free}")])).await.err().unwrap();
    assert!(refused.to_string().contains(&free.to_string()), "{refused}");
}
