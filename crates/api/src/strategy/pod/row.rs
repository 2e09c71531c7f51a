//! The row of a pod in a table: what `kubectl get pods` shows.

use jiff::Timestamp;
use serde_json::Value;

use crate::meta::{self, at, int, list, text};
use crate::strategy::common::{age, or};
use crate::table::duration::since;

/// What the containers say together.
struct Summary {
    reason: String,
    restarts: i64,
    last_restart: String,
    ready: usize,
    initializing: bool,
}

pub(super) fn row(obj: &Value, now: Timestamp) -> Vec<Value> {
    let sidecars = list(obj, &["spec", "initContainers"]).iter().filter(|c| c["restartPolicy"] == "Always").count();
    let total = list(obj, &["spec", "containers"]).len() + sidecars;
    let summary = summarize(obj);
    let restarts = if summary.restarts > 0 && !summary.last_restart.is_empty() {
        format!("{} ({} ago)", summary.restarts, since(&summary.last_restart, now))
    } else {
        summary.restarts.to_string()
    };
    let ip = list(obj, &["status", "podIPs"]).first().map(|i| text(i, &["ip"])).unwrap_or_default();
    let ip = if ip.is_empty() { text(obj, &["status", "podIP"]) } else { ip };
    let gates = list(obj, &["spec", "readinessGates"]);
    let passed = gates
        .iter()
        .filter(|g| {
            let kind = text(g, &["conditionType"]);
            list(obj, &["status", "conditions"]).iter().any(|c| c["type"] == kind && c["status"] == "True")
        })
        .count();
    let gates = if gates.is_empty() { "<none>".to_owned() } else { format!("{passed}/{}", gates.len()) };
    vec![
        meta::name(obj).into(),
        format!("{}/{total}", summary.ready).into(),
        summary.reason.into(),
        restarts.into(),
        age(obj, now),
        or(ip, "<none>"),
        or(text(obj, &["spec", "nodeName"]), "<none>"),
        or(text(obj, &["status", "nominatedNodeName"]), "<none>"),
        gates.into(),
    ]
}

fn restart_of(status: &Value, summary: &mut Summary) {
    summary.restarts += int(status, &["restartCount"]).unwrap_or(0);
    let finished = text(status, &["lastState", "terminated", "finishedAt"]);
    if finished > summary.last_restart.as_str() {
        summary.last_restart = finished.to_owned();
    }
}

/// `ExitCode:1` or `Signal:9`.
fn exit(terminated: &Value) -> String {
    match int(terminated, &["signal"]) {
        Some(signal) if signal != 0 => format!("Signal:{signal}"),
        _ => format!("ExitCode:{}", int(terminated, &["exitCode"]).unwrap_or(0)),
    }
}

fn summarize(obj: &Value) -> Summary {
    let mut out = Summary {
        reason: text(obj, &["status", "phase"]).to_owned(),
        restarts: 0,
        last_restart: String::new(),
        ready: 0,
        initializing: false,
    };
    let status_reason = text(obj, &["status", "reason"]);
    if !status_reason.is_empty() {
        out.reason = status_reason.to_owned();
    }
    let conditions = list(obj, &["status", "conditions"]);
    if conditions.iter().any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated") {
        out.reason = "SchedulingGated".into();
    }
    init_containers(obj, &mut out);
    let initialized = conditions.iter().any(|c| c["type"] == "Initialized" && c["status"] == "True");
    if !out.initializing || initialized {
        let sidecar_restarts = out.restarts;
        let (restarts, last) = (std::mem::take(&mut out.restarts), std::mem::take(&mut out.last_restart));
        containers(obj, conditions, &mut out);
        // Restarts of init containers count only while they run; those of sidecars always.
        if any_sidecar(obj) {
            out.restarts += sidecar_restarts;
            out.last_restart = out.last_restart.clone().max(last);
        } else if list(obj, &["status", "containerStatuses"]).is_empty() {
            out.restarts = restarts;
        }
    }
    if meta::is_deleting(obj) {
        let over = matches!(text(obj, &["status", "phase"]), "Failed" | "Succeeded");
        if status_reason == "NodeLost" {
            out.reason = "Unknown".into();
        } else if !over {
            out.reason = "Terminating".into();
        }
    }
    out
}

fn any_sidecar(obj: &Value) -> bool {
    list(obj, &["spec", "initContainers"]).iter().any(|c| c["restartPolicy"] == "Always")
}

fn init_containers(obj: &Value, out: &mut Summary) {
    let specs = list(obj, &["spec", "initContainers"]);
    for (i, status) in list(obj, &["status", "initContainerStatuses"]).iter().enumerate() {
        let sidecar = specs.iter().any(|c| c["name"] == status["name"] && c["restartPolicy"] == "Always");
        restart_of(status, out);
        let terminated = at(status, &["state", "terminated"]);
        let waiting = text(status, &["state", "waiting", "reason"]);
        if !terminated.is_null() && int(terminated, &["exitCode"]) == Some(0) {
            continue;
        }
        if sidecar && status["started"] == true {
            if status["ready"] == true {
                out.ready += 1;
            }
            continue;
        }
        let reason = text(terminated, &["reason"]);
        out.reason = if !terminated.is_null() {
            if reason.is_empty() { format!("Init:{}", exit(terminated)) } else { format!("Init:{reason}") }
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", specs.len())
        };
        out.initializing = true;
        break;
    }
}

fn containers(obj: &Value, conditions: &[Value], out: &mut Summary) {
    let mut running = false;
    for status in list(obj, &["status", "containerStatuses"]).iter().rev() {
        restart_of(status, out);
        let terminated = at(status, &["state", "terminated"]);
        let waiting = text(status, &["state", "waiting", "reason"]);
        let reason = text(terminated, &["reason"]);
        if !waiting.is_empty() {
            out.reason = waiting.to_owned();
        } else if !terminated.is_null() {
            out.reason = if reason.is_empty() { exit(terminated) } else { reason.to_owned() };
        } else if status["ready"] == true && !at(status, &["state", "running"]).is_null() {
            running = true;
            out.ready += 1;
        }
    }
    if out.reason == "Completed" && running {
        let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        out.reason = if ready { "Running".into() } else { "NotReady".into() };
    }
}
