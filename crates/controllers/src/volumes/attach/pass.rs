//! One look at a volume: where it is attached, where it should be, and the next step from the one to the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_client::{EventType, is_not_found};
use coracle_matching::taints::OUT_OF_SERVICE;
use coracle_metrics::Counter;
use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::{VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};

use super::report::told;
use super::{AttachDetach, BY_VOLUME, Known, is_attached, names};
use crate::common::{is_already_there, is_deleting, message, namespace_of};
use crate::metrics::METRICS;

/// How long a node that is lost may keep a volume in use.
const LOST: Duration = Duration::from_secs(6 * 60);
/// How long a driver may take until somebody is told.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pods of one node that use a volume.
type Users = [Arc<Pod>];

impl AttachDetach {
    pub(super) async fn look_at_volume(&self, name: &str) -> kube::Result<Option<Duration>> {
        let Some(volume) = self.volumes.store().get("", name) else { return self.look_at_gone(name).await };
        let Some(source) = names::source(&volume) else { return Ok(None) };
        let (wanted, attachments) = (self.wanted(&volume), self.attachments_of(&volume));
        self.forget_all_but(name, |node| {
            wanted.iter().any(|(other, _)| other.name_any() == node)
                || attachments.iter().any(|found| found.spec.node_name == node)
        });
        let mut again = Vec::new();
        let is_wanted = |on: &str| wanted.iter().any(|(node, _)| node.name_any() == on);
        for attachment in attachments.iter().filter(|found| !is_wanted(&found.spec.node_name)) {
            again.push(self.detach(name, Some(source), attachment).await?);
        }
        let mut elsewhere: Vec<&str> = attachments.iter().map(|found| found.spec.node_name.as_str()).collect();
        for (node, pods) in &wanted {
            let on = node.metadata.name.as_deref().unwrap_or_default();
            let found = attachments.iter().find(|found| found.spec.node_name == on);
            self.change(name, on, |known| (known.unwanted, known.leaving) = (None, false));
            again.push(match found {
                Some(found) if is_deleting(&**found) => None,
                Some(found) => self.attaching(&volume, source, node, found, pods),
                None if is_exclusive(&volume) && elsewhere.iter().any(|other| *other != on) => {
                    let others = wanted.iter().filter(|(other, _)| elsewhere.contains(&other.name_any().as_str()));
                    let others: Vec<Arc<Pod>> = others.flat_map(|(_, pods)| pods.iter().cloned()).collect();
                    self.tell(name, on, pods, |pod| multi_attach(name, pod, &others));
                    None
                }
                None => {
                    self.attach(&volume, source, on, pods).await?;
                    elsewhere.push(on);
                    Some(PATIENCE)
                }
            });
        }
        Ok(again.into_iter().flatten().min())
    }

    /// Detaches a volume whose object is gone. Its name on the node is not known any more.
    async fn look_at_gone(&self, name: &str) -> kube::Result<Option<Duration>> {
        let mut again = Vec::new();
        for attachment in self.attachments.store().by_index(BY_VOLUME, name)? {
            if attachment.name_any().starts_with("csi-") {
                again.push(self.detach(name, None, &attachment).await?);
            }
        }
        self.forget_all_but(name, |_| !again.is_empty());
        Ok(again.into_iter().flatten().min())
    }

    /// Asks for a volume to be attached.
    async fn attach(
        &self,
        volume: &PersistentVolume,
        source: &CSIPersistentVolumeSource,
        node: &str,
        pods: &Users,
    ) -> kube::Result<()> {
        let name = volume.name_any();
        let attachment = VolumeAttachment {
            metadata: ObjectMeta { name: Some(names::attachment(source, node)), ..ObjectMeta::default() },
            spec: VolumeAttachmentSpec {
                attacher: source.driver.clone(),
                node_name: node.to_owned(),
                source: VolumeAttachmentSource { persistent_volume_name: Some(name.clone()), inline_volume_spec: None },
            },
            status: None,
        };
        self.change(&name, node, |known| known.asked = Some(Instant::now()));
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        match api.create(&PostParams::default(), &attachment).await {
            Ok(_) => Ok(()),
            // The cache lags behind.
            Err(error) if is_already_there(&error) => Ok(()),
            Err(error) => {
                let why = message(&error);
                self.tell(&name, node, pods, |_| failed(&name, &why));
                Err(error)
            }
        }
    }

    /// Tells what became of an attachment that is wanted. Returns when it is to be looked at again.
    fn attaching(
        &self,
        volume: &PersistentVolume,
        source: &CSIPersistentVolumeSource,
        node: &Node,
        attachment: &VolumeAttachment,
        pods: &Users,
    ) -> Option<Duration> {
        let (name, on) = (volume.name_any(), node.name_any());
        if is_attached(attachment) {
            if !told(node).iter().any(|attached| attached.name == names::on_node(source)) {
                self.queue.add(super::Key::Node(on.clone()));
                self.tell(&name, &on, pods, |_| succeeded(&name));
            }
            self.change(&name, &on, |known| known.asked = None);
            return None;
        }
        let error = attachment.status.as_ref().and_then(|status| status.attach_error.as_ref());
        if let Some(why) = error.and_then(|error| error.message.as_deref()) {
            self.tell(&name, &on, pods, |_| failed(&name, why));
            return None;
        }
        let asked = self.change(&name, &on, |known| *known.asked.get_or_insert_with(Instant::now));
        let left = PATIENCE.saturating_sub(asked.elapsed());
        if left.is_zero() {
            let (driver, handle) = (&source.driver, &source.volume_handle);
            let why =
                format!("timed out waiting for external-attacher of {driver} CSI driver to attach volume {handle}");
            self.tell(&name, &on, pods, |_| failed(&name, &why));
            return None;
        }
        Some(left)
    }

    /// The next step of a volume from a node where nobody wants it. Returns when it is to be looked at again, if by the clock.
    async fn detach(
        &self,
        name: &str,
        source: Option<&CSIPersistentVolumeSource>,
        attachment: &VolumeAttachment,
    ) -> kube::Result<Option<Duration>> {
        if is_deleting(attachment) {
            return Ok(None);
        }
        let on = attachment.spec.node_name.as_str();
        let since = self.change(name, on, |known| *known.unwanted.get_or_insert_with(Instant::now));
        let mut forced = None;
        if let Some(node) = self.nodes.store().get("", on) {
            let is = |volume: &str| match source {
                Some(source) => volume == names::on_node(source),
                None => volume.starts_with(&format!("{}{}^", names::OF_CSI, attachment.spec.attacher)),
            };
            forced = force(&node, since.elapsed());
            if forced.is_none() && is_in_use(&node, is) {
                // A node that is well says itself when it has it no more.
                return Ok((!is_ready(&node)).then(|| LOST.saturating_sub(since.elapsed())));
            }
            if source.is_some() && told(&node).iter().any(|attached| is(&attached.name)) {
                self.change(name, on, |known| known.leaving = true);
                self.queue.add(super::Key::Node(on.to_owned()));
                return Ok(None);
            }
            if forced.is_none() && self.is_in_use_by_now(on, is).await? {
                return Ok(Some(Duration::from_secs(1)));
            }
        }
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        let preconditions = Preconditions { uid: attachment.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match api.delete(&attachment.name_any(), &params).await {
            Err(error) if !is_not_found(&error) => return Err(error),
            _ => {}
        }
        if let Some(reason) = forced {
            METRICS.forced_detaches.with([reason], Counter::inc);
        }
        Ok(None)
    }

    /// Whether a kubelet has come to use a volume that the cache does not show in use.
    async fn is_in_use_by_now(&self, node: &str, is: impl Fn(&str) -> bool) -> kube::Result<bool> {
        let api: Api<Node> = Api::all(self.client.clone());
        Ok(api.get_opt(node).await?.is_some_and(|node| is_in_use(&node, is)))
    }

    /// Changes what is remembered of a volume on a node.
    fn change<T>(&self, volume: &str, node: &str, change: impl FnOnce(&mut Known) -> T) -> T {
        change(self.known.lock().entry((volume.to_owned(), node.to_owned())).or_default())
    }

    fn forget_all_but(&self, volume: &str, keep: impl Fn(&str) -> bool) {
        self.known.lock().retain(|(of, node), _| of != volume || keep(node));
    }

    /// Tells pods of something that they were not told last.
    fn tell(&self, volume: &str, node: &str, pods: &Users, event: impl Fn(&Pod) -> Told) {
        let Some(first) = pods.first() else { return };
        let (_, _, text) = event(first);
        if self.change(volume, node, |known| std::mem::replace(&mut known.told, text.clone())) == text {
            return;
        }
        for pod in pods {
            let (kind, reason, text) = event(pod);
            self.recorder.event(&**pod, kind, reason, text);
        }
    }
}

/// Kind, reason and text of an event.
type Told = (EventType, &'static str, String);

/// The space at the end is upstream's.
fn succeeded(volume: &str) -> Told {
    let text = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
    (EventType::Normal, "SuccessfulAttachVolume", text)
}

fn failed(volume: &str, why: &str) -> Told {
    (EventType::Warning, "FailedAttachVolume", format!("AttachVolume.Attach failed for volume {volume:?} : {why}"))
}

/// Why a volume cannot be attached to a second node: by the names of the pods that have it, as far as the pod's owner may know them.
fn multi_attach(volume: &str, pod: &Pod, others: &[Arc<Pod>]) -> Told {
    let names = others.iter().filter(|other| namespace_of(&***other) == namespace_of(pod));
    let names: Vec<String> = names.map(|other| other.name_any()).collect();
    let hidden = others.len().saturating_sub(names.len());
    let why = match (names.as_slice(), hidden) {
        ([], 0) => "Volume is already exclusively attached to one node and can't be attached to another".to_owned(),
        ([], hidden) => format!("Volume is already used by {hidden} pod(s) in different namespaces"),
        (names, 0) => format!("Volume is already used by pod(s) {}", names.join(", ")),
        (names, hidden) => {
            let names = names.join(", ");
            format!("Volume is already used by pod(s) {names} and {hidden} pod(s) in different namespaces")
        }
    };
    (EventType::Warning, "FailedAttachVolume", format!("Multi-Attach error for volume {volume:?} {why}"))
}

/// Whether a volume may be attached to one node only. One that does not say may be attached to several.
fn is_exclusive(volume: &PersistentVolume) -> bool {
    let modes = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    !modes.is_empty() && !modes.iter().any(|mode| matches!(mode.as_str(), "ReadWriteMany" | "ReadOnlyMany"))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn is_in_use(node: &Node, is: impl Fn(&str) -> bool) -> bool {
    let in_use = node.status.iter().flat_map(|status| status.volumes_in_use.iter().flatten());
    in_use.into_iter().any(|volume| is(volume))
}

/// Why nobody waits for a node that says it uses a volume, if nobody does. Whoever says that one is out of service promises that
/// nothing runs there.
fn force(node: &Node, waited: Duration) -> Option<&'static str> {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    if taints.any(|taint| taint.key == OUT_OF_SERVICE) {
        return Some("out-of-service");
    }
    (waited >= LOST && !is_ready(node)).then_some("timeout")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(ready: &str, taint: &str) -> Node {
        serde_json::from_value(json!({"spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}], "volumesInUse": ["kubernetes.io/csi/d^h"]}}))
        .unwrap()
    }

    #[test]
    fn a_lost_node_is_waited_for_and_one_out_of_service_is_not() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(force(&node("Unknown", "x"), minutes(5)), None);
        assert_eq!(force(&node("Unknown", "x"), minutes(6)), Some("timeout"));
        assert_eq!(force(&node("True", "x"), minutes(60)), None);
        assert_eq!(force(&node("Unknown", OUT_OF_SERVICE), minutes(0)), Some("out-of-service"));
        assert!(is_in_use(&node("True", "x"), |name| name == "kubernetes.io/csi/d^h"));
    }

    #[test]
    fn who_has_a_volume_is_told_to_whom_it_concerns() {
        let pod = |name: &str, namespace: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace}})).unwrap()
        };
        let told = |others: &[(&str, &str)]| {
            let others: Vec<_> = others.iter().map(|(name, namespace)| Arc::new(pod(name, namespace))).collect();
            multi_attach("v", &pod("p", "n"), &others).2
        };
        let start = "Multi-Attach error for volume \"v\" Volume is already ";
        let alone = "exclusively attached to one node and can't be attached to another";
        assert_eq!(told(&[]), format!("{start}{alone}"));
        assert_eq!(told(&[("a", "n"), ("b", "n")]), format!("{start}used by pod(s) a, b"));
        assert_eq!(told(&[("a", "x")]), format!("{start}used by 1 pod(s) in different namespaces"));
        let both = "used by pod(s) a and 1 pod(s) in different namespaces";
        assert_eq!(told(&[("a", "n"), ("b", "x")]), format!("{start}{both}"));
    }

    #[test]
    fn what_may_be_written_by_one_node_is_attached_to_one() {
        let volume = |modes: &[&str]| -> PersistentVolume {
            serde_json::from_value(json!({"spec": {"accessModes": modes}})).unwrap()
        };
        assert!(is_exclusive(&volume(&["ReadWriteOnce"])) && is_exclusive(&volume(&["ReadWriteOncePod"])));
        assert!(!is_exclusive(&volume(&["ReadWriteOnce", "ReadOnlyMany"])) && !is_exclusive(&volume(&[])));
    }
}
