//! The way to a pod's node: logs, exec, attach and port-forward are tunnelled to its kubelet.

use coracle_api::field::{self, FieldError, Path};
use coracle_api::meta;
use coracle_api::status::Status;
use http::header::{HOST, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::tunnel::{join, passed_on};
use crate::body::Body;
use crate::context::Context;
use crate::kubelet::Kubelet;
use crate::storage::core;
use crate::upload::Upload;
use crate::websocket::{self, Framing};

/// Bytes read of a kubelet's refusal.
const MAX_REFUSAL: usize = 4096;

/// Answers `pods/log`, `pods/exec`, `pods/attach` and `pods/portforward`.
pub async fn answer(cx: &mut Context<'_>) -> Result<Response<Body>, Status> {
    let subresource = cx.target.subresource.unwrap_or_default();
    let mut query = Vec::new();
    if subresource == "log" {
        log_query(cx, &mut query)?;
    }
    let pod = cx.current()?.value();
    let (namespace, name) = (cx.target.namespace.clone().unwrap_or_default(), cx.name().to_owned());
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    if subresource == "log" && pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        // Nothing has been written yet. The container's name is checked all the same.
        container(cx, &pod)?;
        return Ok(Response::new(Body::empty()));
    }
    let (kubelet, path) = if subresource == "portforward" {
        let kubelet = kubelet_of(cx, &pod, subresource)?;
        let ports = cx.query.all("ports").iter().map(|port| ("port", port.clone()));
        query.extend(ports);
        (kubelet, format!("/portForward/{namespace}/{name}/{uid}"))
    } else if subresource == "log" {
        let container = container(cx, &pod)?;
        (kubelet_of(cx, &pod, subresource)?, format!("/containerLogs/{namespace}/{name}/{container}"))
    } else {
        let kubelet = kubelet_of(cx, &pod, subresource)?;
        let container = container(cx, &pod)?;
        stream_query(cx, &mut query)?;
        (kubelet, format!("/{subresource}/{namespace}/{name}/{uid}/{container}"))
    };
    let query: Vec<String> =
        query.iter().map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))).collect();
    let wish = if subresource == "log" { websocket::take(cx) } else { None };
    let response = tunnel(cx, &kubelet, &format!("{path}?{}", query.join("&"))).await?;
    if subresource == "log" && !response.status().is_success() {
        let code = response.status();
        let text = BodyExt::collect(Limited::new(response.into_body(), MAX_REFUSAL)).await;
        let text = text.map(|text| text.to_bytes()).unwrap_or_default();
        return Err(refusal(code, &String::from_utf8_lossy(&text), &name));
    }
    match wish {
        Some(wish) => wish.grant(response, Framing::Bytes),
        None => Ok(response),
    }
}

/// The kubelet refuses in plain text, and clients of the API read a Status.
fn refusal(code: StatusCode, text: &str, pod: &str) -> Status {
    match code.as_u16() {
        400 => Status::bad_request(text),
        404 => Status::new(
            404,
            "NotFound",
            format!("the server could not find the requested resource (get pods {pod}): {}", text.trim()),
        ),
        _ => Status::internal(text.trim()),
    }
}

fn kubelet_of(cx: &Context<'_>, pod: &Value, subresource: &str) -> Result<Kubelet, Status> {
    let name = cx.name();
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    if subresource == "portforward" && pod["status"]["phase"] != "Running" {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    if subresource == "exec" && matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let object = cx.storage().cache(core("nodes"))?.get(node)?.ok_or_else(|| Status::not_found("", "nodes", node))?;
    Kubelet::of(&object.value())
}

fn container(cx: &Context<'_>, pod: &Value) -> Result<String, Status> {
    let names = |part: &str| -> Vec<String> {
        let list = pod["spec"][part].as_array().into_iter().flatten();
        list.filter_map(|container| container["name"].as_str()).map(Into::into).collect()
    };
    let (main, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let name = cx.name();
    match cx.query.get("container") {
        Some(wanted) if main.iter().chain(&init).chain(&ephemeral).any(|own| own == wanted) => Ok(wanted.to_owned()),
        Some(wanted) => Err(Status::bad_request(format!("container {wanted} is not valid for pod {name}"))),
        None => {
            let default = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
            match (main.as_slice(), default) {
                ([only], _) => Ok(only.clone()),
                (many, Some(default)) if many.iter().any(|own| own == default) => Ok(default.to_owned()),
                (many, _) => {
                    let mut why = format!(
                        "a container name must be specified for pod {name}, choose one of: [{}]",
                        many.join(" ")
                    );
                    if !init.is_empty() {
                        why += &format!(" or one of the init containers: [{}]", init.join(" "));
                    }
                    Err(Status::bad_request(why))
                }
            }
        }
    }
}

fn log_query(cx: &Context<'_>, query: &mut Vec<(&'static str, String)>) -> Result<(), Status> {
    for name in ["follow", "previous", "timestamps"] {
        if cx.query.flag(name) {
            query.push((name, "true".into()));
        }
    }
    for name in ["tailLines", "limitBytes", "sinceSeconds"] {
        if let Some(number) = cx.query.number(name)? {
            let least = if name == "tailLines" { 0 } else { 1 };
            if number < least {
                let why = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
                let error = FieldError::invalid(&Path::new(name), &number.into(), why);
                return Err(Status::invalid("", "PodLogOptions", cx.name(), vec![error]));
            }
            query.push((name, number.to_string()));
        }
    }
    let invalid = |errors| Status::invalid("", "PodLogOptions", cx.name(), errors);
    if let Some(text) = cx.query.get("sinceTime") {
        if meta::parse_time(text).is_none() {
            let text = field::quote(text);
            return Err(Status::bad_request(format!(
                "parsing time {text} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text} as \"2006\""
            )));
        }
        if cx.query.get("sinceSeconds").is_some() {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(invalid(vec![FieldError::forbidden(&Path::default(), why)]));
        }
    }
    for name in ["sinceTime", "stream"] {
        if let Some(text) = cx.query.get(name) {
            query.push((name, text.to_owned()));
        }
    }
    Ok(())
}

fn stream_query(cx: &Context<'_>, query: &mut Vec<(&'static str, String)>) -> Result<(), Status> {
    let mut any = false;
    for (name, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if cx.query.flag(name) {
            any |= name != "tty";
            query.push((theirs, "1".into()));
        }
    }
    let subresource = cx.target.subresource.unwrap_or_default();
    if !any {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if subresource == "exec" {
        if cx.query.all("command").is_empty() {
            return Err(Status::bad_request("you must specify at least one command for the container"));
        }
        query.extend(cx.query.all("command").iter().map(|word| ("command", word.clone())));
    }
    Ok(())
}

/// Sends the request on, and joins both connections when the kubelet switches protocols.
async fn tunnel(cx: &mut Context<'_>, kubelet: &Kubelet, path: &str) -> Result<Response<Body>, Status> {
    let mut headers = passed_on(&cx.parts.headers);
    let host = HeaderValue::from_str(&kubelet.address.to_string()).map_err(Status::internal)?;
    headers.insert(HOST, host);
    // A WebSocket handshake is a GET whatever the client did over HTTP/2.
    let method = cx.parts.method.clone();
    let method = if websocket::is_wanted(&cx.parts.headers) { Method::GET } else { method };
    let mut request =
        Request::builder().method(method).uri(path).body(Upload::from(cx.body.clone())).map_err(Status::internal)?;
    *request.headers_mut() = headers;
    let unreachable = |error: anyhow::Error| Status::internal(format!("error dialing backend: {error:#}"));
    let response = cx.state.kubelet.send(kubelet, request).await.map_err(unreachable)?;
    join(&mut cx.parts, response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelets_refusal_becomes_a_status() {
        let text = "container \"web\" in pod \"a\" is waiting to start: ContainerCreating";
        let status = refusal(StatusCode::BAD_REQUEST, text, "a");
        assert_eq!((status.code, &*status.reason, status.message.as_str()), (400, "BadRequest", text));
        assert_eq!(refusal(StatusCode::NOT_FOUND, "gone", "a").code, 404);
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, "broken", "a").code, 500);
    }
}
