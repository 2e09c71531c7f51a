//! Files that others make: waited for, not looked for again and again.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// How soon to look again where the kernel does not tell.
const BLIND: Duration = Duration::from_millis(2);

/// What appears in directories.
pub struct Arrivals(Option<OwnedFd>);

impl Arrivals {
    /// Begins to watch directories. A socket is told once it listens and has its mode, a file once it is whole.
    pub fn of(dirs: &[&Path]) -> Arrivals {
        let watch = || -> rustix::io::Result<OwnedFd> {
            let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            for dir in dirs {
                inotify::add_watch(&watch, *dir, WatchFlags::ATTRIB | WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO)?;
            }
            Ok(watch)
        };
        Arrivals(watch().ok())
    }

    /// Waits until something appears or was there since the last call, at the longest for a time.
    pub fn wait(&self, longest: Duration) {
        let Some(watch) = &self.0 else { return std::thread::sleep(longest.min(BLIND)) };
        let timeout = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&timeout));
        let mut told = [MaybeUninit::uninit(); 4096];
        while rustix::io::read(watch, &mut told[..]).is_ok_and(|(told, _)| !told.is_empty()) {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_socket_that_listens_is_told_and_what_was_told_is_not_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let arrivals = Arrivals::of(&[dir.path()]);
        let long = Duration::from_secs(60);
        let path = dir.path().join("socket");
        let maker = std::thread::spawn({
            let path = path.clone();
            move || {
                let listener = UnixListener::bind(&path).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
                listener
            }
        });
        let begin = Instant::now();
        arrivals.wait(long);
        assert!(begin.elapsed() < long);
        let _listener = maker.join().unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();

        arrivals.wait(Duration::ZERO);
        let (begin, short) = (Instant::now(), Duration::from_millis(50));
        arrivals.wait(short);
        assert!(begin.elapsed() >= short);
    }

    #[test]
    fn a_directory_that_is_not_there_is_looked_at_again() {
        Arrivals::of(&[Path::new("/nonexistent")]).wait(Duration::from_secs(60));
    }
}
