//! Health and version pages.

use coracle_api::status::Status;
use coracle_store::Error;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::KUBERNETES_VERSION;
use crate::body::Body;
use crate::negotiate;
use crate::request::Query;
use crate::storage::Storage;

const CHECKS: [&str; 4] = ["ping", "log", "etcd", "informer-sync"];

/// The commit of this build, if who builds says it; clients expect hexadecimal digits, and all zeros name no commit.
const COMMIT: &str = match option_env!("CORACLE_COMMIT") {
    Some(commit) => commit,
    None => "0000000000000000000000000000000000000000",
};

/// What `/version` says.
pub fn version() -> Value {
    let mut numbers = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    json!({
        "major": numbers.next(), "minor": numbers.next(), "gitVersion": format!("{KUBERNETES_VERSION}+coracle"),
        "gitCommit": COMMIT, "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": format!("linux/{}", match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other }),
    })
}

/// `/healthz`, `/livez` and `/readyz`. The server answers only once its caches are full, so the one check
/// that can fail is `etcd`: the store accepts no writes, or does not answer. Where it only has no room, `/livez` passes: reads
/// go on, and a server that is started anew has no more room.
pub fn probe(storage: &Storage, path: &str, query: &Query) -> Result<Response<Body>, Status> {
    let name = path.trim_matches('/');
    let excluded = query.all("exclude");
    let (mut text, mut failed) = (String::new(), false);
    for check in CHECKS {
        if excluded.iter().any(|other| other == check) {
            text += &format!("[+]{check} excluded: ok\n");
        } else if let Some(why) = fails(storage, name, check) {
            tracing::info!("the check {check} failed: {why}");
            text += &format!("[-]{check} failed: reason withheld\n");
            failed = true;
        } else {
            text += &format!("[+]{check} ok\n");
        }
    }
    Ok(match (failed, query.flag("verbose")) {
        (true, _) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{text}{name} check failed\n")),
        (false, true) => plain(StatusCode::OK, format!("{text}{name} check passed\n")),
        (false, false) => plain(StatusCode::OK, "ok".into()),
    })
}

/// One check by its name; it says why it fails, which the page of all does not.
pub fn probe_one(storage: &Storage, path: &str) -> Result<Response<Body>, Status> {
    let (name, check) = path.trim_matches('/').rsplit_once('/').unwrap_or_default();
    if !CHECKS.contains(&check) {
        return Err(Status::path_not_found());
    }
    Ok(match fails(storage, name, check) {
        None => plain(StatusCode::OK, "ok".into()),
        Some(why) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
    })
}

/// Why a check of a page fails, if it does.
fn fails(storage: &Storage, page: &str, check: &str) -> Option<Error> {
    let has_no_room = |error: &Error| matches!(error, Error::DiskFull { .. } | Error::NoSpace(_));
    storage.store.failure().filter(|error| check == "etcd" && !(page == "livez" && has_no_room(error)))
}

fn plain(code: StatusCode, text: String) -> Response<Body> {
    negotiate::respond(code, "text/plain; charset=utf-8", text)
}
