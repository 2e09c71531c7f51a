//! `/containerLogs`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use coracle_runtime::cri::ContainerState;
use futures::stream;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::{Body, Named, Query, find, text};
use crate::kubelet::Kubelet;
use crate::logs::{LogOptions, read_log};
use crate::pod::PodExt;

fn options(query: &Query) -> Result<LogOptions, String> {
    let number = |name: &str| match query.get(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => match text.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(Some(number)),
            _ => Err(format!("invalid {name}: {text:?}: must be a number that is not negative")),
        },
    };
    let tail = match query.get("tail") {
        Some("all") => None,
        _ => number("tailLines")?.or(number("tail").unwrap_or(None)),
    };
    let since = match (query.get("sinceTime").filter(|text| !text.is_empty()), number("sinceSeconds")?) {
        (Some(_), Some(_)) => return Err("at most one of `sinceTime` or `sinceSeconds` may be specified".to_owned()),
        (Some(time), None) => Some(time.parse::<Timestamp>().map_err(|error| format!("invalid sinceTime: {error}"))?),
        (None, Some(seconds)) => Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, None) => None,
    };
    let stream = query.get("stream").unwrap_or("All");
    Ok(LogOptions {
        follow: query.flag("follow"),
        tail: tail.map(|lines| lines as usize),
        since,
        timestamps: query.flag("timestamps"),
        limit_bytes: number("limitBytes")?.map(|bytes| bytes as u64),
        stdout: stream != "Stderr",
        stderr: stream != "Stdout",
    })
}

pub(super) async fn serve(
    k: &Arc<Kubelet>,
    namespace: &str,
    pod_name: &str,
    container: &str,
    query: &Query,
) -> Response<Body> {
    let pod = match find(k, &Named { namespace, pod: pod_name, uid: &[] }) {
        Ok(pod) => pod,
        Err(refusal) => return *refusal,
    };
    let options = match options(query) {
        Ok(options) => options,
        Err(message) => return text(StatusCode::UNPROCESSABLE_ENTITY, message),
    };
    let known = pod.container(container).is_some()
        || pod.spec().ephemeral_containers.iter().flatten().any(|ephemeral| ephemeral.name == container);
    if !known {
        return text(StatusCode::NOT_FOUND, format!("container \"{container}\" not found in pod \"{pod_name}\"\n"));
    }
    let observed = k.pods.observed(pod.uid()).unwrap_or_default();
    let list = observed.containers.get(container).map(Vec::as_slice).unwrap_or_default();
    let chosen = if query.flag("previous") {
        list.iter().skip_while(|status| status.state == ContainerState::Created).nth(1)
    } else {
        list.first()
    };
    let Some(status) = chosen else {
        let message = if query.flag("previous") {
            format!("previous terminated container \"{container}\" in pod \"{pod_name}\" not found")
        } else {
            let waiting = pod.status.iter().flat_map(|status| {
                let ephemeral = status.ephemeral_container_statuses.iter().flatten();
                status
                    .container_statuses
                    .iter()
                    .flatten()
                    .chain(status.init_container_statuses.iter().flatten())
                    .chain(ephemeral)
            });
            let reason = waiting
                .filter(|status| status.name == container)
                .filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone())
                .next()
                .unwrap_or_else(|| "ContainerCreating".to_owned());
            match reason.as_str() {
                "ErrImagePull" | "ImagePullBackOff" => {
                    format!(
                        "container \"{container}\" in pod \"{pod_name}\" is waiting to start: trying and failing to pull image"
                    )
                }
                reason => format!("container \"{container}\" in pod \"{pod_name}\" is waiting to start: {reason}"),
            }
        };
        return text(StatusCode::BAD_REQUEST, message);
    };
    let path = if status.log_path.is_empty() {
        let file = format!("{}.log", status.metadata.attempt);
        k.log_dir(pod.namespace(), pod.name(), pod.uid()).join(container).join(file)
    } else {
        PathBuf::from(&status.log_path)
    };
    if let Err(error) = std::fs::metadata(&path) {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to open log file {:?}: {error}", path.display()),
        );
    }
    let (out, lines) = mpsc::channel::<Bytes>(16);
    let (events, id, kubelet) = (k.runtime.container_events(), status.id.clone(), k.clone());
    tokio::spawn(async move {
        let running = || async {
            kubelet.runtime.container_status(&id).await.is_ok_and(|status| status.state == ContainerState::Running)
        };
        if let Err(error) = read_log(path.clone(), options, out, events, running).await {
            tracing::debug!(path = %path.display(), %error, "reading a log ended");
        }
    });
    let frames = stream::unfold(lines, |mut lines| async {
        Some((Ok::<_, Infallible>(Frame::data(lines.recv().await?)), lines))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    response
}
