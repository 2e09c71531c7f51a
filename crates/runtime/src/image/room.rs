//! How much may be written to the disk that the images share with everything else of the node.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

/// What images leave free, or a twentieth of a small disk: the store of the cluster lives there, too.
const RESERVE: u64 = 1 << 30;
/// What a file or directory takes of the disk besides its content.
pub(crate) const ENTRY_BYTES: u64 = 4096;
/// How much is written between two looks at the disk.
const STEP: u64 = 1 << 20;

/// The space of one disk.
pub struct Room {
    dir: OwnedFd,
    /// Written since the disk was looked at.
    unchecked: u64,
}

impl Room {
    /// The room of the disk that has `dir`.
    pub fn of(dir: &Path) -> io::Result<Self> {
        Ok(Self::at(File::open(dir)?.into()))
    }

    /// The room of the disk that has an open directory.
    pub fn at(dir: OwnedFd) -> Self {
        Self { dir, unchecked: 0 }
    }

    /// Bytes that may still be written; none where there are too few inodes left for more files.
    pub fn left(&self) -> io::Result<u64> {
        let disk = rustix::fs::fstatvfs(&self.dir)?;
        // Some file systems have no number of them.
        if disk.f_files > 0 && disk.f_favail < disk.f_files / 20 {
            return Ok(0);
        }
        let reserve = RESERVE.min(disk.f_blocks.saturating_mul(disk.f_frsize) / 20);
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(reserve))
    }

    /// Says that some bytes were or are to be written.
    ///
    /// # Errors
    /// When the disk is too full for more.
    pub fn take(&mut self, bytes: u64) -> io::Result<()> {
        self.unchecked = self.unchecked.saturating_add(bytes);
        if self.unchecked < STEP {
            return Ok(());
        }
        self.unchecked = 0;
        if self.left()? == 0 { Err(full(bytes)) } else { Ok(()) }
    }

    /// Copies a file's content while there is room for it; answers with its length.
    ///
    /// # Errors
    /// When the disk is too full for the rest of it, or reading or writing fails.
    pub fn copy(&mut self, content: &mut impl Read, file: &mut impl Write, buffer: &mut [u8]) -> io::Result<u64> {
        let mut copied = 0;
        loop {
            match content.read(buffer) {
                Ok(0) => return Ok(copied),
                Ok(length) => {
                    self.take(length as u64)?;
                    file.write_all(&buffer[..length])?;
                    copied += length as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether something of a known size fits.
    ///
    /// # Errors
    /// When it does not.
    pub fn fits(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.left()? { Err(full(bytes)) } else { Ok(()) }
    }
}

fn full(bytes: u64) -> io::Error {
    let text = format!(
        "no room for {bytes} bytes: images leave {RESERVE} bytes of the disk free, or 5% of a smaller one, and 5% of its inodes"
    );
    io::Error::new(ErrorKind::StorageFull, text)
}

/// A reader of at most so many bytes; more are an error, not an end.
pub struct Bounded<R> {
    inner: R,
    left: u64,
    most: u64,
}

impl<R: Read> Bounded<R> {
    /// Reads at most `most` bytes.
    pub fn new(inner: R, most: u64) -> Self {
        Self { inner, left: most, most }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let Some(left) = self.left.checked_sub(length as u64) else {
            let text = format!("it is larger than {} bytes unpacked, which is all the room there is", self.most);
            return Err(io::Error::new(ErrorKind::StorageFull, text));
        };
        self.left = left;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_bound_is_an_error() {
        let mut text = Vec::new();
        Bounded::new(&b"12345"[..], 5).read_to_end(&mut text).unwrap();
        assert_eq!(text, b"12345");
        let error = Bounded::new(io::repeat(0), 1 << 20).read_to_end(&mut text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let room = Room::of(Path::new("/")).unwrap();
        assert!(room.fits(0).is_ok());
        assert_eq!(room.fits(u64::MAX).unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
