//! Directory trees that containers write to: where they lie, and removing them without ever leaving them.
//!
//! What is mounted below is unmounted first, and the walk then opens every directory beneath its parent with
//! `RESOLVE_NO_XDEV`: a mount that is left, such as a bind of a user's own directory, is an error and is never
//! entered. No path is compared with another, so it does not matter whether the path of the tree has symlinks in it
//! or is mounted in several places.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags, StatxFlags, ioctl_getflags, ioctl_setflags,
};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

/// Deeper directories are moved up before they are emptied, so that few descriptors suffice for any depth.
const MAX_DEPTH: usize = 64;
/// How the names of those begin.
const MOVED: &str = ".removed-";
/// Most looks at the mount table while unmounting: each but the last takes a layer of mounts away.
const MAX_PASSES: usize = 64;

/// Asks the file system to put directories that are made in `dir` far from each other (`chattr +T`), where it knows of that. ext4
/// gives an inode out again only minutes after it was freed, and passes over all of those that lie near the directory: where
/// pods come and go, each would take longer to start than the one before.
pub fn spread(dir: &Path) {
    // It is only slower without.
    let _ = || -> rustix::io::Result<()> {
        let dir = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        ioctl_setflags(&dir, ioctl_getflags(&dir)? | IFlags::TOPDIR)
    }();
}

/// Unmounts everything mounted below `dir` and removes `dir` with all it holds. One that is not there is fine; a
/// symlink or a file goes by itself. Blocks.
///
/// # Errors
/// When something is still mounted at or below `dir`: nothing behind that mount is touched. Names the path.
pub fn remove(dir: &Path) -> Result<()> {
    let (above, name) = match above(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    match open_dir(above.as_fd(), &name) {
        Ok(open) => {
            unmount_below(&open, dir, |_| true)?;
            Walk { shown: dir, moved: 0 }.empty(&open)?;
            drop(open);
            remove_dir(above.as_fd(), &name, dir)
        }
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => match rustix::fs::unlinkat(&above, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(at(dir, error)),
        },
        Err(error) => Err(at(dir, error)),
    }
}

/// Removes of `dir` what has names that are meant, as [`remove`] does it, and `dir` itself once it is empty; answers the names
/// of what is left, which is neither touched nor unmounted. A directory that is not there has nothing. Blocks.
///
/// # Errors
/// As for [`remove`]; also when `dir` is no directory.
pub fn remove_named(dir: &Path, is_meant: impl Fn(&OsStr) -> bool) -> Result<Vec<OsString>> {
    let (above, name) = match above(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let open = match open_dir(above.as_fd(), &name) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        other => other.map_err(|error| at(dir, error))?,
    };
    unmount_below(&open, dir, |inner| inner.iter().next().is_some_and(&is_meant))?;
    let mut walk = Walk { shown: dir, moved: 0 };
    loop {
        let (meant, left): (Vec<_>, Vec<_>) =
            names(&open, dir)?.into_iter().partition(|name| is_meant(name) || Walk::has_moved(name));
        if meant.is_empty() {
            if left.is_empty() {
                remove_dir(above.as_fd(), &name, dir)?;
            }
            return Ok(left);
        }
        for name in meant {
            walk.entry(&open, &open, &name, &dir.join(&name), 0)?;
        }
    }
}

/// The names in a directory.
fn names(dir: &OwnedFd, shown: &Path) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).map_err(|error| at(shown, error))? {
        let entry = entry.map_err(|error| at(shown, error))?;
        names.push(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
    }
    names.retain(|name| name != "." && name != "..");
    names.sort();
    Ok(names)
}

/// Unmounts what is mounted below `dir` at paths in it that are meant; all else stays as it is. Blocks.
///
/// # Errors
/// When the mount table cannot be read or a mount cannot be taken away.
pub fn unmount_named(dir: &Path, is_meant: impl Fn(&Path) -> bool) -> Result<()> {
    let (above, name) = above(dir)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::openat(&above, &name, flags, Mode::empty()).map_err(|error| at(dir, error))?;
    unmount_below(&open, dir, is_meant)
}

/// What a tree takes of its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes; those of a tree that is nested too deeply to be measured are endless.
    pub bytes: u64,
    /// Files and directories in it, and itself.
    pub inodes: u64,
}

/// Bytes of disk that a tree takes, as [`taken`] has it. Blocks.
pub fn usage(dir: &Path) -> u64 {
    taken(dir).bytes
}

/// What a tree takes, without what is mounted in it. One that is not there takes nothing. Blocks.
pub fn taken(dir: &Path) -> Taken {
    fn walk(dir: &OwnedFd, depth: usize, sum: &mut Taken) {
        if depth > MAX_DEPTH {
            sum.bytes = u64::MAX;
            return;
        }
        // What vanishes meanwhile takes nothing.
        for entry in Dir::read_from(dir).into_iter().flatten().flatten() {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let Ok(stat) = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if name != "." && name != ".." {
                sum.bytes = sum.bytes.saturating_add((stat.st_blocks as u64).saturating_mul(512));
                sum.inodes = sum.inodes.saturating_add(1);
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                    && let Ok(inner) = open_dir(dir.as_fd(), name)
                {
                    walk(&inner, depth + 1, sum);
                }
            }
        }
    }
    let mut sum = Taken::default();
    if let Some(open) = above(dir).ok().and_then(|(above, name)| open_dir(above.as_fd(), &name).ok()) {
        sum.inodes = 1;
        walk(&open, 0, &mut sum);
    }
    sum
}

/// The directory that holds `dir`, and the name of `dir` in it. Links on the way there are followed.
fn above(dir: &Path) -> Result<(OwnedFd, OsString)> {
    let name = dir.file_name().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, format!("{} does not name a directory to remove", dir.display()))
    })?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, parent, flags, Mode::empty()).map_err(|error| at(parent, error))?;
    Ok((fd, name.to_owned()))
}

fn at(path: &Path, error: Errno) -> Error {
    let error = Error::from(error);
    let text = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::XDEV | Errno::BUSY) => {
            format!("{} is a mount; it was left as it is: unmount it and try again", path.display())
        }
        _ => format!("{}: {error}", path.display()),
    };
    Error::new(error.kind(), text)
}

/// Opens a directory of a directory, never through a link or into another mount.
fn open_dir(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)
}

fn remove_dir(dir: BorrowedFd<'_>, name: &OsStr, shown: &Path) -> Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(at(shown, error)),
    }
}

struct Walk<'a> {
    /// The tree's path, for messages.
    shown: &'a Path,
    /// Directories moved up so far.
    moved: u64,
}

impl Walk<'_> {
    /// Whether a name is one of those that this walk, or an earlier one that was interrupted, gave to what it moved up.
    fn has_moved(name: &OsStr) -> bool {
        let numbers = name.to_str().and_then(|name| name.strip_prefix(MOVED)?.split_once('-'));
        numbers.is_some_and(|(process, count)| process.parse::<u32>().is_ok() && count.parse::<u64>().is_ok())
    }

    fn empty(&mut self, top: &OwnedFd) -> Result<()> {
        // What is moved up, and what a file system skips while a directory changes, is found by looking again.
        while self.clear(top, top, self.shown, 0)? > 0 {}
        Ok(())
    }

    /// Removes what a directory holds; answers with how many entries it had.
    fn clear(&mut self, top: &OwnedFd, dir: &OwnedFd, shown: &Path, depth: usize) -> Result<u64> {
        let mut count = 0;
        for entry in Dir::read_from(dir).map_err(|error| at(shown, error))? {
            let entry = entry.map_err(|error| at(shown, error))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            count += 1;
            self.entry(top, dir, name, &shown.join(name), depth)?;
        }
        Ok(count)
    }

    fn entry(&mut self, top: &OwnedFd, dir: &OwnedFd, name: &OsStr, shown: &Path, depth: usize) -> Result<()> {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR) => {}
            Err(error) => return Err(at(shown, error)),
        }
        let inner = match open_dir(dir.as_fd(), name) {
            Ok(inner) => inner,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(at(shown, error)),
        };
        if depth < MAX_DEPTH {
            while self.clear(top, &inner, shown, depth + 1)? > 0 {}
            return remove_dir(dir.as_fd(), name, shown);
        }
        loop {
            self.moved += 1;
            let fresh = format!("{MOVED}{}-{}", std::process::id(), self.moved);
            match rustix::fs::renameat(dir, name, top, fresh) {
                // Whoever filled the tree may have guessed the name.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                other => return other.map_err(|error| at(shown, error)),
            }
        }
    }
}

/// Takes away the mounts below an open directory whose paths in it are meant, the innermost first.
fn unmount_below(dir: &OwnedFd, shown: &Path, is_meant: impl Fn(&Path) -> bool) -> Result<()> {
    // The kernel's own idea of the path: the mount table has no other.
    let resolved = fs::read_link(format!("/proc/thread-self/fd/{}", dir.as_raw_fd()))?;
    for _ in 0..MAX_PASSES {
        let mut points = mount_points_below(&resolved)?;
        points.retain(|inner, _| is_meant(inner));
        // A bind may share what happens below it with its source, which must keep its mounts: it only listens from now.
        for (inner, ids) in &points {
            with_mount(dir, inner, ids, |link| mount_change(link, MountPropagationFlags::DOWNSTREAM))?;
        }
        let mut progress = false;
        for (inner, ids) in points.iter().rev() {
            progress |= with_mount(dir, inner, ids, |link| unmount(link, UnmountFlags::DETACH))
                .map_err(|error| Error::new(error.kind(), format!("{}: {error}", shown.join(inner).display())))?;
        }
        if !progress {
            return Ok(());
        }
    }
    Err(Error::new(ErrorKind::ResourceBusy, format!("mounts below {} keep coming back", shown.display())))
}

/// Mount points below a path, relative to it, with the IDs of what is mounted there. In the order of the map a
/// directory comes before what is in it.
fn mount_points_below(resolved: &Path) -> Result<BTreeMap<PathBuf, Vec<u64>>> {
    let mut points: BTreeMap<PathBuf, Vec<u64>> = BTreeMap::new();
    for line in fs::read("/proc/thread-self/mountinfo")?.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = fields.next().and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| id.parse().ok());
        let (Some(id), Some(point)) = (id, fields.nth(3)) else { continue };
        let point = PathBuf::from(OsString::from_vec(unescape(point)));
        if let Ok(inner) = point.strip_prefix(resolved)
            && !inner.as_os_str().is_empty()
        {
            points.entry(inner.to_owned()).or_default().push(id);
        }
    }
    Ok(points)
}

/// Does something with the topmost mount at a place, if it is one of those known; whether it was.
fn with_mount(
    dir: &OwnedFd,
    inner: &Path,
    ids: &[u64],
    act: impl FnOnce(&str) -> rustix::io::Result<()>,
) -> Result<bool> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let place = match rustix::fs::openat2(dir, inner, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Ok(place) => place,
        // It is hidden by another mount, or its directory was deleted.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let found = rustix::fs::statx(&place, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id;
    if !ids.contains(&found) {
        return Ok(false);
    }
    // By descriptor: whatever the path leads to by now, it is this mount that is meant.
    act(&format!("/proc/thread-self/fd/{}", place.as_raw_fd()))?;
    Ok(true)
}

/// mountinfo writes blanks as `\040`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_tree_goes_with_its_links_and_what_they_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/f"), "x").unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        symlink(&outside, dir.path().join("alias")).unwrap();
        remove(&tree).unwrap();
        remove(&tree).unwrap();
        remove(&dir.path().join("no/such")).unwrap();
        remove(&dir.path().join("alias")).unwrap();
        assert!(!tree.exists() && !dir.path().join("alias").is_symlink() && outside.join("kept").exists());
    }

    #[test]
    fn what_has_other_names_stays_and_keeps_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("own").join("d/".repeat(2 * MAX_DEPTH + 2))).unwrap();
        fs::create_dir_all(tree.join("theirs/own")).unwrap();
        fs::write(tree.join("theirs/own/file"), "x").unwrap();
        fs::create_dir(tree.join(".removed-1-2")).unwrap();
        fs::create_dir(tree.join(".removed-by-me")).unwrap();
        symlink(tree.join("theirs"), tree.join("own.link")).unwrap();
        let is_meant = |name: &OsStr| name == "own" || name == "own.link";
        assert_eq!(remove_named(&tree, is_meant).unwrap(), [".removed-by-me", "theirs"]);
        assert!(!tree.join("own").exists() && tree.join("theirs/own/file").exists());
        assert!(!tree.join(".removed-1-2").exists() && !tree.join("own.link").is_symlink());
        assert_eq!(remove_named(&tree, |_| true).unwrap(), [""; 0]);
        assert!(!tree.exists() && remove_named(&tree, is_meant).unwrap().is_empty());
        assert!(remove_named(&dir.path().join("no/such"), is_meant).unwrap().is_empty());
    }

    #[test]
    fn what_a_tree_takes_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(usage(&dir.path().join("none")), 0);
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/f"), vec![1; 1 << 20]).unwrap();
        symlink("/", dir.path().join("a/everything")).unwrap();
        let used = usage(dir.path());
        assert!((1 << 20..2 << 20).contains(&used), "{used}");
        fs::create_dir_all(dir.path().join("d/".repeat(MAX_DEPTH + 2))).unwrap();
        assert_eq!(usage(dir.path()), u64::MAX);
    }

    #[test]
    fn depth_costs_no_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut deep = rustix::fs::open(&tree, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deep, "d", Mode::RWXU).unwrap();
            deep = rustix::fs::openat(&deep, "d", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn names_that_were_guessed_do_not_keep_a_tree() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let guess = |number: u32| tree.join(format!(".removed-{}-{number}", std::process::id()));
        fs::create_dir_all(guess(1).join("d/".repeat(MAX_DEPTH + 2))).unwrap();
        fs::write(guess(2), "").unwrap();
        fs::create_dir_all(guess(3).join("d")).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }

    /// Runs something as root in a mount namespace of its own; `None` without root.
    fn with_own_mounts<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        if !coracle_testing::is_root() {
            return None;
        }
        let thread = std::thread::spawn(move || {
            crate::sys::unshare(libc::CLONE_NEWNS).unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).unwrap();
            work()
        });
        Some(thread.join().unwrap())
    }

    fn bind(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        rustix::mount::mount_bind_recursive(from, to).unwrap();
    }

    #[test]
    fn mounts_below_a_tree_are_unmounted_and_what_they_show_stays() {
        with_own_mounts(|| {
            let dir = tempfile::tempdir().unwrap();
            let user = dir.path().join("user");
            fs::create_dir_all(user.join("usb")).unwrap();
            fs::write(user.join("kept"), "x").unwrap();
            rustix::mount::mount("tmpfs", user.join("usb"), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
            fs::write(user.join("usb/kept"), "x").unwrap();
            // What happens below the source happens below a bind of it, and the other way around.
            mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).unwrap();
            let real = dir.path().join("real");
            fs::create_dir(&real).unwrap();
            symlink(&real, dir.path().join("data")).unwrap();
            let tree = dir.path().join("data/tree");
            bind(&user, &tree.join("a b/one"));
            bind(&user, &tree.join("a b/one"));
            bind(&user, &tree.join("a b/two"));
            fs::write(tree.join("file"), "x").unwrap();
            rustix::mount::mount_bind(user.join("kept"), tree.join("file")).unwrap();
            remove(&tree).unwrap();
            assert!(!real.join("tree").exists());
            assert!(user.join("kept").exists() && user.join("usb/kept").exists());
        });
    }

    #[test]
    fn a_mount_that_is_left_is_refused_and_never_entered() {
        with_own_mounts(|| {
            let dir = tempfile::tempdir().unwrap();
            let (user, tree) = (dir.path().join("user"), dir.path().join("tree"));
            fs::create_dir(&user).unwrap();
            fs::write(user.join("kept"), "x").unwrap();
            bind(&user, &tree);
            let error = remove(&tree).unwrap_err().to_string();
            assert!(error.contains("is a mount; it was left as it is"), "{error}");
            // A mount that came after the others were taken away.
            let inner = tree.join("inner");
            bind(&user, &inner);
            let open = rustix::fs::open(&tree, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
            let error =
                Walk { shown: &tree, moved: 0 }.entry(&open, &open, OsStr::new("inner"), &inner, 0).unwrap_err();
            assert!(error.to_string().contains("inner is a mount"), "{error}");
            assert!(user.join("kept").exists());
        });
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(b"/a\\040b\\134040/\\0"), b"/a b\\040/\\0");
    }
}
