//! The removal of what nobody names: uploads that were given up, blobs of no manifest, empty repositories.
//!
//! It marks what manifests name. As who pushes sends the manifest last, it also marks what came a short while ago, and all of a
//! repository to which something came then, or of all while something is still coming: one large layer may take hours.
//! Nothing is named meanwhile ([`Registry::gate`]), and whoever asks whether a blob is there keeps it for another while.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::manifest;
use crate::names::Digest;
use crate::store::{Registry, entries};

/// How long what no manifest names stays.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Sweeps some time after each change, for ever.
pub(crate) async fn keep(registry: Arc<Registry>) {
    loop {
        let own = registry.clone();
        match tokio::task::spawn_blocking(move || own.sweep(PATIENCE)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "blobs that no manifest names are removed"),
            Ok(Err(error)) => tracing::warn!(%error, "failed to remove blobs that no manifest names"),
            Err(error) => tracing::warn!(%error, "the removal of blobs broke"),
        }
        registry.changed.notified().await;
        tokio::time::sleep(PATIENCE + PATIENCE / 10).await;
    }
}

impl Registry {
    /// Removes what nobody names and what has been there for so long; answers with how many blobs. Blocks.
    pub(crate) fn sweep(&self, patience: Duration) -> io::Result<usize> {
        let mut is_pushed_to = false;
        for (name, path) in entries(&self.uploads_dir())? {
            let is_busy = name.parse().is_ok_and(|id| self.busy.lock().contains(&id));
            if !is_busy && is_old(&path, patience) {
                let _ = fs::remove_file(path);
            } else {
                is_pushed_to = true;
            }
        }
        let _gate = self.gate.write();
        let mut marked = HashSet::new();
        for (_, repository) in entries(&self.repositories_dir())? {
            // Each layer that comes changes its directory.
            let is_pushed_to = is_pushed_to || !is_old(&repository.join("layers"), patience);
            self.sweep_repository(&repository, &mut marked, |link| is_pushed_to || !is_old(link, patience))?;
        }
        let mut removed = 0;
        for (name, path) in entries(&self.blobs_dir())? {
            if Digest::from_hex(&name).is_none_or(|digest| !marked.contains(&digest)) {
                fs::remove_file(path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Marks what is named in a repository, and of the rest what stays.
    fn sweep_repository(
        &self,
        dir: &Path,
        marked: &mut HashSet<Digest>,
        stays: impl Fn(&Path) -> bool,
    ) -> io::Result<()> {
        let mut named = HashSet::new();
        for (name, link) in entries(&dir.join("manifests"))? {
            let Some(digest) = Digest::from_hex(&name) else { continue };
            let media_type = fs::read_to_string(&link)?;
            let bytes = match fs::read(self.blob_path(&digest)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            // What was stored was read before; what a later version would not take keeps at least itself.
            let manifest = manifest::read(&bytes, &media_type).unwrap_or_default();
            named.extend(manifest.blobs.into_iter().map(|(blob, _)| blob));
            marked.insert(digest);
        }
        for (name, link) in entries(&dir.join("layers"))? {
            let digest = Digest::from_hex(&name);
            match digest.filter(|digest| named.contains(digest) || stays(&link)) {
                Some(digest) => drop(marked.insert(digest)),
                None => fs::remove_file(link)?,
            }
        }
        // Only what is empty goes.
        for part in ["tags", "manifests", "layers", ""] {
            let _ = fs::remove_dir(dir.join(part));
        }
        Ok(())
    }
}

/// What the clock says is younger than the file is not old.
fn is_old(path: &Path, patience: Duration) -> bool {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| SystemTime::now().duration_since(written).is_ok_and(|age| age >= patience))
}
