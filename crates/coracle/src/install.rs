//! `coracle install` and `uninstall`: a server or an agent as a service of this host, kept by systemd.
//!
//! The unit is small and stays as it is; what the service is told is in a file of options (`config_file`), which an
//! administrator may change.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, CommandFactory, Subcommand};

use crate::args::{Agent, Args, Server, Stop, Which, cluster_name};
use crate::cluster::{Cluster, Place};
use crate::files::write_atomically;
use crate::{checks, config_file, down};

/// Under which `--help` shows the options that the service is not told.
pub const HEADING: &str = "Installation";
const UNITS: &str = "etc/systemd/system";
const OPTIONS: &str = "etc/coracle";
/// The first line of each unit, by which it is known again.
const OURS: &str = "# Written by `coracle install`, removed by `coracle uninstall`. Options of the service: ";
/// The beginning of the line that says that the program was put there by us.
const COPIED: &str = "# Program: ";

/// Options of `install`.
#[derive(ClapArgs)]
pub struct Install {
    /// As what
    #[command(subcommand)]
    pub role: Role,
}

/// What is installed.
#[derive(Subcommand)]
pub enum Role {
    /// A server, and with it a node, with the options of `coracle server`
    Server(Box<InstallServer>),
    /// A node of a cluster, with the options of `coracle agent`
    Agent(Box<InstallAgent>),
}

/// Options of `install server`.
#[derive(ClapArgs)]
pub struct InstallServer {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    server: Server,
}

/// Options of `install agent`.
#[derive(ClapArgs)]
pub struct InstallAgent {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    agent: Agent,
}

/// Where to.
#[derive(ClapArgs)]
pub struct Where {
    /// The directory into which the program is copied
    #[arg(long, value_name = "DIR", default_value = "/usr/local/bin", help_heading = HEADING)]
    bin_dir: PathBuf,
    /// Do not start the service now, only with the next start of the host
    #[arg(long, help_heading = HEADING)]
    no_start: bool,
    /// Only write files, into the file system below this directory, as for the image of a host
    #[arg(long, value_name = "DIR", help_heading = HEADING)]
    root: Option<PathBuf>,
}

/// Options of `uninstall`.
#[derive(ClapArgs)]
pub struct Uninstall {
    /// The service's name, as --name had it [default: the only one that there is]
    #[arg(value_parser = cluster_name)]
    name: Option<String>,
    /// Keep the data directory: objects, images, volumes
    #[arg(long)]
    keep_data: bool,
    /// Only remove files, from the file system below this directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Makes the service, or replaces it: program, options, unit.
pub fn install(options: &Install) -> Result<()> {
    let (role, place, name) = match &options.role {
        Role::Server(given) => ("server", &given.place, given.server.name.as_deref().unwrap_or("server")),
        Role::Agent(given) => ("agent", &given.place, given.agent.name.as_deref().unwrap_or("agent")),
    };
    if !place.bin_dir.is_absolute() {
        bail!("--bin-dir {} is not a whole path", place.bin_dir.display());
    }
    if place.root.is_none() {
        checks::host()?;
        need_systemd()?;
    }
    let service = Service::of(name, place.root.as_deref());
    let before = service.read()?;
    let text = given(role)?;
    service.check_role(before.as_deref(), role)?;
    let program = place.bin_dir.join("coracle");
    let copied =
        copy_program(&service.on_disk(&program))? || before.as_deref().is_some_and(|unit| owns(unit, &program));
    // Installed anew without options, a service keeps those that it has.
    let keeps = text.is_empty() && before.is_some() && service.options().exists();
    if !keeps {
        make_dir(service.options().parent().unwrap_or(Path::new("/")), 0o700)?;
        write_atomically(&service.options(), text.as_bytes(), 0o600)?;
    }
    make_dir(service.unit().parent().unwrap_or(Path::new("/")), 0o755)?;
    write_atomically(&service.unit(), unit(role, name, &program, copied).as_bytes(), 0o644)?;
    println!("The service {} has its options in {}.", service.unit_name(), service.options().display());
    if place.root.is_some() {
        let wants = service.wants();
        make_dir(wants.parent().unwrap_or(Path::new("/")), 0o755)?;
        let _ = fs::remove_file(&wants);
        let unit = Path::new("/").join(UNITS).join(service.unit_name());
        return std::os::unix::fs::symlink(unit, &wants).with_context(|| format!("failed to make {}", wants.display()));
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", &service.unit_name()])?;
    if place.no_start {
        return Ok(());
    }
    println!("Starting it, which ends when it is ready; `journalctl -fu {}` shows what it does.", service.unit_name());
    systemctl(&["restart", &service.unit_name()])
}

/// Ends the service with everything of it.
pub fn uninstall(options: &Uninstall) -> Result<()> {
    let root = options.root.as_deref();
    let name = match &options.name {
        Some(name) => name.clone(),
        None => only_one(root)?,
    };
    let service = Service::of(&name, root);
    let Some(unit) = service.read()? else { bail!("there is no service {}: nothing was changed", service.unit_name()) };
    if root.is_none() {
        need_systemd()?;
        systemctl(&["disable", "--now", &service.unit_name()])?;
        end(&name, &service, options.keep_data)?;
    } else {
        let _ = fs::remove_file(service.wants());
    }
    remove(&service.unit())?;
    remove(&service.options())?;
    if let Some(dir) = service.options().parent() {
        // Other services have theirs there.
        let _ = fs::remove_dir(dir);
    }
    if let Some(program) =
        program_of(&unit).filter(|_| !services(root).iter().any(|(_, text)| program_of(text).is_some()))
    {
        remove(&service.on_disk(Path::new(program)))?;
    }
    if root.is_none() {
        systemctl(&["daemon-reload"])?;
    }
    println!("The service {} is gone.", service.unit_name());
    Ok(())
}

/// Ends what the service left running, as containers, and removes its data.
fn end(name: &str, service: &Service<'_>, keep_data: bool) -> Result<()> {
    // Without them it is not known where its data are.
    let told = config_file::read(&service.options())
        .with_context(|| format!("failed to read {}: nothing of its data was removed", service.options().display()))?;
    let data_dir = told.get("data-dir").and_then(|dir| dir.as_str()).map(PathBuf::from);
    let which = Which { name: Some(name.to_owned()), data_dir };
    match keep_data {
        false => down::down(&which),
        // It may never have started.
        true if Cluster::read(&Place::find(&which, name)?.dir)?.is_none() => Ok(()),
        true => down::stop(&Stop { which, grace: std::time::Duration::from_secs(10) }),
    }
}

/// A service by its name.
struct Service<'a> {
    name: &'a str,
    root: &'a Path,
}

impl<'a> Service<'a> {
    fn of(name: &'a str, root: Option<&'a Path>) -> Service<'a> {
        Service { name, root: root.unwrap_or(Path::new("/")) }
    }

    fn unit_name(&self) -> String {
        format!("coracle-{}.service", self.name)
    }

    fn unit(&self) -> PathBuf {
        self.root.join(UNITS).join(self.unit_name())
    }

    /// What makes it start with the host.
    fn wants(&self) -> PathBuf {
        self.root.join(UNITS).join("multi-user.target.wants").join(self.unit_name())
    }

    fn options(&self) -> PathBuf {
        self.root.join(OPTIONS).join(format!("{}.yaml", self.name))
    }

    fn on_disk(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The unit, if there is one.
    ///
    /// # Errors
    /// It is somebody else's.
    fn read(&self) -> Result<Option<String>> {
        let path = self.unit();
        match fs::read_to_string(&path) {
            Ok(text) if text.starts_with(OURS) => Ok(Some(text)),
            Ok(_) => bail!("{} was not written by `coracle install`: nothing was changed", path.display()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    fn check_role(&self, unit: Option<&str>, role: &str) -> Result<()> {
        let Some(unit) = unit else { return Ok(()) };
        if !unit.lines().any(|line| line.starts_with("ExecStart=") && line.contains(&format!(" {role} --config "))) {
            bail!(
                "{} is no service of `coracle {role}`: take another --name, or `coracle uninstall {}` first",
                self.unit_name(),
                self.name
            );
        }
        Ok(())
    }
}

/// What this command was told, as a file of options.
fn given(role: &str) -> Result<String> {
    let command = Args::command();
    let line = config_file::expand(std::env::args_os().collect())?;
    let given = command.clone().try_get_matches_from(line)?;
    let given = given.subcommand_matches("install").and_then(|given| given.subcommand_matches(role));
    let command = command.find_subcommand("install").and_then(|install| install.find_subcommand(role));
    config_file::written(command.context("no such command")?, given.context("another command")?)
}

/// The unit, <https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html>. Containers are in cgroups of their
/// own and go on while the daemon is replaced; controllers that are delegated stay available to them. The home is where the
/// administrator's kubeconfig is.
fn unit(role: &str, name: &str, program: &Path, copied: bool) -> String {
    let options = Path::new("/").join(OPTIONS).join(format!("{name}.yaml"));
    let mut text = format!("{OURS}{}\n", options.display());
    if copied {
        let _ = writeln!(text, "{COPIED}{}", program.display());
    }
    let quoted = program.to_string_lossy().replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%");
    let _ = write!(
        text,
        "[Unit]\nDescription=Coracle {role} {name} (Kubernetes)\nWants=network-online.target\nAfter=network-online.target\n\
         StartLimitIntervalSec=0\n\n\
         [Service]\nType=notify\nEnvironment=HOME=%h\nExecStart=\"{quoted}\" {role} --config {}\nRestart=always\nRestartSec=1s\n\
         TimeoutStartSec=infinity\nKillMode=process\nDelegate=yes\nLimitNOFILE=1048576\nLimitNPROC=infinity\n\
         LimitCORE=infinity\nTasksMax=infinity\nOOMScoreAdjust=-999\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        options.display()
    );
    text
}

/// The program that a service brought with it.
fn program_of(unit: &str) -> Option<&str> {
    unit.lines().find_map(|line| line.strip_prefix(COPIED))
}

fn owns(unit: &str, program: &Path) -> bool {
    program_of(unit).is_some_and(|own| Path::new(own) == program)
}

/// The services of this host, with their units.
fn services(root: Option<&Path>) -> Vec<(String, String)> {
    let dir = root.unwrap_or(Path::new("/")).join(UNITS);
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let file = entry.file_name().into_string().ok()?;
        let name = file.strip_prefix("coracle-")?.strip_suffix(".service")?.to_owned();
        let text = fs::read_to_string(entry.path()).ok()?;
        text.starts_with(OURS).then_some((name, text))
    };
    let mut found: Vec<_> = entries.filter_map(read).collect();
    found.sort();
    found
}

fn only_one(root: Option<&Path>) -> Result<String> {
    let names: Vec<String> = services(root).into_iter().map(|(name, _)| name).collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => bail!("no service was installed"),
        names => bail!("there are several services; name one of them: {}", names.join(", ")),
    }
}

/// Puts the program that runs into its place; `false` when it is there by another's hand.
fn copy_program(to: &Path) -> Result<bool> {
    let own = fs::metadata("/proc/self/exe").context("failed to find the program that runs")?;
    if fs::metadata(to).is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
        return Ok(false);
    }
    make_dir(to.parent().unwrap_or(Path::new("/")), 0o755)?;
    let bytes = fs::read("/proc/self/exe").context("failed to read the program that runs")?;
    write_atomically(to, &bytes, 0o755)?;
    Ok(true)
}

/// Makes a directory, and those above it, which everyone may enter.
fn make_dir(dir: &Path, mode: u32) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    dir.parent().map_or(Ok(()), |above| make_dir(above, 0o755))?;
    let make = || {
        fs::create_dir(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(mode))
    };
    make().with_context(|| format!("failed to make {}", dir.display()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn need_systemd() -> Result<()> {
    // As sd_booted(3) finds out.
    if !Path::new("/run/systemd/system").is_dir() {
        bail!(
            "this host is not kept by systemd: `coracle server` and `coracle agent` run in the foreground under any other \
             keeper of services, and --root DIR only writes the files"
        );
    }
    Ok(())
}

fn systemctl(words: &[&str]) -> Result<()> {
    let ended = Command::new("systemctl").args(words).status().context("failed to run systemctl")?;
    if !ended.success() {
        let unit = words.last().copied().unwrap_or_default();
        bail!("`systemctl {}` failed; `journalctl -u {unit}` says more", words.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_says_what_systemd_is_to_run() {
        let text = unit("server", "dev", Path::new("/opt/50% \"x\"/coracle"), true);
        assert!(text.contains("ExecStart=\"/opt/50%% \\\"x\\\"/coracle\" server --config /etc/coracle/dev.yaml\n"));
        assert_eq!(program_of(&text), Some("/opt/50% \"x\"/coracle"));
        assert_eq!(program_of(&unit("agent", "a", Path::new("/usr/bin/coracle"), false)), None);
    }

    #[test]
    fn a_unit_of_somebody_else_or_of_another_role_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let service = Service::of("x", Some(root.path()));
        assert!(service.read().unwrap().is_none());
        make_dir(service.unit().parent().unwrap(), 0o755).unwrap();
        fs::write(service.unit(), "[Unit]\n").unwrap();
        assert!(service.read().unwrap_err().to_string().contains("nothing was changed"));
        fs::write(service.unit(), unit("server", "x", Path::new("/b/coracle"), true)).unwrap();
        let text = service.read().unwrap();
        assert!(service.check_role(text.as_deref(), "server").is_ok());
        assert!(service.check_role(text.as_deref(), "agent").unwrap_err().to_string().contains("uninstall x"));
        assert_eq!(only_one(Some(root.path())).unwrap(), "x");
    }
}
