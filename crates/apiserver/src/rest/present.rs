//! An object as a client asked for it.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::Kind;
use coracle_api::status::Status;
use coracle_api::table::ListMeta;
use http::StatusCode;

use super::list;
use crate::context::{Answer, Context};
use crate::negotiate::{self, Output, Shape};
use crate::request::Query;

impl Context<'_> {
    /// An object, in the version of the request, as the client asked for it.
    pub fn object(&self, code: StatusCode, bytes: Bytes, warnings: &[String]) -> Answer {
        let shown = present(&self.target.kind, self.output, &self.query, bytes)?;
        let mut response = negotiate::document(code, self.output.encoding, shown);
        negotiate::warn(&mut response, warnings);
        Ok(response)
    }
}

/// An object in the shape that a client asked for.
pub(super) fn present(kind: &Arc<Kind>, output: Output, query: &Query, bytes: Bytes) -> Result<Bytes, Status> {
    Ok(match output.shape {
        Shape::Object => bytes,
        Shape::Partial => list::partial(&bytes, output.meta_version)?,
        Shape::Table => list::table(kind, query, output, std::iter::once(bytes.as_ref()), &ListMeta::default())?,
    })
}
