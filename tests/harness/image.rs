//! The test image as a docker-archive.

use std::fs::File;
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// The commands of the image that are found in `/bin`, besides `test`.
const COMMANDS: &[&str] = &[
    "alloc", "call", "caps", "cat", "crash", "echo", "env", "exit", "grpc", "hostname", "id", "ignore", "lines",
    "link", "ls", "meet", "nslookup", "post", "rm", "serve", "sh", "sleep", "spin", "tar", "trap", "udp", "wget",
    "write",
];

/// Writes a docker-archive with the image under each tag; each has its tag's version in the variable `VERSION`.
pub fn write_archive(program: &Path, tags: &[&str], to: &Path) -> Result<()> {
    let layer = layer(&std::fs::read(program)?)?;
    let digest: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut archive = Builder::new(File::create(to)?);
    let mut manifest = Vec::new();
    add(&mut archive, "layer.tar", EntryType::Regular, 0o644, &layer)?;
    for tag in tags {
        let version = tag.rsplit_once(':').map_or("latest", |(_, version)| version);
        // One that has both an entrypoint and arguments, for tests of what takes their place.
        let (entrypoint, command) = match tag.starts_with("entrypoint:") {
            true => (json!(["/bin/echo"]), json!(["of the image"])),
            false => (json!(null), json!(["/bin/serve", "--port", "8080"])),
        };
        let config = json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
            "config": {
                "Env": ["PATH=/bin", format!("VERSION={version}")],
                "Entrypoint": entrypoint,
                "Cmd": command,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        let name = format!("config-{version}.json");
        add(&mut archive, &name, EntryType::Regular, 0o644, config.to_string().as_bytes())?;
        manifest.push(json!({"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}));
    }
    add(&mut archive, "manifest.json", EntryType::Regular, 0o644, json!(manifest).to_string().as_bytes())?;
    archive.into_inner()?.sync_all()?;
    Ok(())
}

fn layer(program: &[u8]) -> Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for directory in ["bin", "etc", "root", "data"] {
        add(&mut layer, directory, EntryType::Directory, 0o755, &[])?;
    }
    add(&mut layer, "tmp", EntryType::Directory, 0o1777, &[])?;
    add(&mut layer, "bin/test", EntryType::Regular, 0o755, program)?;
    for command in COMMANDS {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, format!("bin/{command}"), "test")?;
    }
    let users =
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n";
    add(&mut layer, "etc/passwd", EntryType::Regular, 0o644, users)?;
    add(&mut layer, "etc/group", EntryType::Regular, 0o644, b"root:x:0:\nnobody:x:65534:\nuser:x:1000:\n")?;
    Ok(layer.into_inner()?)
}

fn add<W: std::io::Write>(archive: &mut Builder<W>, path: &str, kind: EntryType, mode: u32, data: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(data.len() as u64);
    archive.append_data(&mut header, path, data)?;
    Ok(())
}
