//! What a decision of RBAC costs among 10,000 bindings, beside the same decisions made by looking at all of them. No
//! cluster is needed: an API server in this process is asked.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use coracle_apiserver::auth::{MASTERS, User};
use coracle_apiserver::authz::rbac::Rule;
use coracle_apiserver::authz::{Answer, Attributes, Authorizer};
use coracle_apiserver::{Config, Server};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::report::Report;
use crate::stats::percentile;

const BINDINGS: usize = 10_000;
const NAMESPACES: usize = 50;
const ROLES: usize = 20;
const GROUPS: usize = 100;
const BATCHES: usize = 100;
const NAIVE_DECISIONS: usize = 2_000;
const AT_ONCE: usize = 200;
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Times decisions, and checks that both ways decide the same.
pub fn measure(report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let directory = tempfile::Builder::new().prefix("coracle-bench-").tempdir()?;
    let server = runtime.block_on(async {
        let server = serve(directory.path()).await?;
        fill(&server).await?;
        anyhow::Ok(server)
    })?;
    let all = bindings();
    let questions: Vec<Question> = (0..BINDINGS).map(question).collect();
    let allowed = |question: &Question| match server.authorizer().authorize(&question.user, &question.attributes()) {
        Answer::Now(decision) => decision.is_allowed(),
        Answer::Later(_) => false,
    };
    let (mut count, mut times) = (0, Vec::new());
    for batch in 0..BATCHES {
        let start = Instant::now();
        let numbers = (0..BINDINGS).map(|number| (batch + number) * 7919 % BINDINGS);
        count += numbers.filter(|number| allowed(&questions[*number])).count();
        times.push(start.elapsed());
    }
    ensure!(count > BATCHES * BINDINGS / 4 && count < BATCHES * BINDINGS, "{count} decisions were allowances");
    // What else this machine does is in some batches, not in the median one.
    let microseconds = percentile(&mut times, 50).as_secs_f64() * 1e6 / BINDINGS as f64;
    report.line("RBAC decision among 10,000 bindings, p50 of 100 batches", microseconds, "µs", "2 µs");
    let start = Instant::now();
    for question in questions.iter().step_by(BINDINGS / NAIVE_DECISIONS) {
        let naive = all.iter().any(|binding| binding.allows(question));
        ensure!(naive == allowed(question), "both decide the same about {}", question.user.name);
    }
    let microseconds = start.elapsed().as_secs_f64() * 1e6 / NAIVE_DECISIONS as f64;
    report.line("the same by looking at all bindings", microseconds, "µs", "");
    Ok(())
}

/// A binding, of the cluster without a namespace.
struct Binding {
    namespace: Option<String>,
    kind: &'static str,
    subject: String,
    role: usize,
}

/// A question of a user.
struct Question {
    user: User,
    namespace: String,
    resource: String,
}

impl Question {
    fn attributes(&self) -> Attributes<'_> {
        Attributes::resource("list", "", &self.resource, &self.namespace, "")
    }
}

impl Binding {
    fn allows(&self, question: &Question) -> bool {
        let here = self.namespace.as_ref().is_none_or(|namespace| *namespace == question.namespace);
        let theirs = match self.kind {
            "User" => self.subject == question.user.name,
            _ => question.user.is_in(&self.subject),
        };
        here && theirs && rules(self.role).iter().any(|rule| rule.allows(&question.attributes()))
    }

    fn object(&self, number: usize) -> (String, Value) {
        let role =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("r{}", self.role)});
        let object = json!({
            "metadata": {"name": format!("b{number}")}, "roleRef": role,
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": self.kind, "name": self.subject}],
        });
        match &self.namespace {
            Some(namespace) => (format!("{RBAC}/namespaces/{namespace}/rolebindings"), object),
            None => (format!("{RBAC}/clusterrolebindings"), object),
        }
    }
}

/// Nine of ten bind a user, the others a group; half are of a namespace.
fn bindings() -> Vec<Binding> {
    let binding = |number: usize| {
        let (kind, subject) = match number % 10 {
            0 => ("Group", format!("g{}", number / 10 % GROUPS)),
            _ => ("User", format!("u{number}")),
        };
        let namespace = (number % 2 == 1).then(|| format!("n{}", number % NAMESPACES));
        Binding { namespace, kind, subject, role: number % ROLES }
    };
    (0..BINDINGS).map(binding).collect()
}

/// A user of a few groups asks in the namespace of their binding: half of them for what no role allows, so that all that is
/// given to them is looked at.
fn question(number: usize) -> Question {
    let groups = [number, number + 7, number + 31].map(|group| format!("g{}", group % GROUPS));
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    Question {
        user: User::new(format!("u{number}"), &groups),
        namespace: format!("n{}", number % NAMESPACES),
        resource: format!("things{}", number / 2 % 4),
    }
}

/// Twelve rules, as those of `view`.
fn rules(role: usize) -> Vec<Rule> {
    let rule = |number: usize| {
        let mut resources: Vec<String> = (0..8).map(|other| format!("resource{role}-{number}-{other}")).collect();
        if number == 11 {
            resources.push(format!("things{}", role / 10));
        }
        let object = json!({"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": resources});
        serde_json::from_value(object).expect("a rule")
    };
    (0..12).map(rule).collect()
}

async fn serve(directory: &std::path::Path) -> Result<Server> {
    Server::new(Config::in_directory(directory)?).await
}

async fn fill(server: &Server) -> Result<()> {
    let mut objects: Vec<(String, Value)> = Vec::new();
    for number in 0..NAMESPACES {
        objects.push(("/api/v1/namespaces".into(), json!({"metadata": {"name": format!("n{number}")}})));
    }
    for role in 0..ROLES {
        let object = json!({"metadata": {"name": format!("r{role}")}, "rules": rules(role)});
        objects.push((format!("{RBAC}/clusterroles"), object));
    }
    make(server, objects).await?;
    make(server, bindings().iter().enumerate().map(|(number, binding)| binding.object(number)).collect()).await
}

async fn make(server: &Server, objects: Vec<(String, Value)>) -> Result<()> {
    let admin = Arc::new(User::new("admin", &[MASTERS]));
    for chunk in objects.chunks(AT_ONCE) {
        let requests = chunk.iter().map(|(path, object)| {
            let request = Request::post(path).body(Full::new(bytes::Bytes::from(object.to_string())));
            let admin = admin.clone();
            async move { anyhow::Ok(server.handle(request?, Some(admin)).await.status()) }
        });
        for status in futures::future::try_join_all(requests).await? {
            ensure!(status.is_success(), "a create was answered with {status}");
        }
    }
    Ok(())
}
