//! `/exec`, `/attach`, `/portForward`, `/run`.

use std::future::Future;
use std::sync::Arc;

use coracle_runtime::cri::{ContainerState, CriError, Streams};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::{Body, Named, Query, find, text};
use crate::kubelet::Kubelet;
use crate::pod::PodExt;
use crate::streaming::{portforward, remotecommand, websocket};

fn options(query: &Query) -> Result<remotecommand::Options, Box<Response<Body>>> {
    let flag = |kubelet: &str, api: &str| query.flag(kubelet) || query.flag(api);
    let options = remotecommand::Options {
        stdin: flag("input", "stdin"),
        stdout: flag("output", "stdout"),
        stderr: flag("error", "stderr"),
        tty: query.flag("tty"),
    };
    if !options.stdin && !options.stdout && !options.stderr {
        return Err(Box::new(text(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr")));
    }
    Ok(options)
}

/// The ID of a running container.
fn container_id(k: &Kubelet, named: &Named<'_>, container: &str) -> Result<String, Box<Response<Body>>> {
    let pod = find(k, named)?;
    let observed = k.pods.observed(pod.uid()).unwrap_or_default();
    match observed.latest(container).filter(|status| status.state == ContainerState::Running) {
        Some(status) => Ok(status.id.clone()),
        None => {
            Err(Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found (\"{container}\")"))))
        }
    }
}

/// Which protocol a connection is upgraded to.
enum Upgrade {
    WebSocket(&'static str),
    Spdy(&'static str),
}

fn negotiate(
    headers: &HeaderMap,
    websocket_protocols: &[&'static str],
    spdy: &[&'static str],
) -> Result<(Upgrade, Response<Body>), Box<Response<Body>>> {
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    response.headers_mut().clear();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    if websocket::is_upgrade(headers) {
        let refused = || {
            Box::new(text(StatusCode::BAD_REQUEST, "the WebSocket handshake is malformed or offers no known protocol"))
        };
        let protocol = websocket::choose_protocol(headers, websocket_protocols).ok_or_else(refused)?;
        let accept =
            websocket::accept_key(headers).and_then(|key| HeaderValue::from_str(&key).ok()).ok_or_else(refused)?;
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        response.headers_mut().insert("sec-websocket-accept", accept);
        if !protocol.is_empty() {
            response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        }
        return Ok((Upgrade::WebSocket(protocol), response));
    }
    let wants = headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !wants.eq_ignore_ascii_case("SPDY/3.1") {
        let message = "unable to upgrade: missing upgrade headers in request";
        return Err(Box::new(text(StatusCode::BAD_REQUEST, message)));
    }
    let offered: Vec<&str> = headers
        .get_all("x-stream-protocol-version")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    // Without an offer the oldest protocol is meant.
    let protocol = if offered.is_empty() {
        spdy.last()
    } else {
        offered.iter().find_map(|name| spdy.iter().find(|known| *known == name))
    };
    let Some(protocol) = protocol else {
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {spdy:?}"
        );
        let mut refusal = text(StatusCode::FORBIDDEN, message);
        for known in spdy {
            refusal.headers_mut().append("x-accepted-stream-protocol-versions", HeaderValue::from_static(known));
        }
        return Err(Box::new(refusal));
    };
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    response.headers_mut().insert("x-stream-protocol-version", HeaderValue::from_static(protocol));
    Ok((Upgrade::Spdy(protocol), response))
}

/// Answers with the upgrade and serves the session once the connection is free.
fn session<F, Fut>(request: Request<Incoming>, options: remotecommand::Options, run: F) -> Response<Body>
where
    F: FnOnce(Streams) -> Fut + Send + 'static,
    Fut: Future<Output = Result<i32, CriError>> + Send + 'static,
{
    let negotiated = negotiate(request.headers(), remotecommand::WEBSOCKET_PROTOCOLS, remotecommand::SPDY_PROTOCOLS);
    let (upgrade, response) = match negotiated {
        Ok(negotiated) => negotiated,
        Err(refusal) => return *refusal,
    };
    tokio::spawn(async move {
        let Ok(io) = hyper::upgrade::on(request).await.map(TokioIo::new) else { return };
        match upgrade {
            Upgrade::WebSocket(protocol) => remotecommand::serve_websocket(io, protocol, options, run).await,
            Upgrade::Spdy(protocol) => remotecommand::serve_spdy(io, protocol, options, run).await,
        }
    });
    response
}

/// The same error with what was being done when it happened, in upstream's words.
fn in_words(doing: &'static str) -> impl FnOnce(CriError) -> CriError {
    move |error| CriError::Internal(format!("{doing}: {error}"))
}

pub(super) async fn exec(
    k: Arc<Kubelet>,
    named: &Named<'_>,
    container: &str,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let (id, options) = match container_id(&k, named, container).and_then(|id| Ok((id, options(query)?))) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let command: Vec<String> = query.all("command").map(str::to_owned).collect();
    session(request, options, move |streams| async move {
        k.runtime
            .exec(&id, command, options.tty, streams)
            .await
            .map_err(in_words("error executing command in container"))
    })
}

pub(super) async fn attach(
    k: Arc<Kubelet>,
    named: &Named<'_>,
    container: &str,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let (id, mut options) = match container_id(&k, named, container).and_then(|id| Ok((id, options(query)?))) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    // Whether there is a terminal was decided when the container was made.
    if let Some(spec) = find(&k, named).as_ref().ok().and_then(|pod| pod.container(container)) {
        options.tty = spec.tty.unwrap_or(false);
    }
    session(request, options, move |streams| async move {
        k.runtime.attach(&id, streams).await.map(|()| 0).map_err(in_words("error attaching to container"))
    })
}

pub(super) async fn port_forward(
    k: Arc<Kubelet>,
    named: &Named<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let pod = match find(&k, named) {
        Ok(pod) => pod,
        Err(refusal) => return *refusal,
    };
    let sandbox =
        k.pods.observed(pod.uid()).filter(|observed| observed.sandbox_ready()).and_then(|observed| observed.sandbox);
    let Some(sandbox) = sandbox else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("pod not found (\"{}\")", pod.describe()));
    };
    let negotiated = negotiate(request.headers(), portforward::WEBSOCKET_PROTOCOLS, &[portforward::SPDY_PROTOCOL]);
    let (upgrade, response) = match negotiated {
        Ok(negotiated) => negotiated,
        Err(refusal) => return *refusal,
    };
    let mut ports = Vec::new();
    for port in query.all("port").chain(query.all("ports")).flat_map(|list| list.split(',')) {
        match port.parse::<u16>() {
            Ok(port) if port > 0 => ports.push(port),
            _ => return text(StatusCode::BAD_REQUEST, format!("invalid port {port:?}")),
        }
    }
    tokio::spawn(async move {
        let Ok(io) = hyper::upgrade::on(request).await.map(TokioIo::new) else { return };
        let connect = move |port: u16| {
            let (k, id) = (k.clone(), sandbox.id.clone());
            async move { k.runtime.port_forward(&id, port).await }
        };
        match upgrade {
            Upgrade::WebSocket(protocol) => portforward::serve_websocket(io, protocol, &ports, connect).await,
            Upgrade::Spdy(_) => portforward::serve_spdy(io, connect).await,
        }
    });
    response
}

pub(super) async fn run(k: &Kubelet, named: &Named<'_>, container: &str, query: &Query) -> Response<Body> {
    let id = match container_id(k, named, container) {
        Ok(id) => id,
        Err(refusal) => return *refusal,
    };
    let command: Vec<String> = query.get("cmd").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    match k.runtime.exec_sync(&id, command, None).await {
        Ok(response) => {
            let mut output = response.stdout;
            output.extend(response.stderr);
            if response.exit_code != 0 {
                output.extend(format!("command terminated with exit code {}\n", response.exit_code).into_bytes());
                return text(StatusCode::INTERNAL_SERVER_ERROR, output);
            }
            text(StatusCode::OK, output)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
