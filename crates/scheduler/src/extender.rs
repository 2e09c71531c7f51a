//! Extenders: servers that have a say in filtering, scoring, preemption and binding.
//! <https://kubernetes.io/docs/concepts/extend-kubernetes/#scheduling-extensions>, and the types of
//! `k8s.io/kube-scheduler/extender/v1`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coracle_client::{JsonPeer, Store, node_value, pod_value};
use coracle_pki::{Current, Pair, Trust, client_config};
use k8s_openapi::api::core::v1::{Container, Node};
use serde_json::{Value, json};

use crate::config::{ExtenderConfiguration, ExtenderTls};
use crate::framework::{MAX_SCORE, Refusal};
use crate::pod::PodInfo;
use crate::preemption::Candidate;
use crate::table::Table;

/// What refusals by extenders are told by. What may help is not known, so everything may.
pub(crate) const NAME: &str = "Extender";

/// The best score that an extender gives.
const MAX_PRIORITY: i64 = 10;
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read: 5,000 nodes, whole.
const LONGEST: usize = 256 << 20;

struct Extender {
    peer: JsonPeer,
    config: ExtenderConfiguration,
    managed: BTreeSet<String>,
}

/// All extenders: those that may be left out come last.
pub(crate) struct Extenders {
    all: Vec<Extender>,
    nodes: Option<Store<Node>>,
}

impl Extenders {
    /// None.
    pub fn none() -> Extenders {
        Extenders { all: Vec::new(), nodes: None }
    }

    /// Those of a configuration; whole nodes are taken from a store. Needs a tokio runtime.
    ///
    /// # Errors
    /// A URL, certificate or key is malformed.
    pub fn new(configs: &[ExtenderConfiguration], nodes: Store<Node>) -> Result<Extenders> {
        let extenders = configs
            .iter()
            .enumerate()
            .map(|(number, config)| Extender::new(config).with_context(|| format!("extenders[{number}]")));
        let mut all: Vec<Extender> = extenders.collect::<Result<_>>()?;
        all.sort_by_key(|extender| extender.config.ignorable);
        Ok(Extenders { all, nodes: Some(nodes) })
    }

    fn interested<'a>(&'a self, pod: &'a PodInfo) -> impl Iterator<Item = &'a Extender> {
        self.all.iter().filter(|extender| extender.is_interested(pod))
    }

    /// Whether any of them filters nodes.
    pub fn filter_any(&self) -> bool {
        self.all.iter().any(|extender| !extender.config.filter_verb.is_empty())
    }

    /// Leaves of nodes those that all extenders let the pod on, and says what they say of the others.
    ///
    /// # Errors
    /// One that may not be left out has no answer.
    pub async fn filter(
        &self,
        pod: &PodInfo,
        nodes: &mut Vec<usize>,
        table: &Table,
    ) -> Result<Vec<(usize, Arc<(usize, Refusal)>)>> {
        let mut refusals = Vec::new();
        let filtering = self.interested(pod).filter(|extender| !extender.config.filter_verb.is_empty());
        for extender in filtering {
            if nodes.is_empty() {
                break;
            }
            match extender.filter(pod, nodes, table, self.nodes.as_ref()).await {
                Ok((left, refused)) => {
                    *nodes = left;
                    refusals.extend(refused.into_iter().map(|(node, refusal)| (node, Arc::new((usize::MAX, refusal)))));
                }
                Err(error) if extender.config.ignorable => {
                    tracing::warn!("an extender is left out: {error:#}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refusals)
    }

    /// Adds what the extenders say to the scores of nodes. One without an answer says nothing.
    pub async fn prioritize(&self, pod: &PodInfo, nodes: &[usize], totals: &mut [i64], table: &Table) {
        let scoring = self.interested(pod).filter(|extender| !extender.config.prioritize_verb.is_empty());
        let asked = scoring.map(|extender| async move {
            (extender.config.weight, extender.prioritize(pod, nodes, table, self.nodes.as_ref()).await)
        });
        for (weight, scores) in futures::future::join_all(asked).await {
            match scores {
                Ok(scores) => {
                    for (total, node) in totals.iter_mut().zip(nodes) {
                        let score = scores.get(&table.node(*node).name).copied().unwrap_or(0);
                        let scaled = score.saturating_mul(weight).saturating_mul(MAX_SCORE / MAX_PRIORITY);
                        *total = total.saturating_add(scaled);
                    }
                }
                Err(error) => tracing::warn!("an extender's scores are left out: {error:#}"),
            }
        }
    }

    /// Leaves of candidates for preemption those that the extenders leave.
    ///
    /// # Errors
    /// One that may not be left out has no answer, or names what there is not.
    pub async fn preempt(
        &self,
        pod: &PodInfo,
        mut candidates: Vec<Arc<Candidate>>,
        table: &Table,
    ) -> Result<Vec<Arc<Candidate>>> {
        let preempting = self.interested(pod).filter(|extender| !extender.config.preempt_verb.is_empty());
        for extender in preempting {
            if candidates.is_empty() {
                break;
            }
            match extender.preempt(pod, &candidates, table).await {
                Ok(left) => candidates = left,
                Err(error) if extender.config.ignorable => tracing::warn!("an extender is left out: {error:#}"),
                Err(error) => return Err(error),
            }
        }
        Ok(candidates)
    }

    /// Has the extender bind the pod that does so, if one does.
    pub async fn bind(&self, pod: &PodInfo, node: &str) -> Option<Result<()>> {
        let extender = self.interested(pod).find(|extender| !extender.config.bind_verb.is_empty())?;
        Some(extender.bind(pod, node).await)
    }
}

/// A field of an answer. Go's decoder does not care for case, so neither do extenders.
fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    let fields = value.as_object().into_iter().flatten();
    let mut found = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    found.next().unwrap_or(&Value::Null)
}

fn texts(map: &Value) -> impl Iterator<Item = (&str, &str)> {
    map.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

fn tls(config: Option<&ExtenderTls>) -> Result<rustls::ClientConfig> {
    let none = ExtenderTls::default();
    let config = config.unwrap_or(&none);
    let pem = |data: &str, file: &str| -> Result<Vec<u8>> {
        match (data, file) {
            ("", "") => Ok(Vec::new()),
            ("", file) => std::fs::read(file).with_context(|| format!("failed to read {file}")),
            (data, _) => Ok(STANDARD.decode(data)?),
        }
    };
    let authorities = pem(&config.ca_data, &config.ca_file).context("tlsConfig.caData")?;
    let text = |pem: Vec<u8>| String::from_utf8(pem).context("it is not PEM");
    let certificate = text(pem(&config.cert_data, &config.cert_file).context("tlsConfig.certData")?)?;
    let key = text(pem(&config.key_data, &config.key_file).context("tlsConfig.keyData")?)?;
    let identity = match (certificate.is_empty(), key.is_empty()) {
        (true, true) => None,
        (false, false) => Some(Current::new(&Pair { certificate, key })?),
        _ => bail!("tlsConfig: a certificate needs its key, and a key its certificate"),
    };
    let trust = match authorities.as_slice() {
        // Upstream verifies nobody whose authority it is not told.
        [] => Trust::Anybody,
        _ if config.insecure => bail!("tlsConfig.insecure: with an authority the certificate is verified"),
        pem => Trust::Authorities(pem),
    };
    client_config(trust, identity)
}

impl Extender {
    fn new(config: &ExtenderConfiguration) -> Result<Extender> {
        let is_https = config.enable_https || config.url_prefix.starts_with("https://");
        let tls = is_https.then(|| tls(config.tls_config.as_ref())).transpose()?;
        let name = config.tls_config.as_ref().map(|tls| tls.server_name.as_str()).filter(|name| !name.is_empty());
        let timeout = config.http_timeout.and_then(|timeout| Duration::try_from(timeout).ok());
        let timeout = timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT);
        let peer = JsonPeer::new(&config.url_prefix, tls, name, LONGEST, timeout)?;
        let managed = config.managed_resources.iter().map(|resource| resource.name.clone()).collect();
        Ok(Extender { peer, config: config.clone(), managed })
    }

    /// Whether a pod asks for a resource of its.
    fn is_interested(&self, pod: &PodInfo) -> bool {
        let Some(spec) = pod.pod.spec.as_ref().filter(|_| !self.managed.is_empty()) else {
            return self.managed.is_empty();
        };
        let asks = |container: &Container| {
            let resources = container.resources.as_ref();
            let lists = resources.map(|resources| [&resources.requests, &resources.limits]);
            let mut names = lists.into_iter().flatten().flatten().flat_map(BTreeMap::keys);
            names.any(|name| self.managed.contains(name))
        };
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(asks)
    }

    /// The pod and nodes: their names alone for who has them, else whole.
    fn question(&self, pod: &PodInfo, nodes: &[usize], table: &Table, store: Option<&Store<Node>>) -> Value {
        let names = nodes.iter().map(|node| table.node(*node).name.as_str());
        if self.config.node_cache_capable {
            let names: Vec<&str> = names.collect();
            return json!({"Pod": pod_value(&pod.pod), "Nodes": null, "NodeNames": names});
        }
        let items: Vec<Value> = names.filter_map(|name| Some(node_value(&*store?.get("", name)?))).collect();
        json!({"Pod": pod_value(&pod.pod), "Nodes": {"metadata": {}, "items": items}, "NodeNames": null})
    }

    async fn ask(&self, verb: &str, question: &Value) -> Result<Value> {
        let asked = self.peer.post(verb, question).await;
        asked.with_context(|| format!("failed {verb} with extender at URL {}", self.peer.url()))
    }

    async fn filter(
        &self,
        pod: &PodInfo,
        nodes: &[usize],
        table: &Table,
        store: Option<&Store<Node>>,
    ) -> Result<(Vec<usize>, Vec<(usize, Refusal)>)> {
        let answer = self.ask(&self.config.filter_verb, &self.question(pod, nodes, table, store)).await?;
        if let Some(error) = field(&answer, "Error").as_str().filter(|error| !error.is_empty()) {
            bail!("{error}");
        }
        let names = field(&answer, "NodeNames").as_array().filter(|_| self.config.node_cache_capable);
        let items = field(field(&answer, "Nodes"), "items").as_array();
        let names: Vec<&str> = match names {
            Some(names) => names.iter().filter_map(Value::as_str).collect(),
            None => items.into_iter().flatten().filter_map(|node| node["metadata"]["name"].as_str()).collect(),
        };
        let asked: BTreeMap<&str, usize> = nodes.iter().map(|node| (table.node(*node).name.as_str(), *node)).collect();
        let number = |name: &&str| {
            asked.get(name).copied().with_context(|| {
                format!(
                    "extender \"{}\" claims a filtered node \"{name}\" which is not found in the input node list",
                    self.peer.url()
                )
            })
        };
        let left = names.iter().map(number).collect::<Result<Vec<usize>>>()?;
        let failed = texts(field(&answer, "FailedNodes")).map(|(node, why)| (node, Refusal::told(NAME, why, true)));
        let hopeless = texts(field(&answer, "FailedAndUnresolvableNodes"))
            .map(|(node, why)| (node, Refusal::told(NAME, why, false)));
        let mut refused: BTreeMap<usize, Refusal> = BTreeMap::new();
        for (name, refusal) in failed.chain(hopeless) {
            if let Some(node) = asked.get(name) {
                refused.insert(*node, refusal);
            }
        }
        Ok((left, refused.into_iter().collect()))
    }

    async fn prioritize(
        &self,
        pod: &PodInfo,
        nodes: &[usize],
        table: &Table,
        store: Option<&Store<Node>>,
    ) -> Result<BTreeMap<String, i64>> {
        let answer = self.ask(&self.config.prioritize_verb, &self.question(pod, nodes, table, store)).await?;
        let scores = answer.as_array().into_iter().flatten();
        let score = |score: &Value| {
            let host = field(score, "Host").as_str()?.to_owned();
            Some((host, field(score, "Score").as_i64().unwrap_or(0)))
        };
        Ok(scores.filter_map(score).collect())
    }

    async fn preempt(
        &self,
        pod: &PodInfo,
        candidates: &[Arc<Candidate>],
        table: &Table,
    ) -> Result<Vec<Arc<Candidate>>> {
        let mut by_node = serde_json::Map::new();
        for candidate in candidates {
            let victims: Vec<Value> = if self.config.node_cache_capable {
                candidate.victims.iter().map(|victim| json!({"UID": victim.uid})).collect()
            } else {
                candidate.victims.iter().map(|victim| json!(&*victim.pod)).collect()
            };
            let victims = json!({"Pods": victims, "NumPDBViolations": candidate.violations});
            by_node.insert(table.node(candidate.node).name.clone(), victims);
        }
        let (whole, meta) = if self.config.node_cache_capable {
            (Value::Null, Value::Object(by_node))
        } else {
            (Value::Object(by_node), Value::Null)
        };
        let question = json!({"Pod": &*pod.pod, "NodeNameToVictims": whole, "NodeNameToMetaVictims": meta});
        let answer = self.ask(&self.config.preempt_verb, &question).await?;
        let left = field(&answer, "NodeNameToMetaVictims").as_object();
        let left = left.into_iter().flatten().map(|(name, victims)| self.candidate(name, victims, table).map(Arc::new));
        left.collect()
    }

    /// A candidate as the extender leaves it.
    fn candidate(&self, name: &str, victims: &Value, table: &Table) -> Result<Candidate> {
        let node =
            table.number(name).with_context(|| format!("extender: {} names no node: {name}", self.peer.url()))?;
        let pods = field(victims, "Pods").as_array();
        let uids = pods.into_iter().flatten().map(|pod| field(pod, "UID").as_str().unwrap_or_default());
        let victim = |uid: &str| {
            let found = table.node(node).pods.iter().find(|pod| pod.uid == uid).cloned();
            found.with_context(|| {
                format!(
                    "extender: {} claims to preempt pod (UID: {uid}) on node: {name}, but the pod is not found on that node",
                    self.peer.url()
                )
            })
        };
        let victims_left = uids.map(victim).collect::<Result<Vec<_>>>()?;
        let violations = field(victims, "NumPDBViolations").as_u64().and_then(|count| usize::try_from(count).ok());
        Ok(Candidate::new(node, victims_left, violations.unwrap_or(0)))
    }

    async fn bind(&self, pod: &PodInfo, node: &str) -> Result<()> {
        let question = json!({"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node});
        let answer = self.ask(&self.config.bind_verb, &question).await?;
        match field(&answer, "Error").as_str() {
            None | Some("") => Ok(()),
            Some(error) => bail!("{error}"),
        }
    }
}
