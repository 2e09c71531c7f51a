//! Forgets old history, every five minutes by default. All API servers on a cluster, upstream's too, agree by a key on who does it: the
//! one that finds the key as it was a round before changes it, and forgets what was history then.
//! <https://etcd.io/docs/v3.5/op-guide/maintenance/#history-compaction-v3-api-key-value-database>

use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::Inner;
use super::client::Repeat;
use super::failure::Failure;
use super::keys::revision;
use super::messages::{
    Against, CompactionRequest, CompactionResponse, Compare, CompareResult, CompareTarget, PutRequest, RangeRequest,
    Request, TxnRequest, TxnResponse,
};
use crate::{Error, Revision};

/// The key that says up to what revision history was forgotten; its version counts how often.
const KEY: &[u8] = b"compact_rev_key";

/// What the last round saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// How often the key had been written.
    version: i64,
    /// The revision then.
    revision: Revision,
}

/// Goes on until the store is dropped.
pub async fn run(inner: Weak<Inner>, every: Duration) {
    let mut last = Round::default();
    loop {
        sleep(every).await;
        let Some(inner) = inner.upgrade() else { return };
        match round(&inner, last).await {
            Ok(now) => last = now,
            Err(failure) => tracing::warn!(?failure, "failed to forget old history of etcd"),
        }
    }
}

/// One round: whoever finds the key as it was in the last one forgets history up to then.
pub async fn round(inner: &Inner, last: Round) -> Result<Round, Failure> {
    let key = Bytes::from_static(KEY);
    let unchanged = Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Version.into(),
        key: key.clone(),
        against: Some(Against::Version(last.version)),
    };
    let put = PutRequest { key: key.clone(), value: last.revision.to_string().into(), lease: 0 };
    let txn = TxnRequest {
        compare: vec![unchanged],
        success: vec![Request::Put(put).into()],
        failure: vec![Request::Range(RangeRequest { key, ..RangeRequest::default() }).into()],
    };
    let answer: TxnResponse = inner.client.ask("/etcdserverpb.KV/Txn", txn, Repeat::Never, 0).await?;
    let now = answer.header.map_or(0, |header| revision(header.revision));
    if !answer.succeeded {
        let range = answer.responses.into_iter().next().and_then(|response| response.range);
        let version = range.and_then(|range| range.kvs.first().map(|kv| kv.version));
        return Ok(Round { version: version.unwrap_or_default(), revision: now });
    }
    if last.revision > 0 {
        let request = CompactionRequest { revision: super::keys::signed(last.revision) };
        let method = "/etcdserverpb.KV/Compact";
        match inner.client.ask(method, request, Repeat::Freely, last.revision).await {
            Ok(CompactionResponse { .. }) => tracing::debug!(revision = last.revision, "forgot older history of etcd"),
            Err(Failure::Refused(Error::Compacted { .. })) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(Round { version: last.version + 1, revision: now })
}
