//! The options of the API server, named as upstream's.

mod audit;
mod authentication;
mod authorization;

use clap::{Args as ClapArgs, Parser};
use coracle_apiserver::{AdmissionOptions, RuntimeConfig};

pub use audit::Audit;
pub use authentication::Authentication;
pub use authorization::Authorization;

/// Options of the API server.
#[derive(ClapArgs, Clone)]
pub struct ApiServer {
    #[command(flatten)]
    pub admission: Admission,
    #[command(flatten)]
    pub served: Served,
    #[command(flatten)]
    pub audit: Audit,
    #[command(flatten)]
    pub authentication: Authentication,
    #[command(flatten)]
    pub authorization: Authorization,
}

/// Only these options.
#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    _api: ApiServer,
}

/// An option of these, as `NAME=VALUE`, as the server is given it. Whether it fits others, and what is wrong in a file, the server
/// says; that there is no such file is said before there is a cluster.
pub fn argument(text: &str) -> Result<String, String> {
    let name = text.trim_start_matches("--");
    if name.is_empty() {
        return Err("an option is named as NAME=VALUE".into());
    }
    let argument = format!("--{name}");
    match Alone::try_parse_from(["coracle server", &argument]) {
        Err(error) if error.kind() != clap::error::ErrorKind::MissingRequiredArgument => {
            Err(error.render().to_string().lines().next().unwrap_or_default().to_owned())
        }
        _ => is_there(&argument).map(|()| argument),
    }
}

fn is_there(argument: &str) -> Result<(), String> {
    match argument.split_once('=') {
        Some((name, file)) if name.ends_with("-file") => {
            std::fs::metadata(file).map(drop).map_err(|error| format!("failed to find {file}: {error}"))
        }
        _ => Ok(()),
    }
}

/// What is served.
#[derive(ClapArgs, Clone)]
#[command(next_help_heading = "Versions")]
pub struct Served {
    /// Versions that are served or not, separated by commas: api/all, api/ga, api/beta, api/alpha, GROUP/VERSION or
    /// GROUP/VERSION/RESOURCE, each =true or =false. Without it all stable ones are
    #[arg(long = "runtime-config", value_name = "KEY=BOOL", value_delimiter = ',')]
    runtime_config: Vec<String>,
}

impl Served {
    /// What the API server makes of it.
    ///
    /// # Errors
    /// A setting makes no sense.
    pub fn options(&self) -> anyhow::Result<RuntimeConfig> {
        RuntimeConfig::parse(&self.runtime_config)
    }
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
    /// What the API server makes of it, and of who connects pods.
    pub fn options(&self, foreign_network: bool) -> AdmissionOptions {
        AdmissionOptions { enable: self.enable.clone(), disable: self.disable.clone(), foreign_network }
    }
}
