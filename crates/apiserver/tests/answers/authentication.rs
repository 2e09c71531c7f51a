//! Users whom others know: issuers of tokens, and a server that is asked about them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use coracle_apiserver::auth::{Anonymous, OidcOptions, Options, TokenWebhookOptions};
use coracle_pki::{Authority, TokenKey};
use http::Request;
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::Api;
use crate::other_server::OtherServer;

/// An issuer of tokens with a key, and what it says of its keys.
struct Issuer {
    server: OtherServer,
    key: TokenKey,
    /// The key set that it shows, and how slowly.
    shown: Arc<Mutex<(Value, u64)>>,
}

fn key() -> TokenKey {
    let dir = tempfile::tempdir().expect("a directory");
    Authority::open(dir.path()).expect("an authority").service_account_key().expect("a key")
}

impl Issuer {
    async fn start() -> Issuer {
        let key = key();
        let shown = Arc::new(Mutex::new((key.key_set(), 0)));
        let (keys, url) = (shown.clone(), Arc::new(Mutex::new(String::new())));
        let own = url.clone();
        let server = OtherServer::serve(Arc::new(move |path, _| {
            let url = own.lock().clone();
            match path {
                "/.well-known/openid-configuration" => {
                    (json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string(), 0)
                }
                "/keys" => {
                    let (keys, delay) = &*keys.lock();
                    (keys.to_string(), *delay)
                }
                _ => (String::new(), 0),
            }
        }))
        .await;
        *url.lock() = server.url.clone();
        Issuer { server, key, shown }
    }

    fn options(&self) -> OidcOptions {
        OidcOptions {
            issuer_url: self.server.url.clone(),
            client_id: "kubernetes".into(),
            username_claim: "sub".into(),
            username_prefix: "o:".into(),
            groups_claim: "groups".into(),
            signing_algs: vec!["ES256".into(), "RS256".into()],
            ca: Some(self.server.authority.clone()),
            ..OidcOptions::default()
        }
    }

    fn claims(&self, sub: &str) -> Value {
        json!({"iss": self.server.url, "aud": "kubernetes", "sub": sub, "groups": ["dev"], "exp": now() + 60, "jti": "j1"})
    }

    fn token(&self, sub: &str) -> String {
        self.key.sign(&self.claims(sub)).expect("a token")
    }

    async fn api(&self) -> Api {
        let oidc = self.options();
        Api::with(|config| config.authentication = Options { oidc: Some(oidc), ..Options::default() }).await
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs()
}

/// What a review by whoever shows a token says of them; the status where it is not believed.
async fn who(api: &Api, token: &str) -> Result<Value, u16> {
    ask(api, "/apis/authentication.k8s.io/v1/selfsubjectreviews", Some(token))
        .await
        .map(|review| review["status"]["userInfo"].clone())
}

async fn ask(api: &Api, path: &str, token: Option<&str>) -> Result<Value, u16> {
    let mut request = Request::post(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Full::new(bytes::Bytes::from("{}"))).expect("a request");
    let response = api.server.handle(request, None).await;
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    if status.is_success() { Ok(serde_json::from_slice(&body).expect("JSON")) } else { Err(status.as_u16()) }
}

#[tokio::test]
async fn an_issuer_of_tokens_names_users() {
    let issuer = Issuer::start().await;
    let api = issuer.api().await;
    let joe = who(&api, &issuer.token("joe")).await.expect("a user");
    assert_eq!((&joe["username"], &joe["groups"]), (&json!("o:joe"), &json!(["dev", "system:authenticated"])));
    assert_eq!(joe["extra"]["authentication.kubernetes.io/credential-id"], json!(["JTI=j1"]));
    let review = json!({"spec": {"token": issuer.token("joe")}});
    let review = api.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.ok();
    assert_eq!(review["status"]["user"]["username"], "o:joe");
    assert_eq!(review["status"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    let elsewhere = json!({"spec": {"token": issuer.token("joe"), "audiences": ["vault"]}});
    let review = api.post("/apis/authentication.k8s.io/v1/tokenreviews", &elsewhere).await.ok();
    assert_eq!(review["status"]["authenticated"], Value::Null);
}

#[tokio::test]
async fn a_token_that_is_not_what_it_says_is_refused() {
    let issuer = Issuer::start().await;
    let api = issuer.api().await;
    who(&api, &issuer.token("joe")).await.expect("a user");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = issuer.claims("joe");
        change(&mut claims);
        issuer.key.sign(&claims).expect("a token")
    };
    let (_, good) = (0, issuer.token("joe"));
    let parts: Vec<&str> = good.split('.').collect();
    let forged =
        |header: Value, signature: &str| format!("{}.{}.{signature}", BASE64.encode(header.to_string()), parts[1]);
    let secret = issuer.key.key_set().to_string();
    let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let head = forged(json!({"alg": "HS256"}), "");
    let confused = format!("{head}{}", BASE64.encode(ring::hmac::sign(&hmac, head.trim_end_matches('.').as_bytes())));
    let kid = issuer.key.key_set()["keys"][0]["kid"].clone();
    for (what, token) in [
        ("expired", with(&|claims| claims["exp"] = (now() - 1).into())),
        ("without an end", with(&|claims| claims["exp"] = Value::Null)),
        ("of tomorrow", with(&|claims| claims["nbf"] = (now() + 86_400).into())),
        ("for another", with(&|claims| claims["aud"] = "vault".into())),
        ("of another issuer", with(&|claims| claims["iss"] = "https://other".into())),
        ("by another key", key().sign(&issuer.claims("joe")).expect("a token")),
        ("not signed", forged(json!({"alg": "none"}), "")),
        ("signed with the public key", confused),
        ("of another algorithm", forged(json!({"alg": "RS256", "kid": kid}), parts[2])),
        ("of a known key", forged(json!({"alg": "ES256", "kid": kid, "x": 1}), parts[2])),
        ("critical", forged(json!({"alg": "ES256", "kid": kid, "crit": ["b64"]}), parts[2])),
        ("cut off", good[..good.len() - 4].to_owned()),
        ("nothing", "..".into()),
        ("long", "a".repeat(100_000)),
    ] {
        assert_eq!(who(&api, &token).await, Err(401), "{what}");
    }
}

#[tokio::test]
async fn a_new_key_is_asked_for_and_a_flood_of_unknown_ones_is_not() {
    let issuer = Issuer::start().await;
    let api = issuer.api().await;
    who(&api, &issuer.token("joe")).await.expect("a user");
    for _ in 0..50 {
        assert_eq!(who(&api, &key().sign(&issuer.claims("joe")).expect("a token")).await, Err(401));
    }
    assert_eq!(issuer.server.count("/keys"), 1, "whoever shows tokens does not decide how often the issuer is asked");
    who(&api, &issuer.token("joe")).await.expect("a user all the same");
}

#[tokio::test]
async fn a_slow_or_hostile_issuer_holds_up_nobody_else() {
    let issuer = Issuer::start().await;
    issuer.shown.lock().1 = 3_600_000;
    let api = Arc::new(issuer.api().await);
    let (waiting, token) = (api.clone(), issuer.token("joe"));
    let waiting = tokio::spawn(async move { who(&waiting, &token).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    api.get("/api/v1/namespaces/default").await.ok();
    assert!(!waiting.is_finished());
    waiting.abort();
    // One that shows more than anyone would.
    let issuer = Issuer::start().await;
    let keys = vec![json!({"kty": "RSA", "n": "A".repeat(400), "e": "AQAB"}); 10_000];
    issuer.shown.lock().0 = json!({"keys": keys});
    let api = issuer.api().await;
    assert_eq!(who(&api, &issuer.token("joe")).await, Err(401));
}

#[tokio::test]
async fn several_issuers_are_known_by_a_file() {
    let (one, two) = (Issuer::start().await, Issuer::start().await);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.yaml");
    let jwt = |issuer: &Issuer, username: Value| {
        json!({"issuer": {"url": issuer.server.url, "audiences": ["kubernetes", "k"], "audienceMatchPolicy": "MatchAny",
            "certificateAuthority": issuer.server.authority}, "claimMappings": {"username": username,
            "groups": {"expression": "claims.groups"}}, "userValidationRules": [
            {"expression": "!user.username.startsWith('system:')", "message": "reserved"}]})
    };
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [jwt(&one, json!({"claim": "sub", "prefix": "one:"})), jwt(&two, json!({"expression": "claims.sub"}))],
        "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]}});
    std::fs::write(&file, config.to_string()).expect("a file");
    let api = Api::with(|config| config.authentication = Options { config: Some(file), ..Options::default() }).await;
    assert_eq!(who(&api, &one.token("joe")).await.expect("a user")["username"], "one:joe");
    assert_eq!(who(&api, &two.token("joe")).await.expect("a user")["username"], "joe");
    assert_eq!(who(&api, &two.token("system:admin")).await, Err(401));
    let mut claims = one.claims("joe");
    claims["iss"] = two.server.url.clone().into();
    assert_eq!(who(&api, &one.key.sign(&claims).expect("a token")).await, Err(401), "each has keys of its own");
    assert_eq!(ask(&api, "/apis/authentication.k8s.io/v1/selfsubjectreviews", None).await, Err(401));
    let request = Request::get("/livez").body(Full::new(bytes::Bytes::new())).expect("a request");
    assert_eq!(api.server.handle(request, None).await.status(), 200);
}

#[tokio::test]
async fn who_says_nothing_is_nobody_where_that_is_not_wanted() {
    let nowhere = Options { anonymous: Some(Anonymous::Nowhere), ..Options::default() };
    let api = Api::with(|config| config.authentication = nowhere).await;
    let request = Request::get("/livez").body(Full::new(bytes::Bytes::new())).expect("a request");
    assert_eq!(api.server.handle(request, None).await.status(), 401);
}

#[tokio::test]
async fn a_server_that_knows_tokens_is_asked_once_for_each() {
    let server = OtherServer::serve(Arc::new(|_, review| {
        let status = match review["spec"]["token"].as_str() {
            Some("good") => json!({"authenticated": true, "user": {"username": "joe", "groups": ["a"]}}),
            Some("fault") => json!({"authenticated": false, "error": "gone"}),
            _ => json!({"authenticated": false}),
        };
        (json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": status}).to_string(), 0)
    }))
    .await;
    let webhook = TokenWebhookOptions {
        config: server.kubeconfig("/tokens"),
        version: "v1".into(),
        cache_ttl: Duration::from_secs(60),
    };
    let options = Options { webhook: Some(webhook), api_audiences: vec!["api".into()], ..Options::default() };
    let api = Api::with(|config| config.authentication = options).await;
    for _ in 0..3 {
        assert_eq!(who(&api, "good").await.expect("a user")["groups"], json!(["a", "system:authenticated"]));
        assert_eq!(who(&api, "bad").await, Err(401));
    }
    assert_eq!(server.count("/tokens"), 2);
    let (_, review) = server.asked.lock()[0].clone();
    assert_eq!(review["spec"], json!({"token": "good", "audiences": ["api"]}));
    let review =
        api.post("/apis/authentication.k8s.io/v1/tokenreviews", &json!({"spec": {"token": "fault"}})).await.ok();
    assert_eq!(review["status"]["error"], "gone");
    // A service account's token is for this server by its new name.
    let made = api.post("/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "bot"}})).await;
    made.ok();
    let token = api.post("/api/v1/namespaces/default/serviceaccounts/bot/token", &json!({"spec": {}})).await.ok();
    assert_eq!(token["spec"]["audiences"], json!(["api"]));
    let token = token["status"]["token"].as_str().expect("a token").to_owned();
    assert_eq!(who(&api, &token).await.expect("a user")["username"], "system:serviceaccount:default:bot");
}
