//! Frames put on a link as they are, of which the kernel would make none itself.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// A link on which frames are put; it takes none from there.
pub struct Wire(OwnedFd);

impl Wire {
    /// Opens a link by its index.
    ///
    /// # Errors
    /// There is no such link, or the user may not.
    pub fn open(link: u32) -> io::Result<Wire> {
        // With a protocol it would be handed what comes in.
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        // SAFETY: zeroes are a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = i32::try_from(link).map_err(io::Error::other)?;
        let size = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the address lives across the call and has the size that is said.
        match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) } {
            0 => Ok(Wire(socket)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Puts a frame on the link.
    ///
    /// # Errors
    /// The link is down, or gone.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        Ok(rustix::io::write(&self.0, frame).map(drop)?)
    }
}
