//! Container Runtime, blackbox test on terminated container.

use coracle_e2e::*;
use serde_json::{Value, json};

/// The message with which a container ended.
fn message(namespace: &str, command: &[&str], more: Value) -> Option<String> {
    let cluster = shared(env!("CARGO_CRATE_NAME"))?;
    let namespace = cluster.namespace(namespace);
    let mut object = pod("p", command);
    for (key, value) in more.as_object().expect("a map") {
        object["spec"]["containers"][0][key] = value.clone();
    }
    namespace.create("pods", &object);
    let status = namespace.container_until("p", "ends", |status| status["state"]["terminated"].is_object());
    Some(status["state"]["terminated"]["message"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn should_report_termination_message_as_empty_when_pod_succeeds_and_terminationmessagepolicy_fallbacktologsonerror_is_set()
 {
    let policy = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let Some(message) = message("message-empty", &["echo", "DONE"], policy) else { return };
    assert_eq!(message, "");
}

#[test]
fn should_report_termination_message_from_file_when_pod_succeeds_and_terminationmessagepolicy_fallbacktologsonerror_is_set()
 {
    let policy = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let command = ["sh", "-c", "write /dev/termination-log OK; echo DONE"];
    let Some(message) = message("message-file", &command, policy) else { return };
    assert_eq!(message, "OK\n");
}

#[test]
fn should_report_termination_message_from_log_output_if_terminationmessagepolicy_fallbacktologsonerror_is_set() {
    let policy = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let Some(message) = message("message-log", &["sh", "-c", "echo DONE; exit 1"], policy) else { return };
    assert_eq!(message.trim(), "DONE");
}

#[test]
fn should_report_termination_message_if_terminationmessagepath_is_set_as_non_root_user_and_at_a_non_default_path() {
    let more = json!({"terminationMessagePath": "/dev/termination-custom-log", "securityContext": {"runAsUser": 1000}});
    let command = ["write", "/dev/termination-custom-log", "DONE"];
    let Some(message) = message("message-path", &command, more) else { return };
    assert_eq!(message, "DONE\n");
}
