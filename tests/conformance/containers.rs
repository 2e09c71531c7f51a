//! Containers: what an image says of its command, and what a pod says instead.

use std::sync::OnceLock;

use coracle_e2e::*;
use serde_json::{Value, json};

/// What a container of an image with an entrypoint and arguments of its own prints.
fn printed(namespace: &str, command: Value) -> Option<String> {
    let cluster = shared(env!("CARGO_CRATE_NAME"))?;
    static LOADED: OnceLock<()> = OnceLock::new();
    LOADED.get_or_init(|| cluster.load_image(&["entrypoint:1"]));
    let namespace = cluster.namespace(namespace);
    let mut object = pod("p", &[]);
    let container = &mut object["spec"]["containers"][0];
    container.as_object_mut().expect("a map").remove("command");
    container["image"] = "entrypoint:1".into();
    for (key, value) in command.as_object().expect("a map") {
        container[key] = value.clone();
    }
    let ran = namespace.run_pod(&object);
    assert_eq!(ran.code, 0, "{ran:?}");
    Some(ran.log)
}

#[test]
fn should_use_the_image_defaults_if_command_and_args_are_blank() {
    let Some(printed) = printed("command-blank", json!({})) else { return };
    assert_eq!(printed, "of the image\n");
}

#[test]
fn should_be_able_to_override_the_images_default_arguments_container_cmd() {
    let Some(printed) = printed("command-args", json!({"args": ["overridden"]})) else { return };
    assert_eq!(printed, "overridden\n");
}

#[test]
fn should_be_able_to_override_the_images_default_command_container_entrypoint() {
    let Some(printed) = printed("command-command", json!({"command": ["/bin/env", "VERSION"]})) else { return };
    // The arguments of the image go with its command.
    assert_eq!(printed, "1\n");
}

#[test]
fn should_be_able_to_override_the_images_default_command_and_arguments() {
    let both = json!({"command": ["/bin/test"], "args": ["echo", "both"]});
    let Some(printed) = printed("command-both", both) else { return };
    assert_eq!(printed, "both\n");
}
