//! Namespaces and pods of tests.

use serde_json::{Value, json};

use crate::{Api, Cluster, eventually};

/// A namespace that is deleted when the test ends.
pub struct Namespace<'a> {
    /// Its name.
    pub name: String,
    /// The API.
    pub api: &'a Api,
}

/// How a pod that runs one command ended.
#[derive(Debug)]
pub struct Run {
    /// Its exit code.
    pub code: i64,
    /// Its log.
    pub log: String,
}

impl Cluster {
    /// A namespace whose default service account is there.
    #[track_caller]
    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        let object = json!({"metadata": {"name": name}});
        self.api().post("/api/v1/namespaces", &object).ok();
        let namespace = Namespace { name: name.into(), api: self.api() };
        eventually("the default service account comes", || namespace.found("serviceaccounts/default"));
        namespace
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let path = format!("/api/v1/namespaces/{}", self.name);
        let request = http::Request::delete(path).body(Vec::new()).expect("the request is well-formed");
        let _ = self.api.try_send(request);
    }
}

impl Namespace<'_> {
    /// The path of something of the core group in this namespace.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    /// The path of something of another group, such as `apps/v1`.
    pub fn path_in(&self, group: &str, rest: &str) -> String {
        format!("/apis/{group}/namespaces/{}/{rest}", self.name)
    }

    /// An object of the core group, if it is there.
    pub fn found(&self, rest: &str) -> Result<Value, String> {
        let request = http::Request::get(self.path(rest)).header("accept", "application/json").body(Vec::new());
        match self.api.try_send(request.map_err(|error| error.to_string())?) {
            Some(answer) if answer.status == 200 => Ok(answer.body),
            Some(answer) => Err(answer.text),
            None => Err("no answer came".into()),
        }
    }

    /// Creates an object of the core group.
    #[track_caller]
    pub fn create(&self, plural: &str, object: &Value) -> Value {
        self.api.post(&self.path(plural), object).ok()
    }

    /// A pod.
    #[track_caller]
    pub fn pod(&self, name: &str) -> Value {
        self.found(&format!("pods/{name}")).expect("the pod is there")
    }

    /// Waits until a pod satisfies a condition; answers it.
    #[track_caller]
    pub fn pod_until(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("pod {name} {what}"), || {
            let pod = self.found(&format!("pods/{name}"))?;
            if condition(&pod) { Ok(pod) } else { Err(format!("{:#}", pod["status"])) }
        })
    }

    /// Waits until a pod is Ready; answers it.
    #[track_caller]
    pub fn pod_ready(&self, name: &str) -> Value {
        self.pod_until(name, "is Ready", |pod| {
            let conditions = pod["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
        })
    }

    /// Waits until a pod's first container is in a state that satisfies a condition; answers that container's status.
    #[track_caller]
    pub fn container_until(&self, name: &str, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let pod = self.pod_until(name, what, |pod| condition(&pod["status"]["containerStatuses"][0]));
        pod["status"]["containerStatuses"][0].clone()
    }

    /// A pod's log.
    pub fn log(&self, name: &str) -> String {
        self.api.get_as(&self.path(&format!("pods/{name}/log")), "*/*").text
    }

    /// Runs a command of the test image in a pod of its own and waits for its end.
    #[track_caller]
    pub fn run(&self, command: &[&str]) -> Run {
        let mut object = pod("", command);
        object["metadata"] = json!({"generateName": "run-"});
        self.run_pod(&object)
    }

    /// Creates a pod and waits for its end.
    #[track_caller]
    pub fn run_pod(&self, object: &Value) -> Run {
        let created = self.create("pods", object);
        let name = created["metadata"]["name"].as_str().expect("objects have names").to_owned();
        let ended = self.pod_until(&name, "ends", |pod| {
            pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
        });
        let code = ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64();
        let log = self.log(&name);
        self.api.delete(&self.path(&format!("pods/{name}")), &json!({"gracePeriodSeconds": 0})).ok();
        Run { code: code.unwrap_or(-1), log }
    }

    /// Runs a command again and again until it succeeds; answers its log.
    #[track_caller]
    pub fn run_until_ok(&self, command: &[&str]) -> String {
        eventually(&format!("{command:?} succeeds"), || {
            let run = self.run(command);
            if run.code == 0 { Ok(run.log) } else { Err(format!("{}: {}", run.code, run.log)) }
        })
    }

    /// The events about an object: reason and message.
    pub fn events_of(&self, name: &str) -> Vec<(String, String)> {
        let list = self.api.get(&self.path(&format!("events?fieldSelector=involvedObject.name={name}"))).ok();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
    }

    /// Waits for an event about an object with a reason and a part of its message; answers the message.
    #[track_caller]
    pub fn event(&self, name: &str, reason: &str, part: &str) -> String {
        eventually(&format!("an event {reason} about {name}"), || {
            let events = self.events_of(name);
            let found = events.iter().find(|(is, message)| is == reason && message.contains(part));
            found.map(|(_, message)| message.clone()).ok_or_else(|| format!("{events:?}"))
        })
    }
}

/// A container of the test image that runs a command.
pub fn container(name: &str, command: &[&str]) -> Value {
    json!({"name": name, "image": "test:1", "command": command})
}

/// A pod of one container that is not started again.
pub fn pod(name: &str, command: &[&str]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [container("main", command)]},
    })
}
