//! The options of the API server, named as upstream's.

mod audit;
mod authentication;
mod authorization;

use clap::Args as ClapArgs;
use coracle_apiserver::AdmissionOptions;

pub use audit::Audit;
pub use authentication::Authentication;
pub use authorization::Authorization;

/// Options of the API server.
#[derive(ClapArgs, Clone)]
pub struct ApiServer {
    #[command(flatten)]
    pub admission: Admission,
    #[command(flatten)]
    pub audit: Audit,
    #[command(flatten)]
    pub authentication: Authentication,
    #[command(flatten)]
    pub authorization: Authorization,
}

/// Which admission plugins are asked.
#[derive(ClapArgs, Clone)]
#[command(next_help_heading = "Admission")]
pub struct Admission {
    /// Admission plugins that are asked besides the usual ones, separated by commas: OwnerReferencesPermissionEnforcement
    #[arg(long = "enable-admission-plugins", value_name = "PLUGIN", value_delimiter = ',')]
    enable: Vec<String>,
    /// Admission plugins that are not asked, separated by commas
    #[arg(long = "disable-admission-plugins", value_name = "PLUGIN", value_delimiter = ',')]
    disable: Vec<String>,
}

impl Admission {
    /// What the API server makes of it.
    pub fn options(&self) -> AdmissionOptions {
        AdmissionOptions { enable: self.enable.clone(), disable: self.disable.clone() }
    }
}
