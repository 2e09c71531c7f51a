//! A disk that promises more than it has: the kernel takes what is written and then fails to keep it.

use std::path::{Path, PathBuf};
use std::process::Command;

use coracle_e2e::*;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

const MIB: u64 = 1 << 20;

/// A file system of 200 MiB whose blocks are in one in memory of which a part can be taken away.
struct ThinDisk {
    pool: PathBuf,
    at: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

impl ThinDisk {
    fn mounted_at(at: &Path, pool: &Path) -> Option<ThinDisk> {
        if !["mke2fs", "losetup"].iter().all(|program| run("sh", &["-c", &format!("command -v {program} >/dev/null")]))
        {
            skip(Lacks::Tool("there is no mke2fs or losetup"));
            return None;
        }
        std::fs::create_dir_all(at).unwrap();
        std::fs::create_dir_all(pool).unwrap();
        mount("tmpfs", pool, "tmpfs", MountFlags::empty(), Some(c"size=200m")).unwrap();
        let disk = ThinDisk { pool: pool.into(), at: at.into() };
        let image = pool.join("disk");
        std::fs::File::create(&image).unwrap().set_len(200 * MIB).unwrap();
        let image = image.to_string_lossy();
        assert!(run("mke2fs", &["-q", "-t", "ext2", &image]));
        if !run("mount", &["-o", "loop", &image, &at.to_string_lossy()]) {
            skip(Lacks::Machine("there are no loop devices"));
            return None;
        }
        Some(disk)
    }

    /// Takes all of the room that is left below the file system.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.pool.join("filler")).unwrap();
        let _ = std::io::copy(&mut std::io::repeat(1), &mut file);
    }

    fn free(&self) {
        std::fs::remove_file(self.pool.join("filler")).unwrap();
    }
}

impl Drop for ThinDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.at, UnmountFlags::DETACH);
        let _ = unmount(&self.pool, UnmountFlags::DETACH);
    }
}

/// The disk fails under the log: nothing more is acknowledged, the server ends, and one that follows has everything.
#[test]
fn a_server_whose_disk_fails_ends_and_the_next_one_has_what_was_acknowledged() {
    if !can_run() {
        return;
    }
    // It goes last.
    let directory = tempfile::tempdir().unwrap();
    let (mounted, pool) = (directory.path().join("mounted"), directory.path().join("pool"));
    let Some(disk) = ThinDisk::mounted_at(&mounted, &pool) else { return };
    let mut cluster = Cluster::new("disk");
    cluster.data = mounted.join("data");
    cluster.up();
    let maps = "/api/v1/namespaces/default/configmaps";
    let write = |number: usize| {
        let object = json!({"metadata": {"name": format!("m{number}")}, "data": {"a": "x".repeat(500_000)}});
        let request = http::Request::post(maps).header("content-type", "application/json");
        let answer = cluster.api().try_send(request.body(object.to_string().into_bytes()).unwrap());
        answer.map(|answer| answer.status)
    };
    assert_eq!(write(0), Some(201));
    let before = cluster.daemon().unwrap();
    disk.fill();
    let acknowledged = (1..2000).take_while(|number| write(*number) == Some(201)).count();
    eventually("the server ends", || match cluster.daemon() {
        Some(pid) if pid == before => Err(cluster.log()),
        _ => Ok(()),
    });
    disk.free();
    eventually("another server answers", || {
        let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
        let answer = cluster.api().try_send(request).filter(|answer| answer.status == 200);
        answer.map(drop).ok_or_else(|| cluster.log())
    });
    for number in 0..=acknowledged {
        cluster.api().get(&format!("{maps}/m{number}")).ok();
    }
    assert_eq!(write(5000), Some(201));
    cluster.ok("down", &[]);
}
