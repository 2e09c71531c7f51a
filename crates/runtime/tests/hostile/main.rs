//! Images, volumes and processes that try to get out of a container: one file for each class of escape known of
//! container runtimes, with the numbers under which such holes were published elsewhere.
#![allow(missing_docs, reason = "tests are no interface")]

#[path = "../common/mod.rs"]
mod common;

mod cgroups;
mod console;
mod devices;
mod exec;
mod image_links;
mod image_volumes;
mod masked_paths;
mod mount_targets;
mod outputs;
mod pid1;
mod privileges;
mod procfs;
mod user_databases;
mod working_directory;

use std::path::Path;

use common::{Bench, archive, hex, is_root, program};
use coracle_runtime::cri::*;

/// An entry of a hostile image's layer.
pub enum Entry<'a> {
    File(&'a str, &'a [u8]),
    Link(&'a str, &'a str),
    Fifo(&'a str),
}

fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let tool = std::fs::read(program("testbox")).unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind: tar::EntryType, path: &str, mode: u32, data: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        match link {
            Some(to) => builder.append_link(&mut header, path, to).unwrap(),
            None => builder.append_data(&mut header, path, data).unwrap(),
        }
    };
    add(tar::EntryType::Regular, "testbox", 0o755, &tool, None);
    add(tar::EntryType::Regular, "suid", 0o4755, &tool, None);
    for entry in entries {
        match entry {
            Entry::File(path, data) => add(tar::EntryType::Regular, path, 0o644, data, None),
            Entry::Link(path, to) => add(tar::EntryType::Symlink, path, 0o777, b"", Some(to)),
            Entry::Fifo(path) => add(tar::EntryType::Fifo, path, 0o644, b"", None),
        }
    }
    builder.into_inner().unwrap()
}

/// Imports an image as `hostile:1`.
pub fn import(bench: &Bench, entries: &[Entry<'_>], working_dir: &str) {
    import_with_volumes(bench, entries, working_dir, &[]);
}

/// The same with volumes.
pub fn import_with_volumes(bench: &Bench, entries: &[Entry<'_>], working_dir: &str, volumes: &[&str]) {
    let volumes: serde_json::Map<_, _> = volumes.iter().map(|path| (path.to_string(), serde_json::json!({}))).collect();
    let layer = layer(entries);
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
        "config": {"Entrypoint": ["/testbox"], "Env": ["PATH=/"], "WorkingDir": working_dir, "Volumes": volumes},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
    });
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": ["hostile:1"], "Layers": ["0/layer.tar"]}]);
    let members = [
        ("0/layer.tar".to_string(), layer),
        ("config.json".to_string(), serde_json::to_vec(&config).unwrap()),
        ("manifest.json".to_string(), serde_json::to_vec(&manifest).unwrap()),
    ];
    bench.runtime.import(&archive(&members)[..], None).unwrap();
}

pub fn hostile(args: &[&str]) -> ContainerConfig {
    ContainerConfig { image: "hostile:1".into(), ..Bench::container_config(args) }
}

/// What a container wrote, or why it did not start.
pub type Outcome = std::result::Result<String, String>;

/// Its output, or why it did not start.
pub async fn outcome(bench: &Bench, sandbox: &str, config: ContainerConfig) -> Outcome {
    let id = bench.runtime.create_container(sandbox, config).await.map_err(|error| error.to_string())?;
    bench.runtime.start_container(&id).await.map_err(|error| error.to_string())?;
    bench.wait(&id).await;
    Ok(bench.log(&id).await.join("\n"))
}

/// A sandbox whose containers share a PID namespace.
pub async fn shared_sandbox(bench: &Bench) -> String {
    let mut config = bench.sandbox_config();
    config.namespaces.shared_pid = true;
    bench.runtime.run_pod_sandbox(config).await.unwrap()
}

pub fn volume(bench: &Bench, name: &str) -> std::path::PathBuf {
    let path = bench.dir.path().join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

pub fn mount(source: &Path, target: &str) -> Mount {
    Mount { container_path: target.into(), host_path: source.to_string_lossy().into_owned(), ..Default::default() }
}

pub async fn exec(bench: &Bench, id: &str, args: &[&str]) -> Outcome {
    let command = args.iter().map(ToString::to_string).collect();
    let done = bench.runtime.exec_sync(id, command, None).await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
}
