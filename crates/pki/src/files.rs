//! Keys and certificates in files: `NAME.crt` and `NAME.key`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate, and those that lead to its authority.
    pub certificate: String,
    /// The PKCS#8 private key.
    pub key: String,
}

impl Pair {
    /// The pair of a name; `None` when the directory has neither half of it.
    ///
    /// # Errors
    /// It cannot be read, or only one half is there.
    pub fn load(dir: &Path, name: &str) -> Result<Option<Pair>> {
        let [certificate_path, key_path] = ["crt", "key"].map(|kind| dir.join(format!("{name}.{kind}")));
        match (read(&certificate_path)?, read(&key_path)?) {
            (Some(certificate), Some(key)) => Ok(Some(Pair { certificate, key })),
            (None, None) => Ok(None),
            (certificate, _) => {
                let (there, missing) =
                    if certificate.is_some() { (certificate_path, key_path) } else { (key_path, certificate_path) };
                bail!(
                    "{} is there and {} is not: put it back, or remove both to have new ones made",
                    there.display(),
                    missing.display()
                )
            }
        }
    }

    /// Writes both halves, readable to the owner only. They are on disk before either has its name: a process that is killed
    /// hardly ever leaves one alone.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self, dir: &Path, name: &str) -> Result<()> {
        let files = [("key", &self.key), ("crt", &self.certificate)].map(|(kind, text)| {
            let path = dir.join(format!("{name}.{kind}"));
            (dir.join(format!("{name}.{kind}.tmp")), path, text)
        });
        for (temporary, path, text) in &files {
            write(temporary, text).with_context(|| format!("failed to write {}", path.display()))?;
        }
        for (temporary, path, _) in &files {
            fs::rename(temporary, path).with_context(|| format!("failed to write {}", path.display()))?;
        }
        Ok(())
    }
}

/// A file's text; `None` when it does not exist.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
