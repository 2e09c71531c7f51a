//! Hollow nodes of a server ([docs/hollow.md](../../../docs/hollow.md)): how many there are, what each has, and who they are to
//! the API.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgAction, Args as ClapArgs};
use coracle_apiserver::auth::User;
use coracle_apiserver::{KUBERNETES_VERSION, Server};
use coracle_client::in_process;
use coracle_kubelet::hollow::{ACCOUNT, Clients, HollowConfig, HollowNodes};
use coracle_values::addresses::Ranges;
use coracle_values::hollow::{MAX_NODES, MAX_PODS, name};
use coracle_values::{names, quantity};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::control::{self, Outgoing};
use crate::server::as_user;

/// What a node has unless something else is said.
const CAPACITY: [(&str, &str); 4] = [("cpu", "32"), ("memory", "256Gi"), ("ephemeral-storage", "1Ti"), ("pods", "110")];
/// The longest name of a node, as it is the value of a label too.
const LONGEST_NAME: usize = 63;

/// Options of hollow nodes.
#[derive(ClapArgs, Clone, Default)]
#[command(next_help_heading = "Hollow nodes")]
pub struct HollowArgs {
    /// How many hollow nodes there are: nodes without a machine, for rehearsals, which take pods and start nothing
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_NODES)))]
    hollow: Option<u32>,
    /// What each hollow node has, as RESOURCE=AMOUNT, separated by commas [default:
    /// cpu=32,memory=256Gi,ephemeral-storage=1Ti,pods=110]
    #[arg(long, value_name = "RESOURCE=AMOUNT", value_delimiter = ',', value_parser = resource)]
    hollow_capacity: Vec<(String, String)>,
    /// Whether hollow nodes have the taint coracle.io/hollow:NoSchedule, which keeps away what needs to run [default: true]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    hollow_taint: Option<bool>,
}

/// The hollow nodes of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hollow {
    /// How many.
    pub count: u32,
    /// What each has besides, or in place of, the default.
    #[serde(default)]
    pub capacity: BTreeMap<String, String>,
    /// Whether they have the taint.
    pub tainted: bool,
}

impl Default for Hollow {
    fn default() -> Hollow {
        Hollow { count: 0, capacity: BTreeMap::new(), tainted: true }
    }
}

impl HollowArgs {
    /// What there is to be where there was something before; `None` if nothing is said of it, then or now.
    ///
    /// # Errors
    /// Something is said of nodes of which there is none.
    pub fn over(&self, known: Option<Hollow>) -> Result<Option<Hollow>> {
        let says_how = !self.hollow_capacity.is_empty() || self.hollow_taint.is_some();
        if self.hollow.is_none() && !says_how {
            return Ok(known);
        }
        let mut hollow = known.unwrap_or_default();
        hollow.count = self.hollow.unwrap_or(hollow.count);
        if !self.hollow_capacity.is_empty() {
            hollow.capacity = self.hollow_capacity.iter().cloned().collect();
        }
        hollow.tainted = self.hollow_taint.unwrap_or(hollow.tainted);
        if says_how && hollow.count == 0 {
            bail!(
                "--hollow-capacity and --hollow-taint are about hollow nodes, and there are none: --hollow says how many"
            );
        }
        Ok(Some(hollow))
    }
}

impl Hollow {
    /// The same as the kubelets of the nodes want it.
    pub fn nodes(&self) -> HollowNodes {
        let given = self.capacity.iter().map(|(name, amount)| (name.as_str(), amount.as_str()));
        let all: BTreeMap<&str, &str> = CAPACITY.into_iter().chain(given).collect();
        let capacity = all.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
        HollowNodes { count: self.count, capacity: capacity.collect(), tainted: self.tainted }
    }
}

/// `RESOURCE=AMOUNT`.
fn resource(text: &str) -> Result<(String, String), String> {
    let (resource, amount) = text.split_once('=').ok_or("a resource is RESOURCE=AMOUNT, as cpu=32")?;
    if let Some(why) = names::qualified_name(resource).first() {
        return Err(format!("{resource:?} is no name of a resource: {why}"));
    }
    let value: quantity::Quantity = amount.parse().map_err(|_| format!("{amount:?} is no amount, as 32 or 256Gi"))?;
    if value.is_negative() {
        return Err(format!("{text}: a node has no less than nothing"));
    }
    if resource == "pods" && (value.value() > i64::from(MAX_PODS) || !value.is_integer()) {
        return Err(format!("{text}: a hollow node has at most {MAX_PODS} pods"));
    }
    Ok((resource.to_owned(), amount.to_owned()))
}

/// The hollow nodes of a server that runs: what is wanted, and how many are registered.
#[derive(Clone)]
pub struct Running {
    wanted: watch::Sender<HollowNodes>,
    registered: watch::Receiver<u32>,
}

impl Running {
    /// Starts what keeps the nodes, each as its own user.
    ///
    /// # Errors
    /// The names of the nodes would be too long.
    pub fn start(
        api: &Server,
        server: &str,
        cluster_cidr: Ranges,
        hollow: &Hollow,
    ) -> Result<(Running, impl Future<Output = Result<()>> + use<>)> {
        let (wanted, follows) = watch::channel(hollow.nodes());
        let (told, registered) = watch::channel(0);
        let running = Running { wanted, registered };
        let config = HollowConfig {
            server: server.to_owned(),
            families: cluster_cidr.families().collect(),
            kubernetes_version: format!("{KUBERNETES_VERSION}+coracle"),
        };
        let longest = name(server, hollow.count);
        ensure!(
            hollow.count == 0 || longest.len() <= LONGEST_NAME,
            "{longest} is longer than a node's name may be: give the server's node a shorter one with --node-name"
        );
        let account = in_process(api.service(User::service_account("kube-system", ACCOUNT)));
        let own = api.clone();
        let clients: Clients =
            Arc::new(move |node| as_user(&own, &format!("system:node:{node}"), &["system:nodes"], "kubelet"));
        let kept = async move {
            coracle_kubelet::hollow::run(config, follows, account, clients, told).await;
            Ok(())
        };
        Ok((running, kept))
    }

    /// Has others than before.
    pub fn want(&self, hollow: &Hollow) {
        self.wanted.send_replace(hollow.nodes());
    }

    /// How many are registered.
    pub fn registered(&self) -> u32 {
        *self.registered.borrow()
    }

    /// Waits until there are as many as are wanted.
    pub async fn ready(&self) -> Result<()> {
        self.registered.clone().wait_for(|registered| *registered == self.wanted.borrow().count).await?;
        Ok(())
    }
}

/// Has a server that runs keep these.
pub fn tell(socket: &Path, hollow: &Hollow) -> Result<()> {
    control::call(socket, hyper::Method::POST, "/hollow", Outgoing::Text(serde_json::to_string(hollow)?))
}

/// Waits until all of them are registered, but not longer than a time.
pub fn wait(socket: &Path, patience: Duration) -> Result<()> {
    control::call_within(patience, socket, hyper::Method::GET, "/ready/hollow", Outgoing::Nothing)
        .context("the hollow nodes are not all registered yet")
}

/// How long the registration of so many may take beside everything else.
pub fn patience(count: u32) -> Duration {
    Duration::from_millis(20).saturating_mul(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        hollow: HollowArgs,
    }

    fn over(arguments: &[&str], known: Option<Hollow>) -> Result<Option<Hollow>, String> {
        let parsed = Alone::try_parse_from(["coracle"].iter().chain(arguments)).map_err(|error| error.to_string())?;
        parsed.hollow.over(known).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_stays_as_it_was() {
        assert_eq!(over(&[], None), Ok(None));
        let first = over(&["--hollow", "20", "--hollow-capacity", "cpu=4,example.com/dongle=2"], None).unwrap();
        let known = first.clone().unwrap();
        assert_eq!((known.count, known.tainted), (20, true));
        assert_eq!(over(&[], first.clone()), Ok(first.clone()));
        let more = over(&["--hollow", "30", "--hollow-taint", "false"], first).unwrap().unwrap();
        assert_eq!(more, Hollow { count: 30, tainted: false, ..known });
        let capacity = more.nodes().capacity;
        let of = |name: &str| capacity.get(name).map(|amount| amount.0.as_str());
        assert_eq!((of("cpu"), of("memory"), of("example.com/dongle")), (Some("4"), Some("256Gi"), Some("2")));
    }

    #[test]
    fn what_would_mean_nothing_is_refused() {
        for wrong in [
            &["--hollow", "100001"][..],
            &["--hollow", "-1"],
            &["--hollow-taint=false"],
            &["--hollow", "0", "--hollow-capacity", "cpu=1"],
            &["--hollow", "1", "--hollow-capacity", "cpu"],
            &["--hollow", "1", "--hollow-capacity", "cpu=many"],
            &["--hollow", "1", "--hollow-capacity", "cpu=-1"],
            &["--hollow", "1", "--hollow-capacity", "pods=251"],
            &["--hollow", "1", "--hollow-capacity", "a b=1"],
        ] {
            assert!(over(wrong, None).is_err(), "{wrong:?}");
        }
    }
}
