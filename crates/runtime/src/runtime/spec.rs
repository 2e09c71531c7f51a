//! From what CRI asks for to what a shim carries out.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::{Runtime, Sandbox, internal};
use crate::cri::{
    ContainerConfig, ContainerState, CriError, LinuxContainerSecurityContext, MountPropagation, Result, SecurityProfile,
};
use crate::image::ImageRecord;
use crate::shim::devices as nodes;
use crate::shim::proto::{ContainerSpec, DeviceSpec, MountSpec, UserSpec};

/// Paths of /proc and /sys hidden from containers, as the OCI runtimes' defaults.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What holds the volumes of a container's image, in the container's directory.
pub(super) const VOLUMES: &str = "volumes";
/// Longest seccomp profile in bytes.
const MAX_PROFILE: u64 = 1 << 20;
/// Sets of capabilities whose default profile is remembered.
const MAX_DEFAULT_PROFILES: usize = 1024;

/// Reads a seccomp profile of the node, if it is a file and of a sensible size.
fn read_profile(path: &Path) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let options = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = fs::OpenOptions::new().read(true).custom_flags(options).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut text = Vec::new();
    file.take(MAX_PROFILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_PROFILE {
        return Err(io::Error::other(format!("it is longer than {MAX_PROFILE} bytes")));
    }
    Ok(text)
}

/// Signal numbers by name.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ABRT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// A signal's number, from `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3` or `RTMIN+3`.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse::<i32>().ok()? };
        return (0..=30).contains(&offset).then_some(64 - offset);
    }
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Directory that is a container's view of a path: no `..`, absolute.
fn checked_target(path: &str) -> Result<PathBuf> {
    let absolute = Path::new("/").join(path);
    if path.is_empty() || absolute.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(CriError::InvalidArgument(format!("container path {path:?} is not valid")));
    }
    Ok(absolute)
}

/// The device nodes that a container is given beyond the standard ones, with the access allowed.
pub fn devices(config: &ContainerConfig) -> Result<Vec<(DeviceSpec, String)>> {
    let mut found = Vec::new();
    if config.security.privileged {
        found.extend(nodes::host_devices().into_iter().map(|device| (device, "rwm".to_string())));
    }
    for device in &config.devices {
        let meta = fs::metadata(&device.host_path).map_err(|error| {
            CriError::InvalidArgument(format!(
                "error gathering device information while adding custom device {:?}: {error}",
                device.host_path
            ))
        })?;
        let mut spec = nodes::device(Path::new(&device.host_path), &meta);
        spec.path = checked_target(&device.container_path)?;
        let access = if device.permissions.is_empty() { "rwm".to_string() } else { device.permissions.clone() };
        found.push((spec, access));
    }
    Ok(found)
}

fn arguments(config: &ContainerConfig, image: &ImageRecord) -> Result<Vec<String>> {
    let mut args = Vec::new();
    if config.command.is_empty() {
        args.extend(image.config.entrypoint.iter().cloned());
        if config.args.is_empty() {
            args.extend(image.config.cmd.iter().cloned());
        }
    } else {
        args.extend(config.command.iter().cloned());
    }
    args.extend(config.args.iter().cloned());
    if args.is_empty() {
        return Err(CriError::InvalidArgument("no command specified".into()));
    }
    Ok(args)
}

fn user(config: &ContainerConfig, image: &ImageRecord) -> Result<UserSpec> {
    let number = |value: i64, what: &str| {
        u32::try_from(value).map_err(|_| CriError::InvalidArgument(format!("{what} {value} is out of range")))
    };
    let security = &config.security;
    let user = match (security.run_as_user, security.run_as_username.as_str()) {
        (Some(uid), _) => number(uid, "user")?.to_string(),
        (None, "") => image.config.user.clone(),
        (None, name) => name.to_string(),
    };
    let group = security.run_as_group.map(|gid| number(gid, "group")).transpose()?;
    if group.is_some() && user.is_empty() {
        return Err(CriError::InvalidArgument("user group is specified without user".into()));
    }
    let supplemental =
        security.supplemental_groups.iter().map(|gid| number(*gid, "supplemental group")).collect::<Result<_>>()?;
    Ok(UserSpec { user, group, supplemental, strict: security.only_supplemental_groups })
}

impl Runtime {
    /// The compiled seccomp program for a container, from a cache by content.
    fn seccomp(&self, config: &ContainerConfig, capabilities: u64) -> Result<Option<PathBuf>> {
        let security = &config.security;
        if security.privileged {
            return Ok(None);
        }
        let program = match &security.seccomp {
            SecurityProfile::Unconfined => return Ok(None),
            SecurityProfile::RuntimeDefault => {
                // Compiled once for each set of capabilities; a file of an earlier version is never taken for it.
                let mut known = self.default_profiles.lock();
                if let Some(path) = known.get(&capabilities) {
                    return Ok(Some(path.clone()));
                }
                let path = self.keep_profile(crate::seccomp::default_profile(capabilities))?;
                if known.len() < MAX_DEFAULT_PROFILES {
                    known.insert(capabilities, path.clone());
                }
                return Ok(Some(path));
            }
            SecurityProfile::Localhost(file) => {
                let fail = |error: String| {
                    CriError::InvalidArgument(format!(
                        "failed to generate seccomp spec opts: cannot load seccomp profile {file:?}: {error}"
                    ))
                };
                let text = read_profile(Path::new(file)).map_err(|error| fail(crate::shim::plain(&error)))?;
                crate::seccomp::json_profile(&text, capabilities).map_err(fail)?
            }
        };
        self.keep_profile(program).map(Some)
    }

    /// Writes a compiled program under the name of its content.
    fn keep_profile(&self, program: Vec<u8>) -> Result<PathBuf> {
        let dir = self.config.state.join("seccomp");
        let path = dir.join(crate::image::digest_of(&program).trim_start_matches("sha256:"));
        if fs::read(&path).is_ok_and(|kept| kept == program) {
            return Ok(path);
        }
        let temporary = dir.join(format!("{}.new", uuid::Uuid::new_v4().simple()));
        fs::write(&temporary, program)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(internal("writing the seccomp program"))?;
        Ok(path)
    }

    /// The container whose PID namespace is joined.
    fn pid_target(&self, sandbox: &Sandbox, security: &LinuxContainerSecurityContext) -> Result<Option<String>> {
        let id = security.target_id.as_str();
        if id.is_empty() {
            return Ok(None);
        }
        let invalid = |why: String| CriError::InvalidArgument(format!("invalid target container: {why}"));
        let target = self.container(id).map_err(|error| invalid(error.to_string()))?;
        let status = target.record.lock().status.clone();
        let sandbox = sandbox.record.lock().status.id.clone();
        if status.pod_sandbox_id != sandbox {
            let other = &status.pod_sandbox_id;
            return Err(invalid(format!("container {id:?} (sandbox {other}) does not belong to sandbox {sandbox}")));
        }
        match status.state {
            ContainerState::Running => Ok(Some(id.to_string())),
            state => Err(invalid(format!("container {id:?} is not running - in state {state:?}"))),
        }
    }

    /// Everything a shim needs to start the container.
    pub(super) fn container_spec(
        &self,
        id: &str,
        sandbox: &Sandbox,
        config: &ContainerConfig,
        image: &ImageRecord,
        cgroup: &str,
        devices: &[(DeviceSpec, String)],
    ) -> Result<ContainerSpec> {
        let security = &config.security;
        let held = crate::sys::permitted_capabilities().map_err(internal("reading capabilities"))?;
        let wanted = if security.privileged {
            u64::MAX
        } else {
            crate::caps::resolve(&security.add_capabilities, &security.drop_capabilities)
                .map_err(CriError::InvalidArgument)?
        };
        let capabilities = wanted & held;
        let (log_directory, hostname, host_network) = {
            let record = sandbox.record.lock();
            let config = &record.config;
            (config.log_directory.clone(), config.hostname.clone(), config.namespaces.host_network)
        };
        let hostname =
            if host_network { rustix::system::uname().nodename().to_string_lossy().into_owned() } else { hostname };
        let mut env = image.config.env.clone();
        let mut set = |name: &str, value: &str| {
            let prefix = format!("{name}=");
            env.retain(|line| !line.starts_with(&prefix));
            env.push(format!("{prefix}{value}"));
        };
        set("HOSTNAME", &hostname);
        for (name, value) in &config.envs {
            set(name, value);
        }
        let hidden = |list: &[&str]| -> Vec<String> {
            if security.privileged || security.unmasked_proc {
                Vec::new()
            } else {
                list.iter().map(ToString::to_string).collect()
            }
        };
        let log_path = (!log_directory.is_empty() && !config.log_path.is_empty())
            .then(|| Path::new(&log_directory).join(&config.log_path));
        Ok(ContainerSpec {
            id: id.to_string(),
            layers_dir: self.images.layers_dir(),
            lower: image.layers.iter().rev().map(crate::image::Layer::directory).collect(),
            dir: self.config.containers_dir().join(id),
            readonly_rootfs: security.readonly_rootfs,
            mounts: mounts(sandbox, config, &self.config.containers_dir().join(id), &image_volumes(config, image)?)?,
            devices: devices.iter().map(|(device, _)| device.clone()).collect(),
            masked_paths: hidden(MASKED),
            readonly_paths: hidden(READONLY),
            args: arguments(config, image)?,
            env,
            cwd: if config.working_dir.is_empty() {
                image.config.working_dir.clone()
            } else {
                config.working_dir.clone()
            },
            user: user(config, image)?,
            capabilities,
            no_new_privileges: security.no_new_privs,
            seccomp: self.seccomp(config, capabilities)?,
            privileged: security.privileged,
            tty: config.tty,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            log_path,
            cgroup: self.cgroups.join(cgroup),
            cgroup_mounts: self.cgroups.visible(cgroup),
            oom_file: Some(self.cgroups.oom_file(cgroup)),
            pid_target: self.pid_target(sandbox, security)?,
            procs_file: Some(self.cgroups.procs_file(cgroup)),
            oom_score_adj: config.resources.oom_score_adj.clamp(-1000, 1000),
        })
    }
}

/// The paths that the image wants as directories of the container's own, but for those at which the pod has something.
pub(super) fn image_volumes(config: &ContainerConfig, image: &ImageRecord) -> Result<Vec<PathBuf>> {
    let mut volumes = BTreeSet::new();
    for volume in &image.config.volumes {
        let path = clean(volume);
        if path == Path::new("/") {
            return Err(CriError::InvalidArgument(format!("the image's volume {volume:?} is no path below the root")));
        }
        if !config.mounts.iter().any(|mount| clean(&mount.container_path) == path) {
            volumes.insert(path);
        }
    }
    Ok(volumes.into_iter().collect())
}

/// Where a container has the volume of its image with such a number.
pub(super) fn image_volume_dir(container: &Path, number: usize) -> PathBuf {
    container.join(VOLUMES).join(number.to_string())
}

/// An absolute path without `.` and `..`, as Go's `filepath.Clean` makes it.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

/// The container's mounts with the sandbox's own files, parents before children.
fn mounts(sandbox: &Sandbox, config: &ContainerConfig, dir: &Path, volumes: &[PathBuf]) -> Result<Vec<MountSpec>> {
    let mut mounts = Vec::with_capacity(config.mounts.len() + 2);
    for (name, target) in [("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")] {
        if !config.mounts.iter().any(|mount| mount.container_path == target) {
            mounts.push(MountSpec {
                source: sandbox.dir.join(name),
                target: target.into(),
                readonly: config.security.readonly_rootfs,
                propagation: libc::MS_PRIVATE,
                from_image: false,
            });
        }
    }
    for mount in &config.mounts {
        if !mount.host_path.starts_with('/') {
            return Err(CriError::InvalidArgument(format!("host path {:?} is not absolute", mount.host_path)));
        }
        mounts.push(MountSpec {
            source: mount.host_path.clone().into(),
            target: checked_target(&mount.container_path)?,
            readonly: mount.readonly,
            propagation: match mount.propagation {
                MountPropagation::Private => libc::MS_PRIVATE,
                MountPropagation::HostToContainer => libc::MS_SLAVE,
                MountPropagation::Bidirectional => libc::MS_SHARED,
            },
            from_image: false,
        });
    }
    mounts.extend(volumes.iter().enumerate().map(|(number, target)| MountSpec {
        source: image_volume_dir(dir, number),
        target: target.clone(),
        readonly: false,
        propagation: libc::MS_PRIVATE,
        from_image: true,
    }));
    mounts.sort_by_key(|mount| mount.target.components().count());
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seccomp_profile_is_a_file_of_a_sensible_size() {
        let dir = tempfile::tempdir().unwrap();
        let (endless, pipe, long) = (dir.path().join("endless"), dir.path().join("pipe"), dir.path().join("long"));
        std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for (path, size, why) in
            [(&endless, 0, "not a file"), (&pipe, 0, "not a file"), (&long, MAX_PROFILE + 1, "longer")]
        {
            if size > 0 {
                fs::File::create(path).unwrap().set_len(size).unwrap();
            }
            let error = read_profile(path).unwrap_err().to_string();
            assert!(error.contains(why), "{}: {error}", path.display());
        }
        fs::write(&long, "{}").unwrap();
        assert_eq!(read_profile(&long).unwrap(), b"{}");
    }

    #[test]
    fn signals_are_named_in_many_ways() {
        for (text, number) in [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)] {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        for bad in ["", "SIG", "0", "65", "RTMIN+99", "NOPE"] {
            assert_eq!(signal_number(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_images_volumes_are_clean_paths_and_make_way_for_the_pods() {
        let mut image = ImageRecord::default();
        let of = |image: &ImageRecord, mounts: &[&str]| {
            let mount = |path: &&str| crate::cri::Mount { container_path: path.to_string(), ..Default::default() };
            let config = ContainerConfig { mounts: mounts.iter().map(mount).collect(), ..Default::default() };
            image_volumes(&config, image)
        };
        image.config.volumes = ["/data/", "/data", "../../cache/./x", "/log"].map(Into::into).into();
        let expected = ["/cache/x", "/data"].map(PathBuf::from);
        assert_eq!(of(&image, &["/log/", "/data/inner"]).unwrap(), expected);
        image.config.volumes = vec!["/..".into()];
        assert!(of(&image, &[]).unwrap_err().to_string().contains("no path below the root"));
    }

    #[test]
    fn a_command_replaces_entrypoint_and_cmd() {
        let mut image = ImageRecord::default();
        image.config.entrypoint = vec!["e".into()];
        image.config.cmd = vec!["c".into()];
        let args = |command: &[&str], args: &[&str]| {
            let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
            let config = ContainerConfig { command: own(command), args: own(args), ..Default::default() };
            arguments(&config, &image).unwrap().join(" ")
        };
        assert_eq!(args(&[], &[]), "e c");
        assert_eq!(args(&[], &["a"]), "e a");
        assert_eq!(args(&["x"], &[]), "x");
        assert_eq!(args(&["x"], &["a"]), "x a");
    }
}
