//! What set-up and tear-down of a pod's volumes do together, over restarts of the daemon.

use super::local::Local;
use super::payload::Payload;
use super::state::Record;
use super::*;
use crate::testing::with_own_mounts;
use k8s_openapi::api::core::v1::LocalVolumeSource;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap()
}

fn local(path: &Path, block: bool) -> Wanted {
    local_of(path, block, None)
}

fn local_of(path: &Path, block: bool, fs_type: Option<&str>) -> Wanted {
    let source = LocalVolumeSource { path: path.to_string_lossy().into_owned(), fs_type: fs_type.map(str::to_owned) };
    let kind = Kind::Local(Local::new("pv", &source, Vec::new(), block));
    let claim = state::Claim { namespace: "n".into(), name: "c".into(), volume: "pv".into(), exclusive: false };
    Wanted { record: Record { claim: Some(claim), ..Record::new(kind, "pv") }, payload: None }
}

fn one(wanted: Wanted) -> BTreeMap<String, Wanted> {
    BTreeMap::from([("v".to_owned(), wanted)])
}

fn files(kind: Files) -> Wanted {
    let file = payload::File { data: b"x".to_vec(), mode: 0o644, uid: None };
    let payload = Some(Payload::from([("f".to_owned(), file)]));
    Wanted { record: Record::new(Kind::Files(kind), "v"), payload }
}

#[test]
fn what_no_container_uses_is_not_made() {
    let pod = pod(json!({
        "containers": [{"name": "a", "volumeMounts": [{"name": "m", "mountPath": "/m"}]}],
        "initContainers": [{"name": "i", "volumeDevices": [{"name": "d", "devicePath": "/d"}]}],
        "ephemeralContainers": [{"name": "e", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}]}));
    let used = ["m", "d", "x", "other"].map(|name| uses(&pod, name));
    assert_eq!(used, [(true, false), (false, true), (true, false), (false, false)]);
}

#[test]
fn a_daemon_that_comes_later_takes_down_what_another_made() {
    with_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let (kubelet, disk) = (root.path().join("kubelet"), root.path().join("disk"));
        fs::create_dir(&disk).unwrap();
        fs::write(disk.join("kept"), "x").unwrap();
        let group = Some(FsGroup { group: 4242, on_root_mismatch: false });
        let wanted = || BTreeMap::from([("v".to_owned(), local(&disk, false)), ("s".to_owned(), files(Files::Secret))]);
        let first = State::reconstruct(&kubelet);
        let paths = set_up(&first, "u", wanted(), group).unwrap();
        assert_eq!(fs::read_to_string(paths["v"].join("kept")).unwrap(), "x");
        assert_eq!(fs::read_to_string(paths["s"].join("f")).unwrap(), "x");
        assert!(mount::is_mounted(&paths["v"]) && mount::is_mounted(&paths["s"]));
        // One that finds it made changes nothing of it.
        std::os::unix::fs::chown(disk.join("kept"), None, Some(7)).unwrap();
        let second = State::reconstruct(&kubelet);
        assert!(second.of("u").values().all(|record| record.ready));
        assert_eq!(set_up(&second, "u", wanted(), group).unwrap(), paths);
        assert_eq!(std::os::unix::fs::MetadataExt::gid(&fs::metadata(disk.join("kept")).unwrap()), 7);
        let third = State::reconstruct(&kubelet);
        for _ in 0..2 {
            tear_down(&third, "u").unwrap();
        }
        assert!(disk.join("kept").exists() && !third.pod_dir("u").exists() && third.of("u").is_empty());
    });
}

#[test]
fn a_volume_that_failed_is_not_whole_and_is_taken_down_all_the_same() {
    with_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let state = State::reconstruct(root.path());
        let missing = local(&root.path().join("missing"), false);
        let refused = set_up(&state, "u", one(missing), None).unwrap_err();
        assert!(refused.starts_with("MountVolume.SetUp failed for volume \"pv\" : path "), "{refused}");
        assert!(!state.get("u", "v").unwrap().ready);
        tear_down(&State::reconstruct(root.path()), "u").unwrap();
    });
}

#[test]
fn an_empty_directory_keeps_what_is_in_it_and_its_mode_until_the_pod_goes() {
    let root = tempfile::tempdir().unwrap();
    let state = State::reconstruct(root.path());
    let wanted = || {
        let kind = Kind::EmptyDir(EmptyDir::new(&Default::default(), None).unwrap());
        one(Wanted { record: Record::new(kind, "v"), payload: None })
    };
    let paths = set_up(&state, "u", wanted(), None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&paths["v"]), 0o777);
    fs::write(paths["v"].join("f"), "x").unwrap();
    fs::set_permissions(&paths["v"], fs::Permissions::from_mode(0o700)).unwrap();
    set_up(&State::reconstruct(root.path()), "u", wanted(), None).unwrap();
    assert!(paths["v"].join("f").exists() && mode(&paths["v"]) == 0o700);
    tear_down(&state, "u").unwrap();
    assert!(!paths["v"].exists());
}

/// A loop device over a file, let go with it.
struct Device(PathBuf);

impl Device {
    fn new(file: &Path) -> Option<Device> {
        fs::File::create(file).unwrap().set_len(32 << 20).unwrap();
        Device::over(file, &[])
    }

    fn over(file: &Path, options: &[&str]) -> Option<Device> {
        let out = Command::new("losetup").args(["--find", "--show"]).args(options).arg(file).output().ok()?;
        let path = String::from_utf8(out.stdout).ok()?.trim().to_owned();
        if path.is_empty() {
            coracle_testing::skip(coracle_testing::Lacks::Machine("there is no loop device"));
            return None;
        }
        Some(Device(path.into()))
    }

    fn write(&self, text: &[u8]) {
        fs::File::options().write(true).open(&self.0).unwrap().write_all_at(text, 4096).unwrap();
    }

    /// Makes a file system on it.
    fn format(&self) -> bool {
        let made = Command::new("mkfs.ext4").arg("-q").arg(&self.0).status().is_ok_and(|status| status.success());
        if !made {
            coracle_testing::skip(coracle_testing::Lacks::Tool("there is no mkfs.ext4 on PATH"));
        }
        made
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn a_device_with_a_file_system_is_staged_once_for_all_pods_of_the_node() {
    with_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let Some(device) = Device::new(&root.path().join("image")) else { return };
        let state = State::reconstruct(&root.path().join("kubelet"));
        device.write(b"somebody's");
        let refused = set_up(&state, "a", one(local(&device.0, false)), None).unwrap_err();
        assert!(refused.contains("has no file system that is known, and is not empty"), "{refused}");
        assert_eq!(set_up(&state, "a", one(local(&device.0, true)), None).unwrap()["v"], device.0);
        tear_down(&state, "a").unwrap();
        if !device.format() {
            return;
        }
        let staged = state.staged(&local(&device.0, false).record.kind);
        let path = |uid: &str| set_up(&state, uid, one(local(&device.0, false)), None).unwrap()["v"].clone();
        let (a, b) = (path("a"), path("b"));
        fs::write(a.join("f"), "x").unwrap();
        assert_eq!(fs::read_to_string(b.join("f")).unwrap(), "x");
        assert!(mount::is_mounted(&staged));
        tear_down(&state, "a").unwrap();
        assert!(mount::is_mounted(&staged) && b.join("f").exists());
        tear_down(&State::reconstruct(&root.path().join("kubelet")), "b").unwrap();
        assert!(!staged.exists());
    });
}

#[test]
fn an_empty_device_is_given_a_file_system_and_keeps_what_is_on_it() {
    with_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let Some(device) = Device::new(&root.path().join("image")) else { return };
        let state = State::reconstruct(&root.path().join("kubelet"));
        let of_kind = |fs_type: Option<&str>| one(local_of(&device.0, false, fs_type));
        let missing = set_up(&state, "a", of_kind(Some("nosuch")), None).unwrap_err();
        assert!(missing.contains("this node has no program mkfs.nosuch"), "{missing}");
        let made = match set_up(&state, "a", of_kind(None), None) {
            Ok(paths) => paths["v"].clone(),
            Err(error) => {
                assert!(error.contains("this node has no program mkfs.ext4"), "{error}");
                return coracle_testing::skip(coracle_testing::Lacks::Tool("there is no mkfs.ext4"));
            }
        };
        fs::write(made.join("f"), "kept").unwrap();
        tear_down(&state, "a").unwrap();
        // That it is to be of another kind is no reason to make one anew.
        assert!(set_up(&state, "b", of_kind(Some("xfs")), None).is_err());
        let again = set_up(&state, "c", of_kind(Some("ext4")), None).unwrap()["v"].clone();
        assert_eq!(fs::read_to_string(again.join("f")).unwrap(), "kept");
        tear_down(&state, "c").unwrap();
    });
}

#[test]
fn a_device_that_one_pod_only_reads_is_written_to_by_the_next() {
    with_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let image = root.path().join("image");
        let Some(device) = Device::new(&image).filter(Device::format) else { return };
        let state = State::reconstruct(&root.path().join("kubelet"));
        let path = |uid: &str, device: &Device, read_only: bool| {
            let mut wanted = local(&device.0, false);
            wanted.record.read_only = read_only;
            set_up(&state, uid, one(wanted), None).unwrap()["v"].clone()
        };
        let (reader, writer) = (path("a", &device, true), path("b", &device, false));
        fs::write(writer.join("f"), "x").unwrap();
        assert_eq!(fs::write(reader.join("f"), "y").unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        tear_down(&state, "a").unwrap();
        tear_down(&state, "b").unwrap();
        drop(device);
        // What can only be read is mounted so.
        let Some(device) = Device::over(&image, &["--read-only"]) else { return };
        assert_eq!(fs::read_to_string(path("c", &device, true).join("f")).unwrap(), "x");
        tear_down(&state, "c").unwrap();
    });
}

#[test]
fn a_volume_is_given_to_a_group_by_the_first_pod_that_has_all_of_it() {
    with_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let (kubelet, disk) = (root.path().join("kubelet"), root.path().join("disk"));
        fs::create_dir(&disk).unwrap();
        let state = State::reconstruct(&kubelet);
        let make = |uid: &str, group: u32, wanted: BTreeMap<String, Wanted>| {
            set_up(&state, uid, wanted, Some(FsGroup { group, on_root_mismatch: false }))
        };
        let group = || std::os::unix::fs::MetadataExt::gid(&fs::metadata(&disk).unwrap());
        let failing = || {
            let broken = Kind::HostPath(serde_json::from_value(json!({"path": "../x", "type": ""})).unwrap());
            Wanted { record: Record::new(broken, "broken"), payload: None }
        };
        let with = |name: &str| BTreeMap::from([(name.to_owned(), failing()), ("v".to_owned(), local(&disk, false))]);
        // Another volume of the first pod failed before this one was made.
        make("a", 4001, with("a")).unwrap_err();
        make("b", 4002, one(local(&disk, false))).unwrap();
        assert_eq!(group(), 4002);
        make("a", 4001, one(local(&disk, false))).unwrap();
        assert_eq!(group(), 4002);
        for uid in ["a", "b"] {
            tear_down(&state, uid).unwrap();
        }
        // It failed after this one was made, which is known to whoever comes later.
        make("a", 4003, with("z")).unwrap_err();
        assert!(State::reconstruct(&kubelet).get("a", "v").unwrap().ready);
        make("b", 4004, one(local(&disk, false))).unwrap();
        assert_eq!(group(), 4003);
        for uid in ["a", "b"] {
            tear_down(&state, uid).unwrap();
        }
    });
}

#[test]
fn of_pods_that_come_at_once_one_gives_the_volume_to_its_group() {
    with_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let state = State::reconstruct(&root.path().join("kubelet"));
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (state, disk) = (&state, &disk);
                let group = Some(FsGroup { group: 4242, on_root_mismatch: false });
                scope.spawn(move || set_up(state, &n.to_string(), one(local(disk, false)), group).unwrap());
            }
        });
        assert_eq!(std::os::unix::fs::MetadataExt::gid(&fs::metadata(&disk).unwrap()), 4242);
        for n in 0..8 {
            tear_down(&state, &n.to_string()).unwrap();
        }
    });
}

#[test]
fn a_volume_that_takes_long_keeps_no_other_waiting() {
    with_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let state = State::reconstruct(&root.path().join("kubelet"));
        let hanging = state.turn_at("other");
        let _hangs = hanging.lock();
        set_up(&state, "u", one(local(&disk, false)), None).unwrap();
        tear_down(&state, "u").unwrap();
    });
}

#[test]
fn a_volume_of_the_pod_and_one_that_it_claims_never_share_a_path() {
    with_own_mounts(|| {
        let root = tempfile::tempdir().unwrap();
        let state = State::reconstruct(&root.path().join("kubelet"));
        let plain = |kind: &Kind| Wanted { record: Record::new(kind.clone(), "pv"), payload: None };
        let claimed = |kind: &Kind| {
            let claim = local(root.path(), false).record.claim;
            Wanted { record: Record { claim, ..plain(kind).record }, payload: None }
        };
        let make = |uid: &str, a: Wanted, b: Wanted| {
            set_up(&state, uid, BTreeMap::from([("c".to_owned(), a), ("pv".to_owned(), b)]), None)
        };
        let nfs: Kind = serde_json::from_value(
            json!({"nfs": {"server": "127.0.0.1", "path": "/x", "read_only": false, "options": []}}),
        )
        .unwrap();
        let refused = make("u", claimed(&nfs), plain(&nfs)).unwrap_err();
        assert!(refused.contains("volumes \"c\" and \"pv\" would have the same path"), "{refused}");
        assert!(state.of("u").is_empty());
        // Nothing is made for a path of the node, and a claim may be had twice.
        let host_path: Kind = serde_json::from_value(json!({"hostPath": {"path": root.path(), "type": ""}})).unwrap();
        make("v", claimed(&host_path), plain(&host_path)).unwrap();
        let twice = || local(root.path(), false);
        let paths = make("w", twice(), twice()).unwrap();
        assert_eq!(paths["c"], paths["pv"]);
        for uid in ["u", "v", "w"] {
            tear_down(&state, uid).unwrap();
        }
    });
}
