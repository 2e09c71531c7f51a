//! Whether the pods of this node can be connected.

use coracle_values::addresses::Ranges;
use tokio::sync::watch;

use crate::config::KubeletConfig;

/// Why no pod can be connected, as the node's condition says it; none when they can. Pods in the network of the node need no
/// connection.
pub(crate) fn not_ready(config: &KubeletConfig) -> Option<String> {
    let why = match &config.network_plugin {
        Some(plugin) => plugin.borrow().clone()?,
        None if config.pod_cidr.borrow().is_some() => return None,
        None => "the node has no range of pod addresses yet".to_owned(),
    };
    Some(format!(
        "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns \
         error: {why}"
    ))
}

/// What that follows from.
pub(crate) struct Changes {
    range: watch::Receiver<Option<Ranges>>,
    plugin: Option<watch::Receiver<Option<String>>>,
}

impl Changes {
    /// From now on.
    pub(crate) fn of(config: &KubeletConfig) -> Changes {
        Changes { range: config.pod_cidr.clone(), plugin: config.network_plugin.clone() }
    }

    /// Waits for the next one; for ever once there can be none.
    pub(crate) async fn next(&mut self) {
        let plugin = async {
            match &mut self.plugin {
                Some(plugin) => plugin.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = self.range.changed() => {}
            Ok(()) = plugin => {}
            else => std::future::pending().await,
        }
    }
}

/// Waits until plugins can connect pods, if they are to; `tell` is told why they cannot, when they cannot.
pub(crate) async fn plugin_ready(config: &KubeletConfig, tell: impl FnOnce(String)) {
    let Some(mut plugin) = config.network_plugin.clone() else { return };
    if let Some(why) = not_ready(config) {
        tell(why);
    }
    // Whoever tells ends with the process.
    let _ = plugin.wait_for(Option::is_none).await;
}
