//! Images: references, content by digest, unpacked layers, import from archives and pull from registries.

mod export;
mod import;
mod members;
mod reference;
mod registry;
mod room;
mod share;
mod store;
mod unpack;

pub use self::import::Archived;
pub use self::reference::Reference;
pub use self::registry::LocalRegistry;
pub(crate) use self::registry::Puller;
pub(crate) use self::room::ENTRY_BYTES;
pub use self::room::Room;
pub use self::store::ImageStore;
pub(crate) use self::store::{ImageRecord, Layer};
pub(crate) use self::unpack::digest_of;
