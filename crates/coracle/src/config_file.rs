//! `--config FILE`: options of a command as a file of YAML, each under its name. What the command line says as well counts in
//! place of what the file says.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Arg, ArgAction, Command, CommandFactory};
use serde_json::{Map, Value, json};

use crate::args::Args;

/// The option that names the file.
const CONFIG: &str = "config";
/// The commands that have it.
pub const COMMANDS: [&str; 3] = ["up", "server", "agent"];
/// What one may have at most, bytes.
const MOST: u64 = 1 << 20;

/// A command line with the options of the file that it names put in front of its own.
///
/// # Errors
/// The file cannot be read, or says something that the command does not know.
pub fn expand(given: Vec<OsString>) -> Result<Vec<OsString>> {
    let words: Vec<&OsStr> = given.iter().skip(1).take(2).map(OsString::as_os_str).collect();
    let path: &[&OsStr] = match words.as_slice() {
        [first, ..] if COMMANDS.iter().any(|name| first == name) => &words[..1],
        [first, second] if *first == "install" && COMMANDS.iter().any(|name| second == name) => &words[..2],
        _ => return Ok(given),
    };
    let rest = &given[path.len() + 1..];
    let Some(file) = named(rest) else { return Ok(given) };
    let all = Args::command();
    let command = path.iter().try_fold(&all, |command, word| command.find_subcommand(word));
    let command = command.context("there is no such command")?;
    let read = || options(command, &read(Path::new(file))?);
    let options = read().with_context(|| format!("{}", Path::new(file).display()))?;
    let in_front = options.into_iter().filter(|(arg, _)| !rest.iter().any(|word| is(arg, word)));
    let in_front = in_front.map(|(_, word)| word.into());
    Ok(given[..=path.len()].iter().cloned().chain(in_front).chain(rest.iter().cloned()).collect())
}

/// The file that a command line names.
fn named(rest: &[OsString]) -> Option<&OsStr> {
    let mut rest = rest.iter().take_while(|word| *word != "--");
    while let Some(word) = rest.next() {
        match word.to_str()?.strip_prefix("--config") {
            Some("") => return rest.next().map(OsString::as_os_str),
            Some(value) if value.starts_with('=') => return Some(OsStr::new(value.get(1..)?)),
            _ => {}
        }
    }
    None
}

/// Whether a word of a command line is the option.
fn is(arg: &Arg, word: &OsStr) -> bool {
    let Some(word) = word.to_str() else { return false };
    match word.strip_prefix("--") {
        Some(long) => long.split('=').next() == arg.get_long(),
        None => {
            word.strip_prefix('-').and_then(|short| short.chars().next()).is_some_and(|c| arg.get_short() == Some(c))
        }
    }
}

/// The options that a file has, none of which is looked at.
///
/// # Errors
/// It cannot be read.
pub fn read(file: &Path) -> Result<Map<String, Value>> {
    let size = fs::metadata(file)?.len();
    if size > MOST {
        bail!("it has {size} bytes, more than a file of options needs");
    }
    let text = fs::read_to_string(file)?;
    if text.lines().all(|line| line.trim_start().starts_with('#') || line.trim().is_empty()) {
        return Ok(Map::new());
    }
    match serde_saphyr::from_str(&text)? {
        Value::Object(options) => Ok(options),
        _ => bail!("it has no options, each as NAME: VALUE"),
    }
}

/// The words that say the same on a command line. What they mean is looked at as if they had been written there.
fn options<'a>(command: &'a Command, file: &Map<String, Value>) -> Result<Vec<(&'a Arg, String)>> {
    let mut words = Vec::new();
    for (name, value) in file {
        let arg = offered(command).find(|arg| arg.get_long() == Some(name)).with_context(|| {
            format!("{name}: there is no such option; `coracle {} --help` lists them", command.get_name())
        })?;
        let of_option = of_option(arg, value).with_context(|| name.clone())?;
        words.extend(of_option.into_iter().map(|word| (arg, word)));
    }
    let alone = [command.get_name()].into_iter().chain(words.iter().map(|(_, word)| word.as_str()));
    match command.clone().try_get_matches_from(alone) {
        // What is missing may be on the command line.
        Err(error) if error.kind() != clap::error::ErrorKind::MissingRequiredArgument => {
            let text = error.render().to_string();
            Err(anyhow!("{}", text.lines().next().unwrap_or_default().trim_start_matches("error: ")))
        }
        _ => Ok(words),
    }
}

/// The options of a command that a file may have.
fn offered(command: &Command) -> impl Iterator<Item = &Arg> {
    let own = |arg: &&Arg| !matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong);
    command.get_arguments().filter(own).filter(|arg| {
        let of_install = arg.get_help_heading() == Some(crate::install::HEADING);
        !arg.is_hide_set() && !of_install && arg.get_long().is_some_and(|long| long != CONFIG)
    })
}

fn of_option(arg: &Arg, value: &Value) -> Result<Vec<String>> {
    let long = arg.get_long().unwrap_or_default();
    let is_boolean = arg.get_value_parser().type_id() == TypeId::of::<bool>();
    let word = |value: &Value| match value {
        Value::String(text) => Ok(format!("--{long}={text}")),
        Value::Number(_) => Ok(format!("--{long}={value}")),
        Value::Bool(_) if is_boolean => Ok(format!("--{long}={value}")),
        // Of YAML, yes, no, on, off, y and n are no texts.
        Value::Bool(_) => bail!("it is a text, not {value}: write it in quotes"),
        _ => bail!("it is a text or a number, not {value}"),
    };
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, Value::Bool(true)) => Ok(vec![format!("--{long}")]),
        (ArgAction::SetTrue, Value::Bool(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, _) => bail!("it is true or false, not {value}"),
        (ArgAction::Append, Value::Array(list)) => list.iter().map(word).collect(),
        (ArgAction::Append, Value::Object(pairs)) => pairs
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok(format!("--{long}={key}={text}")),
                Value::Number(_) | Value::Bool(_) => Ok(format!("--{long}={key}={value}")),
                _ => bail!("{key}: it is a text or a number, not {value}"),
            })
            .collect(),
        _ => Ok(vec![word(value)?]),
    }
}

/// A file that says what was said to a command: the options that it was given, none of which is a default. Files are named
/// by their whole path.
///
/// # Errors
/// A value is no text.
pub fn written(command: &Command, given: &clap::ArgMatches) -> Result<String> {
    let mut file = Map::new();
    for arg in offered(command) {
        let id = arg.get_id().as_str();
        if given.value_source(id) != Some(clap::parser::ValueSource::CommandLine) {
            continue;
        }
        let long = arg.get_long().unwrap_or_default();
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            file.insert(long.to_owned(), true.into());
            continue;
        }
        let is_path = arg.get_value_parser().type_id() == TypeId::of::<std::path::PathBuf>();
        let text = |raw: &OsStr| match is_path {
            true => {
                std::path::absolute(raw)?.into_os_string().into_string().map_err(|raw| anyhow!("{raw:?} is no text"))
            }
            false => raw.to_str().map(str::to_owned).with_context(|| format!("{raw:?} is no text")),
        };
        let mut values = given
            .get_raw(id)
            .into_iter()
            .flatten()
            .map(|raw| text(raw).map(Value::String))
            .collect::<Result<Vec<_>>>()?;
        let value = match arg.get_action() {
            ArgAction::Append => Value::Array(values),
            _ => values.pop().unwrap_or_default(),
        };
        file.insert(long.to_owned(), value);
    }
    if file.is_empty() {
        return Ok(String::new());
    }
    serde_saphyr::to_string(&Value::Object(file)).context("failed to write the options down")
}

/// The JSON schema (draft 2020-12) of the file of a command's options.
///
/// # Errors
/// There is no such command.
pub fn schema(name: &str) -> Result<Value> {
    let mut all = Args::command();
    // Says which options are repeated by commas.
    all.build();
    let command = all.find_subcommand(name).context("there is no such command")?;
    let properties: Map<String, Value> = offered(command)
        .map(|arg| (arg.get_long().unwrap_or_default().to_owned(), Value::Object(property(arg))))
        .collect();
    Ok(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Options of coracle {name}"),
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    }))
}

fn property(arg: &Arg) -> Map<String, Value> {
    let mut property = Map::new();
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    property.insert("description".into(), help.into());
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        property.insert("type".into(), "boolean".into());
        return property;
    }
    let parser = arg.get_value_parser();
    let is = |types: &[TypeId]| types.iter().any(|known| parser.type_id() == *known);
    let choices: Vec<String> =
        parser.possible_values().into_iter().flatten().map(|value| value.get_name().to_owned()).collect();
    let one = if is(&[TypeId::of::<bool>()]) {
        json!({ "type": "boolean" })
    } else if is(&[
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
    ]) {
        json!({ "type": "integer", "minimum": 0 })
    } else if !choices.is_empty() {
        json!({ "enum": choices })
    } else {
        json!({ "type": ["string", "number"] })
    };
    match arg.get_action() {
        ArgAction::Append => {
            let list = json!({ "type": "array", "items": one });
            let pairs =
                json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } });
            property.insert("anyOf".into(), json!([one, list, pairs]));
        }
        _ => property.extend(one.as_object().cloned().unwrap_or_default()),
    }
    property
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{self, Server};

    fn expanded(text: &str, line: &[&str]) -> Result<Vec<String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let given = ["coracle"].iter().chain(line).map(|word| word.replace("FILE", path).into()).collect();
        Ok(expand(given)?.into_iter().map(|word| word.into_string().unwrap().replace(path, "FILE")).collect())
    }

    fn server(text: &str, line: &[&str]) -> Box<Server> {
        let words = expanded(text, &[&["server"], line, &["--config", "FILE"]].concat()).unwrap();
        match Args::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).command {
            args::Command::Server(server) => server,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn options_are_texts_numbers_lists_and_pairs() {
        let text = "port: 7443\ndisable-agent: true\nnode-ip: [10.0.0.1, 'fd00::1']\nnode-labels: {a: b, c: 1}\n\
                    insecure-registry: one:5000\nleader-elect: false\n";
        let server = server(text, &[]);
        assert_eq!((server.port, server.disable_agent, server.node.node_ip.len()), (7443, true, 2));
        assert_eq!(server.node.insecure_registry, ["one:5000"]);
        assert_eq!(server.node.kubelet.registration().0.len(), 2);
    }

    #[test]
    fn the_command_line_counts_in_place_of_the_file() {
        let text = "port: 7443\ninsecure-registry: [a:1, b:1]\nnode-name: one\n";
        let server = server(text, &["--port=8443", "--insecure-registry", "c:1"]);
        assert_eq!((server.port, &*server.node.insecure_registry), (8443, &["c:1".to_owned()][..]));
        assert_eq!(server.node.node_name.as_deref(), Some("one"));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said_with_its_place() {
        let wrong = [
            ("prot: 1", "prot: there is no such option"),
            ("port: many", "invalid value 'many' for '--port"),
            ("port: [1, 2]", "port: it is a text or a number"),
            ("disable-agent: 1", "disable-agent: it is true or false"),
            ("node-labels: {a: [b]}", "node-labels: a: it is"),
            ("port: 1\nport: 2", "duplicate"),
            ("config: other", "config: there is no such option"),
            ("in-node: true", "in-node: there is no such option"),
            ("help: true", "help: there is no such option"),
            ("- port", "it has no options"),
            ("node-name: n", "node-name: it is a text, not false: write it in quotes"),
            ("port: ~", "port: it is a text or a number"),
        ];
        for (text, expected) in wrong {
            let error = format!("{:#}", expanded(text, &["server", "--config=FILE"]).unwrap_err());
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(expanded("", &["agent", "--config", "/does/not/exist"]).is_err());
        assert_eq!(expanded("# nothing\n", &["up", "--config=FILE"]).unwrap(), ["coracle", "up", "--config=FILE"]);
        // Other commands have options of the same name, and what is missing is said by who misses it.
        assert_eq!(expanded("x", &["status", "--config", "FILE"]).unwrap().len(), 4);
        assert_eq!(expanded("x", &["up", "--config"]).unwrap().len(), 3);
    }

    #[test]
    fn what_was_said_is_written_down_and_read_again() {
        let line =
            ["install", "server", "--port=7443", "--node-labels=a=b,c=d", "--token-auth-file=t", "--disable-agent"];
        let command = Args::command();
        let given = command.clone().try_get_matches_from(["coracle"].iter().chain(&line)).unwrap();
        let given = given.subcommand().and_then(|(_, install)| install.subcommand()).unwrap().1;
        let of = |words: &[&str]| words.iter().try_fold(&command, |at, word| at.find_subcommand(word)).unwrap().clone();
        let text = written(&of(&["install", "server"]), given).unwrap();
        let again = server(&text, &[]);
        assert_eq!((again.port, again.disable_agent, again.node.kubelet.registration().0.len()), (7443, true, 2));
        assert!(again.token_auth_file.unwrap().is_absolute());
        assert!(!text.contains("cluster-cidr") && !text.contains("etcd"), "{text}");
    }

    #[test]
    fn the_schema_has_every_option_and_nothing_else() {
        for name in COMMANDS {
            let schema = schema(name).unwrap();
            assert_eq!(schema["additionalProperties"], false);
            assert!(schema["properties"]["help"].is_null() && schema["properties"][CONFIG].is_null());
        }
        let server = schema("server").unwrap();
        let of = |name: &str| &server["properties"][name];
        assert_eq!((&of("port")["type"], &of("disable-agent")["type"]), (&json!("integer"), &json!("boolean")));
        assert_eq!(of("node-labels")["anyOf"].as_array().unwrap().len(), 3);
        assert!(of("in-node").is_null());
        assert!(of("service-cluster-ip-range")["description"].as_str().unwrap().contains("services"));
    }
}
