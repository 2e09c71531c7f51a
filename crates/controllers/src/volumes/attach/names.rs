//! What attached volumes and attachments are called.

use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolume};
use ring::digest::{SHA256, digest};

/// What is attached of a volume, if it is one that a driver may attach.
pub(super) fn source(volume: &PersistentVolume) -> Option<&CSIPersistentVolumeSource> {
    volume.spec.as_ref()?.csi.as_ref()
}

/// The name of the attachment of a volume to a node: as upstream's, so that drivers find it.
pub(super) fn attachment(source: &CSIPersistentVolumeSource, node: &str) -> String {
    let text = [source.volume_handle.as_str(), &source.driver, node].concat();
    format!("csi-{}", hex(text.as_bytes()))
}

fn hex(text: &[u8]) -> String {
    digest(&SHA256, text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the status of a node calls a volume.
pub(super) fn on_node(source: &CSIPersistentVolumeSource) -> String {
    format!("{OF_CSI}{}^{}", source.driver, source.volume_handle)
}

/// What the names of volumes that drivers attach begin with in the status of a node.
pub(super) const OF_CSI: &str = "kubernetes.io/csi/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        let source = CSIPersistentVolumeSource {
            driver: "d.example.com".into(),
            volume_handle: "h".into(),
            ..CSIPersistentVolumeSource::default()
        };
        assert_eq!(on_node(&source), "kubernetes.io/csi/d.example.com^h");
        assert_eq!(attachment(&source, "n"), format!("csi-{}", hex(b"hd.example.comn")));
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(b"abc"), known);
    }
}
