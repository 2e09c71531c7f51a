//! Documents that are the same for as long as the process lives: made and hashed once, when first asked for, on a thread
//! for work that blocks. Nobody else waits meanwhile.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use coracle_api::status::Status;
use coracle_api::{kinds, openapi};
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Response, StatusCode};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::body::Body;
use crate::{discovery, negotiate};

/// Which document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    OpenApiV2,
    OpenApiV2Protobuf,
    OpenApiV3Index,
    /// Of a group and version.
    OpenApiV3(&'static str, &'static str),
    /// The aggregated discovery of the core group, or of all others, in a version.
    Discovery {
        core: bool,
        version: &'static str,
    },
}

struct Document {
    bytes: Bytes,
    /// Made of its digest.
    tag: HeaderValue,
}

static DOCUMENTS: LazyLock<HashMap<Name, OnceCell<Document>>> = LazyLock::new(|| {
    let versions = kinds::groups().iter().flat_map(|group| group.versions.iter().map(|version| (group.name, *version)));
    let discovery = [(true, "v2"), (true, "v2beta1"), (false, "v2"), (false, "v2beta1")];
    let names = [Name::OpenApiV2, Name::OpenApiV2Protobuf, Name::OpenApiV3Index].into_iter();
    names
        .chain(versions.map(|(group, version)| Name::OpenApiV3(group, version)))
        .chain(discovery.map(|(core, version)| Name::Discovery { core, version }))
        .map(|name| (name, OnceCell::new()))
        .collect()
});

impl Name {
    /// The OpenAPI document of a group and version, if they are served.
    pub fn open_api_v3(group: &str, version: &str) -> Option<Name> {
        DOCUMENTS.keys().copied().find(|name| matches!(name, Name::OpenApiV3(g, v) if (*g, *v) == (group, version)))
    }

    fn content_type(self) -> &'static str {
        match self {
            Name::OpenApiV2Protobuf => openapi::V2_PROTOBUF_MEDIA_TYPE,
            Name::Discovery { version: "v2", .. } => discovery::AGGREGATED,
            Name::Discovery { .. } => discovery::AGGREGATED_BETA,
            _ => "application/json",
        }
    }

    fn bytes(self) -> Option<Bytes> {
        Some(match self {
            Name::OpenApiV2 => openapi::v2().into(),
            Name::OpenApiV2Protobuf => openapi::v2_protobuf().into(),
            Name::OpenApiV3Index => openapi::v3_index().into(),
            Name::OpenApiV3(group, version) => openapi::v3(group, version)?.into(),
            Name::Discovery { core, version } => discovery::aggregated(core, version).to_string().into(),
        })
    }

    fn make(self) -> Result<Document, Status> {
        let bytes = self.bytes().ok_or_else(Status::path_not_found)?;
        let digest: String = Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02X}")).collect();
        let tag = HeaderValue::from_str(&format!("\"{digest}\"")).map_err(Status::internal)?;
        Ok(Document { bytes, tag })
    }
}

/// Answers with a document and its entity tag; 304 to a client that has it.
pub async fn answer(name: Name, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let cell = DOCUMENTS.get(&name).ok_or_else(Status::path_not_found)?;
    let made = || async { tokio::task::spawn_blocking(move || name.make()).await.map_err(Status::internal)? };
    let document = cell.get_or_try_init(made).await?;
    let known = headers.get(IF_NONE_MATCH).is_some_and(|value| *value == document.tag);
    let mut response = match known {
        true => negotiate::respond(StatusCode::NOT_MODIFIED, name.content_type(), Bytes::new()),
        false => negotiate::respond(StatusCode::OK, name.content_type(), document.bytes.clone()),
    };
    response.headers_mut().insert(ETAG, document.tag.clone());
    Ok(response)
}
