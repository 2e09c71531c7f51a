//! Which of the specification's end points a request is for.

use crate::error::{Code, Error};
use crate::names::{Digest, is_repository, is_tag};

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Tag(String),
    Digest(Digest),
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Whether this is a registry.
    Base,
    /// All repositories.
    Catalog,
    Tags(String),
    Manifest(String, Reference),
    Blob(String, Digest),
    /// New ones.
    Uploads(String),
    /// One that goes on.
    Upload(String, uuid::Uuid),
}

/// Finds what a path leads to.
pub fn route(path: &str) -> Result<Route, Error> {
    let nowhere = || Error::new(Code::NameUnknown, format!("{path} is nothing that a registry has"));
    let rest = path.strip_prefix("/v2").ok_or_else(nowhere)?;
    match rest {
        "" | "/" => return Ok(Route::Base),
        "/_catalog" => return Ok(Route::Catalog),
        _ => {}
    }
    let rest = rest.strip_prefix('/').ok_or_else(nowhere)?;
    let name = |name: &str| match is_repository(name) {
        true => Ok(name.to_owned()),
        false => Err(Error::new(Code::NameInvalid, format!("{name:?} is no name of a repository"))),
    };
    if let Some(repository) = rest.strip_suffix("/tags/list") {
        return Ok(Route::Tags(name(repository)?));
    }
    if let Some(repository) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
        return Ok(Route::Uploads(name(repository)?));
    }
    let (before, last) = rest.rsplit_once('/').ok_or_else(nowhere)?;
    if let Some(repository) = before.strip_suffix("/blobs/uploads") {
        let unknown = |_| Error::new(Code::BlobUploadUnknown, format!("there is no upload {last:?}"));
        return Ok(Route::Upload(name(repository)?, last.parse().map_err(unknown)?));
    }
    let digest = |text: &str| {
        text.parse().map_err(|()| Error::new(Code::DigestInvalid, format!("{text:?} is no digest of sha256")))
    };
    if let Some(repository) = before.strip_suffix("/blobs") {
        return Ok(Route::Blob(name(repository)?, digest(last)?));
    }
    if let Some(repository) = before.strip_suffix("/manifests") {
        let reference = if last.contains(':') {
            Reference::Digest(digest(last)?)
        } else if is_tag(last) {
            Reference::Tag(last.to_owned())
        } else {
            return Err(Error::new(Code::TagInvalid, format!("{last:?} is no tag")));
        };
        return Ok(Route::Manifest(name(repository)?, reference));
    }
    Err(nowhere())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_slashes_and_words_of_the_api() {
        let digest = Digest::of(b"");
        let id = uuid::Uuid::nil();
        for (path, expected) in [
            ("/v2/".to_owned(), Route::Base),
            ("/v2".into(), Route::Base),
            ("/v2/_catalog".into(), Route::Catalog),
            ("/v2/a/b/tags/list".into(), Route::Tags("a/b".into())),
            ("/v2/a/manifests/1.0".into(), Route::Manifest("a".into(), Reference::Tag("1.0".into()))),
            (format!("/v2/a/manifests/{digest}"), Route::Manifest("a".into(), Reference::Digest(digest.clone()))),
            (format!("/v2/a/blobs/{digest}"), Route::Blob("a".into(), digest.clone())),
            ("/v2/a/blobs/uploads/".into(), Route::Uploads("a".into())),
            (format!("/v2/a/blobs/uploads/{id}"), Route::Upload("a".into(), id)),
            (
                "/v2/manifests/blobs/manifests/x".into(),
                Route::Manifest("manifests/blobs".into(), Reference::Tag("x".into())),
            ),
        ] {
            assert_eq!(route(&path).unwrap(), expected, "{path}");
        }
        for (path, code) in [
            ("/", Code::NameUnknown),
            ("/v2/a", Code::NameUnknown),
            ("/v1/a/tags/list", Code::NameUnknown),
            ("/v2/A/tags/list", Code::NameInvalid),
            ("/v2/a/../b/tags/list", Code::NameInvalid),
            ("/v2/a%2Fb/manifests/x", Code::NameInvalid),
            ("/v2/a/manifests/..", Code::TagInvalid),
            ("/v2/a/manifests/sha256:x", Code::DigestInvalid),
            ("/v2/a/blobs/x", Code::DigestInvalid),
            ("/v2/a/blobs/uploads/../x", Code::NameUnknown),
            ("/v2/a/blobs/uploads/x", Code::BlobUploadUnknown),
        ] {
            assert_eq!(route(path).unwrap_err().code, code, "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "(/v2)?(/(a|blobs|uploads|manifests|tags|list|..|sha256:|.{0,3})){0,6}") {
            let _ = route(&path);
        }
    }
}
