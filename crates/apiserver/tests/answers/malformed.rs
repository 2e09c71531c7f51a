//! Requests of all kinds that are wrong in some way, made up from a seed: each is answered with words, none by a failure of the
//! server, and nothing is changed by them. `CORACLE_MALFORMED=20000` makes up more of them.

use coracle_testing::policies::Dice;
use http::Method;
use serde_json::{Map, Value, json};

use super::{Answer, Api};

const SEED: u64 = 20_261_130;
const REQUESTS: usize = 3000;

/// What is nowhere expected, or everywhere too much.
fn junk(dice: &mut Dice) -> Value {
    let texts = ["", " ", "\0", "\u{1b}[31m", "ü", "a/b/c", "..", "*", "-5", "1e30", "-1e400", "::1", "10.0.0.0/33"];
    let others = [
        json!(null),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(true),
        json!([null]),
        json!([[]]),
        json!({"": ""}),
        json!({"$patch": "delete"}),
        json!("9".repeat(40)),
        json!("x".repeat(300)),
        json!("9999-13-45T00:00:00Z"),
    ];
    match dice.below(2) {
        0 => one(dice, &texts).into(),
        _ => one(dice, &others),
    }
}

fn one<T: Clone>(dice: &mut Dice, of: &[T]) -> T {
    of[dice.below(of.len())].clone()
}

/// One request in so many.
fn rarely(dice: &mut Dice, many: usize) -> bool {
    dice.below(many) == 0
}

/// What the server serves, as its own document tells it.
struct Served {
    document: Value,
    /// Paths, methods, and the schemas of what is sent.
    operations: Vec<(String, Method, Option<Value>)>,
}

impl Served {
    async fn by(api: &Api) -> Served {
        let document = api.get("/openapi/v2").await.ok();
        // These go on to nodes and other servers, or never end.
        let elsewhere = ["/proxy", "/exec", "/attach", "/portforward", "/log", "/watch/", "/openid"];
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            if elsewhere.iter().any(|part| path.contains(part)) {
                continue;
            }
            for (method, operation) in methods.as_object().expect("operations") {
                let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
                if matches!(method.as_str(), "GET" | "POST" | "PUT" | "PATCH" | "DELETE") {
                    let parameters = operation["parameters"].as_array().into_iter().flatten();
                    let body = parameters.clone().find(|one| one["in"] == "body").map(|one| one["schema"].clone());
                    operations.push((path.clone(), method, body));
                }
            }
        }
        Served { document, operations }
    }

    /// A value that fits a schema in most places.
    fn value(&self, dice: &mut Dice, schema: &Value, depth: usize) -> Value {
        if rarely(dice, 60) {
            return junk(dice);
        }
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            return self.value(dice, &self.document["definitions"][name], depth);
        }
        if let Some(fields) = schema["properties"].as_object() {
            let fields = fields.iter().filter(|_| depth < 7).filter(|_| depth == 0 || rarely(dice, depth + 1));
            let fields: Vec<_> = fields.collect();
            return fields.into_iter().map(|(name, of)| (name.clone(), self.value(dice, of, depth + 1))).collect();
        }
        match schema["type"].as_str() {
            Some("object") => {
                let key = one(dice, &["a", "b.c/d", "-", "memory", "example.com/gpu"]);
                json!({key: self.value(dice, &schema["additionalProperties"], depth + 1)})
            }
            Some("array") => {
                (0..dice.below(3)).map(|_| self.value(dice, &schema["items"], depth + 1)).collect::<Value>()
            }
            Some("string") => {
                one(dice, &["a", "default", "http", "10.0.0.1", "1", "100m", "/x", "Always", "True", "In", "a.b/c"])
                    .into()
            }
            Some("integer" | "number") => one(dice, &[0, 1, 80, 65_536, -1, i64::from(i32::MAX)]).into(),
            Some("boolean") => rarely(dice, 2).into(),
            _ => junk(dice),
        }
    }
}

/// Puts something unexpected at some place of a value.
fn spoil(dice: &mut Dice, value: &mut Value) {
    let is_end = rarely(dice, 4);
    match value {
        Value::Object(map) if !map.is_empty() && !is_end => {
            let at = dice.below(map.len());
            map.values_mut().nth(at).into_iter().for_each(|inner| spoil(dice, inner));
        }
        Value::Array(list) if !list.is_empty() && !is_end => {
            let at = dice.below(list.len());
            spoil(dice, &mut list[at]);
        }
        other => *other = junk(dice),
    }
}

/// Operations of a JSON patch, at places that may be there.
fn operations(dice: &mut Dice) -> Value {
    let paths =
        ["/metadata/labels/x", "/spec", "/metadata", "", "/~2", "/spec/-1", "/data/a", "x", "/metadata/finalizers/-"];
    let operation = |dice: &mut Dice| {
        let name = one(dice, &["add", "remove", "replace", "move", "copy", "test", "swap"]);
        let mut all = Map::new();
        for (key, value) in
            [("op", json!(name)), ("path", json!(one(dice, &paths))), ("from", json!(one(dice, &paths)))]
        {
            all.insert(key.into(), if rarely(dice, 20) { junk(dice) } else { value });
        }
        all.insert("value".into(), junk(dice));
        Value::Object(all)
    };
    (0..=dice.below(3)).map(|_| operation(dice)).collect()
}

fn query(dice: &mut Dice) -> String {
    let wrong: [(&str, &[&str]); 13] = [
        ("labelSelector", &["a%3D%3D", "a%20in%20b", "a%20in%20(", "!", "a,,b", "a%3Db%20c", "%00"]),
        ("fieldSelector", &["a", "spec.foo%3D1", "%3D", "metadata.name", "a%3D%5C"]),
        ("limit", &["-1", "x", "99999999999999999999"]),
        ("continue", &["x", "AAAA", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYSJ9"]),
        ("resourceVersion", &["x", "-1", "1.0"]),
        ("resourceVersionMatch", &["Exact", "x"]),
        ("timeoutSeconds", &["x", "-1"]),
        ("fieldValidation", &["x", "Strict", "Ignore"]),
        ("fieldManager", &["%01", "m"]),
        ("force", &["x", "true"]),
        ("propagationPolicy", &["x"]),
        ("gracePeriodSeconds", &["x"]),
        ("pretty", &["x"]),
    ];
    let one_of = |dice: &mut Dice| {
        let (name, values) = one(dice, &wrong);
        format!("&{name}={}", one(dice, values))
    };
    let some: String = (0..dice.below(3)).map(|_| one_of(dice)).collect();
    format!("?dryRun=All{some}")
}

/// A body and what it is said to be.
fn body(dice: &mut Dice, served: &Served, method: &Method, schema: &Value) -> (String, &'static str) {
    let kinds = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/plain", "x", ""];
    let patches = [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ];
    let is_patch = *method == Method::PATCH;
    let kind = if is_patch && !rarely(dice, 20) {
        one(dice, &patches)
    } else if rarely(dice, 4) {
        one(dice, &kinds)
    } else {
        kinds[0]
    };
    let mut object = match kind {
        "application/json-patch+json" => operations(dice),
        _ => served.value(dice, schema, 0),
    };
    (0..dice.below(3)).for_each(|_| spoil(dice, &mut object));
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && !rarely(dice, 4)
    {
        metadata.clear();
        metadata.insert("name".into(), "a".into());
    }
    let mut text = object.to_string();
    if rarely(dice, 6) {
        text.truncate((0..=dice.below(text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
        text.push_str(one(dice, &["", "{", "}", "\"", "[", "\\", "a: &a [*a]", "---\nb", "k8s\0", "\t"]));
    }
    (text, kind)
}

fn has_words(answer: &Answer) -> bool {
    let message = |text: &str| serde_json::from_str::<Value>(text).ok().map(|status| status["message"] != "");
    message(&answer.text).unwrap_or(!answer.text.trim().is_empty())
}

/// Everything that is stored, but for what the server itself writes all the time.
async fn stored(api: &Api, served: &Served) -> Vec<Value> {
    let mut all = Vec::new();
    for (path, method, _) in &served.operations {
        let is_list = *method == Method::GET && !path.contains('{') && !path.contains("coordination");
        let answer = if is_list { api.get(path).await } else { continue };
        if let Some(items) =
            serde_json::from_str::<Value>(&answer.text).ok().and_then(|list| list.get("items").cloned())
        {
            all.push(items);
        }
    }
    all
}

#[tokio::test]
async fn whatever_is_wrong_is_told_and_changes_nothing() {
    let api = Api::new().await;
    api.post("/api/v1/namespaces/default/configmaps", &json!({"metadata": {"name": "a"}, "data": {"a": "b"}}))
        .await
        .ok();
    let served = Served::by(&api).await;
    let before = stored(&api, &served).await;
    assert!(before.len() > 30);
    let mut dice = Dice(SEED);
    let count = std::env::var("CORACLE_MALFORMED").ok().and_then(|count| count.parse().ok()).unwrap_or(REQUESTS);
    let mut refused = 0;
    for _ in 0..count {
        let (path, method, schema) = one(&mut dice, &served.operations);
        let name = one(&mut dice, &["a", "a", "nobody", "A", "%2e%2e", "%00", "a%2Fb", "%ff"]);
        let path = path.replace("{namespace}", "default").replace("{name}", name) + &query(&mut dice);
        let (text, kind) = match &schema {
            Some(schema) => body(&mut dice, &served, &method, schema),
            None => (String::new(), "application/json"),
        };
        let answer = api.call(method.clone(), &path, &[("content-type", kind)], text.clone()).await;
        // Upstream has no code of its own for what is applied and does not fit its schema.
        let is_upstreams = ["failed to create typed", "failed to convert new typed", "Too large resource version"];
        let is_failure = answer.status.is_server_error() && !is_upstreams.iter().any(|told| answer.text.contains(told));
        assert!(!is_failure, "{method} {path} {kind} {text}: {} {}", answer.status, answer.text);
        if answer.status.is_client_error() {
            refused += 1;
            assert!(has_words(&answer), "{method} {path} {kind} {text}: {} {}", answer.status, answer.text);
        }
    }
    assert!(refused > count / 2, "{refused}");
    assert_eq!(stored(&api, &served).await, before);
}
