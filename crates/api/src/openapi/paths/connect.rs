//! What passes on to a pod, a service or a node: its answer has no schema, and its options are the query.

use serde_json::{Map, Value, json};

use super::{PRETTY, Parameter, Spec, Writer, capital};
use crate::kind::Subresource;

const CONTAINER: Parameter = ("container", "string", "The container; of a pod with one it may be left out.");
const STREAMS: [Parameter; 4] = [
    ("stderr", "boolean", "Passes on what is written to standard error."),
    ("stdin", "boolean", "Passes on what the client sends to standard input."),
    ("stdout", "boolean", "Passes on what is written to standard output."),
    ("tty", "boolean", "Gives the command a terminal."),
];
const COMMAND: Parameter = ("command", "string", "The program and its arguments, each a parameter.");
const PORTS: Parameter = ("ports", "integer", "The ports to forward.");
const PATH: Parameter = ("path", "string", "The path of the request that is passed on.");
const LOG: [Parameter; 10] = [
    CONTAINER,
    ("follow", "boolean", "Goes on with what is written later."),
    ("insecureSkipTLSVerifyBackend", "boolean", "Does not ask who the kubelet is."),
    ("limitBytes", "integer", "Ends the log after so many bytes."),
    PRETTY,
    ("previous", "boolean", "The log of the container before the last restart."),
    ("sinceSeconds", "integer", "Begins so many seconds ago."),
    ("stream", "string", "All, Stdout or Stderr."),
    ("tailLines", "integer", "Begins so many lines before the end."),
    ("timestamps", "boolean", "Begins each line with its time."),
];

const METHODS: [&str; 2] = ["get", "post"];
const PROXY_METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// The options of a subresource.
fn options(subresource: &str) -> Vec<Parameter> {
    match subresource {
        "attach" => [&[CONTAINER][..], &STREAMS].concat(),
        "exec" => [&[COMMAND, CONTAINER][..], &STREAMS].concat(),
        "portforward" => vec![PORTS],
        _ => vec![PATH],
    }
}

impl Writer<'_> {
    /// Adds the paths of a connection; `object` is that of what it leads to.
    pub(super) fn connects(&self, sub: &Subresource, object: &str, paths: &mut Map<String, Value>) {
        let is_proxy = sub.name == "proxy";
        let methods: &[&str] = if is_proxy { &PROXY_METHODS } else { &METHODS };
        let options = options(sub.name);
        for (path, suffix) in [("", ""), ("/{path}", "WithPath")] {
            if !is_proxy && !path.is_empty() {
                continue;
            }
            let mut item = self.item(self.kind.namespaced, true);
            if let (false, Some(parameters)) = (path.is_empty(), item["parameters"].as_array_mut()) {
                let mut parameter = json!({"name": "path", "in": "path", "required": true, "description": PATH.2});
                self.typed(&mut parameter, "string");
                parameters.push(parameter);
            }
            for method in methods {
                let name = self.name("", sub.name);
                let name = name.replacen(&self.group(), &format!("connect{}{}", self.group(), capital(method)), 1);
                let operation = self.untyped("connect", &format!("{name}{suffix}"), sub, &options);
                item.insert((*method).to_owned(), operation);
            }
            paths.insert(format!("{object}/{}{path}", sub.name), Value::Object(item));
        }
    }

    /// Adds the path of a log.
    pub(super) fn log(&self, sub: &Subresource, object: &str, paths: &mut Map<String, Value>) {
        let mut item = self.item(self.kind.namespaced, true);
        item.insert("get".into(), self.untyped("get", &self.name("read", sub.name), sub, &LOG));
        paths.insert(format!("{object}/{}", sub.name), Value::Object(item));
    }

    /// An operation that is answered with text.
    fn untyped(&self, action: &str, name: &str, sub: &Subresource, query: &[Parameter]) -> Value {
        let mut out = json!({
            "description": format!("{action} {} of {}", sub.name, self.kind.kind),
            "operationId": name,
            "tags": [self.tag()],
            "parameters": self.query(query.iter()),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
        });
        let text = json!({"type": "string"});
        let ok = match self.spec {
            Spec::V2 => {
                out["consumes"] = json!(["*/*"]);
                out["produces"] = if action == "get" { json!(["text/plain"]) } else { json!(["*/*"]) };
                json!({"description": "OK", "schema": text})
            }
            Spec::V3 => {
                let media_type = if action == "get" { "text/plain" } else { "*/*" };
                json!({"description": "OK", "content": {media_type: {"schema": text}}})
            }
        };
        out["responses"] = json!({"200": ok, "401": {"description": "Unauthorized"}});
        out
    }
}
