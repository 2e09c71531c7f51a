//! REST storage: what each verb does to an object, the same for every kind.

mod access_review;
mod apply;
mod binding;
mod create;
mod delete;
mod eviction;
mod freshness;
mod list;
mod operation;
mod patch;
mod present;
mod read;
mod review;
mod scale;
mod token;
mod unsafe_delete;
mod update;
mod watch;

use coracle_api::status::Status;
use http::{Method, Response};

use crate::body::Body;
use crate::connect;
use crate::context::{Answer, Context};
use crate::negotiate;
use crate::resource_metrics;

/// Answers a request whose sender may make it.
pub(crate) async fn answer(cx: Context<'_>, verb: &'static str) -> Response<Body> {
    let deprecation = cx.target.kind.strategy.deprecation().map(str::to_owned);
    let (encoding, notes) = (cx.output.encoding, cx.notes.clone());
    // What waits is kept apart, as it is large, and a read would carry the room for it about.
    let fresh = match cx.storage().is_alone() {
        true => Ok(()),
        false => Box::pin(freshness::wait(&cx, verb)).await,
    };
    let fresh = match fresh {
        Ok(()) if resource_metrics::is_of(&cx.target.kind) => {
            Box::pin(cx.state.resource_metrics.refresh(cx.storage(), &cx.state.kubelet)).await
        }
        fresh => fresh,
    };
    // A refusal goes with the deprecation as well.
    let answer = match fresh.map(|()| read(&cx, verb)) {
        Err(status) => Err(status),
        Ok(Some(answer)) => answer,
        Ok(None) => Box::pin(route(cx, verb)).await,
    };
    let mut response = answer.unwrap_or_else(|status| negotiate::status_as(&status, encoding));
    negotiate::warn(&mut response, deprecation.as_slice());
    negotiate::warn(&mut response, &notes.warnings());
    response
}

/// Answers what is answered from the cache, without asking a webhook.
fn read(cx: &Context<'_>, verb: &str) -> Option<Answer> {
    let kind = &cx.target.kind;
    let is_object = cx.target.subresource.is_none() && !kind.review && kind.has_verb(verb) && is_routed(cx);
    let is_object = is_object && kind.webhook.is_none();
    match verb {
        "get" if is_object => Some(read::get(cx)),
        "list" if is_object => Some(list::list(cx)),
        _ => None,
    }
}

async fn route(mut cx: Context<'_>, verb: &'static str) -> Answer {
    let kind = &cx.target.kind;
    let refused = || Status::method_not_allowed(&kind.group, &kind.plural, verb);
    if !is_routed(&cx) {
        return Err(Status::method_not_routed());
    }
    if let Some(subresource) = cx.target.subresource() {
        if cx.target.name.is_none() || !subresource.verbs.contains(&verb) && !is_connect(subresource.name) {
            return Err(refused());
        }
        if is_connect(subresource.name) {
            connect::admit(&cx, subresource).await?;
        }
        return match subresource.name {
            "binding" => binding::create(&cx).await,
            "eviction" => eviction::create(&cx).await,
            "token" => token::create(&cx).await,
            "scale" => scale::answer(&cx, verb).await,
            "log" | "exec" | "attach" | "portforward" => connect::kubelet::answer(&mut cx).await,
            "proxy" => connect::proxy::answer(&mut cx).await,
            _ => match verb {
                "get" => read::converted(&cx).await,
                "update" => update::put(&cx).await,
                "patch" => patch::patch(&cx).await,
                _ => Err(refused()),
            },
        };
    }
    if kind.review {
        return match (verb, &*kind.kind) {
            ("create", "Binding") => binding::create(&cx).await,
            ("create", _) => review::create(&cx).await,
            _ => Err(refused()),
        };
    }
    if !kind.has_verb(verb) {
        return Err(refused());
    }
    match verb {
        "get" => read::converted(&cx).await,
        "list" => list::converted(&cx).await,
        "watch" => match crate::websocket::take(&mut cx) {
            Some(wish) => wish.grant(watch::watch(&cx)?, crate::websocket::Framing::Lines),
            None => watch::watch(&cx),
        },
        "create" => create::create(&cx).await,
        "update" => update::put(&cx).await,
        "patch" => patch::patch(&cx).await,
        "delete" => delete::delete(&cx).await,
        "deletecollection" => delete::delete_collection(&cx).await,
        _ => Err(refused()),
    }
}

/// Whether the path has the HTTP method at all.
fn is_routed(cx: &Context<'_>) -> bool {
    let (named, subresource) = (cx.target.name.is_some(), cx.target.subresource);
    match cx.parts.method {
        Method::GET | Method::HEAD | Method::DELETE => true,
        Method::POST => !named || subresource.is_some(),
        Method::PUT | Method::PATCH => named,
        _ => subresource == Some("proxy"),
    }
}

fn is_connect(subresource: &str) -> bool {
    matches!(subresource, "exec" | "attach" | "portforward" | "proxy")
}
