//! Checks of what a pod wants of name resolution.

use serde_json::Value;

use super::Errors;
use crate::field::{self, FieldError, Path, push_all};
use crate::meta::{list, text};

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;

/// Checks `dnsConfig`.
pub(super) fn config(spec: &Value, path: &Path, errors: &mut Errors) {
    let config = &spec["dnsConfig"];
    let servers = list(config, &["nameservers"]);
    if spec["dnsPolicy"] == "None" && servers.is_empty() {
        let error = if config.is_null() {
            FieldError::required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
        } else {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            FieldError::required(&path.child("nameservers"), detail)
        };
        errors.push(error);
        return;
    }
    if servers.len() > MAX_NAMESERVERS {
        let detail = "must not have more than 3 nameservers";
        errors.push(FieldError::invalid(&path.child("nameservers"), &config["nameservers"], detail));
    }
    for (i, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        push_all(errors, &path.child("nameservers").index(i), server, field::ip(server));
    }
    searches(config, &path.child("searches"), errors);
    for (i, option) in list(config, &["options"]).iter().enumerate() {
        if text(option, &["name"]).is_empty() {
            errors.push(FieldError::required(&path.child("options").index(i), "must not be empty"));
        }
    }
}

fn searches(config: &Value, path: &Path, errors: &mut Errors) {
    let searches: Vec<&str> = list(config, &["searches"]).iter().filter_map(Value::as_str).collect();
    if searches.len() > MAX_SEARCHES {
        let detail = "must not have more than 32 search paths";
        errors.push(FieldError::invalid(path, &config["searches"], detail));
    }
    if searches.join(" ").len() > MAX_SEARCH_CHARACTERS {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.push(FieldError::invalid(path, &config["searches"], detail));
    }
    for (i, search) in searches.into_iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        push_all(errors, &path.index(i), search, field::dns1123_subdomain_with_underscores(search));
    }
}

/// Checks `hostAliases`.
pub(super) fn host_aliases(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, alias) in list(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.index(i);
        push_all(errors, &path.child("ip"), text(alias, &["ip"]), field::ip(text(alias, &["ip"])));
        for (j, name) in list(alias, &["hostnames"]).iter().filter_map(Value::as_str).enumerate() {
            push_all(errors, &path.child("hostnames").index(j), name, field::dns1123_subdomain(name));
        }
    }
}
