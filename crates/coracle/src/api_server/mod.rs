//! The options of the API server, named as upstream's.

mod audit;
mod authentication;
mod authorization;

use clap::Args as ClapArgs;

pub use audit::Audit;
pub use authentication::Authentication;
pub use authorization::Authorization;

/// Options of the API server.
#[derive(ClapArgs, Clone)]
pub struct ApiServer {
    #[command(flatten)]
    pub audit: Audit,
    #[command(flatten)]
    pub authentication: Authentication,
    #[command(flatten)]
    pub authorization: Authorization,
}
