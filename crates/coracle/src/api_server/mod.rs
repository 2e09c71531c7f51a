//! The options of the API server, named as upstream's.

mod audit;
mod authentication;

use clap::Args as ClapArgs;

pub use audit::Audit;
pub use authentication::Authentication;

/// Options of the API server.
#[derive(ClapArgs, Clone)]
pub struct ApiServer {
    #[command(flatten)]
    pub audit: Audit,
    #[command(flatten)]
    pub authentication: Authentication,
}
