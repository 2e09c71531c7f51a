//! The `coracle` binary: arguments, roles, and the life of a local cluster.

#[macro_use]
mod output;

mod administrator;
mod agent;
mod api_server;
mod args;
mod balancing;
mod certificates;
mod checks;
mod cluster;
mod cni_network;
mod config_file;
mod control;
mod control_plane;
mod daemon;
mod data_dir;
mod down;
mod election;
mod files;
mod hollow;
mod host_node;
mod host_settings;
mod image;
mod install;
mod ip_family;
mod kubeconfig;
mod local_node;
mod local_registry;
mod logs;
mod ls;
mod mounts;
mod node;
mod node_args;
mod node_init;
mod nodes;
mod notify;
mod pod_network;
mod policed_network;
mod process;
mod progress;
mod publish;
mod ranges;
mod registry;
mod sandbox_network;
mod server;
mod server_log;
mod status;
mod store;
mod sys;
mod token;
mod up;
mod volumes;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Args, Command};

fn main() -> ExitCode {
    // What executes itself by a path in /proc is called after that path.
    let _ = rustix::thread::set_name(c"coracle");
    // A shim must stay small: nothing else may run before it.
    if std::env::args_os().nth(1).is_some_and(|word| word == "shim") {
        coracle_runtime::shim_main(std::env::args().skip(2).collect());
    }
    // Started by /proc/self/exe, as the parts of a node are, it would be called "exe" by ps and top.
    coracle_runtime::name_process(c"coracle");
    let args = match config_file::expand(std::env::args_os().collect()) {
        Ok(line) => Args::parse_from(line),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    // What is made is for its owner alone, unless a mode is asked for.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let result = match args.command {
        Command::Up(options) => up::up(&options),
        Command::Start(cluster) => up::start(&cluster),
        Command::Stop(cluster) => down::stop(&cluster),
        Command::Down(cluster) => down::down(&cluster),
        Command::Status(options) => status::status(&options),
        Command::Ls { output } => ls::ls(output),
        Command::Logs(options) => logs::logs(&options),
        Command::Server(options) => server::run(&options),
        Command::Agent(options) => agent::run(&options),
        Command::Install(options) => install::install(&options),
        Command::Uninstall(options) => install::uninstall(&options),
        Command::Node(options) => nodes::run(&options),
        Command::Token(options) => token::run(&options),
        Command::Backup(options) => store::back_up(&options),
        Command::Restore(options) => store::restore(&options),
        Command::Store(options) => store::run(&options),
        Command::Image(options) => image::run(&options),
        Command::NodeInit(options) => node_init::run(&options),
        Command::Why(options) => why::run(&options),
        Command::Version => {
            println!("coracle {} (Kubernetes {})", env!("CARGO_PKG_VERSION"), coracle_apiserver::KUBERNETES_VERSION);
            Ok(())
        }
        Command::ConfigSchema { of } => config_file::schema(&of).map(|schema| println!("{schema:#}")),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "coracle", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let refused = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::PermissionDenied;
            let denied = error.chain().filter_map(|cause| cause.downcast_ref()).any(refused);
            let advice = if denied && !rustix::process::geteuid().is_root() { "; try again with sudo" } else { "" };
            eprintln!("error: {error:#}{advice}");
            ExitCode::FAILURE
        }
    }
}
