//! The file system that a virtual machine starts from: a cpio archive (`newc`), as
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html> has it.

use std::fs;
use std::path::Path;

/// An archive that grows.
#[derive(Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    members: u32,
}

impl Initramfs {
    pub fn directory(&mut self, path: &str) {
        self.member(path, libc::S_IFDIR | 0o755, (0, 0), &[]);
    }

    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.member(path, libc::S_IFCHR | 0o600, (major, minor), &[]);
    }

    pub fn file(&mut self, path: &str, data: &[u8]) {
        self.member(path, libc::S_IFREG | 0o755, (0, 0), data);
    }

    /// A copy of a file of the host.
    pub fn copy(&mut self, path: &str, from: &Path) {
        let data = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        self.file(path, &data);
    }

    fn member(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), data: &[u8]) {
        self.members += 1;
        let (size, name) = (data.len() as u32, path.len() as u32 + 1);
        let fields = [self.members, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name, 0];
        self.bytes.extend_from_slice(b"070701");
        fields.iter().for_each(|field| self.bytes.extend_from_slice(format!("{field:08x}").as_bytes()));
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.member("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}
