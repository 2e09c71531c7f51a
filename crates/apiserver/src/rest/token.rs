//! `serviceaccounts/token`: the TokenRequest API.

use coracle_api::decode;
use coracle_api::field::{FieldError, Path};
use coracle_api::meta;
use coracle_api::status::Status;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::auth::service_account::Bound;
use crate::context::{Answer, Context};
use crate::negotiate;
use crate::operation::Verb;
use crate::storage::{core, key};

const HOUR: i64 = 3600;

pub(super) async fn create(cx: &Context<'_>) -> Answer {
    let (mut request, _) =
        decode::parse(&cx.body, negotiate::body_format(&cx.parts.headers)?).map_err(Status::bad_request)?;
    let account = cx.current()?;
    let namespace = account.namespace().unwrap_or_default();
    meta::set_namespace(&mut request, namespace);
    let spec = &request["spec"];
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(HOUR);
    let path = Path::new("spec").child("expirationSeconds");
    let invalid = |why: &str| {
        let error = FieldError::invalid(&path, &seconds.into(), why);
        Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", vec![error]))
    };
    if seconds < 600 {
        return invalid("may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        return invalid("may not specify a duration larger than 2^32 seconds");
    }
    cx.objects().admit(&cx.unowned(Verb::Create), &mut request).await?;
    let spec = &request["spec"];
    let mut audiences: Vec<String> =
        spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect();
    if audiences.is_empty() {
        audiences.extend_from_slice(cx.state.issuer.audiences());
    }
    let bound = match &spec["boundObjectRef"] {
        Value::Null => None,
        reference => Some(bound(cx, namespace, account.name(), reference)?),
    };
    let (token, expires) = cx
        .state
        .issuer
        .issue(namespace, account.name(), account.uid(), &audiences, seconds as u64, bound.as_ref())
        .map_err(Status::internal)?;
    let expires = Timestamp::from_second(expires as i64).unwrap_or(Timestamp::MAX);
    let answer = json!({
        "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": account.name(), "namespace": namespace, "creationTimestamp": meta::format_time(Timestamp::now())},
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": spec["boundObjectRef"]},
        "status": {"token": token, "expirationTimestamp": meta::format_time(expires)},
    });
    Ok(negotiate::document(StatusCode::CREATED, cx.output.encoding, answer.to_string().into()))
}

fn bound(cx: &Context<'_>, namespace: &str, account: &str, reference: &Value) -> Result<Bound, Status> {
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    let (plural, scope) = match kind {
        "Pod" => ("pods", Some(namespace)),
        "Secret" => ("secrets", Some(namespace)),
        "Node" => ("nodes", None),
        other => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount \"{account}\" to object with kind \"{other}\""
            )));
        }
    };
    let object =
        cx.storage().cache(core(plural))?.get(&key(scope, name))?.ok_or_else(|| Status::not_found("", plural, name))?;
    let uid = text("uid");
    if !uid.is_empty() && uid != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", plural, name, &why));
    }
    let mut bound = Bound { kind: kind.into(), name: name.into(), uid: object.uid().into(), node: None };
    if plural == "pods" {
        let pod = object.value();
        let own = pod["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        if own != account {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount \"{account}\" to pod running with different serviceaccount name."
            )));
        }
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        bound.node =
            cx.storage().cache(core("nodes"))?.get(node)?.map(|found| (node.to_owned(), found.uid().to_owned()));
    }
    Ok(bound)
}
