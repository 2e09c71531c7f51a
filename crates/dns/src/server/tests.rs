use super::*;
use coracle_client::Event;
use hickory_proto::op::{Edns, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, RData};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn service(name: &str, spec: Value) -> Event<Service> {
    let object = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    Event::Added(Arc::new(serde_json::from_value(object).unwrap()))
}

fn slice(service: &str, endpoints: Value, ports: Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": format!("{service}-x"), "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    }))
    .unwrap()
}

fn zone() -> Zone {
    let mut zone = Zone::default();
    let http = json!({"name": "http", "port": 80, "protocol": "TCP"});
    zone.service(&service(
        "web",
        json!({"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20", "fd00::20"],
        "ports": [http, {"name": "dns", "port": 53, "protocol": "UDP"}]}),
    ));
    zone.service(&service("db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]})));
    zone.service(&service("empty", json!({"clusterIP": "None"})));
    zone.service(&service("far", json!({"type": "ExternalName", "externalName": "www.example.com"})));
    zone.service(&service("near", json!({"type": "ExternalName", "externalName": "web.shop.svc.cluster.local"})));
    zone.service(&service("round", json!({"type": "ExternalName", "externalName": "round.shop.svc.cluster.local"})));
    let endpoints = json!([
        {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": true}},
        {"addresses": ["10.244.0.6"]},
        {"addresses": ["10.244.0.7"], "hostname": "db-2", "conditions": {"ready": false}},
    ]);
    zone.slice(&Event::Added(Arc::new(slice(
        "db",
        endpoints,
        json!([{"name": "sql", "port": 5433, "protocol": "TCP"}]),
    ))));
    zone
}

fn server(upstreams: Vec<SocketAddr>) -> Arc<Server> {
    let lookup = Lookup::new("cluster.local", &[SocketAddr::from(([10, 0, 0, 2], 53))]).unwrap();
    Server::new(Arc::new(RwLock::new(zone())), lookup, Forwarder::new(upstreams))
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn local(name: &str, kind: RecordType) -> Message {
    let request = read(&query(name, kind).to_vec().unwrap()).ok().unwrap();
    server(Vec::new()).local(&request, true).answer
}

fn addresses(message: &Message) -> Vec<String> {
    let mut all: Vec<String> = message.answers.iter().filter_map(|r| r.data.ip_addr()).map(|a| a.to_string()).collect();
    all.sort();
    all
}

fn data(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

fn is_negative(message: &Message, code: ResponseCode) {
    assert_eq!(message.metadata.response_code, code, "{message}");
    assert!(message.answers.is_empty(), "{message}");
    assert_eq!(message.authorities.len(), 1, "{message}");
    assert_eq!(message.authorities[0].record_type(), RecordType::SOA);
}

#[test]
fn the_schema_version_is_a_text_record() {
    assert_eq!(data(&local("dns-version.cluster.local.", RecordType::TXT)), ["1.1.0"]);
}

#[test]
fn a_service_has_its_cluster_addresses() {
    let answer = local("web.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(addresses(&answer), ["10.96.0.20"]);
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    assert_eq!(answer.answers[0].ttl, 5);
    assert_eq!(addresses(&local("web.shop.svc.cluster.local.", RecordType::AAAA)), ["fd00::20"]);
}

#[test]
fn names_match_in_any_case_and_come_back_as_they_were_asked() {
    let answer = local("WEB.Shop.svc.CLUSTER.local.", RecordType::A);
    assert_eq!(addresses(&answer), ["10.96.0.20"]);
    assert_eq!(answer.answers[0].name.to_ascii(), "WEB.Shop.svc.CLUSTER.local.");
    let packet = encode(answer, 512);
    assert!(packet.windows(8).any(|part| part == b"\x03WEB\x04Sho"));
}

#[test]
fn named_ports_of_a_service_have_srv_records() {
    let answer = local("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV);
    assert_eq!(data(&answer), ["0 100 80 web.shop.svc.cluster.local."]);
    assert_eq!(answer.additionals.len(), 2);
    is_negative(&local("_http._udp.web.shop.svc.cluster.local.", RecordType::SRV), ResponseCode::NXDomain);
    is_negative(&local("_http._tcp.web.shop.svc.cluster.local.", RecordType::A), ResponseCode::NoError);
    is_negative(&local("_tcp.web.shop.svc.cluster.local.", RecordType::A), ResponseCode::NoError);
}

#[test]
fn a_headless_service_has_its_ready_endpoints() {
    assert_eq!(addresses(&local("db.shop.svc.cluster.local.", RecordType::A)), ["10.244.0.5", "10.244.0.6"]);
    assert_eq!(addresses(&local("db-0.db.shop.svc.cluster.local.", RecordType::A)), ["10.244.0.5"]);
    assert_eq!(addresses(&local("10-244-0-6.db.shop.svc.cluster.local.", RecordType::A)), ["10.244.0.6"]);
    is_negative(&local("db-2.db.shop.svc.cluster.local.", RecordType::A), ResponseCode::NXDomain);
    is_negative(&local("empty.shop.svc.cluster.local.", RecordType::A), ResponseCode::NXDomain);
    let mut srv = data(&local("_sql._tcp.db.shop.svc.cluster.local.", RecordType::SRV));
    srv.sort();
    let expected = ["0 50 5433 10-244-0-6.db.shop.svc.cluster.local.", "0 50 5433 db-0.db.shop.svc.cluster.local."];
    assert_eq!(srv, expected);
}

#[test]
fn endpoints_take_turns_to_be_first() {
    let server = server(Vec::new());
    let request = read(&query("db.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap()).ok().unwrap();
    let first = || data(&server.local(&request, true).answer)[0].clone();
    assert_ne!(first(), first());
}

#[test]
fn existing_names_without_the_type_differ_from_missing_names() {
    is_negative(&local("web.shop.svc.cluster.local.", RecordType::MX), ResponseCode::NoError);
    is_negative(&local("db.shop.svc.cluster.local.", RecordType::AAAA), ResponseCode::NoError);
    is_negative(&local("shop.svc.cluster.local.", RecordType::A), ResponseCode::NoError);
    for missing in [
        "nothing.shop.svc",
        "web.other.svc",
        "other.svc",
        "x.web.shop.svc",
        "a.b",
        "web.shop.pod",
        "a.1-2-3-4.shop.pod",
    ] {
        is_negative(&local(&format!("{missing}.cluster.local."), RecordType::A), ResponseCode::NXDomain);
    }
}

#[test]
fn pods_have_names_made_of_their_addresses() {
    assert_eq!(addresses(&local("10-244-0-9.shop.pod.cluster.local.", RecordType::A)), ["10.244.0.9"]);
    assert_eq!(addresses(&local("fd00--9.shop.pod.cluster.local.", RecordType::AAAA)), ["fd00::9"]);
    is_negative(&local("10-244-0-9.shop.pod.cluster.local.", RecordType::AAAA), ResponseCode::NoError);
}

#[test]
fn addresses_of_services_and_named_endpoints_have_pointers() {
    let pointer =
        |address: &str| data(&local(&Name::from(IpAddr::from_str(address).unwrap()).to_ascii(), RecordType::PTR));
    assert_eq!(pointer("10.96.0.20"), ["web.shop.svc.cluster.local."]);
    assert_eq!(pointer("fd00::20"), ["web.shop.svc.cluster.local."]);
    assert_eq!(pointer("10.244.0.5"), ["db-0.db.shop.svc.cluster.local."]);
    assert!(pointer("10.244.0.6").is_empty());
}

#[test]
fn an_external_name_in_the_cluster_is_followed_and_circles_end() {
    let answer = local("near.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(data(&answer), ["web.shop.svc.cluster.local.", "10.96.0.20"]);
    let circle = local("round.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(circle.metadata.response_code, ResponseCode::ServFail);
    let alias = local("far.shop.svc.cluster.local.", RecordType::CNAME);
    assert_eq!(data(&alias), ["www.example.com."]);
}

#[test]
fn what_goes_is_forgotten() {
    let mut zone = zone();
    let endpoints = json!([{"addresses": ["10.244.0.5"], "hostname": "db-0"}]);
    zone.slice(&Event::Deleted(Arc::new(slice("db", endpoints, json!([])))));
    let Event::Added(web) = service("web", json!({"clusterIP": "10.96.0.20"})) else { unreachable!() };
    zone.service(&Event::Deleted(web));
    assert!(zone.find_service("shop", "web").is_none());
    assert!(zone.service_at([10, 96, 0, 20].into()).is_none());
    assert!(zone.named_endpoints_at([10, 244, 0, 5].into()).is_empty());
    assert!(zone.slices("shop", "db").next().is_none());
}

/// Serves on a free port of the loopback address.
async fn started(server: Arc<Server>) -> SocketAddr {
    let sockets = bind(&[SocketAddr::from((LOOPBACK, 0))]).await.unwrap();
    let address = sockets[0].tcp.local_addr().unwrap();
    tokio::spawn(server.serve(sockets));
    address
}

async fn by_udp(server: SocketAddr, packet: &[u8]) -> Message {
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    socket.send_to(packet, server).await.unwrap();
    let mut buffer = [0; 4096];
    let length = timeout(Duration::from_secs(20), socket.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn by_tcp(server: SocketAddr, packet: &[u8]) -> Message {
    exchange(TcpStream::connect(server).await.unwrap(), packet).await
}

async fn exchange(mut stream: TcpStream, packet: &[u8]) -> Message {
    stream.write_u16(packet.len() as u16).await.unwrap();
    stream.write_all(packet).await.unwrap();
    let mut buffer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut buffer).await.unwrap();
    Message::from_vec(&buffer).unwrap()
}

/// An upstream that answers `count` addresses to everything, by UDP only the truncation bit when there are many.
async fn upstream(count: u8) -> (SocketAddr, Arc<AtomicUsize>) {
    let sockets = bind(&[SocketAddr::from((LOOPBACK, 0))]).await.unwrap().pop().unwrap();
    let (address, asked) = (sockets.tcp.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let reply = move |packet: &[u8], complete: bool| {
        let request = Message::from_vec(packet).unwrap();
        let mut answer = request.clone();
        answer.metadata.message_type = MessageType::Response;
        answer.edns = None;
        if complete || count < 100 {
            for number in 0..count {
                let data = RData::from(IpAddr::from([192, 0, 2, number]));
                answer.add_answer(Record::from_rdata(request.queries[0].name.clone(), 60, data));
            }
        } else {
            answer.metadata.truncation = true;
        }
        answer.to_vec().unwrap()
    };
    let counter = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = sockets.udp.recv_from(&mut buffer).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            sockets.udp.send_to(&reply(&buffer[..length], false), client).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = sockets.tcp.accept().await.unwrap();
            let mut packet = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut packet).await.unwrap();
            let answer = reply(&packet, true);
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    (address, asked)
}

#[tokio::test]
async fn other_names_are_asked_upstream_once_and_kept() {
    let (upstream, asked) = upstream(2).await;
    let server = started(server(vec![upstream])).await;
    let packet = query("www.example.com.", RecordType::A).to_vec().unwrap();
    let (first, second) = tokio::join!(by_udp(server, &packet), by_udp(server, &packet));
    assert_eq!(addresses(&first), ["192.0.2.0", "192.0.2.1"]);
    assert_eq!((first.metadata.id, addresses(&second)), (77, addresses(&first)));
    let again = by_udp(server, &query("WWW.example.com.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(again.answers[0].name.to_ascii(), "WWW.example.com.");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_external_name_is_followed_upstream() {
    let (upstream, _) = upstream(1).await;
    let server = started(server(vec![upstream])).await;
    let answer = by_udp(server, &query("far.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(data(&answer), ["www.example.com.", "192.0.2.0"]);
    assert_eq!(answer.answers[1].name.to_ascii(), "www.example.com.");
}

#[tokio::test]
async fn an_upstream_that_is_silent_or_gone_is_passed_over() {
    let silent = std::net::UdpSocket::bind((LOOPBACK, 0)).unwrap();
    silent.set_nonblocking(true).unwrap();
    let questions = || std::iter::from_fn(|| silent.recv(&mut [0; 512]).ok()).count();
    let gone = UdpSocket::bind((LOOPBACK, 0)).await.unwrap().local_addr().unwrap();
    let (upstream, _) = upstream(1).await;
    let server = started(server(vec![gone, silent.local_addr().unwrap(), upstream])).await;
    let answer = by_udp(server, &query("www.example.com.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(addresses(&answer), ["192.0.2.0"]);
    assert!(questions() > 0);
    by_udp(server, &query("two.example.com.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(questions(), 0, "the silent one was asked first again");
}

/// Another client than that of the loopback address.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// An upstream that answers names that begin with "good" only.
async fn half_silent_upstream() -> SocketAddr {
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let mut answer = Message::from_vec(&buffer[..length]).unwrap();
            let name = answer.queries[0].name.clone();
            if name.to_ascii().starts_with("good") {
                answer.metadata.message_type = MessageType::Response;
                answer.add_answer(Record::from_rdata(name, 60, RData::from(IpAddr::from([192, 0, 2, 1]))));
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn a_client_that_asks_for_much_of_a_silent_upstream_does_not_starve_others() {
    let server = started(server(vec![half_silent_upstream().await])).await;
    let greedy = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let mut buffer = [0; 4096];
    let mut refused = 0;
    for number in 0..1024 {
        let packet = query(&format!("n{number}.example.com."), RecordType::A).to_vec().unwrap();
        greedy.send_to(&packet, server).await.unwrap();
        // Beyond its share it is answered at once, so that nothing is lost on the way.
        if number >= MAX_WAITING.1 {
            let length = timeout(Duration::from_secs(20), greedy.recv(&mut buffer)).await.unwrap().unwrap();
            let answer = Message::from_vec(&buffer[..length]).unwrap();
            refused += usize::from(answer.metadata.response_code == ResponseCode::ServFail);
        }
    }
    assert_eq!(refused, 1024 - MAX_WAITING.1);
    let other = UdpSocket::bind((OTHER, 0)).await.unwrap();
    other.send_to(&query("good.example.com.", RecordType::A).to_vec().unwrap(), server).await.unwrap();
    let length = timeout(Duration::from_secs(20), other.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(addresses(&Message::from_vec(&buffer[..length]).unwrap()), ["192.0.2.1"]);
}

#[tokio::test]
async fn a_client_with_many_idle_connections_does_not_keep_others_from_tcp() {
    let server = started(server(Vec::new())).await;
    let mut idle = Vec::new();
    for _ in 0..257 {
        idle.push(TcpStream::connect(server).await.unwrap());
    }
    let question = query("web.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((OTHER, 0).into()).unwrap();
    let answer = exchange(socket.connect(server).await.unwrap(), &question);
    assert_eq!(addresses(&answer.await), ["10.96.0.20"]);
    let open =
        |stream: &TcpStream| stream.try_read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    assert!(open(&idle[0]), "the first is served still");
    assert_eq!(idle.iter().filter(|stream| open(stream)).count(), MAX_CONNECTIONS.1);
}

#[tokio::test]
async fn ten_thousand_random_packets_and_every_flag_stall_nothing() {
    let server = started(server(Vec::new())).await;
    let client = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for _ in 0..10_000 {
        let packet: Vec<u8> = (0..random()).map(|_| random()).collect();
        client.send_to(&packet, server).await.unwrap();
    }
    let question = query("web.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    for flags in 0..=u16::MAX {
        let mut packet = question.clone();
        packet[2..4].copy_from_slice(&flags.to_be_bytes());
        handle(&packet);
    }
    // Some of the packets before may still be in the way.
    let mut buffer = [0; 4096];
    loop {
        client.send_to(&question, server).await.unwrap();
        let length = timeout(Duration::from_secs(20), client.recv(&mut buffer)).await.unwrap().unwrap();
        if Message::from_vec(&buffer[..length]).is_ok_and(|answer| addresses(&answer) == ["10.96.0.20"]) {
            break;
        }
    }
}

#[tokio::test]
async fn without_upstreams_other_names_fail() {
    let server = started(server(Vec::new())).await;
    let answer = by_udp(server, &query("www.example.com.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(answer.queries.len(), 1);
}

#[tokio::test]
async fn a_long_answer_is_cut_by_udp_and_whole_by_tcp() {
    let (upstream, _) = upstream(200).await;
    let server = started(server(vec![upstream])).await;
    let packet = query("big.example.com.", RecordType::A).to_vec().unwrap();
    assert!(by_udp(server, &packet).await.metadata.truncation);
    let whole = by_tcp(server, &packet).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);
}

#[tokio::test]
async fn a_loop_through_an_upstream_ends() {
    let sockets = bind(&[SocketAddr::from((LOOPBACK, 0))]).await.unwrap();
    let address = sockets[0].udp.local_addr().unwrap();
    tokio::spawn(server(vec![address]).serve(sockets));
    let answer = by_udp(address, &query("www.example.com.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(crate::forward::usable(&[address], &[SocketAddr::from(([0, 0, 0, 0], address.port()))]), []);
}

#[test]
fn answers_fit_the_clients_limit() {
    let mut answer = query("many.example.", RecordType::A);
    for number in 0..250 {
        let data = RData::from(IpAddr::from([192, 0, 2, number]));
        answer.add_answer(Record::from_rdata(Name::from_str("many.example.").unwrap(), 5, data));
    }
    for limit in [512, 1232] {
        let bytes = encode(answer.clone(), limit);
        assert!(bytes.len() <= limit && bytes.len() + 20 > limit, "{}", bytes.len());
        assert!(Message::from_vec(&bytes).unwrap().metadata.truncation);
    }
}

#[test]
fn what_cannot_be_answered_is_refused_politely() {
    let refusal = |packet: &[u8]| Message::from_vec(&read(packet).err().unwrap().unwrap()).unwrap();
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(refusal(&chaos.to_vec().unwrap()).metadata.response_code, ResponseCode::Refused);
    let mut update = query("a.", RecordType::A);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(refusal(&update.to_vec().unwrap()).metadata.response_code, ResponseCode::NotImp);
    let mut future = query("a.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    future.set_edns(edns);
    let answer = refusal(&future.to_vec().unwrap());
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    let mut cut = query("a.example.", RecordType::A).to_vec().unwrap();
    cut.truncate(16);
    assert_eq!(refusal(&cut).metadata.response_code, ResponseCode::FormErr);
    let mut response = query("a.", RecordType::A).to_vec().unwrap();
    response[2] |= 0x80;
    assert!(matches!(read(&response), Err(None)));
}

fn handle(packet: &[u8]) {
    let server = server(Vec::new());
    if let Ok(request) = read(packet) {
        let local = server.local(&request, false);
        let bytes = encode(local.answer, request.udp_limit);
        assert!(bytes.len() <= request.udp_limit);
    }
}

proptest! {
    #[test]
    fn no_packet_makes_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        handle(&packet);
    }

    #[test]
    fn no_name_makes_it_panic(
        labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..6),
        kind in any::<u16>(), inside in any::<bool>(), flip in any::<(usize, u8)>(),
    ) {
        let mut name = Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap_or_default();
        if inside {
            name = name.append_domain(&Name::from_str("svc.cluster.local.").unwrap()).unwrap();
        }
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(name, RecordType::from(kind)));
        let mut packet = message.to_vec().unwrap_or_default();
        handle(&packet);
        if !packet.is_empty() {
            let at = flip.0 % packet.len();
            packet[at] = flip.1;
            handle(&packet);
        }
    }
}
