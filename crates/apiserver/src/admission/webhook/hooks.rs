//! The webhooks that are configured, and whether one is asked about a write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::Kind;
use coracle_api::meta::{int, list, text};
use coracle_api::status::Status;
use coracle_metrics::Counter;
use coracle_policy::admission::{
    Conditions, ReviewVersion, Reviewed, Scope, Verdict, refusal, review, review_request, reviewed,
};
use coracle_store::Revision;
use serde_json::Value;

use crate::admission::asked::Asked;
use crate::admission::asks_others;
use crate::admission::configured::GROUP;
use crate::admission::step::operation;
use crate::admission::target::{Target, Versioned};
use crate::authz::Chain;
use crate::metrics::METRICS;
use crate::object::Object;
use crate::operation::Operation;
use crate::storage::Storage;
use crate::webhook_client::Client;

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 8 << 20;
/// How long a webhook has that does not say so.
const TIMEOUT: i64 = 10;

/// The webhooks of all configurations, in the order of their names.
#[derive(Default)]
pub(super) struct Hooks {
    pub hooks: Vec<Arc<Hook>>,
}

/// One webhook.
pub(super) struct Hook {
    revision: Revision,
    pub configuration: String,
    /// Its place in the configuration.
    pub index: usize,
    pub name: String,
    pub object: Value,
    conditions: Conditions,
    pub ignores_failures: bool,
    pub reinvocable: bool,
    /// Where it is, or why nobody can be asked there.
    client: Result<Client, String>,
}

/// Why a webhook gave no answer that counts.
pub(super) enum Failure {
    /// It could not be asked: the failure policy decides.
    Call(String),
    /// The request is refused whatever the failure policy is.
    Refused(Status),
}

impl Hooks {
    /// Those of configurations. One that has not changed keeps its connections.
    pub fn of(configurations: &[Object], before: &Hooks) -> Hooks {
        let hooks = configurations.iter().flat_map(|configuration| {
            let of = |hook: &&Arc<Hook>| {
                hook.configuration == configuration.name() && hook.revision == configuration.revision()
            };
            let known: Vec<Arc<Hook>> = before.hooks.iter().filter(of).cloned().collect();
            if known.is_empty() { Hook::all_of(configuration) } else { known }
        });
        Hooks { hooks: hooks.collect() }
    }
}

impl Hook {
    fn all_of(configuration: &Object) -> Vec<Arc<Hook>> {
        let value = configuration.value();
        let hook = |(index, object): (usize, &Value)| {
            Arc::new(Hook {
                revision: configuration.revision(),
                configuration: configuration.name().to_owned(),
                index,
                name: text(object, &["name"]).to_owned(),
                conditions: Conditions::of_webhook(object),
                ignores_failures: object["failurePolicy"] == "Ignore",
                reinvocable: object["reinvocationPolicy"] == "IfNeeded",
                client: Client::of(&object["clientConfig"], MAX_ANSWER),
                object: object.clone(),
            })
        };
        list(&value, &["webhooks"]).iter().enumerate().map(hook).collect()
    }

    /// Tells it from all others.
    pub fn id(&self) -> (&str, usize) {
        (&self.configuration, self.index)
    }

    /// The kind in whose version it is asked; `None` if it is not asked about this write.
    ///
    /// # Errors
    /// It cannot be told whether it is to be asked.
    pub async fn matching(&self, target: &Target<'_>, authorizer: &Chain) -> Result<Option<Arc<Kind>>, Status> {
        if !target.is_selected(&self.object).map_err(Status::internal)? {
            return Ok(None);
        }
        let policy = text(&self.object, &["matchPolicy"]);
        let Some(kind) = target.matching(policy, list(&self.object, &["rules"])) else { return Ok(None) };
        if !self.conditions.is_empty() && !self.conditions_hold(target, &kind, authorizer).await? {
            return Ok(None);
        }
        Ok(Some(kind))
    }

    async fn conditions_hold(&self, target: &Target<'_>, kind: &Arc<Kind>, authorizer: &Chain) -> Result<bool, Status> {
        let versioned = target.in_version(kind).await?;
        let admitted = target.admitted(&versioned);
        let namespace = target.namespace_object().map_err(Status::internal)?;
        let request = review_request(&admitted);
        let (params, namespace) = (&Value::Null, &namespace);
        let evaluate = |authorizer: &Asked<'_>| {
            self.conditions.evaluate(&Scope { admitted: &admitted, request: &request, params, namespace, authorizer })
        };
        match Asked::new(authorizer, &target.op.user).evaluate(evaluate).await {
            Verdict::Matches => Ok(true),
            Verdict::Differs => Ok(false),
            Verdict::Fails(_) if self.ignores_failures => Ok(false),
            Verdict::Fails(why) => {
                let kind = &target.op.kind;
                Err(Status::forbidden(&kind.group, &kind.plural, target.name(), &why))
            }
        }
    }

    /// Asks it about a write.
    pub async fn call(
        &self,
        storage: &Storage,
        target: &Target<'_>,
        versioned: &Versioned,
        mutating: bool,
    ) -> Result<Reviewed, Failure> {
        let began = Instant::now();
        let answer = self.ask(storage, target, versioned, mutating).await;
        self.count(&answer, operation(target.op.verb), mutating, began);
        answer
    }

    /// Counts what it said.
    fn count(&self, answer: &Result<Reviewed, Failure>, operation: &str, mutating: bool, began: Instant) {
        let (name, kind) = (self.name.as_str(), if mutating { "admit" } else { "validating" });
        let (code, error) = match answer {
            Ok(read) if read.allowed => ("200".to_owned(), None),
            Ok(read) => (refusal(name, &read.status).code.to_string(), Some("no_error")),
            Err(Failure::Call(_)) => ("0".to_owned(), Some("calling_webhook_error")),
            Err(Failure::Refused(_)) => ("0".to_owned(), Some("apiserver_internal_error")),
        };
        let passes = matches!(answer, Err(Failure::Call(_))) && self.ignores_failures;
        let rejected = if error.is_some() && !passes { "true" } else { "false" };
        let labels = [name, operation, rejected, kind];
        METRICS.webhooks.with(labels, |duration| duration.observe_since(began));
        METRICS.webhook_requests.with([name, kind, operation, &code, rejected], Counter::inc);
        if passes {
            METRICS.webhooks_let_pass.with([name, kind], Counter::inc);
        }
        if let Some(error) = error {
            let code = if error == "no_error" { &*code } else { "0" };
            METRICS.webhook_rejections.with([name, kind, operation, error, code], Counter::inc);
        }
    }

    async fn ask(
        &self,
        storage: &Storage,
        target: &Target<'_>,
        versioned: &Versioned,
        mutating: bool,
    ) -> Result<Reviewed, Failure> {
        let name = &self.name;
        if target.op.dry_run && !matches!(text(&self.object, &["sideEffects"]), "None" | "NoneOnDryRun") {
            let why = format!("admission webhook \"{name}\" does not support dry run");
            return Err(Failure::Refused(Status::bad_request(why)));
        }
        let failed = |why: String| Failure::Call(format!("failed calling webhook \"{name}\": {why}"));
        let Some(version) = ReviewVersion::of(&self.object) else {
            return Err(failed(
                "could not create admission objects: webhook does not accept known AdmissionReview versions".into(),
            ));
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let review = review(version, &uid, &target.admitted(versioned)).to_string();
        let seconds = int(&self.object, &["timeoutSeconds"]).unwrap_or(TIMEOUT).clamp(1, 30);
        let timeout = Duration::from_secs(u64::try_from(seconds).unwrap_or(1));
        let client = self.client.as_ref().map_err(|why| failed(format!("could not get REST client: {why}")))?;
        let answer = client.post(storage, review, timeout).await;
        let answer = answer.map_err(|why| failed(format!("failed to call webhook: {why}")))?;
        let read = reviewed(version, &uid, mutating, &answer);
        let read = read.map_err(|why| failed(format!("received invalid webhook response: {why}")))?;
        for (key, value) in &read.annotations {
            target.op.notes.annotate(format!("{name}/{key}"), value);
        }
        read.warnings.iter().for_each(|warning| target.op.notes.warn(warning));
        Ok(read)
    }
}

/// Whether webhooks are asked about a kind at all: nobody is locked out of what locks them out.
pub(super) fn concerns(op: &Operation) -> bool {
    op.kind.group != GROUP && asks_others(op)
}
