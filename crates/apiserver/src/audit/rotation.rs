//! The file of the audit log: begun anew when it is long enough, and the old ones compressed, and removed when there are too
//! many or they are too old. Files are named as upstream's: `audit-2024-05-01T10-00-00.000.log[.gz]`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";
const COMPRESSED: &str = ".gz";

/// How long files get, and which of the old ones stay.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The length in bytes at which a file is finished.
    pub max_size: u64,
    /// How many old files stay; 0 for all.
    pub max_backups: usize,
    /// How old an old file gets; zero for any age.
    pub max_age: Duration,
    /// Whether old files are compressed.
    pub compress: bool,
}

/// A file that is appended to.
pub(super) struct Rotating {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    length: u64,
    /// Set while old files are looked after.
    tidying: Arc<AtomicBool>,
}

impl Rotating {
    /// Goes on with the file of a path, or begins it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Rotating> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            fs::create_dir_all(dir)?;
        }
        let file = append_to(path)?;
        let length = file.metadata()?.len();
        let rotating = Rotating { path: path.to_owned(), rotation, file, length, tidying: Arc::default() };
        rotating.tidy();
        Ok(rotating)
    }

    /// Appends lines. If that fails, nothing of them is there.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let room = self.rotation.max_size.saturating_sub(self.length);
        if self.length > 0 && lines.len() as u64 > room {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(lines) {
            // Half a line would spoil the next one. What is no plain file cannot be cut.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length = self.length.saturating_add(lines.len() as u64);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let old = self.backup(Timestamp::now());
        fs::rename(&self.path, &old)?;
        self.file = append_to(&self.path)?;
        self.length = 0;
        self.tidy();
        Ok(())
    }

    /// Where the file goes that ends now: a name that none has yet.
    fn backup(&self, now: Timestamp) -> PathBuf {
        let mut at = now;
        loop {
            let (stem, extension) = name(&self.path);
            let stamp = at.to_zoned(TimeZone::UTC).strftime(STAMP).to_string();
            let path = self.path.with_file_name(format!("{stem}-{stamp}{extension}"));
            let compressed = PathBuf::from(format!("{}{COMPRESSED}", path.display()));
            if !path.exists() && !compressed.exists() {
                return path;
            }
            at = at.checked_add(Duration::from_millis(1)).unwrap_or(Timestamp::MAX);
        }
    }

    /// Looks after old files, beside what is written meanwhile.
    fn tidy(&self) {
        let rotation = self.rotation.clone();
        let is_wanted = rotation.compress || rotation.max_backups > 0 || !rotation.max_age.is_zero();
        if !is_wanted || self.tidying.swap(true, Ordering::AcqRel) {
            return;
        }
        let (path, tidying) = (self.path.clone(), self.tidying.clone());
        let work = move || {
            if let Err(error) = tidy(&path, &rotation, Timestamp::now()) {
                tracing::warn!("failed to tidy up the old files of the audit log {}: {error}", path.display());
            }
            tidying.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("audit-log-tidy".into()).spawn(work) {
            self.tidying.store(false, Ordering::Release);
            tracing::warn!("failed to look after the old files of the audit log: {error}");
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The name of a file before its extension, and that with its dot.
fn name(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    (text(path.file_stem()), extension.unwrap_or_default())
}

/// Removes and compresses old files.
fn tidy(path: &Path, rotation: &Rotation, now: Timestamp) -> io::Result<()> {
    let mut old = backups(path)?;
    old.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let kept = if rotation.max_backups == 0 { old.len() } else { rotation.max_backups.min(old.len()) };
    let oldest = now.checked_sub(rotation.max_age).unwrap_or(Timestamp::MIN);
    let is_too_old = |at: Timestamp| !rotation.max_age.is_zero() && at < oldest;
    for (number, (at, file)) in old.iter().enumerate() {
        if number >= kept || is_too_old(*at) {
            fs::remove_file(file)?;
        } else if rotation.compress && file.extension().is_none_or(|extension| extension != "gz") {
            compress(file)?;
        }
    }
    Ok(())
}

/// The old files, and when each ended.
fn backups(path: &Path) -> io::Result<Vec<(Timestamp, PathBuf)>> {
    let (stem, extension) = name(path);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = name.strip_suffix(COMPRESSED).unwrap_or(&name);
        let stamp = plain.strip_prefix(&format!("{stem}-")).and_then(|rest| rest.strip_suffix(extension.as_str()));
        let at = stamp.and_then(|stamp| DateTime::strptime(STAMP, stamp).ok());
        if let Some(at) = at.and_then(|at| at.to_zoned(TimeZone::UTC).ok()) {
            found.push((at.timestamp(), entry.path()));
        }
    }
    Ok(found)
}

fn compress(file: &Path) -> io::Result<()> {
    let to = PathBuf::from(format!("{}{COMPRESSED}", file.display()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut encoder = GzEncoder::new(options.open(&to)?, Compression::default());
    let done =
        io::copy(&mut File::open(file)?, &mut encoder).and_then(|_| encoder.finish()).and_then(|to| to.sync_all());
    match done {
        Ok(()) => fs::remove_file(file),
        // The disk may be full: then the file stays as it is.
        Err(error) => {
            let _ = fs::remove_file(&to);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn rotation(max_backups: usize, compress: bool) -> Rotation {
        Rotation { max_size: 10, max_backups, max_age: Duration::ZERO, compress }
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_long_file_is_begun_anew_and_some_of_the_old_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/audit.log");
        fs::create_dir(dir.path().join("new")).unwrap();
        fs::write(dir.path().join("new/audit-notes.log"), "mine").unwrap();
        let mut file = Rotating::open(&path, rotation(0, false)).unwrap();
        for number in 0..5 {
            file.append(format!("line {number}\n").as_bytes()).unwrap();
        }
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "line 4\n");
        assert_eq!(names(path.parent().unwrap()).len(), 6, "four old ones, one that is somebody's, and the newest");
        tidy(&path, &rotation(2, true), Timestamp::now()).unwrap();
        let left = names(path.parent().unwrap());
        assert_eq!(left.len(), 4, "{left:?}");
        let compressed = backups(&path).unwrap();
        assert!(compressed.iter().all(|(_, file)| file.extension().unwrap() == "gz"), "{compressed:?}");
        let newest = &compressed.iter().max().unwrap().1;
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(newest).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "line 3\n");
        // Whoever begins again goes on where the other ended.
        let mut file = Rotating::open(&path, rotation(0, false)).unwrap();
        file.append(b"x\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "line 4\nx\n");
        let day = Rotation { max_age: Duration::from_secs(86_400), ..rotation(0, false) };
        tidy(&path, &day, Timestamp::now() + Duration::from_secs(90_000)).unwrap();
        assert_eq!(names(path.parent().unwrap()), ["audit-notes.log", "audit.log"]);
    }

    #[test]
    fn a_full_disk_leaves_no_half_line() {
        let mut file = Rotating::open(Path::new("/dev/full"), rotation(0, false)).unwrap();
        assert!(file.append(b"x\n").is_err());
        assert_eq!(file.length, 0);
    }
}
