//! All plugins of a network, one after the other. <https://www.cni.dev/docs/spec/#section-3-execution-of-network-configurations>

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::config::{NetworkConfig, PluginConfig};
use crate::plugin::{Call, Parameters, Verb};
use crate::record::{self, Record, Records};
use crate::result::in_version;

/// What a plugin is asked: its configuration, and what comes with the call.
fn request(network: &NetworkConfig, plugin: &PluginConfig) -> Map<String, Value> {
    let mut request = plugin.0.clone();
    request.remove("capabilities");
    request.insert("cniVersion".into(), network.version.as_str().into());
    request.insert("name".into(), network.name.as_str().into());
    request
}

/// What it is asked about a pod.
fn request_for(record: &Record, plugin: &PluginConfig, previous: Option<&Value>) -> Value {
    let mut request = request(&record.network, plugin);
    let taken = record.capabilities.iter().filter(|(name, _)| plugin.takes(name));
    let taken: Map<_, _> = taken.map(|(name, value)| (name.clone(), value.clone())).collect();
    if !taken.is_empty() {
        request.insert("runtimeConfig".into(), taken.into());
    }
    if let Some(previous) = previous {
        request.insert("prevResult".into(), previous.clone());
    }
    request.into()
}

/// The calls of one attachment.
pub struct Chain<'a> {
    /// Where requests are put.
    pub records: &'a Records,
    /// The attachment.
    pub record: &'a Record,
    /// The path of its namespace, empty when that is gone.
    pub netns: String,
}

impl Chain<'_> {
    async fn call(&self, verb: Verb, plugin: &PluginConfig, previous: Option<&Value>) -> anyhow::Result<Value> {
        let Record { sandbox, link, args, path, .. } = self.record;
        let request = self.records.request(sandbox, &request_for(self.record, plugin, previous))?;
        let parameters = Some(Parameters { container: sandbox, netns: &self.netns, link, args });
        let answer = Call { verb, plugin: plugin.kind(), path, parameters, request }.run().await;
        self.records.answered(sandbox)?;
        Ok(answer?)
    }

    /// Connects the pod; answers with the result of the last plugin.
    pub async fn add(&self) -> anyhow::Result<Value> {
        let mut result = None;
        for plugin in &self.record.network.plugins {
            let answer = self.call(Verb::Add, plugin, result.as_ref()).await?;
            let answer = in_version(answer, self.record.network.version).map_err(|error| {
                anyhow::anyhow!("plugin type={:?} failed (add): its answer is no result: {error}", plugin.kind())
            })?;
            result = Some(answer);
        }
        Ok(result.unwrap_or_default())
    }

    /// Takes back what was done for it, the last plugin first.
    pub async fn del(&self) -> anyhow::Result<()> {
        let version = self.record.network.version;
        let result = self.record.result.as_ref().filter(|_| version.has_check());
        for plugin in self.record.network.plugins.iter().rev() {
            self.call(Verb::Del, plugin, result).await?;
        }
        Ok(())
    }

    /// Has the plugins say whether the attachment is as it should be, if they can and may be asked.
    pub async fn check(&self) -> anyhow::Result<()> {
        let network = &self.record.network;
        let Some(result) = self.record.result.as_ref().filter(|_| network.version.has_check()) else { return Ok(()) };
        if network.disable_check {
            return Ok(());
        }
        for plugin in &network.plugins {
            self.call(Verb::Check, plugin, Some(result)).await?;
        }
        Ok(())
    }
}

/// Has the plugins say whether they can connect pods, if they can be asked.
pub async fn status(network: &NetworkConfig, path: &[PathBuf]) -> anyhow::Result<()> {
    if !network.version.has_status_and_gc() {
        return Ok(());
    }
    for plugin in &network.plugins {
        let request = record::request(&request(network, plugin).into())?;
        Call { verb: Verb::Status, plugin: plugin.kind(), path, parameters: None, request }.run().await?;
    }
    Ok(())
}

/// Tells the plugins which attachments there are, if they can and may be told; answers with what failed.
pub async fn gc(network: &NetworkConfig, path: &[PathBuf], valid: &[Value]) -> Vec<anyhow::Error> {
    let mut failed = Vec::new();
    if !network.version.has_status_and_gc() || network.disable_gc {
        return failed;
    }
    for plugin in &network.plugins {
        let mut request = request(network, plugin);
        request.insert("cni.dev/valid-attachments".into(), valid.into());
        let told = async {
            let request = record::request(&request.into())?;
            let call = Call { verb: Verb::Gc, plugin: plugin.kind(), path, parameters: None, request };
            anyhow::Ok(call.run().await?)
        };
        failed.extend(told.await.err());
    }
    failed
}
