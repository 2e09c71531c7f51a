//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use coracle_pki::BootstrapToken;
use coracle_values::addresses::{self, Ranges};
use ipnet::{IpNet, Ipv4Net};

use crate::api_server::ApiServer;
use crate::cluster::MAX_NODES;
use crate::cni_network::CniArgs;
use crate::election::LeaderElection;
use crate::hollow::HollowArgs;
use crate::install::{Install, Uninstall};
use crate::ip_family::IpFamily;
use crate::mounts::Mount;
use crate::node_args::KubeletArgs;
use crate::publish::Publish;
use crate::why::Why;

/// Kubernetes in one small binary.
#[derive(Parser)]
#[command(name = "coracle", version, about, disable_help_subcommand = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Create a local cluster, or start a stopped one, and wait until it is ready
    Up(Up),
    /// Start a stopped cluster
    Start(Start),
    /// Stop a cluster; its objects, volumes and images stay
    Stop(Stop),
    /// End a cluster and remove everything of it
    Down(Which),
    /// Show nodes, versions, uptime and memory of a cluster
    Status(Status),
    /// List the clusters of this host
    Ls {
        /// The format
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Print the log of a local cluster's server
    Logs(Logs),
    /// Run a server and its node on this host, in the foreground
    Server(Box<Server>),
    /// Make this host a node of a cluster, in the foreground
    Agent(Box<Agent>),
    /// Keep a server or an agent as a service of this host
    Install(Box<Install>),
    /// Remove a service that was installed, with its data
    Uninstall(Uninstall),
    /// Add, remove, stop, start and list nodes of a local cluster
    Node(Node),
    /// Make, list and remove tokens by which nodes join
    Token(Token),
    /// Write the objects of a cluster, which may run, into a file
    Backup(Box<Backup>),
    /// Make the objects of a new cluster of such a file
    Restore(Box<Restore>),
    /// Check, compact or move the store of a stopped cluster
    Store(Box<Store>),
    /// Load, push, pull, list and remove images of a cluster
    Image(Image),
    /// Say why a pod, service, claim, workload or node is not as it should be, and what would help
    Why(Box<Why>),
    /// Print the version
    Version,
    /// Print the JSON schema of the file of options that --config names
    ConfigSchema {
        /// The command
        #[arg(value_name = "COMMAND", value_parser = crate::config_file::COMMANDS)]
        of: String,
    },
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The first process of a local node
    #[command(hide = true)]
    NodeInit(NodeInit),
}

/// Which cluster.
#[derive(ClapArgs, Clone)]
pub struct Which {
    /// The cluster's name [default: that of --data-dir, else coracle]
    #[arg(long, global = true, value_parser = cluster_name)]
    pub name: Option<String>,
    /// The directory that holds all data of the cluster [default: where a cluster of this name has it, else
    /// /var/lib/coracle/NAME]
    #[arg(long, global = true)]
    pub data_dir: Option<PathBuf>,
}

/// Options of `up`.
#[derive(ClapArgs)]
pub struct Up {
    #[command(flatten)]
    pub which: Which,
    /// A file of YAML that has options, each under its name; those of the command line count in place of its own
    #[arg(long = "config", id = "options", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long to wait until the cluster is ready; 0s does not wait
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub wait: Duration,
    /// How many nodes a new cluster has, or how many there are to be at least
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_NODES)))]
    pub nodes: u8,
    /// Which families of addresses a new cluster has: pods, services and nodes [default: ipv4]
    #[arg(long, value_name = "FAMILY", value_enum)]
    pub ip_family: Option<IpFamily>,
    /// A file of static bearer tokens: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// What the scheduler does: a file of a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
    /// A port of this host that leads to a port of a node, as [[HOSTIP:][HOSTPORT]:]NODEPORT[/tcp|udp][@NODE], or as many of
    /// both as 8000-8010:8000-8010; these in place of those it had, and none for none of them; may be given several times.
    /// Only this host reaches it, at 127.0.0.1, unless HOSTIP is 0.0.0.0 or another address; HOSTPORT 0, or none, is one that is
    /// free. What listens at the node answers, else the service of type LoadBalancer that has the port, that of Ingresses first
    #[arg(short, long, value_name = "PORTS", value_parser = publish)]
    pub publish: Vec<Option<Publish>>,
    /// A directory or file of this host that all nodes have at another path, for hostPath volumes, as HOSTPATH:NODEPATH or
    /// HOSTPATH:NODEPATH:ro; these in place of those it had, and none for none of them; may be given several times. NODEPATH is one
    /// that this host has, and that the nodes alone see covered, or one whose first part it has not, as /NAME
    #[arg(long, value_name = "MOUNT", value_parser = mount)]
    pub mount: Vec<Option<Mount>>,
    /// A registry of images at a port of this host, which this host alone reaches [default port: 5000], from which all nodes pull
    /// localhost:PORT/IMAGE and NAME-registry:PORT/IMAGE; `coracle image push`, or any client, fills it; none for none
    #[arg(long, value_name = "HOSTPORT", num_args = 0..=1, default_missing_value = "5000", value_parser = registry)]
    pub registry: Option<RegistryPort>,
    /// A registry (HOST:PORT) to which plain HTTP is spoken; may be given several times
    #[arg(long, value_name = "REGISTRY")]
    pub insecure_registry: Vec<String>,
    /// An option of the API server, as `coracle server` has them, in place of those it had; may be given several times, and
    /// files are named by their whole path
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::api_server::argument)]
    pub kube_apiserver_arg: Vec<String>,
    /// An option of the kubelet, as `coracle server` has them, in place of those it had; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = crate::node_args::argument)]
    pub kubelet_arg: Vec<String>,
    #[command(flatten)]
    pub hollow: HollowArgs,
    #[command(flatten)]
    pub cni: CniArgs,
}

/// At which port a registry is, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryPort(pub Option<u16>);

/// Options of `start`.
#[derive(ClapArgs)]
pub struct Start {
    #[command(flatten)]
    pub which: Which,
    /// How long to wait until the cluster is ready; 0s does not wait
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub wait: Duration,
}

/// Options of `stop`.
#[derive(ClapArgs)]
pub struct Stop {
    #[command(flatten)]
    pub which: Which,
    /// How long containers have to end, preStop hooks included, before they are killed; at most their pod's grace period
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub grace: Duration,
}

/// Options of `status`.
#[derive(ClapArgs)]
pub struct Status {
    #[command(flatten)]
    pub which: Which,
    /// The format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Options of `logs`.
#[derive(ClapArgs)]
pub struct Logs {
    #[command(flatten)]
    pub which: Which,
    /// The node whose daemon wrote it [default: the one with the server]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the last lines to begin with; all unless given
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,
}

/// Output formats.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Options of `server`.
#[derive(ClapArgs, Clone)]
pub struct Server {
    /// A file of YAML that has options, each under its name; those of the command line count in place of its own
    #[arg(long = "config", id = "options", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The cluster's name [default: that of --data-dir, else server]
    #[arg(long, value_parser = cluster_name)]
    pub name: Option<String>,
    /// The directory that holds all data [default: /var/lib/coracle/NAME]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Set by a local cluster's node in the server it starts
    #[arg(long, hide = true)]
    pub in_node: bool,
    /// Sockets of published ports that the node's first process hands on
    #[arg(long, hide = true, default_value = "", requires = "in_node")]
    pub published: String,
    /// Run the control plane only: this host is no node of the cluster
    #[arg(long)]
    pub disable_agent: bool,
    #[command(flatten)]
    pub node: NodeArgs,
    /// The range of the addresses of this node's pods, or one of each family, other ones for each node of a cluster [default:
    /// the first of --cluster-cidr]
    #[arg(long, value_name = "CIDRS")]
    pub pod_cidr: Option<Ranges>,
    #[command(flatten)]
    pub masks: NodeCidrMasks,
    /// The port of the API server
    #[arg(long, default_value_t = 6443)]
    pub port: u16,
    /// The port of the scheduler's metrics and health; 0 for none
    #[arg(long, value_name = "PORT", default_value_t = 10259)]
    pub kube_scheduler_port: u16,
    /// The port of the controllers' metrics and health; 0 for none
    #[arg(long, value_name = "PORT", default_value_t = 10257)]
    pub kube_controller_manager_port: u16,
    /// A file of static bearer tokens: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// What the scheduler does: a file of a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,
    /// How long nobody may use a token that was made for a service account until it is refused, and then until it is deleted
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    pub legacy_service_account_token_clean_up_period: Duration,
    #[command(flatten)]
    pub election: LeaderElection,
    #[command(flatten)]
    pub etcd: Etcd,
    #[command(flatten)]
    pub api: ApiServer,
    #[command(flatten)]
    pub hollow: HollowArgs,
}

/// How large the ranges of nodes are, named as upstream's controllers name it.
#[derive(ClapArgs, Clone)]
pub struct NodeCidrMasks {
    /// The length of the prefix of a node's range of pod addresses, where the cluster has one family [default: 24, 64 of IPv6]
    #[arg(long = "node-cidr-mask-size", value_name = "BITS")]
    pub of_all: Option<u8>,
    /// The same for its range of IPv4 addresses
    #[arg(long = "node-cidr-mask-size-ipv4", value_name = "BITS")]
    pub v4: Option<u8>,
    /// The same for its range of IPv6 addresses
    #[arg(long = "node-cidr-mask-size-ipv6", value_name = "BITS")]
    pub v6: Option<u8>,
}

/// Options of a node, beside a server or not.
#[derive(ClapArgs, Clone)]
pub struct NodeArgs {
    /// The node's name [default: the host name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// The node's address, or one of each family [default: those of the default routes]
    #[arg(long, value_name = "IPS", value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,
    /// The range of the addresses of all pods, or one of each family, the primary one first; the same for each server and node
    /// of a cluster
    #[arg(long, value_name = "CIDRS", default_value = "10.244.0.0/16")]
    pub cluster_cidr: Ranges,
    /// The range of the addresses of services, or one of each family, the primary one first; the same for each server and node
    /// of a cluster
    #[arg(long, value_name = "CIDRS", default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: Ranges,
    /// The ranges of the node's addresses at which node ports are served, as kube-proxy's option [default: all addresses]
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', value_parser = addresses::range)]
    pub nodeport_addresses: Vec<IpNet>,
    /// Ranges of addresses of the nodes' network for services of type LoadBalancer; a ready node answers for each that is
    /// given [default: the upper half of a local cluster's network, else none]
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', value_parser = range)]
    pub load_balancer_pool: Vec<Ipv4Net>,
    /// The cgroup below which pods run [default: coracle/NAME]
    #[arg(long)]
    pub cgroup_root: Option<String>,
    /// A registry (HOST:PORT) to which plain HTTP is spoken; may be given several times
    #[arg(long, value_name = "REGISTRY")]
    pub insecure_registry: Vec<String>,
    #[command(flatten)]
    pub cni: CniArgs,
    #[command(flatten)]
    pub kubelet: KubeletArgs,
}

/// Options of `agent`.
#[derive(ClapArgs, Clone)]
pub struct Agent {
    /// A file of YAML that has options, each under its name; those of the command line count in place of its own
    #[arg(long = "config", id = "options", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The name under which this host knows what runs here [default: that of --data-dir, else agent]
    #[arg(long, value_parser = cluster_name)]
    pub name: Option<String>,
    /// The directory that holds all data [default: /var/lib/coracle/NAME]
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// Set by a local cluster's node in the agent it starts
    #[arg(long, hide = true)]
    pub in_node: bool,
    /// Sockets of published ports that the node's first process hands on
    #[arg(long, hide = true, default_value = "", requires = "in_node")]
    pub published: String,
    /// Where the API server answers, as https://HOST:PORT; known from then on
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// A bootstrap token, by which the node gets its certificate; not needed from then on
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub token: Option<BootstrapToken>,
    /// The file that has the token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The digest of the public key of the cluster's authority, sha256:HEX; may be given several times, and one has to fit.
    /// Without it, who else has the token could stand in for the cluster
    #[arg(long, value_name = "DIGEST", value_parser = authority_hash)]
    pub discovery_token_ca_cert_hash: Vec<String>,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Options of `node`.
#[derive(ClapArgs)]
pub struct Node {
    #[command(flatten)]
    pub which: Which,
    /// What to do
    #[command(subcommand)]
    pub command: NodeCommand,
}

/// What to do with the nodes of a local cluster.
#[derive(Subcommand)]
pub enum NodeCommand {
    /// Add a node and wait until it is Ready
    Add {
        /// How long to wait; 0s does not wait
        #[arg(long, default_value = "60s", value_parser = duration)]
        wait: Duration,
        /// An option of its kubelet, in place of those of the cluster, as node-labels=KEY=VALUE; may be given several times
        #[arg(long, value_name = "NAME=VALUE", value_parser = crate::node_args::argument)]
        kubelet_arg: Vec<String>,
        /// A directory or file of this host that it has at another path, in place of those of the cluster, as `coracle up --mount`;
        /// may be given several times
        #[arg(long, value_name = "MOUNT", value_parser = mount)]
        mount: Vec<Option<Mount>>,
    },
    /// Remove a node with all that is on it, and its object
    Rm {
        /// Its name
        node: String,
    },
    /// Stop a node; what is on its disk stays
    Stop {
        /// Its name
        node: String,
        /// How long containers have to end, preStop hooks included, before they are killed
        #[arg(long, default_value = "10s", value_parser = duration)]
        grace: Duration,
    },
    /// Start a node that was stopped
    Start {
        /// Its name
        node: String,
        /// How long to wait until it is Ready; 0s does not wait
        #[arg(long, default_value = "60s", value_parser = duration)]
        wait: Duration,
    },
    /// List the nodes
    Ls {
        /// The format
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
}

/// Options of `token`.
#[derive(ClapArgs)]
pub struct Token {
    #[command(flatten)]
    pub which: Which,
    /// A kubeconfig of the cluster, in place of --name
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// What to do with bootstrap tokens, named as kubeadm names it.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it
    Create {
        /// The token [default: one that nobody knows yet]
        token: Option<BootstrapToken>,
        /// How long it counts; 0s for ever
        #[arg(long, default_value = "24h", value_parser = duration)]
        ttl: Duration,
        /// What it is for: signing, authentication
        #[arg(long, value_delimiter = ',', default_value = "signing,authentication", value_parser = ["signing", "authentication"])]
        usages: Vec<String>,
        /// Groups that those who come with it are in
        #[arg(long, value_delimiter = ',', default_value = "system:bootstrappers:kubeadm:default-node-token")]
        groups: Vec<String>,
        /// What people read about it
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// Print the command that makes a host a node
        #[arg(long)]
        print_join_command: bool,
    },
    /// List tokens
    #[command(visible_alias = "list")]
    Ls {
        /// The format
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Remove tokens
    #[command(visible_alias = "delete")]
    Rm {
        /// Tokens, or their first parts
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

/// Where a server finds etcd, named as upstream's API server names it.
#[derive(ClapArgs, Clone)]
pub struct Etcd {
    /// Servers of an etcd cluster that keeps the objects, as https://HOST:PORT or http://HOST:PORT, separated by commas
    /// [default: the data directory keeps them]
    #[arg(long = "etcd-servers", value_name = "URL", value_delimiter = ',')]
    pub servers: Vec<String>,
    /// The authority that signs the certificates of etcd's servers
    #[arg(long = "etcd-cafile", value_name = "FILE", requires = "servers")]
    pub authority: Option<PathBuf>,
    /// The certificate shown to etcd
    #[arg(long = "etcd-certfile", value_name = "FILE", requires = "servers", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long = "etcd-keyfile", value_name = "FILE", requires = "servers", requires = "cert")]
    pub key: Option<PathBuf>,
    /// A user of etcd's
    #[arg(long = "etcd-user", value_name = "NAME", requires = "servers", requires = "password")]
    pub user: Option<String>,
    /// The file that holds the user's password
    #[arg(long = "etcd-password-file", value_name = "FILE", requires = "servers", requires = "user")]
    pub password: Option<PathBuf>,
    /// What all keys in etcd begin with
    #[arg(long = "etcd-prefix", value_name = "PREFIX", default_value = "/registry")]
    pub prefix: String,
    /// How often history that is as old is forgotten; 0s leaves that to others
    #[arg(long = "etcd-compaction-interval", default_value = "5m", value_parser = duration)]
    pub compaction_interval: Duration,
}

/// Options of `store`.
#[derive(ClapArgs)]
pub struct Store {
    #[command(flatten)]
    pub which: Which,
    /// What to do
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What to do with a store.
#[derive(Subcommand)]
pub enum StoreCommand {
    /// Read everything of a store, or of a backup, and say what is wrong with it; nothing is changed
    Check {
        /// A backup to read instead of the store
        #[arg(conflicts_with = "servers")]
        backup: Option<PathBuf>,
        /// The etcd to read, if one has the objects
        #[command(flatten)]
        etcd: Etcd,
    },
    /// Forget history: write a snapshot in place of the log, or let etcd compact
    Compact {
        /// The etcd, if one has the objects
        #[command(flatten)]
        etcd: Etcd,
    },
    /// Copy all objects from the data directory to an etcd, and put the store of the directory aside; or the other way
    Migrate {
        /// Copy from the etcd to the data directory, which has no store; the etcd stays as it is
        #[arg(long, requires = "servers")]
        to_data_dir: bool,
        /// Where to, or from
        #[command(flatten)]
        etcd: Etcd,
    },
}

/// Options of `backup`.
#[derive(ClapArgs)]
pub struct Backup {
    #[command(flatten)]
    pub which: Which,
    /// The file to write; it has the cluster's secrets
    pub file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub etcd: Etcd,
}

/// Options of `restore`.
#[derive(ClapArgs)]
pub struct Restore {
    #[command(flatten)]
    pub which: Which,
    /// The backup
    pub file: PathBuf,
    /// Restore into an etcd whose revisions are behind those of the backup: no client may be left that remembers those
    #[arg(long, requires = "servers")]
    pub lower_revisions: bool,
    #[command(flatten)]
    pub etcd: Etcd,
}

/// Options of the hidden `node-init`.
#[derive(ClapArgs)]
pub struct NodeInit {
    /// The cluster's data directory
    #[arg(long)]
    pub data_dir: PathBuf,
    /// Which node of the cluster
    #[arg(long, default_value_t = 1)]
    pub number: u8,
    /// Sockets of published ports that `up` hands on
    #[arg(long, default_value = "")]
    pub published: String,
    /// Set in the process that is PID 1 of the node
    #[arg(long)]
    pub inside: bool,
}

/// Options of `image`.
#[derive(ClapArgs)]
pub struct Image {
    #[command(flatten)]
    pub which: Which,
    /// What to do
    #[command(subcommand)]
    pub command: ImageCommand,
}

fn image_name(text: &str) -> Result<String, String> {
    coracle_runtime::Reference::parse(text).map(|name| name.to_string()).map_err(|error| error.to_string())
}

/// What to do with images.
#[derive(Subcommand)]
pub enum ImageCommand {
    /// Load a docker-archive or OCI-layout tar, gzipped or not; - reads standard input
    Load {
        /// The file
        file: PathBuf,
        /// What an image is called that the archive gives no name
        #[arg(long, value_name = "IMAGE", value_parser = image_name)]
        tag: Option<String>,
    },
    /// Push images into the registry of a local cluster, and print what pods call them
    Push {
        /// Files as `coracle image load` has them, - for standard input, or names of images that the first node has, whose
        /// layers are packed again
        #[arg(required = true, value_name = "ARCHIVE|IMAGE")]
        images: Vec<String>,
        /// What an image is called that an archive gives no name
        #[arg(long, value_name = "IMAGE", value_parser = image_name)]
        tag: Option<String>,
    },
    /// Pull an image from its registry
    Pull {
        /// The image's name
        image: String,
    },
    /// List images
    Ls {
        /// The format
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Remove images
    Rm {
        /// Names or IDs
        #[arg(required = true)]
        images: Vec<String>,
    },
}

/// A port, or `none`.
fn registry(text: &str) -> Result<RegistryPort, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(RegistryPort(Some(port))),
        _ if text == "none" => Ok(RegistryPort(None)),
        _ => Err(format!("{text:?} is no port: ports are from 1 to 65535")),
    }
}

/// What is mounted, or `none`.
fn mount(text: &str) -> Result<Option<Mount>, String> {
    if text == "none" { Ok(None) } else { text.parse().map(Some) }
}

/// What is published, or `none`.
fn publish(text: &str) -> Result<Option<Publish>, String> {
    if text == "none" { Ok(None) } else { text.parse().map(Some) }
}

/// A digest of a public key.
fn authority_hash(text: &str) -> Result<String, String> {
    coracle_pki::parse_hash(text).map_err(|error| format!("{error:#}"))
}

/// Names become part of link, cgroup and table names.
pub fn cluster_name(text: &str) -> Result<String, String> {
    let good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let edges = text.starts_with(|letter: char| letter.is_ascii_lowercase()) && !text.ends_with('-');
    if !edges || text.len() > 30 || !text.chars().all(good) {
        return Err(
            "a name is 1 to 30 lower-case letters, digits and '-', starts with a letter and does not end with '-'"
                .into(),
        );
    }
    Ok(text.into())
}

/// A range of IPv4 addresses, which begins where it is said to.
fn range(text: &str) -> Result<Ipv4Net, String> {
    match addresses::range(text).map_err(|error| error.to_string())? {
        IpNet::V4(range) => Ok(range),
        IpNet::V6(_) => Err(format!("{text:?} is no range of IPv4 addresses, as 10.244.0.0/16 is")),
    }
}

/// A duration as Go writes it, which is not below zero: `500ms`, `60s`, `1.5h`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let read = coracle_values::duration::parse(text.trim());
    read.ok_or_else(|| format!("{text:?} is not a duration such as 500ms, 60s or 2m"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_cluster_may_be_named_before_and_after_what_to_do_with_images() {
        for line in ["coracle image --name a ls", "coracle image ls --name a", "coracle image rm x --name a"] {
            let args = Args::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
            let Command::Image(image) = args.command else { panic!("{line}") };
            assert_eq!(image.which.name.as_deref(), Some("a"), "{line}");
        }
    }

    #[test]
    fn what_is_said_to_an_upstream_api_server_is_understood() {
        let line = "coracle server --audit-policy-file=/p --audit-log-path=- --audit-log-compress=true --anonymous-auth=false \
            --authorization-mode=Node,RBAC,Webhook --authorization-webhook-config-file=/w --oidc-issuer-url=https://i \
            --oidc-client-id=k --oidc-required-claim=a=b --oidc-required-claim=c=d=e --audit-log-mode=blocking-strict \
            --enable-admission-plugins=NodeRestriction --authorization-webhook-cache-authorized-ttl=5m0s \
            --runtime-config=api/beta=true,batch/v1=true --audit-webhook-config-file=/a --audit-webhook-mode=blocking \
            --audit-webhook-batch-max-wait=1s --audit-webhook-batch-throttle-enable=false";
        let args = Args::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{error}"));
        let Command::Server(server) = args.command else { panic!("{line}") };
        let oidc = server.api.authentication.options(None).unwrap().oidc.unwrap();
        assert_eq!(oidc.required_claims[1], ("c".to_owned(), "d=e".to_owned()));
        assert_eq!(server.api.authorization.options().modes, ["Node", "RBAC", "Webhook"]);
        assert_eq!(server.api.audit.options().backends.len(), 2);
        assert!(server.api.served.options().is_ok());
        for wrong in [
            "--oidc-client-id=k",
            "--authentication-config=/a --oidc-issuer-url=https://i --oidc-client-id=k",
            "--authorization-config=/a --authorization-mode=RBAC",
            "--audit-log-format=legacy",
        ] {
            assert!(Args::try_parse_from(format!("coracle server {wrong}").split(' ')).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_are_read_as_they_are_written() {
        assert!(range("10.244.0.0/16").is_ok());
        for wrong in ["10.244.0.0", "10.244.1.0/16", "fd00::/64", "10.244.0.0/33"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_local_cluster_is_given_options_of_the_api_server_and_no_others() {
        let parse = |argument: &str| Args::try_parse_from(["coracle", "up", "--kube-apiserver-arg", argument]);
        let Command::Up(up) = parse("audit-log-path=/a=b").unwrap_or_else(|error| panic!("{error}")).command else {
            panic!("another command")
        };
        assert_eq!(up.kube_apiserver_arg, ["--audit-log-path=/a=b"]);
        // Fits with another one only.
        assert!(parse("oidc-client-id=k").is_ok());
        for wrong in ["data-dir=/a", "audit-log-maxsize=much", "audit-policy-file=/no/such/file", "help", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        for none in ["5 apples", "5", "", "-1s"] {
            assert!(duration(none).is_err(), "{none}");
        }
    }

    #[test]
    fn names_that_would_break_links_or_cgroups_are_refused() {
        assert!(cluster_name("dev-2").is_ok());
        for bad in ["", "-a", "a-", "A", "a/b", "a.b", &"a".repeat(31)] {
            assert!(cluster_name(bad).is_err(), "{bad}");
        }
    }
}
