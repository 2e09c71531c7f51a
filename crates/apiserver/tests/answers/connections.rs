//! Connections to the socket of the API server, on loopback: who comes without credentials keeps nobody out.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use coracle_pki::{FRONT_PROXY, Pair};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Api;

pub async fn listen(api: &Api) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let (server, serving) = (api.server.clone(), api.serving.clone());
    tokio::spawn(async move { server.serve(listener, serving).await });
    address
}

fn connector(api: &Api, client: Option<&Pair>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(api.authority.certificate.as_bytes()).expect("a certificate"))
        .expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a client's certificate")
        }
    };
    TlsConnector::from(Arc::new(config))
}

async fn connect(connector: &TlsConnector, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    connector.connect(ServerName::IpAddress(address.ip().into()), TcpStream::connect(address).await?).await
}

pub async fn list_pods(api: &Api, address: SocketAddr) -> StatusCode {
    let stream = connect(&connector(api, Some(&api.admin)), address).await.expect("a connection");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let request = Request::get("/api/v1/pods").header("host", "api").body(Empty::<Bytes>::new()).expect("a request");
    sender.send_request(request).await.expect("an answer").status()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_connections_without_credentials_keep_no_administrator_out() {
    // Both ends are this process's: were every connection kept, there would be no descriptor for the administrator's.
    let limit = getrlimit(Resource::Nofile);
    let descriptors = limit.maximum.unwrap_or(u64::MAX).min(3000);
    setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), ..limit }).expect("a limit");
    let count = descriptors * 2 / 3;
    let api = Api::new().await;
    let address = listen(&api).await;
    let anonymous = connector(&api, None);
    let (mut silent, mut talking) = (Vec::new(), Vec::new());
    for number in 0..count {
        let said = match number % 3 {
            0 => {
                silent.extend(TcpStream::connect(address).await);
                continue;
            }
            1 => "GET /api HTTP/1.1\r\nHos",
            _ => "POST /api/v1/namespaces HTTP/1.1\r\nHost: api\r\nContent-Length: 1000\r\n\r\n{",
        };
        // The oldest make room for those that come.
        if let Ok(mut stream) = connect(&anonymous, address).await
            && stream.write_all(said.as_bytes()).await.is_ok()
        {
            talking.push(stream);
        }
    }
    assert!(silent.len() + talking.len() > count as usize / 2);
    assert_eq!(list_pods(&api, address).await, StatusCode::OK);
}

#[tokio::test]
async fn who_may_not_is_told_so_before_anything_is_read() {
    let api = Api::new().await;
    let address = listen(&api).await;
    let mut stream = connect(&connector(&api, None), address).await.expect("a connection");
    let said = "POST /api/v1/namespaces HTTP/1.1\r\nHost: api\r\nContent-Length: 3000000\r\n\r\n";
    stream.write_all(said.as_bytes()).await.expect("a request");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 403");
}

#[tokio::test]
async fn a_request_names_one_host() {
    let api = Api::new().await;
    let address = listen(&api).await;
    for (hosts, code) in [("", "400"), ("Host: api\r\nHost: api\r\n", "400"), ("Host: api\r\n", "200")] {
        let mut stream = connect(&connector(&api, None), address).await.expect("a connection");
        let said = format!("GET /livez HTTP/1.1\r\n{hosts}\r\n");
        stream.write_all(said.as_bytes()).await.expect("a request");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer), format!("HTTP/1.1 {code}"), "{hosts:?}");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_those_who_come_and_the_others_go_on() {
    let api = Api::new().await;
    let address = listen(&api).await;
    let shown =
        |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone();
    let mut before = connect(&connector(&api, None), address).await.expect("a connection");
    let renewed = api.authority.server("kube-apiserver", &[], &[], &[address.ip()]).expect("a certificate");
    api.serving.replace(&renewed).expect("a usable certificate");
    let after = connect(&connector(&api, None), address).await.expect("a connection");
    assert_ne!(shown(&before), shown(&after));
    before.write_all(b"GET /livez HTTP/1.1\r\nHost: api\r\n\r\n").await.expect("a request");
    let mut answer = [0; 12];
    before.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// What a client with a certificate is told of who it is, with a header.
async fn who(api: &Api, address: SocketAddr, pair: &Pair, header: Option<(&str, &str)>) -> (StatusCode, String) {
    let stream = connect(&connector(api, Some(pair)), address).await.expect("a connection");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let mut request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews").header("host", "api");
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from_static(b"{}"))).expect("a request");
    let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    (head.status, body["status"]["userInfo"]["username"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_server_in_front_says_whose_a_request_is_and_nobody_else_does() {
    let api = Api::new().await;
    let address = listen(&api).await;
    let proxy = api
        .authority
        .front_proxy()
        .expect("an authority")
        .client(FRONT_PROXY, FRONT_PROXY, &[])
        .expect("a certificate");
    let header = Some(("x-remote-user", "joe"));
    assert_eq!(who(&api, address, &proxy, header).await, (StatusCode::CREATED, "joe".into()));
    assert_eq!(who(&api, address, &proxy, None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(who(&api, address, &api.admin, header).await, (StatusCode::CREATED, "admin".into()));
}
