//! Tells who started this process as a service that it is ready: the protocol of systemd's `Type=notify`.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Says that it is ready. Does nothing for a process that nobody waits for.
pub fn ready() {
    if let Some(socket) = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty())
        && let Err(error) = tell(&socket)
    {
        tracing::warn!(%error, socket = %socket.display(), "failed to tell that this process is ready");
    }
}

fn tell(socket: &OsStr) -> io::Result<()> {
    // A name that is in no file system begins with @.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(b"READY=1", &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_by_a_path_or_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("coracle-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, address) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            tell(&address).unwrap();
            let mut told = [0; 32];
            let size = socket.recv(&mut told).unwrap();
            assert_eq!(&told[..size], b"READY=1");
        }
        assert!(tell(OsStr::new("/does/not/exist")).is_err());
    }
}
