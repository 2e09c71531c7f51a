//! Who writes: the name under which fields are owned.

use crate::field::{FieldError, Path};

/// The longest name of a manager, in bytes.
pub const MAX_LENGTH: usize = 128;

/// The manager that a request names, or what its user agent says before the first `/`; `unknown` if neither does.
pub fn name(field_manager: &str, user_agent: &str) -> String {
    if !field_manager.is_empty() {
        return field_manager.to_owned();
    }
    let mut name = String::new();
    for c in user_agent.split('/').next().unwrap_or_default().chars().filter(|c| is_print(*c)) {
        if name.len() + c.len_utf8() > MAX_LENGTH {
            break;
        }
        name.push(c);
    }
    if name.is_empty() { "unknown".into() } else { name }
}

/// Checks the query parameters `fieldManager` and `force` of a patch.
pub fn validate_patch(apply: bool, field_manager: &str, force: Option<bool>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if apply && field_manager.is_empty() {
        errors.push(FieldError::required(&Path::new("fieldManager"), "is required for apply patch"));
    }
    if !apply && force.is_some() {
        errors.push(FieldError::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
    }
    errors.extend(validate(field_manager));
    errors
}

/// Checks the query parameter `fieldManager`.
pub fn validate(field_manager: &str) -> Vec<FieldError> {
    let path = Path::new("fieldManager");
    let mut errors = Vec::new();
    if field_manager.len() > MAX_LENGTH {
        errors.push(FieldError::too_long(&path, MAX_LENGTH));
    }
    for (at, c) in field_manager.char_indices().filter(|(_, c)| !is_print(*c)).take(MAX_LENGTH) {
        let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.push(FieldError::invalid_str(&path, field_manager, detail));
    }
    errors
}

/// Whether a character is printed: neither a control, nor a space but the plain one, nor for private use.
fn is_print(c: char) -> bool {
    let invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let private = matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible || private)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_named_or_the_user_agents_first_word() {
        assert_eq!(name("me", "kubectl/v1.30 (linux)"), "me");
        assert_eq!(name("", "kubectl-client/v1.30 (linux)"), "kubectl-client");
        assert_eq!(name("", "a\nb"), "ab");
        assert_eq!(name("", ""), "unknown");
        assert_eq!(name("", &"é".repeat(100)).len(), 128);
    }

    #[test]
    fn options_are_checked_as_upstream_does() {
        let texts = |errors: Vec<FieldError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            texts(validate_patch(true, "", None)),
            ["fieldManager: Required value: is required for apply patch"]
        );
        assert_eq!(
            texts(validate_patch(false, "a", Some(false))),
            ["force: Forbidden: may not be specified for non-apply patch"]
        );
        assert_eq!(texts(validate(&"a".repeat(129))), ["fieldManager: Too long: may not be more than 128 bytes"]);
        assert_eq!(
            texts(validate("a\tb")),
            ["fieldManager: Invalid value: \"a\\tb\": invalid character U+0009 (at position 1)"]
        );
        assert!(validate_patch(true, "my manager é", Some(true)).is_empty());
    }
}
