//! Leader election by a Lease, as client-go does it: who finds it free or run out takes it, and must renew it.

use std::time::Duration;

use anyhow::{Result, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Error};

const SECONDS: i32 = 3;

/// Waits until the lease is this one's.
pub async fn lead(client: &Client, lease: &str, name: &str) -> Result<()> {
    while !take(client, lease, name).await? {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Renews the lease until another has it.
pub async fn renew(client: &Client, lease: &str, name: &str) -> Result<()> {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if !take(client, lease, name).await? {
            bail!("{name} leads no more");
        }
    }
}

async fn take(client: &Client, lease: &str, name: &str) -> Result<bool> {
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let found = leases.get_opt(lease).await?;
    let is_new = found.is_none();
    let mut wanted = found.unwrap_or_default();
    wanted.metadata.name = Some(lease.into());
    let spec = wanted.spec.get_or_insert_default();
    let now = Timestamp::now();
    let renewed = spec.renew_time.as_ref().map_or(i64::MIN, |time| time.0.as_second());
    let is_mine = spec.holder_identity.as_deref() == Some(name);
    if !is_mine && now.as_second().saturating_sub(renewed) <= i64::from(SECONDS) {
        return Ok(false);
    }
    if !is_mine {
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count + 1));
        spec.acquire_time = Some(MicroTime(now));
    }
    spec.holder_identity = Some(name.into());
    spec.lease_duration_seconds = Some(SECONDS);
    spec.renew_time = Some(MicroTime(now));
    let params = PostParams::default();
    let written = match is_new {
        true => leases.create(&params, &wanted).await,
        false => leases.replace(lease, &params, &wanted).await,
    };
    match written {
        Ok(_) => Ok(true),
        // Another was faster.
        Err(Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}
