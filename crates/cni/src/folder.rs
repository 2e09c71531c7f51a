//! When a folder of configurations changes.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::{Errno, read};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

/// A folder that is watched, as soon as it is there.
pub struct Folder {
    path: PathBuf,
    /// None where the kernel gives no more of them (`fs.inotify.max_user_instances`).
    events: Option<AsyncFd<OwnedFd>>,
}

/// A descriptor of events that the runtime waits for.
#[allow(unsafe_code, reason = "the runtime is to be given a descriptor that is safe to wait for")]
fn events() -> std::io::Result<AsyncFd<OwnedFd>> {
    let fd = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // SAFETY: the descriptor is owned by the `AsyncFd` from here on, so it is neither closed nor exchanged before it is
    // deregistered.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

impl Folder {
    /// Watches a folder. Needs a tokio runtime.
    pub fn watch(path: &Path) -> Folder {
        let events =
            events().inspect_err(|error| tracing::warn!(%error, "changes of {} are seen later", path.display()));
        let folder = Folder { path: path.to_owned(), events: events.ok() };
        folder.follow();
        folder
    }

    /// Follows the folder that has the path now. Again for the same one, nothing changes.
    fn follow(&self) {
        let changes = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        if let Some(events) = &self.events {
            let _ = add_watch(events.get_ref(), &self.path, changes);
        }
    }

    /// Waits for a change, or until it is time to look anyway.
    pub async fn changed(&self, pause: Duration) {
        let _ = timeout(pause, self.event()).await;
        self.follow();
    }

    async fn event(&self) {
        let Some(events) = &self.events else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = events.readable().await else { return std::future::pending().await };
            let mut buffer = [0; 4096];
            let mut seen = false;
            loop {
                match read(events.get_ref(), &mut buffer) {
                    Ok(length) if length > 0 => seen = true,
                    Err(Errno::INTR) => {}
                    _ => break,
                }
            }
            ready.clear_ready();
            if seen {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn files_that_come_change_and_go_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::watch(dir.path());
        fs::write(dir.path().join("a"), "1").unwrap();
        folder.changed(LONG).await;
        fs::write(dir.path().join("a"), "2").unwrap();
        folder.changed(LONG).await;
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        folder.changed(LONG).await;
        fs::remove_file(dir.path().join("b")).unwrap();
        folder.changed(LONG).await;
    }

    #[tokio::test]
    async fn a_folder_that_comes_later_is_watched_from_the_next_look_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later");
        let folder = Folder::watch(&path);
        folder.changed(Duration::ZERO).await;
        fs::create_dir(&path).unwrap();
        folder.changed(Duration::ZERO).await;
        fs::write(path.join("a"), "1").unwrap();
        folder.changed(LONG).await;
    }
}
