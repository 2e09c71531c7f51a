//! Options of the kubelet, named as upstream's has them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser};
use coracle_kubelet::eviction_config::{Amount, Eviction, ImageGc, Signal, amounts, grace_periods, thresholds};

use k8s_openapi::api::core::v1::Taint;

use crate::args::duration;

/// The disk that is left to the node, unless a part of a small one is less: the store of the cluster lives there, too. A
/// laptop's disk is often fuller than upstream's thresholds suppose that of a server to be.
const DISK: u64 = 2 << 30;
/// That part, of a hundred.
const PART: u64 = 5;

/// With what the node registers, and when it makes room.
#[derive(ClapArgs, Clone)]
#[command(next_help_heading = "Kubelet")]
pub struct KubeletArgs {
    /// Labels that the node registers with, as KEY=VALUE, separated by commas
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    node_labels: Vec<(String, String)>,
    /// Taints that the node registers with, as KEY=VALUE:EFFECT, separated by commas
    #[arg(long, value_name = "KEY=VALUE:EFFECT", value_delimiter = ',', value_parser = taint)]
    register_with_taints: Vec<Taint>,
    /// Below which of these a pod is ended at once, such as memory.available<1Gi,nodefs.available<10%
    /// [default: memory.available<100Mi, and for nodefs and imagefs available<5% or 2Gi, whichever is less, and inodesFree<5%]
    #[arg(long, value_name = "SIGNAL<AMOUNT")]
    eviction_hard: Option<String>,
    /// Below which of these a pod is ended after a grace period
    #[arg(long, value_name = "SIGNAL<AMOUNT", default_value = "", hide_default_value = true)]
    eviction_soft: String,
    /// For how long each soft threshold may be passed, such as memory.available=1m30s
    #[arg(long, value_name = "SIGNAL=DURATION", default_value = "", hide_default_value = true)]
    eviction_soft_grace_period: String,
    /// How much above a threshold is enough again, such as nodefs.available=500Mi
    #[arg(long, value_name = "SIGNAL=AMOUNT", default_value = "", hide_default_value = true)]
    eviction_minimum_reclaim: String,
    /// For how long the node is still said to have too little of something
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    eviction_pressure_transition_period: Duration,
    /// How many seconds a pod has that is ended by a soft threshold
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    eviction_max_pod_grace_period: u32,
    /// With how much of the disk in use images are removed that nobody uses, in percent; 100 removes them only when a pod
    /// would have to end
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    image_gc_high_threshold: u8,
    /// Until how much of the disk is in use, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 80)]
    image_gc_low_threshold: u8,
    /// How old an image is at least that is removed
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
    minimum_image_ttl_duration: Duration,
}

/// Only these options.
#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    kubelet: KubeletArgs,
}

/// An option of these, as `NAME=VALUE`, as the server is given it.
pub fn argument(text: &str) -> Result<String, String> {
    let name = text.trim_start_matches("--");
    if name.is_empty() {
        return Err("an option is named as NAME=VALUE".into());
    }
    let argument = format!("--{name}");
    let parsed = Alone::try_parse_from(["coracle server", &argument])
        .map_err(|error| error.render().to_string().lines().next().unwrap_or_default().to_owned())?;
    // Whether it fits others, the server says.
    parsed.kubelet.parse(Path::new("/")).map(|_| argument)
}

/// A label that a kubelet may give to its node: of those with names of Kubernetes, only a few.
/// <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>
fn label(text: &str) -> Result<(String, String), String> {
    const KNOWN: [&str; 9] = [
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    ];
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    let is_below = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
    let is_free = ["kubelet.kubernetes.io", "node.kubernetes.io"].into_iter().any(is_below);
    if key.is_empty() {
        return Err("a label is KEY=VALUE".into());
    }
    if (is_below("kubernetes.io") || is_below("k8s.io")) && !is_free && !KNOWN.contains(&key) {
        return Err(format!(
            "{key}: labels with names of Kubernetes must not be the kubelet's choice, but for those of node.kubernetes.io, \
             kubelet.kubernetes.io, topology.kubernetes.io/zone and topology.kubernetes.io/region"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
fn taint(text: &str) -> Result<Taint, String> {
    const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let (what, effect) = text.rsplit_once(':').ok_or("a taint is KEY=VALUE:EFFECT")?;
    let (key, value) = what.split_once('=').unwrap_or((what, ""));
    if key.is_empty() || !EFFECTS.contains(&effect) {
        return Err(format!(
            "{text:?} is no taint KEY=VALUE:EFFECT, of which the effect is one of {}",
            EFFECTS.join(", ")
        ));
    }
    let value = Some(value.to_owned()).filter(|value| !value.is_empty());
    Ok(Taint { key: key.to_owned(), value, effect: effect.to_owned(), time_added: None })
}

impl KubeletArgs {
    /// The labels and taints that the node registers with.
    pub fn registration(&self) -> (BTreeMap<String, String>, Vec<Taint>) {
        (self.node_labels.iter().cloned().collect(), self.register_with_taints.clone())
    }

    /// What the kubelet makes of them; `dir` is on the disk that is looked after.
    ///
    /// # Errors
    /// Something cannot be read, or does not fit another option.
    pub fn options(&self, dir: &Path) -> anyhow::Result<(Eviction, ImageGc)> {
        let (eviction, images) = self.parse(dir).map_err(anyhow::Error::msg)?;
        eviction.check().and_then(|()| images.check()).map_err(anyhow::Error::msg)?;
        Ok((eviction, images))
    }

    fn parse(&self, dir: &Path) -> Result<(Eviction, ImageGc), String> {
        let mut eviction = Eviction {
            soft: thresholds(&self.eviction_soft)?,
            soft_grace_period: grace_periods(&self.eviction_soft_grace_period, duration)?,
            minimum_reclaim: amounts(&self.eviction_minimum_reclaim)?,
            pressure_transition_period: self.eviction_pressure_transition_period,
            max_pod_grace_period: Duration::from_secs(self.eviction_max_pod_grace_period.into()),
            ..Eviction::default()
        };
        match &self.eviction_hard {
            Some(hard) => eviction.hard = thresholds(hard)?,
            None => {
                let disk = rustix::fs::statvfs(dir).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
                let left = Amount::Quantity(DISK.min(disk / 100 * PART));
                eviction.hard.extend([(Signal::NodeFsAvailable, left), (Signal::ImageFsAvailable, left)]);
            }
        }
        let images = ImageGc {
            high_threshold_percent: self.image_gc_high_threshold,
            low_threshold_percent: self.image_gc_low_threshold,
            minimum_age: self.minimum_image_ttl_duration,
            ..ImageGc::default()
        };
        Ok((eviction, images))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> anyhow::Result<(Eviction, ImageGc)> {
        let all = ["coracle server"].iter().chain(arguments);
        Alone::try_parse_from(all).unwrap_or_else(|error| panic!("{error}")).kubelet.options(Path::new("/"))
    }

    #[test]
    fn thresholds_are_upstreams_but_for_the_disk_unless_they_are_given() {
        let (eviction, images) = parse(&[]).unwrap();
        assert_eq!(eviction.hard[&Signal::MemoryAvailable], Amount::Quantity(100 << 20));
        let Amount::Quantity(disk) = eviction.hard[&Signal::NodeFsAvailable] else { panic!("{eviction:?}") };
        assert!(disk > 0 && disk <= DISK);
        assert_eq!(images.high_threshold_percent, 100);
        let (eviction, _) = parse(&["--eviction-hard=pid.available<10%"]).unwrap();
        assert_eq!(eviction.hard, [(Signal::PidAvailable, Amount::Percent(10.0))].into());
        assert!(parse(&["--eviction-soft=memory.available<1Gi"]).is_err());
        assert!(parse(&["--image-gc-high-threshold=80"]).is_err());
    }

    #[test]
    fn labels_and_taints_are_read_as_upstreams_kubelet_reads_them() {
        let arguments = [
            "coracle server",
            "--node-labels=a=b,example.com/c=",
            "--node-labels=topology.kubernetes.io/zone=z",
            "--register-with-taints=a=b:NoExecute,c:NoSchedule",
        ];
        let (labels, taints) = Alone::try_parse_from(arguments).unwrap().kubelet.registration();
        let expected = [("a", "b"), ("example.com/c", ""), ("topology.kubernetes.io/zone", "z")];
        assert_eq!(labels, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let read: Vec<_> = taints.iter().map(|taint| (&*taint.key, taint.value.as_deref(), &*taint.effect)).collect();
        assert_eq!(read, [("a", Some("b"), "NoExecute"), ("c", None, "NoSchedule")]);
        for wrong in
            ["--node-labels=node-role.kubernetes.io/control-plane=", "--node-labels==b", "--register-with-taints=a=b"]
        {
            assert!(Alone::try_parse_from(["coracle server", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_local_cluster_is_given_options_of_the_kubelet_and_no_others() {
        let option = "--eviction-hard=nodefs.available<1Gi";
        assert_eq!(argument("eviction-hard=nodefs.available<1Gi").as_deref(), Ok(option));
        assert_eq!(argument(option).as_deref(), Ok(option));
        // Fits with another one only.
        assert!(argument("eviction-soft=pid.available<10").is_ok());
        for wrong in ["data-dir=/a", "eviction-hard=nonsense", "image-gc-high-threshold=many", ""] {
            assert!(argument(wrong).is_err(), "{wrong}");
        }
    }
}
