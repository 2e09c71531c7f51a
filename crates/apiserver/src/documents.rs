//! Documents that are the same for as long as the same kinds are served: made and hashed once, when first asked for, on a
//! thread for work that blocks. Nobody else waits meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use coracle_api::registry::Group;
use coracle_api::status::Status;
use coracle_api::{Registry, openapi};
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use smol_str::SmolStr;
use tokio::sync::OnceCell;

use crate::aggregation::{self, Remotes};
use crate::body::Body;
use crate::discovery::aggregated;
use crate::negotiate;

/// Which document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    OpenApiV2,
    OpenApiV2Protobuf,
    OpenApiV3Index,
    /// Of a group and version.
    OpenApiV3(SmolStr, SmolStr),
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

/// The documents of the newest kinds that someone asked about.
#[derive(Default)]
pub struct Documents {
    newest: Mutex<Option<Arc<Edition>>>,
}

/// All that is served, here and by other servers.
#[derive(Clone)]
pub struct Served {
    pub registry: Arc<Registry>,
    pub remotes: Arc<Remotes>,
}

impl Served {
    fn is_as_new_as(&self, other: &Served) -> bool {
        self.registry.revision() >= other.registry.revision() && self.remotes.revision >= other.remotes.revision
    }
}

/// The documents of what is served at one moment, each made when it is first asked for.
struct Edition {
    served: Served,
    documents: HashMap<Name, OnceCell<Document>>,
}

impl Edition {
    fn new(served: Served) -> Edition {
        let of_group = |group: &Group| {
            let name = group.name.clone();
            group.versions.clone().into_iter().map(move |version| Name::OpenApiV3(name.clone(), version))
        };
        let discovery = [(true, "v2"), (true, "v2beta1"), (false, "v2"), (false, "v2beta1")];
        let documents = [Name::OpenApiV2, Name::OpenApiV2Protobuf, Name::OpenApiV3Index]
            .into_iter()
            .chain(served.registry.groups().iter().flat_map(of_group))
            .chain(discovery.map(|(core, version)| Name::Discovery { core, version }))
            .map(|name| (name, OnceCell::new()))
            .collect();
        Edition { served, documents }
    }
}

impl Documents {
    /// The edition of what is served, or the newest if that is older.
    fn edition(&self, served: &Served) -> Arc<Edition> {
        let mut newest = self.newest.lock();
        match &*newest {
            Some(edition) if edition.served.is_as_new_as(served) => edition.clone(),
            _ => newest.insert(Arc::new(Edition::new(served.clone()))).clone(),
        }
    }

    /// Answers with a document and its entity tag; 304 to a client that has it.
    pub async fn answer(&self, served: &Served, name: Name, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        let edition = self.edition(served);
        let cell = edition.documents.get(&name).ok_or_else(Status::path_not_found)?;
        let content_type = name.content_type();
        let served = edition.served.clone();
        let made =
            || async { tokio::task::spawn_blocking(move || name.make(&served)).await.map_err(Status::internal)? };
        let document = cell.get_or_try_init(made).await?;
        let known = headers.get(IF_NONE_MATCH).is_some_and(|value| *value == document.tag);
        let mut response = match known {
            true => negotiate::respond(StatusCode::NOT_MODIFIED, content_type, Bytes::new()),
            false => negotiate::respond(StatusCode::OK, content_type, document.bytes.clone()),
        };
        response.headers_mut().insert(ETAG, document.tag.clone());
        Ok(response)
    }
}

impl Name {
    fn content_type(&self) -> &'static str {
        match self {
            Name::OpenApiV2Protobuf => openapi::V2_PROTOBUF_MEDIA_TYPE,
            Name::Discovery { version: "v2", .. } => aggregated::V2,
            Name::Discovery { .. } => aggregated::V2_BETA,
            _ => "application/json",
        }
    }

    fn bytes(&self, Served { registry, remotes }: &Served) -> Option<Bytes> {
        Some(match self {
            Name::OpenApiV2 => aggregation::open_api_v2(openapi::v2(registry), remotes).into(),
            Name::OpenApiV2Protobuf => {
                let whole = aggregation::open_api_v2(openapi::v2(registry), remotes);
                openapi::v2_protobuf(&whole).ok()?.into()
            }
            Name::OpenApiV3Index => aggregation::open_api_v3_index(openapi::v3_index(registry), remotes).into(),
            Name::OpenApiV3(group, version) => openapi::v3(registry, group, version)?.into(),
            Name::Discovery { core, version } => {
                aggregated::groups(registry, remotes, *core, version).to_string().into()
            }
        })
    }

    fn make(&self, served: &Served) -> Result<Document, Status> {
        let bytes = self.bytes(served).ok_or_else(Status::path_not_found)?;
        let digest: String = Sha256::digest(&bytes).iter().take(16).map(|byte| format!("{byte:02X}")).collect();
        let tag = HeaderValue::from_str(&format!("\"{digest}\"")).map_err(Status::internal)?;
        Ok(Document { bytes, tag })
    }
}
