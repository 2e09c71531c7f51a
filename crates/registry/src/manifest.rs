//! What a manifest names: of images, indexes and artifacts, of OCI and Docker.

use serde::Deserialize;

use crate::error::{Code, Error};
use crate::names::Digest;

/// The longest manifest that is stored, as the specification suggests.
pub const LONGEST: usize = 4 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    /// Where else it is: such a layer need not be here.
    #[serde(default)]
    urls: Vec<String>,
}

/// What has to be there, and to stay, with a manifest.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Blobs, with whether they have to be here.
    pub blobs: Vec<(Digest, bool)>,
    /// Manifests of an index.
    pub manifests: Vec<Digest>,
}

/// Reads a manifest of a media type.
pub fn read(bytes: &[u8], media_type: &str) -> Result<Named, Error> {
    let invalid = |what: String| Error::new(Code::ManifestInvalid, what);
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("the manifest cannot be read: {error}")))?;
    if manifest.schema_version != 2 {
        return Err(invalid(format!("manifests of schema version {} are not stored", manifest.schema_version)));
    }
    if let Some(own) = manifest.media_type.filter(|own| !own.is_empty() && own != media_type) {
        return Err(invalid(format!("the manifest says that it is {own:?}, but was sent as {media_type:?}")));
    }
    let digest = |text: &str| {
        text.parse::<Digest>().map_err(|()| invalid(format!("{text:?} in the manifest is no digest of sha256")))
    };
    let blobs = manifest.config.iter().chain(&manifest.layers);
    let blobs = blobs.map(|blob| Ok((digest(&blob.digest)?, blob.urls.is_empty())));
    let manifests = manifest.manifests.iter().map(|named| digest(&named.digest));
    Ok(Named { blobs: blobs.collect::<Result<_, Error>>()?, manifests: manifests.collect::<Result<_, Error>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

    #[test]
    fn a_manifest_names_its_blobs_and_an_index_its_manifests() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{TYPE}","config":{{"digest":"{a}","size":1}},"layers":[{{"digest":"{b}","urls":["https://x"]}}]}}"#
        );
        let named = read(text.as_bytes(), TYPE).unwrap();
        assert_eq!(named.blobs, [(a.clone(), true), (b, false)]);
        assert_eq!(read(text.as_bytes(), "text/plain").unwrap_err().code, Code::ManifestInvalid);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{a}"}}]}}"#);
        assert_eq!(read(index.as_bytes(), "x").unwrap().manifests, [a]);
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"schemaVersion":1}"#,
            r#"{"schemaVersion":2,"layers":[{"digest":"sha256:../x"}]}"#,
        ] {
            assert!(read(bad.as_bytes(), TYPE).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in r#"\{"schemaVersion":2,"(layers|config|manifests)":[\[{]?.{0,40}"#) {
            let _ = read(&bytes, TYPE);
            let _ = read(text.as_bytes(), TYPE);
        }
    }
}
