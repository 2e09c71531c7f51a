//! `coracle token`: bootstrap tokens, by which nodes join, as kubeadm makes them.
//! <https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-token/>

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use comfy_table::{Table, presets};
use coracle_client::{Remote, is_conflict, is_not_found};
use coracle_pki::{BootstrapToken, public_key_hash};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use serde::Serialize;

use crate::administrator;
use crate::args::{Format, Token, TokenCommand};
use crate::cluster::Cluster;
use crate::control::{self, Access};
use crate::why;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of those who come with a token, as kubeadm names it.
const GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
/// How long a local node has to join.
const OF_NODES: Duration = Duration::from_secs(600);

/// What a token is to be.
struct New<'a> {
    token: &'a BootstrapToken,
    ttl: Duration,
    usages: &'a [String],
    groups: &'a [String],
    description: &'a str,
}

/// Runs a subcommand.
pub fn run(options: &Token) -> Result<()> {
    let server = server(options)?;
    match &options.command {
        TokenCommand::Create { token, ttl, usages, groups, description, print_join_command } => {
            let token = token.clone().map_or_else(BootstrapToken::generate, Ok)?;
            let new = New { token: &token, ttl: *ttl, usages, groups, description };
            let secret = secret(&new)?;
            administrator::run_on(&server, async |client| create(client, &secret).await)?;
            match print_join_command {
                true => println!("{}", join_command(&server, &token)?),
                false => println!("{token}"),
            }
            Ok(())
        }
        TokenCommand::Ls { output } => list(&server, *output),
        TokenCommand::Rm { tokens } => tokens.iter().try_for_each(|token| remove(&server, token)),
    }
}

/// The server that is meant: of a kubeconfig, or of a cluster of this host.
fn server(options: &Token) -> Result<Remote> {
    if let Some(file) = &options.kubeconfig {
        return why::server_of(file);
    }
    administrator::access(&control::access(&Cluster::load(&options.which)?.control_socket())?)
}

/// Makes a token by which nodes of a local cluster join now.
pub fn make_for_nodes(access: &Access, token: &BootstrapToken) -> Result<()> {
    let (usages, groups) = (["signing".into(), "authentication".into()], [GROUP.into()]);
    let description = "By which nodes of the local cluster join.";
    let secret = secret(&New { token, ttl: OF_NODES, usages: &usages, groups: &groups, description })?;
    administrator::run(access, async |client| create(client, &secret).await).context("failed to let nodes join")
}

fn secret(new: &New<'_>) -> Result<Secret> {
    let mut data = vec![("token-id", new.token.id.clone()), ("token-secret", new.token.secret.clone())];
    if !new.ttl.is_zero() {
        let ends = SystemTime::now().checked_add(new.ttl).context("the token would count too long")?;
        data.push(("expiration", jiff::Timestamp::try_from(ends)?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    }
    let usages = new.usages.iter().map(|usage| match usage.as_str() {
        "signing" => ("usage-bootstrap-signing", "true".to_owned()),
        _ => ("usage-bootstrap-authentication", "true".to_owned()),
    });
    data.extend(usages);
    let groups = new.groups.join(",");
    for (key, value) in [("auth-extra-groups", groups.as_str()), ("description", new.description)] {
        if !value.is_empty() {
            data.push((key, value.to_owned()));
        }
    }
    let data = data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(new.token.secret_name()),
            namespace: Some(NAMESPACE.into()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.into()),
        data: Some(data.collect()),
        ..Secret::default()
    })
}

async fn create(client: Client, secret: &Secret) -> Result<()> {
    match Api::namespaced(client, NAMESPACE).create(&PostParams::default(), secret).await {
        Err(error) if is_conflict(&error) => {
            bail!("there is a token of this ID already: `coracle token rm` removes it")
        }
        other => Ok(other.map(|_| ())?),
    }
}

/// What makes a host a node.
fn join_command(server: &Remote, token: &BootstrapToken) -> Result<String> {
    let authority = String::from_utf8_lossy(&server.ca_pem);
    let hash = public_key_hash(&authority)?;
    Ok(format!("coracle agent --server {} --token {token} --discovery-token-ca-cert-hash {hash}", server.server))
}

/// What is told of a token.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    token: String,
    expires: String,
    usages: Vec<&'static str>,
    description: String,
    groups: String,
}

fn report(secret: &Secret) -> Report {
    let data = |field: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(field)).map(|bytes| bytes.0.clone());
        String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    };
    let usages = [("usage-bootstrap-authentication", "authentication"), ("usage-bootstrap-signing", "signing")];
    Report {
        token: format!("{}.{}", data("token-id"), data("token-secret")),
        expires: data("expiration"),
        usages: usages.iter().filter(|(field, _)| data(field) == "true").map(|(_, usage)| *usage).collect(),
        description: data("description"),
        groups: data("auth-extra-groups"),
    }
}

fn list(server: &Remote, output: Format) -> Result<()> {
    let found = administrator::run_on(server, async |client| {
        let params = ListParams::default().fields(&format!("type={TYPE}"));
        Ok(Api::<Secret>::namespaced(client, NAMESPACE).list(&params).await?)
    })?;
    let reports: Vec<Report> = found.iter().filter(|secret| secret.data.is_some()).map(report).collect();
    if output == Format::Json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["TOKEN", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"]);
    for report in reports {
        let expires = if report.expires.is_empty() { "<forever>".into() } else { report.expires };
        table.add_row([report.token, expires, report.usages.join(","), report.description, report.groups]);
    }
    println!("{}", table.trim_fmt());
    Ok(())
}

fn remove(server: &Remote, token: &str) -> Result<()> {
    // The first part is enough to name one.
    let id = token.split_once('.').map_or(token, |(id, _)| id);
    let id = format!("{id}.{}", "0".repeat(16)).parse::<BootstrapToken>().context("no token has such a name")?.id;
    let name = format!("bootstrap-token-{id}");
    administrator::run_on(server, async |client| {
        let api: Api<Secret> = Api::namespaced(client, NAMESPACE);
        match api.delete(&name, &DeleteParams::default()).await {
            Err(error) if is_not_found(&error) => bail!("there is no token {id}; `coracle token ls` lists them"),
            other => Ok(other.map(|_| ())?),
        }
    })?;
    println!("Removed {id}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::ResourceExt;

    #[test]
    fn a_secret_says_of_a_token_what_was_asked_for() {
        let token: BootstrapToken = "abcdef.0123456789abcdef".parse().unwrap();
        let usages = ["signing".to_owned()];
        let groups = [GROUP.to_owned()];
        let new =
            New { token: &token, ttl: Duration::from_secs(60), usages: &usages, groups: &groups, description: "d" };
        let made = secret(&new).unwrap();
        assert_eq!(made.name_any(), "bootstrap-token-abcdef");
        let told = report(&made);
        assert_eq!((told.token.as_str(), told.usages.as_slice()), ("abcdef.0123456789abcdef", &["signing"][..]));
        assert!(told.expires.parse::<jiff::Timestamp>().unwrap() > jiff::Timestamp::now());
        assert_eq!((told.groups.as_str(), told.description.as_str()), (GROUP, "d"));
        let forever = secret(&New { ttl: Duration::ZERO, description: "", ..new }).unwrap();
        assert_eq!(report(&forever).expires, "");
    }
}
